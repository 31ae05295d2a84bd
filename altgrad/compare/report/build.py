"""The report of a comparison: one page of HTML and one of Markdown, from run folders only."""

from pathlib import Path

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.report.markdown import markdown
from altgrad.runs import write_atomically
from altgrad.runs.printable import printable


def write_reports(conclusion: Conclusion) -> list[Path]:
    """`report.md` and, with the extra `report`, `report.html`."""
    text = conclusion.folder / "report.md"
    write_atomically(text, printable(markdown(conclusion)))
    if not has_charts():
        return [text]
    from altgrad.compare.report.html import page

    html = conclusion.folder / "report.html"
    write_atomically(html, page(conclusion))
    return [html, text]


def has_charts() -> bool:
    """Whether the extra `report` is installed: without it a comparison has no HTML page."""
    try:
        import altair
        import vl_convert

        return bool(altair and vl_convert)
    except ImportError:
        return False


def style_sheet() -> str:
    """The sheet of the report's page, for other pages that are to look like it."""
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return text.split("<style>")[1].split("</style>")[0]
