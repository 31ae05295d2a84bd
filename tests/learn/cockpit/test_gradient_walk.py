"""`altgrad learn trace --backward` says where the gradient departs from the reference's."""

from pathlib import Path

import pytest

from altgrad.learn.cockpit.gradient_walk import walk_lines
from altgrad.learn.track import Track

MLP = "x = F.relu(x).square()"
NORMED = 'x = norm(self.transformer["wte"](idx))'
CASES = [
    # what is changed, into what; the unit, what is said of it
    (MLP, "x = F.relu(x).detach() * F.relu(x)", "MLP.forward", "forward all values agree"),
    (MLP, "x = F.relu(x).square().detach()", "MLP.forward", "no gradient comes to"),
    (MLP, "x = F.relu(x)", "MLP.forward", "the first value that departs comes out of MLP.forward"),
    (
        "return self.c_proj(y)",
        "return self.c_proj(y).detach()",
        *["CausalSelfAttention.forward"] * 2,
    ),
    (NORMED, NORMED.replace("(idx)", "(idx).detach()"), "GPT.forward", "off from the gradient"),
    (
        "x = x + self.mlp(norm(x))",
        "x = x + self.mlp(norm(x)).detach()",
        "Block.forward",
        "Block.forward sends no gradient to the result of MLP.forward",
    ),
    (
        "return F.rms_norm(x, (x.size(-1),), eps=1e-6)",
        "with torch.no_grad(): x /= (x.square().mean(-1, True) + 1e-6).sqrt()\n    return x",
        "norm",
        "writes into what it is given",
    ),
    (
        "apply_rotary_emb(k, cos, sin)",
        "apply_rotary_emb(k, sin, cos)",
        "CausalSelfAttention.forward",
        "which hands it to apply_rotary_emb",
    ),
]


@pytest.mark.parametrize(("old", "new", "unit", "said"), CASES)
def test_the_unit_where_the_gradient_departs_is_named(learn, written, old, new, unit, said):
    written("nanochat", old, new)
    code, out = learn("trace --backward")
    last = out.splitlines()[-1]
    assert code == 1
    assert last.startswith("✗")
    assert last.endswith(f"(altgrad learn check {unit})")
    assert said in last


@pytest.mark.parametrize("name", ["nanochat", "gpt2"])
def test_other_right_solutions_are_not_said_to_depart(name, tmp_path):
    """One rewrite of every unit that has one; all 43 of the catalogue pass, too."""
    track, path = Track(name), tmp_path / "my_gpt.py"
    for right in {e.unit: e for e in track.equivalents}.values():
        path.write_text(right.apply(track.source))
        assert list(walk_lines(track, path, None))[-1].startswith("✓"), right.name


ROTATED = "q, k = apply_rotary_emb(q, cos, sin), apply_rotary_emb(k, cos, sin)"
NORMED_QK = "q, k = norm(q), norm(k)"
OTHER_ORDER = (
    f"        {ROTATED}\n        {NORMED_QK}\n",
    f"        {NORMED_QK}\n        {ROTATED}\n",
)


def test_norm_before_rotation_is_right_though_values_on_the_way_differ(learn, written):
    written("nanochat", *OTHER_ORDER)
    assert learn("trace --backward")[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "unit"),
    [
        (
            "return F.rms_norm(x, (x.size(-1),), eps=1e-6)",
            "return x * (x.detach().square().mean(-1, True) + 1e-6).rsqrt()",
            "norm",
        ),
        ("y1 = x1 * cos + x2", "y1 = x1 * cos - x2", "apply_rotary_emb"),
        ("y1 = x1 * cos", "y1 = x1.detach() * cos", "apply_rotary_emb"),
    ],
)
def test_a_right_unit_of_another_order_is_not_blamed_for_what_it_calls(
    learn, written, old, new, unit
):
    written("nanochat", *OTHER_ORDER, old, new)
    code, out = learn("trace --backward")
    last = out.splitlines()[-1]
    assert (code, last.endswith(f"(altgrad learn check {unit})")) == (1, True)
    assert "CausalSelfAttention" not in last


def test_a_value_that_is_written_over_is_told_with_its_unit(learn, written):
    line = "return F.rms_norm(x, (x.size(-1),), eps=1e-6)"
    own = "x *= (x.square().mean(-1, True) + 1e-6).rsqrt()\n    return x"
    written("nanochat", line, own)
    code, out = learn("trace --backward")
    assert (code, out.count("\n")) == (1, 1)
    assert "in norm (line" in out
    assert out.strip().endswith("(altgrad learn check norm)")


def test_what_is_still_to_be_written_is_borrowed_and_not_shown(learn):
    learn("start")
    path = Path("my-gpt/my_gpt.py")
    todo = Track("nanochat").lessons["MLP.forward"].todo
    wrong = "return self.c_proj(self.c_fc(x).relu().detach() ** 2)"
    path.write_text(path.read_text().replace(f'raise NotImplementedError("TODO: {todo}")', wrong))
    code, out = learn("trace mlp.forward --backward")
    assert code == 1
    assert out.startswith("still to be written, the reference's meanwhile: norm, ")
    assert "check MLP.forward)" in out
    assert {line.split()[1] for line in out.splitlines()[3:-1]} == {"MLP.forward"}


def test_an_exception_of_a_borrowed_call_shows_the_learners_lines_alone(learn):
    learn("start")
    path = Path("my-gpt/my_gpt.py")
    todo = Track("nanochat").lessons["MLP.forward"].todo
    path.write_text(
        path.read_text().replace(f'raise NotImplementedError("TODO: {todo}")', "return x.nothing")
    )
    code, out = learn("trace --backward")
    assert code == 1
    assert "AttributeError" in out
    assert out.count("File ") == 1
    assert "return x.nothing" in out


def test_other_parameters_than_the_references_leave_yours_alone(learn, written):
    written("nanochat", "4 * config.n_embd, bias=False", "4 * config.n_embd, bias=True")
    code, out = learn("trace --backward")
    assert code == 1
    assert "no reference beside it" in out
    assert "MLP.forward" in out


def test_it_is_refused_where_there_is_no_model(learn):
    learn("start --track rounding")
    code, out = learn("trace --backward")
    assert (code, "no model of your own" in out, out.count("\n")) == (2, True, 1)
    assert learn("trace")[0] == 2
