"""The report as Markdown: for a pull request, a mail, a log."""

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.report.sections import SECTIONS
from altgrad.compare.report.tables import text_table
from altgrad.compare.report.words import headline, rules_in_words, verdict_lines


def markdown(conclusion: Conclusion) -> str:
    """The whole page."""
    lines = [f"# {conclusion.question.question}", "", f"**{headline(conclusion)}**", ""]
    lines += [f"- {line}" for line in verdict_lines(conclusion)]
    lines += ["", rules_in_words(conclusion), ""]
    for title, rows, remark in SECTIONS:
        table = text_table(rows(conclusion))
        if table:
            lines += [f"## {title}", "", *([remark, ""] if remark else []), *table, ""]
    lines += [f"- {note}" for note in conclusion.fairness.notes]
    lines += ["## Reproduce", "", "```", conclusion.record.command, "```", ""]
    return "\n".join(lines)
