"""`altgrad formats`: the catalogue of number formats as a table, or as a picture."""

import argparse
from collections.abc import Callable
from typing import Any

FORMATS_HELP = """\
examples:
  altgrad formats                          all formats with a name
  altgrad formats e4m3 e5m2 e6m9           these, any e{X}m{Y} up to 16 bits
  altgrad formats e2m5b4 e5m2_finite        your own: another bias, other special values
  altgrad formats e4m3 e5m2 --plot         a number line and the relative spacing, as PNG
"""


def add_formats_command(commands: Any, add_command: Callable[..., argparse.ArgumentParser]) -> None:
    summary = "print number formats: range, precision, codes, special values"
    parser = add_command(commands, "formats", formats, summary)
    parser.epilog = FORMATS_HELP
    parser.add_argument("names", nargs="*", metavar="NAME", help="formats (all that have a name)")
    parser.add_argument("--plot", action="store_true", help="draw them as a PNG instead")
    parser.add_argument("--out", metavar="FILE", help="the PNG to write (formats.png)")
    parser.add_argument("--sources", action="store_true", help="print which standard each is from")


def formats(arguments: argparse.Namespace) -> None:
    from altgrad.quantization import SPLITS, catalogue_table

    if arguments.out and not arguments.plot:
        raise ValueError("--out names the picture of --plot; add --plot")
    if arguments.plot:
        from altgrad.quantization.plots import plot_formats

        print(plot_formats(arguments.names or list(SPLITS), arguments.out or "formats.png"))
        return
    rows = catalogue_table(arguments.names)
    columns = [column for column in rows[0] if column != "source"]
    print("\n".join(table_lines([columns, *([text_of(row[c]) for c in columns] for row in rows)])))
    if arguments.sources:
        print("\n".join(["", *(f"{row['name']}: {row['source']}" for row in rows)]))


def text_of(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table_lines(rows: list[list[str]]) -> list[str]:
    """Aligned columns, the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
