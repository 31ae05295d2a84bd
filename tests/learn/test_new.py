"""`altgrad new`: every kind's file runs as it stands, and passes what `verify` asks of it."""

import re
import sys
from pathlib import Path

import pytest

from altgrad.cli import main
from altgrad.compose import compose_config
from altgrad.learn.new import KINDS, write_part
from altgrad.learn.verify import own, verify
from altgrad.learn.verify.network import CHECKS as NETWORK
from altgrad.settings import ConfigError
from altgrad.training.build import build_run

OF_NETWORK = {"logits", "causal, by changing the future", "KV cache", "gradients", "shifts"}
PARTS = ("attention", "mlp", "norm", "block")
TINY = [f"model.{word}" for word in ("n_layer=1", "n_head=2", "n_embd=16", "block_size=8")]
TINY += ["model=gpt2", "device=cpu", "data.path=text.txt", "data.batch_size=4", "max_steps=2"]
TINY += ["eval_interval=2", "compile=false", "run_dir=run"]


@pytest.fixture
def words(monkeypatch, request):
    """The words that use a new file of the test's kind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_part", raising=False)
    Path("text.txt").write_text("To be, or not to be, that is the question.\n" * 9)
    path, typed = write_part(request.param, Path("my_part"))
    assert path.is_file()
    return [w.strip("'") for w in typed.split() if w not in ("--config-dir", ".")]


every_kind = pytest.mark.parametrize("words", KINDS, indirect=True, ids=list(KINDS))


@every_kind
def test_it_passes_the_proofs_of_its_kind(words, monkeypatch):
    kind = next(k for k, v in KINDS.items() if v.format("my_part").strip("'") == " ".join(words))
    checks = [c for c in NETWORK if c.name in OF_NETWORK] if kind in PARTS else own.CHECKS
    monkeypatch.setattr(verify, "CHECKS", checks)
    results = list(verify.verify(compose_config(words, ".", all_read=False)))
    told = {r.name: r.passed for r in results}
    assert False not in told.values(), [r.evidence for r in results if r.passed is False]
    assert told["signature"] is (None if kind == "format" else True)
    assert kind in (*PARTS, "format") or told[f"own {kind}"] is True


@pytest.mark.parametrize("words", [k for k in KINDS if k not in PARTS], indirect=True)
def test_it_trains(words):
    build_run(compose_config([*words, *TINY], ".")).train()
    metrics = Path("run/metrics.jsonl").read_text()
    assert '"val_loss"' in metrics
    assert ("own_step/max" in metrics) is (words[0].startswith("diagnostics"))


@pytest.mark.slow
@every_kind
def test_it_passes_every_proof(words):
    assert main(["verify", "--config-dir", ".", *words]) == 0


def test_the_command_says_what_to_type_next(capsys):
    assert main(["new", "attention", "mine.py"]) == 0
    assert "verify model.attention=mine:Attention" in capsys.readouterr().out
    assert main(["new", "mlp", "mine.py"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["new", "mlp", "my-part.py"]) == 2
    assert main(["new", "format", "good/mine.yaml"]) == 0
    assert Path("good/precision/mine.yaml").is_file()
    assert "--config-dir good precision=mine" in capsys.readouterr().out


def test_a_name_that_no_file_can_have_is_refused():
    for kind, name in (("mlp", "class.py"), ("mlp", "mine.txt"), ("format", "mine.py")):
        with pytest.raises(ConfigError, match="of your own stands in NAME"):
            write_part(kind, Path(name))


WRONG = {
    "optim.name=wrong_parts:Optimiser": "does not fit",
    "schedule.name=wrong_parts:schedule": "write `def schedule(config, max_steps)`",
    "tracker.names=[wrong_parts:Tracker]": "does not fit in __call__, alert: write",
    "diagnostics.own=[wrong_parts:Tracker]": "is no measure",
    "data.tokenizer=wrong_parts:Empty": "has no name, vocab_size",
    "data.tokenizer=wrong_parts:Tracker": "is made without arguments",
}
PARTS_FILE = """
import torch
class Optimiser(torch.optim.Optimizer):
    def __init__(self, groups): ...
def schedule(step): ...
class Empty: ...
class Tracker:
    def __init__(self, a=1, *, b): ...
    def log(self, step, metrics): ...
    def alert(self, step): ...
    def artifact(self, alias, path): ...
    def close(self, status): ...
"""


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_signature_is_the_first_thing_that_is_said(word, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "wrong_parts", raising=False)
    Path("wrong_parts.py").write_text(PARTS_FILE)
    with pytest.raises((ValueError, TypeError), match=re.escape(WRONG[word])):
        next(verify.verify(compose_config([word], all_read=False)))


def test_what_a_schedule_an_optimiser_and_a_tokenizer_must_not_do_is_noticed(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("bad_parts.py").write_text(BAD)
    bad = ["schedule.name=bad_parts:schedule", "optim=adamw", "optim.name=bad_parts:Optimiser"]
    bad += ["data.tokenizer=bad_parts:Tokenizer", "diagnostics.own=[bad_parts:Metric]"]
    monkeypatch.setattr(verify, "CHECKS", own.CHECKS)
    told = {r.name: r for r in verify.verify(compose_config(bad, all_read=False))}
    assert "has the factor 0.0" in told["own schedule"].evidence
    assert "moves differently" in told["own optimiser"].evidence
    assert "is not encode's" in told["own tokenizer"].evidence
    assert "another one when it is measured" in told["own metric"].evidence
    assert not any(told[n].passed for n in told if n.startswith("own "))


BAD = """
import numpy as np
import torch
from altgrad.training.instruments import Instrument

def schedule(config, max_steps):
    return lambda step: 0.0

class Optimiser(torch.optim.SGD):
    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, lr=lr)
        self.count = 0
    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.data -= self.count * group["lr"] * p.grad

class Tokenizer:
    name, vocab_size, end_of_text = "bad_parts:Tokenizer", 256, None
    def encode(self, text): return list(text.encode())
    def encode_array(self, text): return np.array(self.encode(text)[::-1])
    def decode(self, ids): return bytes(ids).decode()
    def token_bytes(self, id): return bytes([id])
    def describe(self): return {"name": self.name}

class Metric(Instrument):
    def moved(self):
        with torch.no_grad():
            next(iter(self.context.model.parameters())).mul_(2)
        self.context.readout.add([torch.zeros(())], lambda n: {"mine": n[0]})
"""
