"""The report: from run folders, verdict first, one file that needs no network."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from altgrad.compare.conclusion import conclude
from altgrad.compare.report import curves
from altgrad.compare.report.build import write_reports
from altgrad.compare.report.curves import band_rows, mechanism_rows, thin
from altgrad.compare.report.html import _script_json
from altgrad.compare.report.meanings import meaning
from altgrad.compare.report.tables import arms_table, gradients_table, text_table
from altgrad.compare.report.words import headline, verdict_lines
from altgrad.compare.why.names import BASIC, natural, split_name
from altgrad.runs import metric_rows

altair = pytest.importorskip("altair")
pytest.importorskip("vl_convert")
OPEN_FIRST = pytest.importorskip("altgrad.compare.report.html").OPEN_FIRST


@pytest.fixture
def conclusion(ask, here):
    words = "optim.lr=0.01,0.1 seeds=2 tune=optim.eps tuning.grid=1e-9,1e-8"
    made = conclude(ask(words).run())
    for by_seed in made.runs.values():
        for run in by_seed.values():
            add_mechanism(run)
    return made


def add_mechanism(run: Path) -> None:
    """Layer-wise numbers as low-precision runs log them."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for layer in ("h.0.attn", "h.0.mlp", "mean"):
            line[f"grad_cos_sim/{layer}"] = 0.9 + line["step"] / 100
        line["grad_snr/h.0_fp8"] = float("inf")
        line["grad_snr/h.0_fp32"] = line["step"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


class Page(HTMLParser):
    """Outside references and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references, self.titles, self._in = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._in = tag
        self.references += [v for k, v in attributes if k in ("src", "href")]

    def handle_data(self, data):
        if self._in in ("h1", "h2") and data.strip():
            self.titles.append(data.strip())


def test_the_page_is_one_file_with_the_verdict_first(conclusion):
    html, markdown = write_reports(conclusion)
    page = Page(html.read_text())
    assert page.references == []
    assert page.titles[:3] == [conclusion.question.question, "Arms", "Paired differences"]
    assert html.stat().st_size < 2_000_000
    assert markdown.read_text().splitlines()[2] == f"**{headline(conclusion)}**"
    for title in ("Mechanism", "Fairness", "What differs", "Environment", "Reproduce", "Tuning"):
        assert title in page.titles


def test_every_plot_is_a_valid_vega_lite_specification(conclusion):
    import vl_convert

    html = write_reports(conclusion)[0].read_text()
    specs = json.loads(re.search(r"const specs = (\{.*\});\n", html).group(1))
    assert len(specs) == 8
    for spec in specs.values():
        altair.Chart.from_dict(spec, validate=True)
    assert vl_convert.vegalite_to_svg({**specs["plot0"], "width": 400}).startswith("<svg")


def test_names_cannot_inject_markup(conclusion):
    conclusion.question.question = "<script>alert(1)</script>"
    html = write_reports(conclusion)[0].read_text()
    assert "<script>alert" not in html


def test_no_angle_bracket_stands_in_a_scripts_json():
    """`<!--<script>` would keep the browser inside the script after its `</script>`."""
    text = _script_json({"<b>": "<!--<script></script>"})
    assert "<" not in text
    assert json.loads(text) == {"<b>": "<!--<script></script>"}


def test_the_mechanism_is_whatever_was_logged(conclusion):
    groups = mechanism_rows(conclusion)
    assert {"grad_cos_sim", "grad_norm"} <= set(groups)
    assert {row["item"] for row in groups["grad_cos_sim"]} == {"h.0.attn", "h.0.mlp", "mean"}
    assert {row["item"] for row in groups["grad_snr_fp32"]} == {"h.0"}
    assert "grad_snr_fp8" not in groups


def test_the_operands_of_a_layer_are_groups_of_their_own():
    assert split_name("amax/input/transformer.h.0.attn") == ("amax/input", "h.0.attn")
    assert split_name("amax/grad_output/max") == ("amax/grad_output", "max")
    assert split_name("grad_snr/transformer.h.1.weight_fp8") == ("grad_snr_fp8", "h.1")


def test_the_mechanism_quotes_the_catalogue():
    groups = {name.partition("/")[0] for name in metric_rows()}
    assert all(meaning(group).endswith(".") for group in groups)
    assert set(OPEN_FIRST) <= groups
    assert meaning("flips") == "Entries whose stored code changed."
    assert meaning("amax/input") == meaning("amax") != ""
    assert meaning("grad_snr_fp8") == meaning("grad_snr") != ""
    assert meaning("mine/x") == ""


def test_what_is_no_mechanism_is_in_the_catalogue():
    assert BASIC - {"step"} <= set(metric_rows())


def test_layers_are_sorted_by_number():
    assert sorted(["h.10", "h.2", "h.1"], key=natural) == ["h.1", "h.2", "h.10"]


def test_the_table_has_loss_difference_verdict_and_cost(conclusion):
    control, arm = arms_table(conclusion)
    assert control["verdict"] == "control"
    assert arm["difference"].startswith(("+", "-"))
    assert arm["verdict"] == conclusion.evidence[0].verdict
    assert arm["lost runs"].startswith("0 of 2")
    for column in ("tokens/s", "memory (MiB)", "time (s)"):
        assert arm[column]


def test_the_verdict_lines_carry_the_interval(conclusion):
    (line,) = verdict_lines(conclusion)
    assert line.startswith("lr=0.1: ")
    assert "over 2 seeds" in line


def test_bands_only_cover_steps_that_all_seeds_reached():
    rows = [{"arm": "a", "seed": s, "step": 1, "value": float(s)} for s in (1, 2)]
    rows.append({"arm": "a", "seed": 1, "step": 2, "value": 9.0})
    assert band_rows(rows) == [{"arm": "a", "step": 1, "mean": 1.5, "low": 1.0, "high": 2.0}]


def test_the_curves_of_very_many_runs_have_fewer_points(conclusion, monkeypatch):
    runs = sum(map(len, conclusion.runs.values()))
    whole = curves.loss_rows(conclusion, "loss")
    monkeypatch.setattr(curves, "MOST_ROWS", 3 * runs)
    fewer = curves.loss_rows(conclusion, "loss")
    assert len(whole) > len(fewer) <= 3 * runs
    assert {(r["arm"], r["seed"]) for r in fewer} == {(r["arm"], r["seed"]) for r in whole}


def test_thinning_keeps_means_and_the_last_step():
    assert thin([(1, 1.0), (2, 3.0), (3, 5.0)], 2) == [(2, 2.0), (3, 5.0)]


def test_a_bar_in_a_cell_does_not_break_the_table():
    assert text_table([{"a": "x|y"}])[-1] == "| x\\|y |"


def test_reading_a_comparison_loads_no_torch():
    code = (
        "import sys, altgrad.compare.report, altgrad.compare.regroup, altgrad.runs; "
        "print('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_controls_own_error_against_fp32_stands_beside_an_arms(conclusion):
    for arm, by_seed in conclusion.runs.items():
        for run in by_seed.values():
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            for line in lines:
                line["grad_snr_db/total"] = 50.0 if arm == conclusion.control else 20.0
                line["grad_cos_sim/min"] = 0.9 + line["step"] / 100
            (run / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in lines))
    rows = gradients_table(conclusion)
    assert [row["arm"] for row in rows] == [conclusion.control, conclusion.evidence[0].arm]
    assert [row["SNR of the whole (dB)"] for row in rows] == ["50.0", "20.0"]
    assert {row["cosine, smallest"] for row in rows} == {"0.9100"}
    assert {row["SNR, smallest (dB)"] for row in rows} == {""}
