"""Runs on machines without a shared disk: what goes there, what comes back, what lies between."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from altgrad.compare.launching import parcel, storage
from altgrad.compare.launching.launch import Launch, Task
from altgrad.compare.launching.parcel import DamagedParcel, Parcel, arrive, pack, put_back
from altgrad.compare.launching.storage import Storage
from altgrad.compare.launching.sweep import LAUNCHERS, Wanted, as_task
from altgrad.compare.launching.travel import NoSharedDisk, lay_code, refuse_what_stays
from altgrad.compare.state import state_of
from altgrad.runs import code_versions, read_json
from altgrad.runs.folder import find_runs
from altgrad.runs.lines import read_events, read_jsonl
from altgrad.settings import ConfigError


def tree(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in parcel.files_of(folder)}


@pytest.fixture
def a_run(tmp_path) -> Path:
    """Files like a run's, two checkpoints among them."""
    run = tmp_path / "there" / "arm-seed1-abc"
    save(run, 20)
    save(run, 40)
    (run / ".lock").write_text("1 host")
    (run / "config.yaml").write_text("seed: 1\n")
    (run / "empty.txt").write_bytes(b"")
    return run


def save(run: Path, step: int) -> None:
    folder = run / "checkpoints" / f"step_{step:08d}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes([step]) * 1000)
    (folder / "manifest.json").write_text(str(step))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": {step}}}\n')


# -- a parcel -------------------------------------------------------------------------------------


def test_a_run_folder_arrives_as_it_was_sent_without_its_lock(a_run, tmp_path):
    home = tmp_path / "runs" / a_run.name
    arrive(pack(a_run), home)
    assert tree(home) == tree(a_run)
    assert not (home / ".lock").exists()
    assert find_runs(tmp_path / "runs") == [home]


def test_what_arrives_takes_the_place_of_what_was_there(a_run, tmp_path):
    home = tmp_path / "runs" / a_run.name
    home.mkdir(parents=True)
    (home / "stale.txt").write_text("old")
    arrive(pack(a_run), home)
    assert tree(home) == tree(a_run)


@pytest.mark.parametrize("damage", ["flip", "lose", "climb"])
def test_a_damaged_parcel_leaves_nothing_that_looks_like_a_run(a_run, tmp_path, damage):
    sent = pack(a_run)
    contents = dict(sent.contents)
    if damage == "flip":
        contents["metrics.jsonl"] = contents["metrics.jsonl"] ^ np.uint8(1)
    if damage == "lose":
        del contents["config.yaml"]
    if damage == "climb":
        contents["../out"] = contents.pop("config.yaml")
    digests = dict(sent.sha256)
    if damage == "climb":
        digests["../out"] = digests.pop("config.yaml")
    home = tmp_path / "runs" / a_run.name
    with pytest.raises(DamagedParcel):
        arrive(Parcel(contents, digests), home)
    assert not home.exists()
    assert find_runs(tmp_path / "runs") == []


def test_a_kill_while_a_run_arrives_leaves_the_earlier_state_or_the_whole_new_one(
    a_run, tmp_path, monkeypatch
):
    home = tmp_path / "runs" / a_run.name
    arrive(pack(a_run), home)
    before = tree(home)
    save(a_run, 60)
    steps = []
    monkeypatch.setattr(parcel.Disk, "rename", killed_after(steps, 1))
    with pytest.raises(KeyboardInterrupt):
        arrive(pack(a_run), home)
    monkeypatch.undo()
    put_back(home)
    assert tree(home) == before
    arrive(pack(a_run), home)
    assert tree(home) == tree(a_run)


def killed_after(steps: list, count: int):
    def rename(self, old: Path, new: Path) -> None:
        if len(steps) == count:
            raise KeyboardInterrupt
        steps.append(new)
        old.rename(new)

    return rename


# -- the storage ----------------------------------------------------------------------------------


@pytest.fixture(params=["path", "memory://", "s3://"])
def kept(request, tmp_path, monkeypatch):
    """A storage of each kind: a path, one of fsspec's own, and S3 (a local server)."""
    if request.param == "s3://":
        yield from on_s3(monkeypatch)
        return
    address = str(tmp_path / "kept") if request.param == "path" else f"memory://{tmp_path.name}"
    yield Storage(address)  # noqa: PT022 - the other one has a server to stop


def on_s3(monkeypatch):
    """moto and s3fs want an older python-dateutil than the rest is tried with: not in `dev`."""
    s3fs = pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3fs.S3FileSystem.clear_instance_cache()  # it remembers the server of the test before
    found = Storage(f"s3://bucket-{port}/kept")
    found.fs.mkdir(f"bucket-{port}")
    yield found
    server.stop()


