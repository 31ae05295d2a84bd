import numpy as np
import pytest
import torch

from altgrad.learn.proof import prove
from altgrad.learn.race import Outcome, RaceSettings, page, race, table
from altgrad.learn.track import Track

TRACK = Track("nanochat")
SMALL = RaceSettings(steps=8, batch_size=2, length=16, n_layer=2, n_head=2, n_kv_head=1, n_embd=16)


def variant(kind: str, unit: str, name: str):
    table = {"mistake": TRACK.mistakes, "equivalent": TRACK.equivalents}[kind]
    return next(v for v in table if (v.unit, v.name) == (unit, name))


@pytest.fixture
def write(tmp_path):
    def file(source: str):
        path = tmp_path / "my_gpt.py"
        path.write_text(source)
        return path

    return file


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("CausalSelfAttention.forward", "einsum"),
        ("norm", "divided by the root"),
        ("GPT.setup_optimizers", "torch's Muon"),
    ],
)
def test_equal_implementations_stay_within_1e_12_for_fifty_steps(unit, name, write):
    proof = prove(TRACK, write(variant("equivalent", unit, name).apply(TRACK.source)))
    assert proof.holds
    assert proof.steps == 50
    assert proof.largest < 1e-12


@pytest.mark.parametrize(
    ("unit", "name", "tensor"),
    [
        ("norm", "eps 1e-5", "lm_head.weight"),
        ("apply_rotary_emb", "turns the other way", ""),
        ("GPT.setup_optimizers", "usual eps", ""),
        ("CausalSelfAttention.forward", "no gradient to the queries", "c_q"),
    ],
)
def test_mistakes_part_within_two_steps(unit, name, tensor, write):
    proof = prove(TRACK, write(variant("mistake", unit, name).apply(TRACK.source)), steps=5)
    assert not proof.holds
    assert proof.parted_at <= 2
    assert tensor in proof.tensor
    assert "different" in proof.sentence()


def test_other_parameters_are_refused(write):
    source = variant("mistake", "GPT.__init__", "head with a bias").apply(TRACK.source)
    with pytest.raises(ValueError, match="other parameters than the reference: lm_head"):
        prove(TRACK, write(source), steps=1)


def run(path) -> Outcome:
    tokens = np.random.default_rng(0).integers(0, 11, 400).astype(np.uint16)
    *lines, outcome = race(TRACK, path, {"train": tokens, "val": tokens}, 11, SMALL)
    assert all(isinstance(line, str) for line in lines)
    return outcome


def test_the_reference_against_itself_matches_at_every_step(write):
    outcome = run(write(TRACK.source))
    assert outcome.parted_at is None
    assert outcome.losses["yours"] == outcome.losses["reference"]
    mine, theirs = outcome.rows
    assert mine["activations (MB)"] == theirs["activations (MB)"] > 0
    assert mine["bits per byte"] == pytest.approx(mine["val loss"] / np.log(2))


def test_a_hand_written_softmax_matches_and_is_seen_to_cost_memory(write):
    style = variant("equivalent", "CausalSelfAttention.forward", "softmax by hand")
    outcome = run(write(style.apply(TRACK.source)))
    assert outcome.parted_at is None
    theirs, mine = outcome.rows
    assert mine["activations (MB)"] > theirs["activations (MB)"]


def test_a_mistake_differs_from_a_named_step_on(write):
    source = variant("mistake", "MLP.forward", "GELU").apply(TRACK.source)
    outcome = run(write(source))
    assert outcome.parted_at is not None
    assert f"from step {outcome.parted_at} on" in outcome.sentence


def test_table_and_page_show_both(write):
    outcome = run(write(TRACK.source))
    assert len({len(line) for line in table(outcome)}) == 1
    html = page(outcome, "equal")
    assert html.count("<polyline") == 2
    assert "http" not in html


def test_the_gpt2_track_is_proved_and_raced_too(write):
    track = Track("gpt2")
    for style in track.equivalents:
        if style.unit in ("CausalSelfAttention.forward", "GPT.forward"):
            assert prove(track, write(style.apply(track.source)), steps=10).holds, style.name
    path = write(track.source)
    tokens = np.random.default_rng(0).integers(0, 11, 400).astype(np.uint16)
    *_, outcome = race(track, path, {"train": tokens, "val": tokens}, 11, SMALL)
    assert outcome.parted_at is None


@pytest.mark.parametrize("name", ["nanochat", "gpt2"])
def test_an_examination_sees_both_models_and_fills_a_column(write, name):
    track, shapes = Track(name), []

    def examination(logits, block_size):
        shapes.append(tuple(logits(torch.zeros(2, block_size, dtype=torch.long)).shape))
        return {"answers": f"{len(shapes)}"}

    tokens = np.random.default_rng(0).integers(0, 11, 400).astype(np.uint16)
    split = {"train": tokens, "val": tokens}
    *_, outcome = race(track, write(track.source), split, 11, SMALL, examination)
    assert [row["answers"] for row in outcome.rows] == ["1", "2"]
    assert shapes == [(2, SMALL.length, 11)] * 2
