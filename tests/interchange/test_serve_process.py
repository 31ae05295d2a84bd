"""The real command on a real socket: clients that leave, and one signal that ends it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from altgrad.data import DataConfig, Metadata
from altgrad.interchange.run_writer import data_facts, write_run
from altgrad.training import TrainConfig
from tests.interchange.conftest import random_model

LONG = {"prompt": "A", "max_tokens": 4096, "n": 32}
SOON_S = 30.0
"""Far less than LONG takes, and enough for a machine that does other things as well."""


@pytest.fixture
def run_folder(tmp_path) -> Path:
    model = random_model(vocab_size=256, n_layer=1)
    tokens = {"tokenizer": {"name": "byte"}, "vocab_size": 256, "dtype": "uint16"}
    facts = data_facts(Metadata("none", "none", [], "none", splits={}, **tokens))
    settings = TrainConfig(model=model.config, data=DataConfig(tokenizer="byte"))
    return write_run(tmp_path / "run", settings, model, facts, step=1, origin="a test")


@pytest.fixture
def server(run_folder):
    """(process, port) of `altgrad serve`."""
    words = [sys.executable, "-m", "altgrad.cli", "serve", str(run_folder), "--port", "0"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment, **how) as process:
        line = process.stdout.readline()
        try:
            assert " serves run; Ctrl-C stops it" in line, process.stderr.read()
            yield process, int(line.split(":")[2].split("/")[0])
        finally:
            process.kill()


def send(port: int, body: dict, host: str = "127.0.0.1") -> socket.socket:
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", port), timeout=SOON_S)
    connection.sendall(head.encode() + content)
    return connection


def status_of(connection: socket.socket) -> int:
    with connection:
        return int(connection.recv(64).split()[1])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_gone_clients_cost_nothing_and_one_signal_ends_the_rest(server, stop):
    process, port = server
    assert status_of(send(port, {"prompt": "A", "max_tokens": 1})) == 200
    assert status_of(send(port, {"prompt": "A", "max_tokens": 1}, host="evil.example")) == 400

    for stream in (False, True):
        send(port, LONG | {"stream": stream}).close()
    deadline = time.monotonic() + SOON_S
    idle = False
    while not idle and time.monotonic() < deadline:
        before = cpu_seconds(process.pid)
        time.sleep(0.3)
        idle = cpu_seconds(process.pid) - before < 0.05
    assert idle, "the requests of clients that have gone are still computed"

    waiting = [send(port, LONG), send(port, LONG | {"stream": True})]
    assert status_of(send(port, {"prompt": "A", "max_tokens": 1})) == 200
    start = time.monotonic()
    process.send_signal(stop)
    process.wait(timeout=SOON_S)
    seconds = time.monotonic() - start
    print(f"{stop.name}: {seconds:.2f} s")
    assert seconds < 3  # a second, with room for a machine that does other things as well
    assert "Traceback" not in process.stderr.read()
    for connection in waiting:
        connection.close()
