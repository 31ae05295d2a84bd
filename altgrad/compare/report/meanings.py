"""What the groups of the mechanism section mean, a sentence each, from the catalogue of metrics."""

from altgrad.runs import metric_rows


def meaning(group: str) -> str:
    """The sentence of a group, its role (`amax/input`) or twin (`grad_snr_fp8`) left off; or
    nothing.

    Your own metrics have none.
    """
    name = group.partition("/")[0]
    for kind in ("_fp8", "_fp32", "_diff"):
        name = name.removesuffix(kind)
    rows = (row for known, row in metric_rows().items() if known.partition("/")[0] == name)
    text = next((row.meaning for row in rows), "").replace("`", "")
    return f"{text[0].upper()}{text[1:]}." if text else ""
