"""The picture of a night of forty tries: all of them there, and every name readable."""

import itertools
import json
import random

import pytest

from altgrad.ideas.labels import name_changes
from altgrad.ideas.ledger import LedgerFile
from altgrad.ideas.picture import chart_lines, draw, points, reckoned
from altgrad.ideas.state import read_state

NAMES = (
    *("optim.lr=0.003", "optim=muon", "model.mlp=relu2 optim.lr=0.01", "model.position=rope"),
    *("schedule=cosine", "model.norm=rmsnorm model.bias=false", "optim.weight_decay=0.0"),
    *("model.qk_norm=true", "optim.betas=[0.9,0.99]", "model.tie_head=false"),
    *("schedule.warmup_steps=20", "data.batch_size=16"),
)
NOISE = {"outcomes": [2.6, 2.61, 2.59, 2.62], "repeat": 0, "delta": 0.02, "slope": 0.4}


@pytest.fixture
def night(tmp_path):
    """A ledger of forty made-up tries: of twelve nominated, eight were found and four were not."""
    file, rng, level = LedgerFile(tmp_path / "night"), random.Random(2), 2.6
    file.append("new", terms={"base": [], "delta": 0.02}, seeds=[1, 2, 3, 4])
    file.append("noise", seeds=[1, 2, 3, 4], costs={}, **NOISE)
    chosen = dict(zip(sorted(rng.sample(range(40), len(NAMES))), NAMES, strict=True))
    for k in range(40):
        seed, gain = str(4 * k + 1), 0.03 if k in chosen else rng.uniform(-0.05, 0.01)
        name = chosen.get(k, f"optim.eps={k}e-9")
        whole = k % 9 != 8 or k in chosen
        file.append(
            "try",
            id=f"i{k}",
            name=name,
            words=name.split(),
            why="",
            key=f"k{k}",
            reign=sum(c < k for c in chosen),
            verdict="nominated" if k in chosen else "no gain" if whole else "crashed",
            gains=[gain] if whole else [],
            spread=0.01,
            outcomes={seed: {"outcome": level - gain}} if whole else {},
            next_seeds=[0],
            supersedes=[],
            steps=None,
        )
        level -= 0.03 if k in chosen else 0
    ids = [f"i{k}" for k in chosen]
    effects = [
        {"change": i, "harm": 0.03, "low": 0.02, "high": 0.04, "p": 0.01, "pairs": 3, "found": f}
        for i, f in zip(ids, itertools.cycle([True, True, False]), strict=False)
    ]
    found = [e["change"] for e in effects if e["found"]]
    file.append(
        "reckon",
        batches=[],
        harms={},
        effects=effects,
        found=found,
        kept={},
        champion=found,
        steps=None,
        next_seeds=[1],
        heldout={},
        headline={"gain": 0.3, "low": 0.28, "high": 0.32, "pairs": 3},
        outcomes={"baseline": {"300": 2.6, "301": 2.62}},
    )
    return read_state(file.entries())


@pytest.fixture
def drawn(night, tmp_path, monkeypatch):
    """The figure's axes and what was written beside the points."""
    seen = {}

    def keep(figure, axes, named):
        name_changes(figure, axes, named)
        seen.update(figure=figure, axes=axes, texts=list(axes.texts))

    monkeypatch.setattr("altgrad.ideas.picture.name_changes", keep)
    draw(night, tmp_path / "ideas.png")
    assert (tmp_path / "ideas.png").stat().st_size > 20_000
    return seen


def test_no_name_lies_over_another_one(drawn):
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(t) for t in drawn["texts"]]
    assert len(boxes) == len(NAMES)
    assert not [1 for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]
    assert all(drawn["axes"].bbox.fully_containsx(x) for b in boxes for x in (b.x0, b.x1))


def test_findings_are_named_and_barnacles_struck_through(drawn, night):
    names = {t.get_text() for t in drawn["texts"]}
    named = [p for p in points(night) if p.verdict in ("finding", "barnacle")]
    assert {n.split()[0] for n in names} == {p.id for p in named}
    assert sum(p.verdict == "barnacle" for p in named) == len(drawn["figure"].artists) == 4
    long = next(p for p in named if p.name == "optim=muon")
    assert f"{long.id} optim=muon" in names


def test_an_idea_is_drawn_by_its_gain_on_its_reigns_champion(night):
    for point, entry in zip(
        points(night), [e for e in night.entries if e["kind"] == "try"], strict=True
    ):
        if entry["gains"]:
            assert point.champion - point.loss == pytest.approx(entry["gains"][0])
            assert point.spread == 0.01
    (bar,) = reckoned(night)
    assert (bar.x, bar.loss, bar.low, bar.high) == pytest.approx((40, 2.31, 2.29, 2.33))


def test_the_terminal_shows_every_try(night):
    chart = chart_lines(night)
    marks = "".join(line[11:] for line in chart[:-2])
    assert (marks.count("F"), marks.count("b")) == (8, 4)
    assert chart[-1].startswith("F finding")


def test_the_page_points_at_every_try(night):
    pytest.importorskip("altair")
    from altgrad.ideas.page import chart, page

    spec = chart(night)
    assert "step-after" in json.dumps(spec)
    dots = next(x for x in spec["layer"] if x["mark"]["type"] == "circle")["data"]["values"]
    assert [d["id"] for d in dots] == [p.id for p in points(night) if p.loss == p.loss]
    struck = [d for d in dots if d["label"].endswith("\u0336")]
    assert {d["verdict"] for d in struck} == {"barnacle"}
    assert len(struck) == 4
    assert "per second" in page(night)
