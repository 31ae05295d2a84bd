"""Every entry of the table of instruments: it measures, and the run does not notice."""

import copy
import math
import re
import sys
from collections import Counter

import pytest
import torch

from altgrad.quantization import PrecisionConfig
from altgrad.training import GPT, TrainConfig, Trainer
from altgrad.training.instruments import INSTRUMENTS, Instrument, panel
from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig
from altgrad.training.randomness import global_state
from tests.training.test_metric_names import not_in_the_catalogue

EVERYTHING = {
    "precision": PrecisionConfig(simulate=True, format="e4m3"),
    "shadow": ShadowConfig(enabled=True),
    "diagnostics": DiagnosticsConfig(every_steps=1, rank_every_steps=1),
}
MAY_BE_INFINITE = re.compile(r"sqnr_db/.*|grad_snr/.*|grad_snr_db/.*")
"""Ratios to something that can be nothing; docs/reference/metrics.md says so of each."""

BATCH = torch.randint(65, (2, 2, 17), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def make_trainer(tmp_path, monkeypatch):
    for split in ("train", "val"):
        (tmp_path / f"{split}.bin").write_bytes(bytes(200))

    def make(*names: str) -> Trainer:
        """With these instruments alone."""
        monkeypatch.setattr(panel, "INSTRUMENTS", {name: INSTRUMENTS[name] for name in names})
        settings = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "vocab_size": 65}
        config = TrainConfig(
            **settings, dropout=0.2, device="cpu", run_dir=str(tmp_path / "run"), **EVERYTHING
        )
        return Trainer(config, GPT(config.model), tmp_path, "cpu")

    return make


def steps(trainer: Trainer) -> list[dict[str, float]]:
    torch.manual_seed(7)
    return [trainer.train_step(rows[:, :-1], rows[:, 1:]) for rows in BATCH]


@pytest.fixture(params=INSTRUMENTS)
def name(request) -> str:
    return request.param


def own_metrics(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    usual = {"loss", "perplexity", "grad_norm", "lr", "skipped"}
    return [{k: v for k, v in line.items() if k not in usual} for line in lines]


def test_the_run_is_the_same_with_it_and_without(make_trainer, name):
    bare, measured = make_trainer(), make_trainer(name)
    without, generators = steps(bare), torch.get_rng_state()
    with_it = steps(measured)
    assert [line["loss"] for line in with_it] == [line["loss"] for line in without]
    assert torch.equal(torch.get_rng_state(), generators)
    for a, b in zip(bare.model.parameters(), measured.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_nothing_is_drawn_and_nothing_of_the_model_changes_while_it_looks(make_trainer, name):
    trainer = make_trainer(name)
    steps(trainer)
    before = str(global_state()), [p.clone() for p in trainer.model.parameters()]
    gradients = [p.grad.clone() for p in trainer.model.parameters()]
    trainer.numerics.before(3)
    trainer.numerics.gradients(BATCH[0][:, :-1], BATCH[0][:, 1:])
    trainer.numerics.moved()
    trainer.numerics.metrics()
    assert str(global_state()) == before[0]
    for p, was, gradient in zip(trainer.model.parameters(), before[1], gradients, strict=True):
        assert torch.equal(p, was)
        assert torch.equal(p.grad, gradient)


READS = ("item", "tolist", "__float__", "__int__", "__bool__", "cpu", "numpy")


def test_a_step_reads_the_device_once(make_trainer, name, monkeypatch):
    """Counted on the calls that would wait for a GPU, as training's own code makes them: the checks
    of tokens and scales in the rooms below look on a CPU only."""
    trainer, x, y = make_trainer(name), BATCH[0][:, :-1], BATCH[0][:, 1:]
    steps(trainer)
    trainer.numerics.before(3)
    trainer.model(x, y)[1].backward()
    calls: Counter[str] = Counter()
    for read in READS:
        original = getattr(torch.Tensor, read)

        def counted(tensor, *args, _read=read, _original=original):
            calls[_read] += "altgrad/training" in sys._getframe(1).f_code.co_filename
            return _original(tensor, *args)

        monkeypatch.setattr(torch.Tensor, read, counted)
    trainer.numerics.gradients(x, y)
    trainer.numerics.moved()
    assert not calls.total()
    trainer.numerics.metrics()
    assert +calls == {"tolist": 1}


def test_its_numbers_are_finite_and_documented(make_trainer, name):
    for line in own_metrics(steps(make_trainer(name))):
        assert line
        assert not_in_the_catalogue(line) == []
        odd = [n for n, v in line.items() if not math.isfinite(v)]
        assert [n for n in odd if not MAY_BE_INFINITE.fullmatch(n)] == []


def test_its_numbers_are_the_same_alone_and_among_all(make_trainer, name):
    together, alone = make_trainer(*INSTRUMENTS), make_trainer(name)
    everything = own_metrics(steps(together))
    for line, whole in zip(own_metrics(steps(alone)), everything, strict=True):
        assert {n: repr(whole[n]) for n in line} == {n: repr(v) for n, v in line.items()}


def test_a_second_one_goes_on_from_its_state(make_trainer, name):
    whole, cut = make_trainer(name), make_trainer(name)
    steps(whole)
    state = copy.deepcopy(whole.numerics.state_dict())
    cut.model.load_state_dict(whole.model.state_dict())
    cut.optimizer.load_state_dict(copy.deepcopy(whole.optimizer.state_dict()))
    cut.numerics.load_state_dict(state)
    cut.step = whole.step
    assert str(cut.numerics.state_dict()) == str(state)
    assert repr(own_metrics(steps(cut))) == repr(own_metrics(steps(whole)))


def test_checkpoints_name_the_states_as_they_always_did(make_trainer):
    trainer = make_trainer(*INSTRUMENTS)
    assert list(trainer.numerics.state_dict()) == ["format", "layers", "dead", "spectra", "stalls"]


def test_a_new_measure_is_a_class_and_a_line(make_trainer, monkeypatch):
    class LargestWeight(Instrument):
        def moved(self) -> None:
            largest = max(p.detach().abs().max() for p in self.context.model.parameters())
            self.context.readout.add([largest], lambda numbers: {"largest_weight": numbers[0]})

    monkeypatch.setitem(INSTRUMENTS, "largest_weight", LargestWeight)
    trainer = make_trainer("largest_weight")
    last = steps(trainer)[-1]["largest_weight"]
    assert last == max(p.abs().max().item() for p in trainer.model.parameters())
