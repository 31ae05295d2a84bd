"""Gives a script without an option for its seed one from outside; Python imports this at its start.

ALTGRAD_SEED is the run's seed s. Global generators start from s instead of from the clock, and
whatever number the script seeds them with is shifted by s: `torch.manual_seed(1337)`,
`random.seed(1337)`, `numpy.random.seed(1337)`, `torch.cuda.manual_seed_all(1337)`. Seed 0 shifts
nothing. Generators that the script makes for itself (`torch.Generator`, `random.Random`,
`numpy.random.default_rng`) keep the seeds they are given: they are often what cuts data in two.

Nothing of altgrad is imported: the script's Python need not have it.
"""

import importlib.util
import os
import random
import sys

SHIFT = 1_000_003
"""A prime far above the differences of seeds that scripts use for their processes."""

_first = {}
"""Library -> its own call for seeding, as it was."""

_inside = []
"""Not empty while a shifted call runs: what it calls itself is not shifted again."""


def shift():
    return int(os.environ["ALTGRAD_SEED"]) * SHIFT


def shifted(call, largest):
    """`call` with its first number shifted, modulo `largest`."""

    def seeding(seed=None, *rest, **named):
        if _inside:
            return call(seed, *rest, **named)
        seed = shift() if seed is None else seed
        if isinstance(seed, int) or hasattr(seed, "__index__"):
            seed = (int(seed) + shift()) % largest
        _inside.append(1)
        try:
            return call(seed, *rest, **named)
        finally:
            _inside.pop()

    seeding.__name__ = getattr(call, "__name__", "seed")
    seeding.__doc__ = call.__doc__
    return seeding


def change_torch_random(module):
    _first["torch"] = module.manual_seed
    module.manual_seed = shifted(module.manual_seed, 2**63)


def start_torch(_):
    """Seeding needs the whole of torch, and its `random` is loaded in the middle of it."""
    if shift():
        _first["torch"](shift())


def change_cuda(module):
    module.manual_seed = shifted(module.manual_seed, 2**63)
    module.manual_seed_all = shifted(module.manual_seed_all, 2**63)


def change_numpy(module):
    start = module.seed
    module.seed = shifted(start, 2**32)
    if shift():
        start(shift() % 2**32)


CHANGES = {
    "torch.random": change_torch_random,
    "torch": start_torch,
    "torch.cuda.random": change_cuda,
    "numpy.random": change_numpy,
}


class Changing:
    """Finds what `CHANGES` names with the others' finders, and changes it once it is loaded."""

    def find_spec(self, name, path=None, target=None):
        change = CHANGES.get(name)
        if change is None:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = Loading(spec.loader, change)
                return spec
        return None


class Loading:
    def __init__(self, loader, change):
        self._loader, self._change = loader, change

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        self._change(module)


def change_python():
    start = random.seed
    random.seed = shifted(start, 2**63)
    if shift():
        start(shift())


def next_sitecustomize():
    """The one that this file stands in front of, if there is one, must not be missed."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in sys.path:
        file = os.path.join(folder or os.getcwd(), "sitecustomize.py")
        if os.path.isfile(file) and os.path.dirname(os.path.abspath(file)) != here:
            spec = importlib.util.spec_from_file_location("_next_sitecustomize", file)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
            return


if "ALTGRAD_SEED" in os.environ:
    change_python()
    sys.meta_path.insert(0, Changing())
    next_sitecustomize()
