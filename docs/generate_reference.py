"""Write what the pages show of the code: `python docs/generate_reference.py`.

Every part of a page between `<!-- generated: NAME -->` and `<!-- end -->` is computed by the
function that BLOCKS has under that name; tests/test_reference.py compares.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from reference_tables import command_line, formats, metrics, presets, run_folder, settings  # noqa: E402

BLOCKS: dict[str, Callable[[], str]] = {
    "settings": settings.settings,
    "short_names": settings.short_names,
    "question": settings.question,
    "launch": settings.launch,
    "command_line": command_line.command_line,
    "presets": presets.presets,
    **metrics.BLOCKS,
    "files": run_folder.files,
    "events": run_folder.events,
    "fields": run_folder.fields,
    "fp4_codes": formats.fp4_codes,
    "splits": formats.splits,
    "catalogue": formats.catalogue,
    "rounding": formats.rounding,
    "sqnr": formats.sqnr,
}
PAGES = (
    "reference/settings.md",
    "reference/command-line.md",
    "reference/presets.md",
    "reference/metrics.md",
    "reference/formats.md",
    "reference/run-folder.md",
    "explanation/number-formats.md",
)
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """The page with every generated block computed anew."""
    return _BLOCK.sub(lambda m: m[1] + BLOCKS[m[2]]() + m[3], page)


if __name__ == "__main__":
    for name in PAGES:
        path = DOCS / name
        path.write_text(render(path.read_text()))
        print(path)
