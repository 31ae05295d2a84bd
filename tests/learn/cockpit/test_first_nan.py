"""`altgrad learn run` names the unit, the step and the pass in which the first NaN was made."""

from pathlib import Path

import pytest
import torch

from altgrad.learn.iteration import iterate
from altgrad.learn.observe import Failure
from altgrad.learn.track import Track

MLP = "x = F.relu(x).square()"
NANOCHAT = [
    # what is changed, into what; the unit, the pass, what was finite
    (MLP, "x = (x - 1e9).log()", "MLP.forward (h.0.mlp)", "the first loss is nan", "is finite"),
    (
        MLP,
        "x = (F.relu(x) * 0).sqrt()",
        "going backward, the first NaN or infinity comes out of MLP.forward",
        "a gradient at step 0 is no number, though the loss is 5.5452",
        "the gradient that reached its output is finite",
    ),
    (
        "x = x + self.mlp(norm(x))",
        "x = x + (self.mlp(norm(x)) * 0).sqrt()",
        "comes out of Block.forward (h.1), in what it does with the result of MLP.forward",
        "a gradient at step 0",
        "the gradient that reached its output is finite",
    ),
    (
        'x = norm(self.transformer["wte"](idx))',
        'x = norm(self.transformer["wte"](idx) / 0)',
        "comes out of GPT.forward, which hands it to norm",
        "the first loss is nan",
        "",
    ),
    (
        "matrix_lr=0.02",
        "matrix_lr=float('inf')",
        "moved by Muon of GPT.setup_optimizers",
        "a weight is no number after step 0",
        "before the step it was finite (max",
    ),
    (
        "angle.cos()",
        "(angle / 0).cos()",
        "comes out of GPT._precompute_rotary_embeddings",
        "after initialisation cos is no number",
        "",
    ),
    (
        "nn.init.zeros_(self.lm_head.weight)",
        "nn.init.constant_(self.lm_head.weight, float('nan'))",
        "altgrad learn check GPT.init_weights",
        "after initialisation lm_head.weight is no number",
        "",
    ),
]
GPT2 = [
    (
        'x = F.gelu(self.c_fc(x), approximate="tanh")',
        "x = (self.c_fc(x) * 0).abs().sqrt()",
        "going backward, the first NaN or infinity comes out of MLP.forward",
        "a gradient at step 0",
        "the gradient that reached its output is finite",
    ),
    (
        "torch.optim.AdamW(groups, lr=learning_rate",
        "torch.optim.AdamW(groups, lr=float('inf')",
        "moved by AdamW of GPT.configure_optimizers",
        "a weight is no number after step 0",
        "before the step it was finite",
    ),
]
CASES = [("nanochat", *case) for case in NANOCHAT] + [("gpt2", *case) for case in GPT2]


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written(track: Track, path: Path, old: str = "", new: str = "") -> Path:
    assert old in track.source
    path.write_text(track.source.replace(old, new, 1))
    return path


@pytest.mark.parametrize(("name", "old", "new", "unit", "when", "finite"), CASES)
def test_the_first_nan_is_located(tmp_path, name, old, new, unit, when, finite):
    track = Track(name)
    ended = list(iterate(track, written(track, tmp_path / "my_gpt.py", old, new)))[-1]
    assert isinstance(ended, Failure)
    assert ended.kind == "FloatingPointError"
    for text in (unit, when, finite):
        assert text in ended.message


def test_a_nan_that_comes_at_a_later_step_is_told_with_its_step(tmp_path):
    track = Track("nanochat")
    late = "x = F.relu(x).square()\n        x = x / (self.c_proj.weight.abs().max() == 0)"
    path = written(track, tmp_path / "my_gpt.py", MLP, late)
    ended = list(iterate(track, path))[-1]
    assert isinstance(ended, Failure)
    assert "the loss at step 2 is nan" in ended.message
    assert "MLP.forward (h.0.mlp)" in ended.message


def test_a_nan_that_does_no_harm_is_held_against_nobody_later(tmp_path):
    """A Block throws one away in the first evaluation; the MLP's spoils the loss."""
    track = Track("nanochat")
    late = "x = F.relu(x).square()\n        x = x / (self.c_proj.weight.abs().max() == 0)"
    path = written(track, tmp_path / "my_gpt.py", MLP, late)
    attend = "x = x + self.attn("
    thrown = f"torch.is_grad_enabled() or norm(x / 0)\n        {attend}"
    path.write_text(path.read_text().replace(attend, thrown))
    ended = list(iterate(track, path))[-1]
    assert isinstance(ended, Failure)
    assert "comes out of MLP.forward" in ended.message


def test_the_iteration_shows_the_gradient_norms_beside_the_references(tmp_path):
    for name in ("nanochat", "gpt2"):
        track = Track(name)
        lines = list(iterate(track, written(track, tmp_path / "my_gpt.py")))
        at = lines.index("── backward")
        table = [str(line) for line in lines[at + 1 :]]
        assert table[0].split("|")[0].split()[-6:] == ["step", "0", "step", "1", "step", "2"]
        rows = [row for row in table[1:] if "  |" in row]
        assert len(rows) >= 6
        for row in rows:  # the reference's own file: the same numbers on both sides
            mine, theirs = row.split("  |")
            assert mine.split()[-3:] == theirs.split()
