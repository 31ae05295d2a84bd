"""Real processes: killed, beside each other, with a limit of memory, reading what is held out."""

import multiprocessing
import os
import random
import signal

import numpy as np
import pytest

from altgrad import trust
from altgrad.compare.arm import Arm
from altgrad.compare.launching import Launch
from altgrad.ideas import heldout
from altgrad.ideas.admission import failure_of
from altgrad.ideas.loop import Ledger
from altgrad.ideas.queue import read_queue, work_off
from altgrad.ideas.terms import Terms
from tests.ideas.conftest import Inline
from tests.ideas.test_queue import BASE, QUEUE, without_times

CONTEXT = multiprocessing.get_context("fork")  # the made-up runs go along


@pytest.fixture
def queue(tmp_path):
    path = tmp_path / "ideas.yaml"
    path.write_text(QUEUE)
    return read_queue(path)


def work(ledger, items):
    """A process's life, in its own code: errors are no way to end."""
    ledger.say = lambda _: None
    list(work_off(ledger, items))


def test_killed_with_sigkill_ten_times_it_ends_as_the_uninterrupted_one(ledger, queue):
    """Real runs and whole process groups: benchmarks/ledger_kills.py."""
    whole, killed = ledger(BASE, name="whole"), ledger(BASE, name="killed")
    work(whole, queue)
    rng, kills = random.Random(0), 0
    while kills < 10:
        process = CONTEXT.Process(target=work, args=(killed, queue))
        process.start()
        process.join(rng.uniform(0, 0.12))
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    work(killed, queue)
    assert kills >= 3
    assert without_times(killed.file.entries()) == without_times(whole.file.entries())


def test_two_processes_that_share_the_folder_work_off_one_queue(ledger, queue):
    whole, shared = ledger(BASE, name="whole"), ledger(BASE, name="shared")
    work(whole, queue)
    both = [CONTEXT.Process(target=work, args=(shared, queue)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [p.exitcode for p in both] == [0, 0]
    assert without_times(shared.file.entries()) == without_times(whole.file.entries())


# -- what is held out -----------------------------------------------------------------------------


def test_held_out_tokens_are_cut_off_and_read_by_a_reckoning_alone(
    real_ledger, data_dir, monkeypatch
):
    def noise(ledger, _):
        outcomes = [2.0, 2.001, 2.002, 2.001]
        ledger.file.append("noise", seeds=[], outcomes=outcomes, repeat=0, delta=0.5, costs={})

    monkeypatch.setattr(Ledger, "_measure_noise", noise)
    made = real_ledger("optim.lr=0.001 delta=0.5 heldout=0.4 max_steps=4 eval_interval=4")
    cut = {n: np.fromfile(made.folder / n / "val.bin", np.uint16) for n in ("tokens", "heldout")}
    whole = np.fromfile(data_dir / "val.bin", np.uint16)
    assert (np.concatenate([cut["tokens"], cut["heldout"]]) == whole).all()
    assert len(cut["heldout"]) == 0.4 * len(whole)
    nominate(made, ["optim.lr=0.03"])
    assert _readings() == 0
    entry = made.reckon()
    assert (_readings(), entry["heldout"]["reading"]) == (1, 1)
    assert entry["heldout"]["pairs"] == entry["headline"]["pairs"] == 3
    runs = {
        name: [made.folder.parent.parent / run for run in row.values()]
        for name, row in entry["folders"].items()
    }
    base, final = ([by_hand(run, cut["heldout"]) for run in runs[n]] for n in runs)
    gains = [a - b for a, b in zip(base, final, strict=True)]
    assert entry["heldout"]["gain"] == pytest.approx(sum(gains) / 3, abs=1e-6)
    made.file.append("reckon", **{k: v for k, v in entry.items() if k not in ("n", "kind", "prev")})
    assert sum(bool(e.get("heldout")) for e in made.state().entries) == 2


def nominate(made, words) -> None:
    """Whatever screening would say: it is not what is tested."""
    from tests.ideas.test_loop import _forced

    made.file.append("try", **_forced(made, words))


def _readings() -> int:
    """Times that a process of its own was asked to read."""
    return [call.__name__ for call in Inline.submitted].count("losses")


def by_hand(run, ids: np.ndarray) -> float:
    """Loss of a run's last weights on tokens, by torch, over blocks of 8 and what is left."""
    import torch
    from torch.nn.functional import cross_entropy

    from altgrad.training.loading import pick_checkpoint, read_config, stored_network

    model, total = stored_network(read_config(run), pick_checkpoint(run, "latest")).eval(), 0.0
    tokens = torch.from_numpy(ids.astype("i8"))
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, 8):
            x, y = tokens[start : start + 8], tokens[start + 1 : start + 9]
            logits = model(x[None, : len(y)], y[None])[0]
            total += float(cross_entropy(logits[0], y, reduction="sum"))
    return total / (len(tokens) - 1)


def test_without_a_held_out_part_nothing_is_cut(compose, tmp_path):
    heldout.cut(compose([]), 0, tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()


# -- before an idea costs anything ----------------------------------------------------------------


@pytest.mark.parametrize(("limit", "said"), [(0.01, "GiB, more than memory_gb=0.01"), (500, "")])
def test_an_idea_above_the_limit_of_memory_may_not_run(inline, compose, limit, said):
    arm = Arm("idea", (), compose(["optim.lr=0.03"]))
    found = failure_of(arm, Launch(threads=1), Terms(memory_gb=limit), {"optim.lr": (0.01, 0.03)})
    assert (said in found, bool(found)) == (True, bool(said))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("Raises", "RuntimeError: never finished"),
        ("NotANumber", "the loss is nan at step 1"),
        ("Leaks", "it sees the future"),
    ],
)
def test_broken_parts_crash_before_any_run(inline, compose, tmp_path, monkeypatch, part, said):
    """Trap: a changed model that fakes its loss. The loss is altgrad's own, from the logits: what
    is left to a part is to look into the future."""
    module = f"broken_{part.lower()}"  # one a test: Python keeps what it has imported
    (tmp_path / f"{module}.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    trust.allow([f"{module}:{part}"])
    arm = Arm("idea", (), compose([f"model.mlp={module}:{part}"]))
    found = failure_of(arm, Launch(threads=1), Terms(), {"model.mlp": ("gelu", part)})
    assert said in found


BROKEN = """
import torch.nn.functional as F
from torch import nn

class Sound(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x)))

class Raises(Sound):
    def forward(self, x):
        raise RuntimeError("never finished")

class NotANumber(Sound):
    def forward(self, x):
        return super().forward(x) * float("nan")

class Leaks(Sound):
    def forward(self, x):
        return super().forward(x + x.roll(-1, 1))
"""
