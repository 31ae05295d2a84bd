"""The tables of a report, as rows of text: shared by the HTML page and the Markdown."""

import json
import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.outcomes import Outcome
from altgrad.compare.statistics import paired
from altgrad.compare.verdict import Evidence
from altgrad.runs import RunFolder, read_json, read_metrics

Table = list[dict[str, str]]
"""Rows, column title -> text; all rows have the same columns."""


def number(value: float | None, form: str = ".4f") -> str:
    """A number as text; empty where it is not known or not finite."""
    return "" if value is None or not math.isfinite(value) else format(value, form)


def p_value(p: float) -> str:
    return "" if not math.isfinite(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def arms_table(conclusion: Conclusion) -> Table:
    """One row an arm, the control first: outcome, difference, verdict, and what it cost."""
    evidence = {e.arm: e for e in conclusion.evidence}
    return [
        _arm_row(n, conclusion.outcomes[n], evidence.get(n), conclusion) for n in conclusion.arms
    ]


def _arm_row(
    name: str, row: list[Outcome], evidence: Evidence | None, conclusion: Conclusion
) -> dict[str, str]:
    kept = [o.outcome for o in row if not o.lost]
    t = paired.paired_t(kept) if kept else None
    half = number((t.interval.high - t.interval.low) / 2) if t else ""
    steps = conclusion.record.arms.get(name, {}).get("max_steps")
    return {
        "arm": name,
        conclusion.question.primary: number(t.mean if t else None) + (f" ± {half}" if half else ""),
        "difference": _difference(evidence),
        "verdict": _verdict(name, evidence, conclusion),
        "steps": f"{steps:,}" if steps else "",
        "tokens/s": number(_mean(row, lambda o: o.tokens_per_s), ",.0f"),
        "memory (MiB)": number(_mean(row, lambda o: o.peak_memory_bytes, 2**-20), ",.0f"),
        "time (s)": number(_mean(row, lambda o: o.train_s), ",.1f"),
        "lost runs": _stability(row),
    }


def _verdict(name: str, evidence: Evidence | None, conclusion: Conclusion) -> str:
    """Some arms of an ablation are there for a contrast and have none of their own."""
    return evidence.verdict if evidence else "control" if name == conclusion.control else ""


def _difference(e: Evidence | None) -> str:
    if e is None or not math.isfinite(e.mean):
        return ""
    if not math.isfinite(e.low):
        return f"{e.mean:+.4f}"
    return f"{e.mean:+.4f} [{e.low:+.4f}, {e.high:+.4f}]"


def _mean(
    row: list[Outcome], get: Callable[[Outcome], float | None], scale: float = 1.0
) -> float | None:
    values = [v * scale for o in row if (v := get(o)) is not None]
    return fmean(values) if values else None


def _stability(row: list[Outcome]) -> str:
    lost = sum(o.lost for o in row)
    interval = paired.wilson(lost, len(row))
    return f"{lost} of {len(row)} [{interval.low:.0%}, {interval.high:.0%}]"


SHADOW_COLUMNS: dict[str, tuple[str, Callable[[list[float]], float], str]] = {
    "cosine, mean": ("grad_cos_sim/mean", fmean, ".4f"),
    "cosine, smallest": ("grad_cos_sim/min", min, ".4f"),
    "SNR of the whole (dB)": ("grad_snr_db/total", fmean, ".1f"),
    "SNR, smallest (dB)": ("grad_snr_db/min", min, ".1f"),
}
"""Column -> metric, how the steps of all seeds are summed up, form."""


def gradients_table(conclusion: Conclusion) -> Table:
    """One row an arm, the control first: its gradients against the FP32 shadow's."""
    rows = []
    for arm in conclusion.arms:
        runs = conclusion.runs.get(arm, {}).values()
        lines = [m for run in runs for m in read_metrics(RunFolder(run).metrics)]
        cells = {}
        for column, (metric, summary, form) in SHADOW_COLUMNS.items():
            values = [m[metric] for m in lines if math.isfinite(m.get(metric, math.nan))]
            cells[column] = number(summary(values), form) if values else ""
        rows.append({"arm": arm, **cells})
    return rows if any(any(list(row.values())[1:]) for row in rows) else []


def statistics_table(conclusion: Conclusion) -> Table:
    """One row an arm but the control: every test that was made."""
    return [
        {
            "arm": e.arm,
            "pairs": str(e.pairs),
            "mean difference": number(e.mean, "+.5f"),
            "interval": _interval(e.low, e.high),
            "BCa interval": _interval(e.bca_low, e.bca_high),
            "in seed noise": number(e.effect_in_noise, "+.2f"),
            "p": p_value(e.p),
            "p corrected": p_value(e.p_corrected),
            "p sign flip": p_value(e.p_sign_flip),
            "p not equivalent": p_value(e.p_equivalent),
        }
        for e in conclusion.evidence
    ]


def _interval(low: float, high: float) -> str:
    return f"[{low:+.5f}, {high:+.5f}]" if math.isfinite(low) and math.isfinite(high) else ""


def contrasts_table(conclusion: Conclusion) -> Table:
    """What is judged beside single arms: effects, interactions, contrasts with a name."""
    return [
        {
            "kind": c.kind,
            "of": c.name,
            "contrast": number(c.mean, "+.5f"),
            "interval": _interval(c.low, c.high),
            "p corrected": p_value(c.p_corrected),
            "finding": c.words,
        }
        for c in conclusion.contrasts
    ]


def seeds_table(conclusion: Conclusion) -> Table:
    """Outcome of every run, one row a seed."""
    seeds = max(conclusion.runs.values(), key=len)
    cells = {
        (name, o.seed): number(o.outcome, ".5f") or o.state
        for name in conclusion.arms
        for o in conclusion.outcomes[name]
    }
    return [
        {"seed": str(s), **{name: cells.get((name, s), "") for name in conclusion.arms}}
        for s in seeds
    ]


def tuning_table(conclusion: Conclusion) -> Table:
    """Mean outcome of every value tried."""
    rows = []
    for t in conclusion.record.tuning:
        for value, outcomes in t["outcomes"].items():
            chosen = float(value) == t["value"]
            edge = f", at the {t['edge']} edge: the grid may be too narrow" if t["edge"] else ""
            rows.append(
                {
                    "arm": t["arm"],
                    t["setting"]: f"{float(value):g}",
                    "mean outcome": "lost" if None in outcomes else number(fmean(outcomes)),
                    "chosen": f"chosen{edge}" if chosen else "",
                }
            )
    return rows


def failures_table(conclusion: Conclusion) -> Table:
    """Every run that failed or diverged."""
    return [
        {"arm": name, "seed": str(o.seed), "run": o.run, "state": o.state, "why": o.error}
        for name, row in conclusion.outcomes.items()
        for o in row
        if o.lost
    ]


def differences_table(conclusion: Conclusion) -> Table:
    """Every setting in which an arm differs from the control."""
    return [
        {"arm": arm, "setting": name, "control": _value(a), "arm's value": _value(b)}
        for arm, found in conclusion.fairness.differing.items()
        for name, (a, b) in found.items()
    ]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def fairness_table(conclusion: Conclusion) -> Table:
    """What was checked and found equal, the budget included."""
    rows = [{"checked": c.what, "found": c.found} for c in conclusion.fairness.checks]
    spent = {f"{s['total']:.4g} {s['unit']}" for s in conclusion.record.spending}
    budget = {"checked": "budget of a run", "found": " and ".join(sorted(spent))}
    return [*rows, budget] if spent else rows


def environment_table(conclusion: Conclusion) -> Table:
    """Machine and versions of the first run that says."""
    for by_seed in conclusion.runs.values():
        for run in by_seed.values():
            path = RunFolder(run).environment
            if path.is_file():
                return _environment_rows(read_json(path))
    return []


def _environment_rows(environment: dict[str, Any]) -> Table:
    wanted = ("python", "torch", "cuda", "gpus", "cpu", "cpu_capability", "threads", "platform")
    rows = {k: environment.get(k) for k in wanted if environment.get(k)}
    git = environment.get("git")
    if isinstance(git, dict) and git.get("commit"):
        dirty = " with uncommitted changes" if git.get("dirty_diff") else ""
        rows["commit"] = f"{git['commit']}{dirty}"
    return [{"what": k, "value": v if isinstance(v, str) else _value(v)} for k, v in rows.items()]


def text_table(rows: Table, *, without: tuple[str, ...] = ()) -> list[str]:
    """Lines of a Markdown table; columns that are empty throughout are left out."""
    if not rows:
        return []
    columns = [c for c in rows[0] if c not in without and any(r.get(c) for r in rows)]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [str(row.get(c, "")).replace("|", "\\|").replace("\n", " ") for c in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
