"""Ledgers of tiny runs: six steps of a model of a few hundred weights, in this process."""

import math
import random
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import ClassVar

import pytest

from altgrad.compare import comparison
from altgrad.compare.launching.launch import Launch
from altgrad.compare.outcomes import Outcome
from altgrad.ideas import admission, bench, heldout
from altgrad.ideas.bench import Bench
from altgrad.ideas.loop import Ledger, ledger_folder
from altgrad.ideas.terms import read_terms
from tests.compare.conftest import compose, here

__all__ = ["compose", "here"]


class Inline:
    """A process pool that is this process. submitted: what it was asked for."""

    submitted: ClassVar[list] = []

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, call, *arguments):
        self.submitted.append(call)
        future = Future()
        future.set_result(call(*arguments))
        return future


@pytest.fixture
def inline(here, monkeypatch):
    """Everything that has a process of its own is done in this one: processes are not tested."""
    monkeypatch.setattr(Inline, "submitted", [])
    monkeypatch.setattr(comparison, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(admission, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(heldout, "ProcessPoolExecutor", Inline)


@pytest.fixture
def said():
    return []


LOSS = {"optim.lr=0.03": -0.02, "optim.grad_clip=0.5": -0.01, "optim.weight_decay=0.3": +0.01}
"""What a change does to the made-up loss; others do nothing."""

NOISE = 0.001


SLOPE = 0.1
"""Loss per e-fold of steps of the made-up runs."""


def step_s(arm) -> float:
    """Seconds of a made-up step: one good change costs a half, one idle one saves a fifth."""
    slow = 1.5 if arm.config.optim.grad_clip == 0.5 else 1.0
    return slow * (0.8 if arm.config.optim.eps == 3e-8 else 1.0)


def made_up_loss(arm, seed: int, key: str) -> float:
    from altgrad.settings import get_setting

    words = {w: w.partition("=") for w in LOSS}
    effect = sum(
        LOSS[w] for w, (key, _, v) in words.items() if get_setting(arm.config, key) == float(v)
    )
    # Betas and momentum warm-up stand in for each other: either gives all of it.
    if arm.config.optim.betas[1] == 0.99 or arm.config.optim.eps == 1e-6:
        effect -= 0.03
    effect += SLOPE * math.log(6 / arm.config.max_steps)
    noise = random.Random(f"{key} {seed}").gauss(0, NOISE)
    return 3 + random.Random(seed).gauss(0, 0.01) + effect + noise


@pytest.fixture
def made_up(monkeypatch):
    """Runs are made up in a moment: how they are trained is not what is tested. Returns the list
    of (key, seed) of every run that was made."""
    made: list[tuple[str, int]] = []

    def run(bench, arms, seeds):
        rows = {}
        for arm in arms:
            key = bench.key(arm)
            made.extend((key, s) for s in seeds if (key, s) not in made)
            rows[arm.name] = {s: _outcome(arm, s, key) for s in seeds}
        return rows

    def again(bench, arm, seed):
        first = _outcome(arm, seed, bench.key(arm))
        return replace(first, run=f"{first.run}-again")

    monkeypatch.setattr(Bench, "run", run)
    monkeypatch.setattr(Bench, "run_again", again)
    monkeypatch.setattr(Bench, "measure", lambda _, arms, __: {a.name: step_s(a) for a in arms})
    monkeypatch.setattr(bench, "failure_of", lambda *_: "")
    monkeypatch.setattr(Ledger, "_heldout", lambda *_: {})
    return made


def _outcome(arm, seed, key):
    loss = made_up_loss(arm, seed, key)
    name = f"runs/made-up-seed{seed}-{key}"
    return Outcome(arm.name, seed, name, "finished", loss, 6, 1.0, 100.0, None, "")


@pytest.fixture
def ledger(compose, said, made_up):
    """`ledger("optim.lr=0.01 delta=0.001")`: begun, its baseline measured; its runs are made up."""
    return partial(begin, compose, said)


@pytest.fixture
def real_ledger(compose, said, inline):
    """The same with runs that are trained."""
    return partial(begin, compose, said)


def begin(compose, said, words="", name="fast") -> Ledger:
    made = Ledger(ledger_folder(name), compose=compose, launch=Launch(threads=1), say=said.append)
    made.new(read_terms(words.split()))
    return made
