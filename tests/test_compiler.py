"""torch's compiler is made ready beside other work, and asked nothing twice."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from altgrad import compiler
from altgrad.model.regions import compile_network
from altgrad.training.machine import can_compile

needs_compiler = pytest.mark.skipif(
    not can_compile(torch.device("cpu")), reason="needs a C++ compiler"
)


@pytest.fixture
def started(monkeypatch):
    """The calls of processes that would be started."""
    calls: list[list[str]] = []
    monkeypatch.setattr(compiler, "_preparing", [])
    monkeypatch.setattr(compiler.subprocess, "Popen", lambda call, **_: calls.append(call))
    return calls


def test_a_machine_with_a_header_starts_nothing(started, monkeypatch):
    monkeypatch.setattr(compiler, "_has_header", lambda: True)
    compiler.prepare_compiler()
    assert started == []


def test_a_machine_without_one_starts_one_process_that_finds_nothing_beside_it(
    started, monkeypatch
):
    monkeypatch.setattr(compiler, "_has_header", lambda: False)
    compiler.prepare_compiler()
    compiler.prepare_compiler()
    assert started == [[sys.executable, "-P", str(Path(compiler.__file__))]]


@pytest.mark.parametrize(("said", "then"), [(None, True), (False, False)])
def test_the_processor_is_taken_at_its_word_unless_somebody_said_otherwise(said, then):
    from torch._inductor import config

    with config.patch({"cpp.vec_isa_ok": said}):
        compile_network(torch.nn.Linear(2, 2), device=torch.device("cpu"))
        assert config.cpp.vec_isa_ok is then


@needs_compiler
@pytest.mark.slow  # compiles torch's header: half a minute beside other work
def test_the_header_is_the_one_a_run_uses(tmp_path, monkeypatch):
    own = {"TMPDIR": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    subprocess.run([sys.executable, "-P", compiler.__file__], check=True)
    headers = list(tmp_path.rglob("*.gch"))
    network = (
        "import torch; from altgrad.model import GPT, GPTConfig, compile_network; "
        "m = GPT(GPTConfig(vocab_size=8, n_layer=1, n_head=1, n_embd=16, block_size=8)); "
        "n = compile_network(m, device=torch.device('cpu')); i = torch.zeros(1, 8, dtype=int); "
        "n(i, i)[1].backward()"
    )
    subprocess.run([sys.executable, "-c", network], check=True)
    assert len(headers) == 1
    assert list(tmp_path.rglob("*.gch")) == headers