def test_a_storage_gives_back_the_newest_state(kept, a_run, tmp_path):
    kept.check()
    assert kept.newest_step(a_run.name) == -1
    kept.keep(a_run)
    save(a_run, 60)
    kept.keep(a_run)
    assert kept.newest_step(a_run.name) == 60
    assert kept.bring(a_run.name, tmp_path / "back")
    assert tree(tmp_path / "back") == tree(a_run)
    kept.forget(a_run.name)
    assert kept.newest_step(a_run.name) == -1
    assert not kept.bring(a_run.name, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_state_with_a_damaged_file_gives_way_to_the_one_before(kept, a_run, tmp_path):
    kept.keep(a_run)
    before = tree(a_run)
    save(a_run, 60)
    kept.keep(a_run)
    place = kept._place(a_run.name)
    entry = kept._states(place)[0][1]["checkpoints/step_00000060/model.safetensors"]
    kept.fs.pipe_file(f"{place}/files/{entry['sha256']}", b"half")
    assert kept.bring(a_run.name, tmp_path / "back")
    assert tree(tmp_path / "back") == before


def test_a_state_whose_list_is_torn_does_not_exist(kept, a_run, tmp_path):
    kept.keep(a_run)
    save(a_run, 60)
    kept.keep(a_run)
    kept.fs.pipe_file(f"{kept._place(a_run.name)}/step_00000060.json", b'{"files": {}, "dig')
    assert kept.newest_step(a_run.name) == 40


def test_a_storage_keeps_two_states_and_only_their_files(kept, a_run):
    for step in (60, 80, 100):
        save(a_run, step)
        kept.keep(a_run)
        shutil.rmtree(a_run / "checkpoints" / f"step_{step - 40:08d}")
    place = kept._place(a_run.name)
    states = kept._states(place)
    assert [step for step, _ in states] == [100, 80]
    wanted = {entry["sha256"] for _, files in states for entry in files.values()}
    there = {str(path).rpartition("/")[2] for path in kept.fs.ls(f"{place}/files", detail=False)}
    assert there == wanted


@pytest.mark.parametrize("address", ["nosuch://x", "/proc/nowhere"])
def test_a_storage_that_cannot_be_used_is_refused_in_one_line(address):
    with pytest.raises(ConfigError, match=f"storage={address}") as refused:
        Storage(address).check()
    assert "\n" not in str(refused.value)


def test_a_storage_without_a_cluster_is_refused():
    with pytest.raises(ConfigError, match="storage=/s is for a Ray cluster"):
        Launch(storage="/s").check(list(LAUNCHERS))


# -- there and back, without a cluster -------------------------------------------------------------


@pytest.fixture
def task(compose, tmp_path) -> Task:
    config = compose(["checkpoint_interval=2", "max_steps=6"])
    return as_task(Wanted("arm", config, tmp_path / "runs" / "arm-seed1-abc"), 1)


@pytest.fixture
def way():
    return NoSharedDisk(lambda thing: thing, None)


def test_a_run_made_elsewhere_is_the_run_made_here(task, way, tmp_path, monkeypatch):
    from altgrad.compare.launching.worker import run_task

    sent = way.sent(task)
    here = Task(**{**vars(task), "run": str(tmp_path / "here" / "arm")})
    run_task(here)
    shutil.rmtree(tmp_path / "tokens")  # that machine has no text
    way.take(task, way.call(*sent))
    home = Path(task.run)
    assert state_of(home) == "finished"
    timed = ("tokens_per_s", "train_s", "wall_s")
    assert numbers(home, timed) == numbers(Path(here.run), timed)
    code = read_json(home / "environment.json")["code"]
    assert code == code_versions(task.settings)


def numbers(run: Path, without: tuple[str, ...]) -> list:
    """Losses and gradients, of every step."""
    kept = ("step", "loss", "grad_norm", "val_loss")
    return [
        {k: v for k, v in line.items() if k in kept} for line in read_jsonl(run / "metrics.jsonl")
    ]


def test_a_run_that_fails_elsewhere_comes_home_failed(task, way, monkeypatch):
    def refuse(*_, **__):
        raise ConfigError("not so")

    monkeypatch.setattr("altgrad.compare.launching.worker.build_run", refuse)
    way.take(task, way.call(*way.sent(task)))
    assert state_of(Path(task.run)) == "failed"


def test_a_run_goes_on_from_what_was_begun_at_home(task, way, monkeypatch):
    cut_short(task, way, monkeypatch, at=4)
    sent = way.sent(task)
    assert sent[2].newest_step == 4
    way.take(task, way.call(*sent))
    assert resumed_at(task) == 4
    assert state_of(Path(task.run)) == "finished"


def test_a_run_goes_on_from_the_storage_where_its_node_died(task, tmp_path, monkeypatch):
    kept = Storage(str(tmp_path / "kept"))
    way = NoSharedDisk(lambda thing: thing, kept)
    cut_short(task, way, monkeypatch, at=4)
    kept.keep(Path(task.run))
    shutil.rmtree(task.run)
    way.take(task, way.call(*way.sent(task)))
    assert resumed_at(task) == 4
    assert state_of(Path(task.run)) == "finished"
    assert kept.newest_step(Path(task.run).name) == -1, "it came home"


def cut_short(task: Task, way, monkeypatch, at: int) -> None:
    """The run ends after so many steps, as if it had been stopped there."""
    from altgrad.training.trainer import Trainer

    train = Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda self: train(self, max_steps=at))
    way.take(task, way.call(*way.sent(task)))
    monkeypatch.undo()
    events = Path(task.run) / "events.jsonl"
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    kept = [line for line in lines if line["event"] != "finished"]
    events.write_text("".join(json.dumps(line) + "\n" for line in kept))


