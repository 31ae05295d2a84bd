"""Every tracker gets the same names, steps and numbers; none can hold up or end a run.

The libraries themselves are the oracles: what was logged is read back with their own readers.
"""

import json
import math
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from altgrad.quantization.recipe import PrecisionConfig
from altgrad.runs.lines import read_jsonl
from altgrad.training import Trainer
from altgrad.training.build import build_run, resume_run
from altgrad.training.health.guards import Finding, GuardConfig
from altgrad.training.health.watches import Health
from altgrad.training.trackers.in_thread import Shielded
from altgrad.training.trackers.protocol import TrackedRun, TrackerConfig
from altgrad.training.trackers.wandb import WandbTracker, pick_mode

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module", autouse=True)
def trackio_dir(tmp_path_factory):
    """Trackio reads the place of its files once, when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trackio")
        patch.setenv("TRACKIO_DIR", str(folder))
        yield folder


@pytest.fixture
def make_run(make_config, data_dir, tmp_path):
    def make(**tracker):
        config = make_config(max_steps=4, eval_interval=2, checkpoint_interval=2)
        config.tracker = TrackerConfig(**{"project": tmp_path.name, **tracker})
        config.data.path = str(data_dir)
        return config

    return make


def logged(run):
    """Step -> numbers, as `metrics.jsonl` has them."""
    lines = read_jsonl(Path(run) / "metrics.jsonl")
    return {m["step"]: {k: v for k, v in m.items() if k != "step"} for m in lines}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for step in expected:
        assert found[step] == pytest.approx(expected[step], rel=1e-6, nan_ok=True)


def spoil(trainer, step):
    """The loss of one step becomes NaN."""
    real = trainer._take_step.network

    class Spoilt(torch.nn.Module):
        def forward(self, x, y):
            logits, loss = real(x, y)
            return logits, loss * (math.nan if trainer.step == step - 1 else 1.0)

    trainer._take_step.network = Spoilt()


def records(path):
    """The protobuf messages of a `.wandb` file: LevelDB's log format after 7 bytes of header."""
    content, position, message = path.read_bytes(), 7, b""
    while position < len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind, start = content[position + 6], position + 7
        message += content[start : start + length]
        position = start + length
        if kind in (1, 4):
            yield message
            message = b""


def read_wandb(run):
    """Step -> numbers, and the alerts, out of wandb's own offline record files."""
    from wandb.proto.wandb_internal_pb2 import Record

    steps, alerts = {}, []
    for path in sorted(Path(run).glob("wandb/offline-run-*/run-*.wandb")):
        for record in map(Record.FromString, records(path)):
            if record.WhichOneof("record_type") == "history":
                items = {i.key or i.nested_key[0]: i.value_json for i in record.history.item}
                values = {k: json.loads(v) for k, v in items.items() if not k.startswith("_")}
                steps[record.history.step.num] = {k: float(v) for k, v in values.items()}
            if record.WhichOneof("record_type") == "alert":
                alerts.append((record.alert.title, record.alert.text, record.alert.level))
    return steps, alerts


def read_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(Path(run) / "tensorboard"))
    reader.Reload()
    steps: dict[int, dict[str, float]] = {}
    for name in reader.Tags()["scalars"]:
        for event in reader.Scalars(name):
            assert name not in steps.setdefault(event.step, {}), "logged twice"
            steps[event.step][name] = event.value
    return steps


def read_trackio(project):
    from trackio.sqlite_storage import SQLiteStorage

    steps = {}
    for name in SQLiteStorage.get_runs(project):
        for entry in SQLiteStorage.get_logs(project, name):
            assert entry["step"] not in steps, "logged twice"
            values = {k: v for k, v in entry.items() if k not in ("step", "timestamp")}
            steps[entry["step"]] = {k: v for k, v in values.items() if isinstance(v, int | float)}
    return steps


