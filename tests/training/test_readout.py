import pytest
import torch

from altgrad.quantization import PrecisionConfig
from altgrad.training import Trainer
from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig
from altgrad.training.instruments.readout import Readout, rows_of


def test_numbers_come_back_to_whoever_added_them():
    readout = Readout()
    readout.add([torch.tensor(1.5), torch.tensor([2, 3])], lambda n: {"a": sum(n)})
    readout.add([], lambda n: {"empty": float(len(n))})
    readout.add([torch.tensor(4.0)], lambda n: {"b": n[0]})
    assert readout.read() == {"a": 6.5, "empty": 0.0, "b": 4.0}
    assert readout.read() == {}


def test_rows_are_equal_shares():
    assert rows_of(["x", "y"], [1.0, 2.0, 3.0, 4.0]) == {"x": [1.0, 2.0], "y": [3.0, 4.0]}
    assert rows_of([], []) == {}


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Records how a tensor's number reaches Python; `int` of token ids is the network's own check,
    which it makes on the CPU only."""
    seen: list[str] = []
    for name in ("tolist", "item", "__float__"):
        original = getattr(torch.Tensor, name)

        def recorded(self, *args, _original=original, _name=name):
            seen.append(_name)
            return _original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, recorded)
    return seen


def test_a_step_that_measures_everything_reads_the_device_twice(
    make_config, make_model, data_dir, reads
):
    """Once for the guard's decision before the optimiser moves, once for all the metrics."""
    config = make_config(
        precision=PrecisionConfig(simulate=True, format="e4m3", storage="rounded"),
        shadow=ShadowConfig(enabled=True),
        diagnostics=DiagnosticsConfig(every_steps=1, rank_every_steps=1),
    )
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    trainer.train_step(*trainer.batches.next_batch())
    reads.clear()
    metrics = trainer.train_step(*trainer.batches.next_batch())
    assert len(metrics) > 100
    assert reads == ["tolist", "tolist"]
