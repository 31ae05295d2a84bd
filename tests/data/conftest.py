"""A web server on 127.0.0.1 that can misbehave, and wheels made on the spot."""

import hashlib
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CUT, STALL = "cut", "stall"


class Server:
    """Serves `answers[path]`: each request takes the next one, the last stays.

    An answer is the bytes of a file (of which a range may be asked), a status code, a URL to
    redirect to, `("first", n, content)` (it breaks off after n bytes), or one of `CUT` (half the
    promised bytes) and `STALL` (none, for two seconds).
    """

    def __init__(self):
        self.answers = {}
        self.requests = []
        self.headers = {}
        self.ranges = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                server.ranges.setdefault(self.path, []).append(self.headers.get("Range"))
                answers = server.answers.get(self.path, [404])
                server.answer(self, answers.pop(0) if len(answers) > 1 else answers[0])

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def serve(self, path, *answers):
        self.answers[path] = list(answers)
        return self.url + path

    def answer(self, handler, answer):
        if isinstance(answer, int):
            handler.send_error(answer)
            return
        if answer == STALL:
            time.sleep(2)
            return
        if isinstance(answer, str) and answer.startswith("http"):
            handler.send_response(302)
            handler.send_header("Location", answer)
            handler.end_headers()
            return
        promised, sent = answer, answer
        if answer == CUT:
            promised, sent = b"half of it" * 2, b"half of it"
        if isinstance(answer, tuple):
            _, length, promised = answer
            sent = promised[:length]
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Length", str(len(promised) - start))
        for name, value in self.headers.get(handler.path, {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(sent[start:])


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def package_index(tmp_path, monkeypatch):
    """A folder that pip takes for the only package index; returns a maker of wheels in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_CACHE_DIR": "1",
    }.items():
        monkeypatch.setenv(name, value)

    def add_wheel(name: str, version: str, members: dict[str, bytes]) -> str:
        stem = f"{name}-{version}"
        path = folder / f"{stem}-py3-none-any.whl"
        info = f"{stem}.dist-info"
        extra = {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in {**members, **extra}.items():
                archive.writestr(member, content)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    return add_wheel


@pytest.fixture
def closed_url():
    """A URL at which nothing listens."""
    return "http://127.0.0.1:1/input.txt"


@pytest.fixture
def text() -> str:
    """Some 40,000 characters with the shapes that matter: words, numbers, blank lines, accents."""
    lines = [
        f"Scene {i}.  The year {1590 + i}, it's late;\n\n\tEnter Éowyn — {'x' * (i % 7)}  !\n"
        for i in range(700)
    ]
    return "".join(lines)


@pytest.fixture
def text_file(tmp_path, text) -> Path:
    path = tmp_path / "own.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.fixture
def small_gpt2_files(tmp_path, text):
    """`vocab.bpe` and `encoder.json` in GPT-2's layout, trained on `text`: 300 byte pairs."""
    import tokenizers as hf

    trained = hf.ByteLevelBPETokenizer()
    trained.train_from_iterator([text], vocab_size=300, min_frequency=2, show_progress=False)
    trained.save_model(str(tmp_path))
    merges = (tmp_path / "merges.txt").rename(tmp_path / "vocab.bpe")
    vocabulary = (tmp_path / "vocab.json").rename(tmp_path / "encoder.json")
    return merges, vocabulary