def test_all_three_hold_what_the_jsonl_holds(make_run, tmp_path):
    build_run(make_run(names=["wandb", "tensorboard", "trackio"])).train()
    expected = logged(tmp_path / "run")
    assert list(expected) == [1, 2, 3, 4]
    assert_same(read_wandb(tmp_path / "run")[0], expected)
    assert_same(read_tensorboard(tmp_path / "run"), expected)
    assert_same(read_trackio(tmp_path.name), expected)
    kinds = [e for e in read_jsonl(tmp_path / "run" / "events.jsonl") if e["event"] == "tracker"]
    assert {e["name"] for e in kinds} == {"wandb", "tensorboard", "trackio"}
    assert not [e for e in read_jsonl(tmp_path / "run/events.jsonl") if e["event"] == "trouble"]


def test_a_resumed_run_continues_each_without_gap_or_duplicate(make_run, tmp_path):
    config = make_run(names=["wandb", "tensorboard", "trackio"])
    build_run(config).train(3)
    events = tmp_path / "run" / "events.jsonl"
    kept = [line for line in events.read_text().splitlines() if '"finished"' not in line]
    events.write_text("\n".join(kept) + "\n")
    ids = {e["name"]: e["id"] for e in read_jsonl(events) if e["event"] == "tracker"}
    for path in (tmp_path / "run" / "checkpoints").glob("step_00000003/state.json"):
        path.unlink()
    trainer = resume_run(tmp_path / "run")
    assert trainer.step == 2
    assert trainer.recorder.trackers.ids == ids
    trainer.train()
    expected = logged(tmp_path / "run")
    assert list(expected) == [1, 2, 3, 4]
    assert list(read_tensorboard(tmp_path / "run")) == [1, 2, 3, 4]
    assert sorted(read_trackio(tmp_path.name)) == [1, 2, 3, 4]
    assert sorted(read_wandb(tmp_path / "run")[0]) == [1, 2, 3, 4]
    again = {e["name"]: e["id"] for e in read_jsonl(events) if e["event"] == "tracker"}
    assert again == ids


def test_an_alert_reaches_wandb_by_its_own_alert(make_run, tmp_path):
    trainer = build_run(make_run(names=["wandb"]))
    spoil(trainer, step=2)
    trainer.train()
    steps, alerts = read_wandb(tmp_path / "run")
    assert math.isnan(steps[2]["loss"])
    assert alerts[0][:2] == ("not finite", "step 2: loss not finite")


def test_a_warning_swallows_no_alert_of_another_name():
    """wandb keeps a silence by title, of a minute where it is told nought."""
    calls = []
    tracker = WandbTracker.__new__(WandbTracker)
    tracker.run = SimpleNamespace(alert=lambda **words: calls.append(words))
    tracker.alert(2, "bit-stall", "a stall", "warning")
    tracker.alert(2, "not finite", "loss not finite", "critical")
    assert [c["title"] for c in calls] == ["bit-stall", "not finite"]
    assert all(0 < c["wait_duration"] < 0.01 for c in calls)


@pytest.mark.parametrize(("seconds", "alerts"), [(0.0, 3), (3600.0, 1)])
def test_the_silence_after_an_alert_is_the_settings_own(seconds, alerts):
    health = Health(GuardConfig(critical_cooldown_s=seconds), PrecisionConfig())
    bad = Finding("skip", "loss not finite", name="not finite")
    assert sum(health.is_news(bad) for _ in range(3)) == alerts
    assert health.is_news(Finding("stop", "ten in a row", name="diverged"))


def test_wandb_is_offline_without_an_account(monkeypatch):
    assert pick_mode("auto") == "offline"
    assert pick_mode("online") == "online"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert pick_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert pick_mode("auto") == "disabled"


def test_an_empty_project_turns_all_off(make_run, tmp_path):
    build_run(make_run(names=["wandb", "tensorboard"], project="")).train()
    assert not (tmp_path / "run" / "wandb").exists()
    assert not (tmp_path / "run" / "tensorboard").exists()


GONE = "Run (abc) does not exist or has not been initialized, but your `resume` setting requires"


