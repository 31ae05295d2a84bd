"""Run folders as a run leaves them, without training; the studio over them; a browser, if any."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from altgrad.training import TrainConfig

HOUSE = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def write_run(base: Path, name: str, *, losses=(3.0, 2.0, 1.0), ended="finished", **settings):
    """A run folder; `losses` one a step, an evaluation at the last. Returns its path."""
    run = base / name
    run.mkdir(parents=True)
    tiny = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "vocab_size": 13}
    made = TrainConfig(**{**tiny, "max_steps": len(losses), "run_dir": str(run), **settings})
    (run / "config.yaml").write_text(yaml.safe_dump(made.to_dict(), sort_keys=False))
    add_steps(run, losses, evaluate=bool(ended))
    events = [{"time": 1.0, "event": "started", "step": 0, "run": "abc", "layout": 1}]
    if ended:
        events.append({"time": 2.0, "event": ended, "step": len(losses), "wall_s": 9.0})
    add_events(run, *events)
    return run


def add_steps(run: Path, losses, *, first=1, evaluate=False):
    with (run / "metrics.jsonl").open("a") as file:
        for step, loss in enumerate(losses, start=first):
            line = {"step": step, "loss": loss, "step_ms": 10.0, "tokens_per_s": 100.0}
            line["train_s"] = 0.01 * step
            if evaluate and step == first + len(losses) - 1:
                line |= {"val_loss": loss + 0.5, "eval_s": 0.1}
            file.write(json.dumps(line) + "\n")


def add_events(run: Path, *events):
    with (run / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


@pytest.fixture
def base(tmp_path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(tmp_path_factory):
    """`serve(base)`: the real command; gives (address, token)."""
    started = []
    cache = tmp_path_factory.getbasetemp() / "drawing"  # made once for all tests

    def start(base: Path, *words: str) -> tuple[str, str]:
        command = [sys.executable, "-m", "altgrad", "studio", str(base), "--port", "0", *words]
        environment = {**os.environ, "PYTHONPATH": str(HOUSE), "OMP_NUM_THREADS": "1"}
        environment["ALTGRAD_CACHE"] = str(cache)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        address, _, token = process.stdout.readline().strip().partition("#token=")
        return address.rstrip("/"), token

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A tab; at its end nothing may have been logged as an error, or asked for elsewhere."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    errors, asked = [], []
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("request", lambda r: asked.append(r.url))
    yield tab
    context.close()
    assert errors == []
    assert [u for u in asked if not u.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


def wait_for(true, seconds=20.0):
    """Raises AssertionError where it does not become true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found
