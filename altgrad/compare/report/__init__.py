"""The page of a comparison, from its folder alone.

`build` writes it from `words` and `sections`; `tables`, `charts` and `curves` make what these list,
`html` and `markdown` put it together, `vega` is the library that draws, `meanings` explains each
group of metrics.
"""

from altgrad.compare.report.build import has_charts, style_sheet, write_reports
from altgrad.compare.report.tables import Table, number, p_value, text_table
from altgrad.compare.report.words import verdict_lines

__all__ = [
    "Table",
    "has_charts",
    "number",
    "p_value",
    "style_sheet",
    "text_table",
    "verdict_lines",
    "write_reports",
]