@pytest.fixture
def lost(make_run, tmp_path, monkeypatch):
    """A stopped run whose wandb run was deleted: `lost(if_gone)` -> its settings."""
    import wandb

    real = wandb.init

    def init(**how):
        if how["resume"] == "must":
            raise wandb.errors.CommError(GONE)
        return real(**how)

    def lose(if_gone):
        build_run(make_run(names=["wandb"], if_gone=if_gone)).train(2)
        events = tmp_path / "run" / "events.jsonl"
        kept = [line for line in events.read_text().splitlines() if '"finished"' not in line]
        events.write_text("\n".join(kept) + "\n")
        monkeypatch.setattr(wandb, "init", init)
        return events

    return lose


def test_a_lost_wandb_run_is_refused_by_choice(lost, tmp_path):
    lost("refuse")
    with pytest.raises(ValueError, match=r"no longer has this run.*if_gone=new"):
        resume_run(tmp_path / "run").train()
    assert resume_run(tmp_path / "run").step == 2


def test_a_lost_wandb_run_begins_anew_by_choice(lost, tmp_path):
    events = lost("new")
    assert resume_run(tmp_path / "run").train()["status"] == "finished"
    ids = [e["id"] for e in read_jsonl(events) if e["event"] == "tracker"]
    assert len(set(ids)) == 2


def test_a_lost_wandb_run_is_left_out_by_choice(lost, tmp_path):
    events = lost("off")
    assert resume_run(tmp_path / "run").train()["status"] == "finished"
    (trouble,) = [e for e in read_jsonl(events) if e["event"] == "trouble"]
    assert "is gone" in trouble["error"]


class Broken:
    """A tracker whose every call fails."""

    def __init__(self, run):
        self.id = "x"

    def log(self, *_):
        raise ConnectionError("no network")

    alert = artifact = log

    def close(self, status):
        raise ConnectionError("still none")


class Unbuilt:
    def __init__(self, run):
        raise RuntimeError("no such server")


class Hanging(Broken):
    def log(self, *_):
        threading.Event().wait()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Broken", ["no network", "given up"]),
        ("Unbuilt", ["no such server"]),
        ("Hanging", ["TimeoutError"]),
    ],
)
def test_a_tracker_that_fails_or_hangs_ends_no_run(make_run, tmp_path, monkeypatch, kind, words):
    monkeypatch.setitem(sys.modules, "trackers_for_test", sys.modules[__name__])
    config = make_run(names=[f"trackers_for_test:{kind}"], close_s=0.2)
    config.max_steps = 12
    start = time.monotonic()
    assert build_run(config).train()["status"] == "finished"
    assert time.monotonic() - start < 5
    assert len(logged(tmp_path / "run")) == 12
    troubles = [e for e in read_jsonl(tmp_path / "run/events.jsonl") if e["event"] == "trouble"]
    told = " ".join(e["error"] for e in troubles)
    for word in words:
        assert word in told


def test_a_full_queue_drops_and_says_how_many(tmp_path, monkeypatch):
    monkeypatch.setattr("altgrad.training.trackers.in_thread.QUEUE_LENGTH", 3)
    settings = TrackerConfig(names=["wandb"], close_s=0.0)
    shield = Shielded("x", Hanging, TrackedRun(tmp_path, "id", settings, {}))
    shield.wait_opened(5)
    for step in range(10):
        shield.log(step, {})
        time.sleep(0.005)
    (found,) = shield.troubles()
    assert str(found[1]) == "6 entries dropped"


def test_an_unknown_tracker_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="'wandb'"):
        TrackerConfig(names=["wandbb"])


def test_the_door_for_callbacks_leads_to_the_real_tracker():
    from altgrad.training import callbacks
    from altgrad.training.trackers.protocol import tracker_maker

    assert issubclass(callbacks.WandbTracker, tracker_maker("wandb"))
    assert Trainer is not None


def test_checkpoints_are_uploaded_by_option(make_run, tmp_path, trackio_dir):
    build_run(make_run(names=["trackio"], artifacts=["best"])).train()
    troubles = [e for e in read_jsonl(tmp_path / "run/events.jsonl") if e["event"] == "trouble"]
    assert troubles == []
    kept = [p for p in trackio_dir.rglob("*") if p.is_file() and "artifact" in str(p)]
    assert kept
