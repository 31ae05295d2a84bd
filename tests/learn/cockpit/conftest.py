"""What the cockpit's tests share: one thread, as on the command line, and a learner's folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from altgrad.cli import main
from altgrad.learn.track import Track


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def learn(capsys) -> Callable[[str], tuple[int, str]]:
    """`learn("trace norm --backward")` -> (exit code, output) in the current folder."""

    def call(words: str) -> tuple[int, str]:
        code = main(["learn", *words.split()])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


@pytest.fixture
def written(learn) -> Callable[..., Path]:
    """A finished file of a track with some of its text replaced: `written("gpt2", OLD, NEW)`."""

    def write(track: str = "nanochat", *changes: str) -> Path:
        if not Path("my-gpt").exists():
            learn(f"start --track {track}")
        text = Track(track).source
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new, 1)
        path = Path("my-gpt/my_gpt.py")
        path.write_text(text)
        return path

    return write
