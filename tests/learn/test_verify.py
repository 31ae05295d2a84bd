import json
import re

import pytest

from altgrad.cli import main
from altgrad.learn.verify import verify as verification
from altgrad.learn.verify.subject import Subject, shrink
from altgrad.learn.verify.verify import CHECKS, verify
from altgrad.model import preset, preset_names
from altgrad.model.parts import PARTS
from altgrad.training import TrainConfig

SLOW = {"torch.compile", "over-fits one batch"}
OUTSIDE = "tests.learn.outside"


def config(name: str = "gpt2", **changes) -> TrainConfig:
    return TrainConfig(model=preset(name, **changes))


def results(settings: TrainConfig, *, skip: set[str] = SLOW) -> dict:
    subject = Subject(settings, shrink(settings.model))
    return {c.name: c(subject) for c in CHECKS if c.name not in skip}


def all_but(*names: str) -> set[str]:
    return {c.name for c in CHECKS} - set(names)


def failures(settings: TrainConfig, **how) -> dict[str, str]:
    return {n: r.evidence for n, r in results(settings, **how).items() if r.passed is False}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_sound(name):
    assert failures(config(name)) == {}


@pytest.mark.parametrize(
    ("kind", "name"), [(k, n) for k, table in PARTS.items() for n in table], ids=str
)
def test_every_part_in_the_tables_is_sound(kind, name):
    settings = config(**{kind: name, "n_head": 4, "n_embd": 32})
    assert failures(settings, skip=SLOW | {"gradcheck in double"}) == {}


@pytest.mark.parametrize(
    ("kind", "part", "check", "words"),
    [
        ("attention", "NoMask", "causal, by changing the future", r"position \d.*expected 0"),
        ("attention", "NoMask", "causal, by gradients", r"position 0 have a gradient of"),
        ("mlp", "BatchNormed", "batch rows independent", r"row \d changes by"),
        ("mlp", "AlwaysDropping", "dropout", "evaluation is random"),
        ("mlp", "Detached", "gradients", r"ln_2\.weight gets no gradient"),
        ("mlp", "WrongBackward", "gradcheck in double", "."),
        ("attention", "GatedAndMore", "null test", "off, losses part by"),
    ],
)
def test_a_fault_fails_its_check_with_evidence(kind, part, check, words):
    found = failures(config(**{kind: f"{OUTSIDE}:{part}"}), skip=all_but(check))
    assert re.search(words, found[check])


def test_a_switched_off_novelty_equals_the_control():
    for changes in ({"attention": f"{OUTSIDE}:Gated"}, {"residual": "mix", "embedding": "bigram"}):
        found = results(config(**changes), skip=all_but("null test"))["null test"]
        assert found.passed is True, found.evidence


def test_a_part_without_a_switch_is_said_to_have_none():
    settings = config(attention=f"{OUTSIDE}:NoMask")
    found = results(settings, skip=all_but("null test"))["null test"]
    assert found.passed is None
    assert "NoMask has no switch_off()" in found.evidence


def test_a_recipe_is_checked_for_what_it_rounds_and_its_declared_gradients():
    settings = config()
    settings.precision.simulate, settings.precision.format = True, "e4m3"
    names = ("what is rounded", "stripping", "surrogate gradients")
    found = results(settings, skip=all_but(*names))
    for name in names:
        assert found[name].passed is True, found[name].evidence
    assert "e4m3" in found["what is rounded"].evidence


def test_a_batch_is_learned_by_heart():
    (check,) = [c for c in CHECKS if c.name == "over-fits one batch"]
    settings = config("nanochat")
    good = check(Subject(settings, shrink(settings.model)))
    assert good.passed is True, good.evidence


def test_a_part_whose_constructor_raises_is_the_one_result_and_names_the_line():
    _, built = verify(config(norm="tests.learn.outside:NoMask"))
    assert built.passed is False
    assert built.evidence.startswith("AttributeError: ")
    assert "(outside.py, line" in built.evidence


def test_a_part_that_raises_when_run_does_not_stop_the_rest(monkeypatch):
    monkeypatch.setattr(verification, "CHECKS", [c for c in CHECKS if c.name not in SLOW])
    found = list(verify(config(mlp="tests.learn.outside:Raising")))
    assert len(found) == 2 + len(CHECKS) - len(SLOW)
    assert found[0].evidence == "tests.learn.outside:Raising: __init__(config), forward(x)"
    assert found[1].passed is True
    assert "RuntimeError: not today" in found[2].evidence


def test_an_own_mlp_may_name_its_layers_as_it_likes():
    assert not failures(config(mlp="tests.learn.outside:OtherNames"))


def test_a_part_that_is_not_there_is_refused_in_one_line(capsys):
    assert main(["verify", "model=gpt2", f"model.mlp={OUTSIDE}:Rasing"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "did you mean 'Raising'?" in message


def test_the_command_answers_with_exit_codes_and_json(capsys, monkeypatch):
    monkeypatch.setattr(verification, "CHECKS", [c for c in CHECKS if c.name not in SLOW])
    code = main(["verify", "model=gpt2", f"model.mlp={OUTSIDE}:AlwaysDropping", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert code == 1
    assert {r["name"] for r in rows} == {"signature", "built"} | {c.name for c in CHECKS} - SLOW
    assert next(r for r in rows if r["name"] == "dropout")["passed"] is False