def resumed_at(task: Task) -> int:
    events = read_events(Path(task.run) / "events.jsonl")
    return next(e["step"] for e in events if e["event"] == "resumed")


def test_checkpoints_go_into_the_storage_while_the_run_is_made(a_run, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOOK_S", 0.01)
    kept = Storage(str(tmp_path / "kept"))
    with storage.kept_meanwhile(a_run, kept):
        wait_for(lambda: kept.newest_step(a_run.name) == 40)
        save(a_run, 60)
        wait_for(lambda: kept.newest_step(a_run.name) == 60)


def test_a_storage_that_fails_costs_no_run_and_is_told_once(a_run, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOOK_S", 0.01)
    kept, tried = Storage(str(tmp_path / "kept")), []

    def fail(run):
        tried.append(run)
        raise PermissionError("no")

    monkeypatch.setattr(kept, "keep", fail)
    with storage.kept_meanwhile(a_run, kept):
        wait_for(lambda: len(tried) == 1)
        save(a_run, 60)
        wait_for(lambda: len(tried) == 2)
    trouble = [e for e in read_events(a_run / "events.jsonl") if e["event"] == "trouble"]
    assert [e["what"] for e in trouble] == ["storage"]


def wait_for(condition, seconds: float = 10) -> None:
    import time

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_code_that_travels_is_this_altgrad_and_ones_own_parts(compose, tmp_path, monkeypatch):
    (tmp_path / "helper.py").write_text("WIDTH = 4\n")
    (tmp_path / "mine.py").write_text("import helper\nfrom altgrad.model.mlp import GELU as MLP\n")
    task = as_task(Wanted("a", compose(["model.mlp=mine:MLP"]), tmp_path / "runs" / "a"), 1)
    lay_code([task, task], tmp_path / "code")
    asked = "import altgrad, mine, helper; from altgrad.runs.code_version import package_version;"
    asked += "print(altgrad.__file__, mine.__file__, helper.__file__, package_version())"
    said = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "code")},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert all(path.startswith(str(tmp_path / "code")) for path in said[:3])
    assert said[3] == code_versions({})["altgrad"]


@pytest.mark.parametrize(
    ("settings", "code", "expected"),
    [
        ({"program": "python train.py"}, None, "program="),
        ({"init_from": "/home/runs/base"}, None, "init_from=/home/runs/base"),
        ({}, {"path": [], "cwd": ""}, "patch="),
    ],
)
def test_what_needs_more_of_this_disk_than_can_travel_is_refused_by_name(settings, code, expected):
    task = Task("arm", "runs/a", settings, code=code)
    with pytest.raises(
        ConfigError, match=f"arm needs .*{expected}.*on a disk that all nodes share"
    ):
        refuse_what_stays([task], "node does not see runs")


def test_a_damaged_arrival_is_said_and_the_run_attempted_again(task, way, capsys):
    from altgrad.compare.launching import ray as on_ray

    sent = pack(Path(__file__).parent)
    sent.sha256[next(iter(sent.sha256))] = "0" * 64
    on_ray._take(way, task, sent)
    assert "arrived damaged" in capsys.readouterr().err
    assert state_of(Path(task.run)) == "missing"
