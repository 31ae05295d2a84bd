"""The file that gives a script its seed from outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import altgrad.programs

STARTUP = Path(altgrad.programs.__file__).parent / "startup"
SAY = """
import random, numpy, torch
random.seed(7); numpy.random.seed(7); torch.manual_seed(7)
print(random.random(), numpy.random.rand(), torch.rand(1).item(), random.Random(7).random())
"""


def said(code: str, seed: int | None) -> list[str]:
    given = {} if seed is None else {"ALTGRAD_SEED": str(seed), "PYTHONPATH": str(STARTUP)}
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_fixed_seeds_are_shifted_and_own_generators_are_not():
    plain, zero, one, again = (said(SAY, seed) for seed in (None, 0, 1, 1))
    assert zero == plain
    assert one == again
    assert [a == b for a, b in zip(one, plain, strict=True)] == [False, False, False, True]


@pytest.mark.parametrize("code", ["import random; print(random.random())"])
def test_a_script_that_never_seeds_repeats_itself(code):
    assert said(code, 3) == said(code, 3)
    assert said(code, 3) != said(code, 4)
