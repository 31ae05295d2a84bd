"""A measure of one's own, named by a word: logged, warned of, resumed and kept like ours."""

import sys
from pathlib import Path

import pytest

from altgrad.quantization import PrecisionConfig
from altgrad.runs.lines import read_jsonl
from altgrad.runs.plots import read_curve
from altgrad.training import Trainer
from altgrad.training.build import build_run, resume_run
from altgrad.training.config import TrainConfig

MINE = '''
import torch
from altgrad.training.instruments import Instrument


class FlipsPerLayer(Instrument):
    """`moved_per_layer/NAME`: entries that a step changed; `moved_per_layer/so_far` of all."""

    def __init__(self, context):
        super().__init__(context)
        self.total = torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def moved(self):
        before = self.context.weights_before
        parameters = {n: p for n, p in self.context.model.named_parameters() if p in before}
        changed = [(p != before[p]).sum() for p in parameters.values()]
        self.total += sum(changed)
        self.context.readout.add(
            [*changed, self.total],
            lambda numbers: {
                **{f"moved_per_layer/{n}": v for n, v in zip(parameters, numbers[:-1])},
                "moved_per_layer/so_far": numbers[-1],
            },
        )

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]


class Loss(Instrument):
    def moved(self):
        self.context.readout.add([torch.zeros(())], lambda numbers: {"loss": numbers[0]})


class Idle(Instrument):
    pass


class Plain:
    def moved(self): ...
'''


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine_metrics", raising=False)
    Path("mine_metrics.py").write_text(MINE)
    return "mine_metrics:FlipsPerLayer"


def lines_of(trainer: Trainer) -> list[dict]:
    trainer.train()
    return list(read_jsonl(trainer.recorder.folder.metrics))


def test_it_is_logged_at_its_own_frequency_in_a_plain_run_too(
    make_config, make_model, data_dir, mine
):
    config = make_config(max_steps=4, diagnostics={"own": [mine], "own_every_steps": 2})
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    lines = lines_of(trainer)
    having = [line["step"] for line in lines if "moved_per_layer/so_far" in line]
    assert having == [2, 4]
    sizes = sum(p.numel() for p in trainer.model.parameters())
    steps, values = read_curve(trainer.recorder.folder.root, "moved_per_layer/so_far")
    assert steps == [2, 4]
    assert 0 < values[0] <= sizes < values[1] <= 2 * sizes
    assert not any(name.startswith("zero_updates") for line in lines for name in line)


def test_measuring_changes_no_number_of_the_run(make_config, make_model, data_dir, mine):
    rounded = {"precision": PrecisionConfig(simulate=True, format="e4m3"), "max_steps": 3}
    losses = []
    for diagnostics in ({}, {"own": [mine]}):
        config = make_config(**rounded, diagnostics=diagnostics, run_dir=f"runs/{len(losses)}")
        lines = lines_of(Trainer(config, make_model(config), data_dir, "cpu"))
        losses.append([{k: v for k, v in line.items() if "/" in k} for line in lines])
    own = [{k: v for k, v in line.items() if "moved_per_layer" not in k} for line in losses[1]]
    assert own == losses[0]
    assert own != losses[1]


def test_a_resumed_run_goes_on_with_its_state_and_the_folder_keeps_its_code(
    make_config, data_dir, mine
):
    config = make_config(max_steps=4, diagnostics={"own": [mine]}, run_dir="runs/a")
    config.data.path = str(data_dir)
    whole = build_run(config)
    whole.train()
    config.run_dir, config.max_steps = "runs/b", 2
    build_run(config).train()
    config.max_steps = 4
    resume_run(Path("runs/b"), config=config, allow=["max_steps"]).train()
    name = "moved_per_layer/so_far"
    assert read_curve(Path("runs/b"), name) == read_curve(Path("runs/a"), name)
    assert Path("runs/a/code/mine_metrics.py").read_text() == MINE


def test_a_limit_on_it_warns_and_a_limit_on_nothing_is_told(
    make_config, make_model, data_dir, mine
):
    limits = {"moved_per_layer/so_far": 10.0, "moved_per_layr/so_far": 1.0}
    config = make_config(
        max_steps=2, diagnostics={"own": [mine]}, guards={"limits": limits, "nan_patience": 3}
    )
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    trainer.train()
    events = list(read_jsonl(trainer.recorder.folder.events))
    alerts = [e["reason"] for e in events if e["event"] == "alert"]
    assert len(alerts) == 1
    assert "moved_per_layer/so_far is" in alerts[0]
    notes = [e["text"] for e in events if e["event"] == "note"]
    assert any(
        "no metric 'moved_per_layr/so_far'. Did you mean 'moved_per_layer/so_far'" in n
        for n in notes
    )


def test_a_name_that_is_taken_is_refused_and_nothing_is_lost(
    make_config, make_model, data_dir, mine
):
    config = make_config(max_steps=2, diagnostics={"own": ["mine_metrics:Loss"]})
    with pytest.raises(ValueError, match="'loss' is measured twice"):
        Trainer(config, make_model(config), data_dir, "cpu").train()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine_metrics:Plain", "is no measure: write `from altgrad.training.instruments import"),
        ("mine_metrics:Idle", "looks at no moment"),
        ("mine_metrics:Flips", "did you mean 'FlipsPerLayer'"),
    ],
)
def test_what_is_no_measure_is_refused_with_the_lines_to_write(
    make_config, make_model, data_dir, mine, name, said
):
    config = make_config(diagnostics={"own": [name]})
    with pytest.raises(ValueError, match=said):
        Trainer(config, make_model(config), data_dir, "cpu")


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="write each measure once"):
        TrainConfig(diagnostics={"own": ["flips"]})
    with pytest.raises(ValueError, match="own_every_steps=0"):
        TrainConfig(diagnostics={"own_every_steps": 0})
