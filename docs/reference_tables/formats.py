"""The tables of the pages on number formats, from the definitions in `altgrad/quantization`."""

from reference_tables.markdown import table


def fp4_codes() -> str:
    """Every positive code of FP4 with its arithmetic."""
    from altgrad.quantization.formats import Format, decode

    f = Format.named("e2m1fn")
    rows = []
    for code in range(8):
        exponent, trailing = divmod(code, 2)
        fraction = f"{trailing}/2" if exponent == 0 else f"(1 + {trailing}/2)"
        power = (1 if exponent == 0 else exponent) - f.bias
        bits = f"0 {exponent:02b} {trailing}"
        rows.append([f"{code:#x}", f"`{bits}`", f"{fraction} · 2^{power}", decode(code, f)])
    return table(["code", "s ee m", "meaning", "number"], rows)


def splits() -> str:
    """The eight ways to divide seven bits."""
    from altgrad.quantization import SPLITS, catalogue_table

    columns = ["name", "E", "M", "bias", "max", "smallest", "eps", "finite codes", "inf", "NaN"]
    rows = catalogue_table(list(SPLITS))
    return table(columns, ([row[c] for c in columns] for row in rows))


def catalogue() -> str:
    """Everything with a name."""
    from altgrad.quantization import catalogue_table

    rows = catalogue_table()
    return table(rows[0], (row.values() for row in rows))


def rounding() -> str:
    """One number under every mode."""
    from altgrad.quantization import Format
    from altgrad.quantization.reference import round as round_scalar

    f, numbers = Format.named("e4m3"), (1.05, 1.0625, 1.1, -1.1, 0.0012, 460.0, 1000.0)
    modes = ("nearest_even", "nearest_away", "toward_zero", "up", "down")
    rows = ([x, *(round_scalar(x, f, rounding=mode) for mode in modes)] for x in numbers)
    return table(["x", *modes], rows)


def sqnr() -> str:
    """Signal to noise of a million normal weights in every split, with and without scaling."""
    import torch

    from altgrad import quantization as q

    x = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)) * 0.02
    scalings = {
        "one scale": q.PerTensor(),
        "blocks of 32": q.PerBlock(32),
        "MX blocks": q.MX(),
    }
    rows = []
    for name in q.SPLITS:
        cells = [
            q.sqnr_db(x, q.fake_quantize(x, name, scaling=s)).item() for s in scalings.values()
        ]
        rows.append([name, *(f"{cell:.1f}" for cell in cells)])
    return table(["dB", *scalings], rows)
