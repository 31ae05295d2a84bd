"""One process that has altgrad and torch loaded, and forks one for each `altgrad …` of a block.

`python server.py SOCKET` serves until its standard input ends. A client (`client.py`) sends its
words, folder and environment as JSON, and its standard streams; the exit code comes back.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
from importlib import metadata
from types import SimpleNamespace


def load() -> None:
    """What every command would import for itself."""
    import matplotlib as mpl

    mpl.use("Agg")
    import importlib

    for name in ("commands.train", "evaluate.run", "training.build", "compare.asking"):
        importlib.import_module(f"altgrad.{name}")
    importlib.import_module("matplotlib.pyplot")
    with contextlib.suppress(ImportError):
        importlib.import_module("peft")
    environment = importlib.import_module("altgrad.runs.environment")
    packages = [SimpleNamespace(name=d.name, version=d.version) for d in metadata.distributions()]
    # Read once: these are hundreds of files for every run.
    environment.metadata = SimpleNamespace(distributions=lambda: packages)


def serve(path: str) -> None:
    load()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    playing: set[int] = set()
    while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
        connection, _ = listener.accept()
        words, streams, *_ = socket.recv_fds(connection, 1 << 20, 3)
        pid = os.fork()
        if not pid:
            listener.close()
            play(json.loads(words), streams, connection)
        for stream in streams:
            os.close(stream)
        connection.close()
        playing = {p for p in {*playing, pid} if not os.waitpid(p, os.WNOHANG)[0]}
    for pid in playing:  # a command that did not end: a server, or one beyond its time
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def play(asked: dict, streams: list[int], connection: socket.socket) -> None:
    """In the forked process: one command; never returns."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = [asked["program"], *asked["words"]]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from altgrad.cli import main

        code = main(asked["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(code).encode())
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
