"""Proofs about parts of one's own: first the signature of each, then that it does what its kind
must, where the proofs of the network do not show it."""

import copy
import inspect
import math
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from altgrad.learn.verify.overfit import small_trainer
from altgrad.learn.verify.result import Check, NotApplicable, require
from altgrad.learn.verify.subject import Subject
from altgrad.model.parts import PARTS, resolve
from altgrad.optim import build_optimizer, build_schedule
from altgrad.outside import load_outside

TEXTS = ("To be, or not to be.\n", "naïve café — 北京 🙂", "0123 4567\t\n\n")


def signatures(s: Subject) -> str:
    """Raises ValueError for the first that does not fit, with the lines to write."""
    c = s.config
    whole = ":" in c.model.network
    found = [_network(s)] if whole else [_part(kind, getattr(c.model, kind)) for kind in PARTS]
    found += [_optimiser(c.optim.name), _schedule(s)]
    found += [_metric(name) for name in c.diagnostics.own]
    found += [_tokenizer(c.data.tokenizer), *map(_tracker, c.tracker.names)]
    told = [line for line in found if line]
    if not told:
        raise NotApplicable("no part of your own")
    return "; ".join(told)


def signatures_or_none(s: Subject) -> None:
    """Raises ValueError as `signatures` does; one's own may also be nothing."""
    with suppress(NotApplicable):
        signatures(s)


def _part(kind: str, name: str) -> str:
    part = resolve(kind, name)
    return _said(name, part, part.__init__, part.forward) if ":" in name else ""


def _network(s: Subject) -> str:
    """A whole class: built once, so that what does not fit is told with the lines to write."""
    made: Any = type(s.fresh().own)
    return _said(s.model_config.network, made, made.__init__, made.forward)


def _optimiser(name: str) -> str:
    from altgrad.optim.outside import as_maker

    if ":" not in name:
        return ""
    made = load_outside(name, setting="optim.name")
    as_maker(name, made)
    return _said(name, made, made)


def _schedule(s: Subject) -> str:
    name = s.config.schedule.name
    if ":" not in name:
        return ""
    made = load_outside(name, setting="schedule.name")
    try:
        inspect.signature(made).bind(s.config.schedule, 10)
    except (TypeError, ValueError):
        raise ValueError(
            f"schedule.name={name}: write `def schedule(config, max_steps)` that returns "
            "`factor(step)`, a number in [0, 1]"
        ) from None
    return _said(name, made, made)


def _metric(name: str) -> str:
    from altgrad.training.instruments import Context, make_own

    made = type(make_own([name], Context(torch.nn.Linear(1, 1)))[name])
    return _said(name, made, *(getattr(made, m) for m in ("before", "gradients", "moved")))


def _tokenizer(name: str) -> str:
    from altgrad.data.tokenizers import CONTRACT, identify

    if ":" not in name:
        return ""
    with tempfile.TemporaryDirectory() as cache:
        identify(name, Path(cache))
    return f"{name} has {', '.join(CONTRACT)}"


def _tracker(name: str) -> str:
    if ":" not in name:
        return ""
    made = load_outside(name, setting="tracker.names")
    wanted = {"__call__": 1, "log": 2, "alert": 4, "artifact": 2, "close": 1}
    wrong = [n for n, count in wanted.items() if not _takes(made, n, count)]
    if wrong:
        raise ValueError(
            f"tracker.names={name} does not fit in {', '.join(wrong)}: write `def __init__(self, "
            "run)`, `log(self, step, metrics)`, `alert(self, step, title, text, level)`, "
            "`artifact(self, alias, path)`, `close(self, status)`"
        )
    return _said(name, made, made, made.log)


def _takes(made: Any, method: str, count: int) -> bool:
    target = made if method == "__call__" else getattr(made, method, None)
    bound = count + (method != "__call__")  # the instance itself
    try:
        inspect.signature(target).bind(*[None] * bound)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _said(name: str, made: Any, *callables: Any) -> str:
    shown = dict.fromkeys(f"{c.__name__}({_arguments(c)})" for c in callables)
    return f"{name}: {', '.join(shown)}"


def _arguments(function: Any) -> str:
    return ", ".join(n for n in inspect.signature(function).parameters if n != "self")


# -- what each kind must do ----------------------------------------------------------------------


def own_schedule(s: Subject) -> str:
    name = s.config.schedule.name
    if ":" not in name:
        raise NotApplicable("the schedule is one of altgrad's")
    for length in (10, 1000, s.config.max_steps):
        length = max(length, s.config.schedule.warmup(length))
        factor = build_schedule(s.config.schedule, length)
        first = [float(factor(step)) for step in range(length)]
        again = [float(factor(step)) for step in reversed(range(length))][::-1]
        require(
            first == again, "a factor depends on more than its step: a resumed run would differ"
        )
        for step, value in enumerate(first):
            good = math.isfinite(value) and 0 < value <= 1
            require(good, f"step {step} of {length} has the factor {value}, expected 0 < f <= 1")
    return f"{first[0]:.3g} at the start, {first[-1]:.3g} at step {length - 1}, of the step alone"


def own_optimiser(s: Subject) -> str:
    """A saved state goes on bit for bit, and holds nothing but tensors and plain values."""
    if ":" not in s.config.optim.name:
        raise NotApplicable("the optimiser is one of altgrad's")
    # In evaluation, as these models are, heads for later tokens get no gradient.
    models = [s.fresh(mtp_heads=0), s.fresh(mtp_heads=0)]
    optimizers = [build_optimizer(model, s.config.optim) for model in models]
    for seed in range(2):
        _step(s, models[0], optimizers[0], seed)
    state = optimizers[0].state_dict()
    for path, value in _leaves(state["state"]):
        good = isinstance(value, torch.Tensor | int | float | bool | str | None)
        require(good, f"state {path} is a {type(value).__name__}: it cannot be saved")
    models[1].load_state_dict(models[0].state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(state))  # as from a file: nothing is shared
    for model, optimizer in zip(models, optimizers, strict=True):
        _step(s, model, optimizer, 2)
    pairs = zip(models[0].named_parameters(), models[1].parameters(), strict=True)
    for (name, a), b in pairs:
        require(torch.equal(a, b), f"{name} moves differently after a saved state was loaded")
    return "two steps, saved, loaded: the third is the same bit for bit"


def _step(s: Subject, model: Any, optimizer: Any, seed: int) -> None:
    optimizer.zero_grad()
    model(s.ids(seed=seed), s.ids(seed=seed + 1))[1].backward()
    optimizer.step()


def _leaves(tree: Any, path: str = "") -> Any:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from _leaves(value, f"{path}[{i}]")
    else:
        yield path, tree


def own_metrics(s: Subject) -> str:
    """The run is the same with and without it, and it gives numbers."""
    if not s.config.diagnostics.own:
        raise NotApplicable("no measure of your own")
    plain, bare = _three_steps(s, [])
    measured, weights = _three_steps(s, s.config.diagnostics.own)
    found = [name for name in measured if name not in plain]
    require(bool(found), "three steps gave no number")
    same = all(torch.equal(a, b) for a, b in zip(weights, bare, strict=True))
    require(same, "the run is another one when it is measured")
    return f"{len(found)} numbers a step ({', '.join(found[:2])} …); the run is the same"


def _three_steps(s: Subject, own: list[str]) -> tuple[dict[str, float], list[torch.Tensor]]:
    """Metrics of the third step, and the weights after it."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, tokens = small_trainer(s, Path(folder), diagnostics={"own": own})
        lines = [trainer.train_step(tokens[:, :-1], tokens[:, 1:]) for _ in range(3)]
    return lines[-1], list(trainer.model.parameters())


def own_tokenizer(s: Subject) -> str:
    from altgrad.data.tokenizers import build_tokenizer

    name = s.config.data.tokenizer
    if ":" not in name:
        raise NotApplicable("the tokenizer is one of altgrad's, or a file")
    made = build_tokenizer({"name": name}, "", Path())
    lost = []
    for text in TEXTS:
        ids = made.encode(text)
        require(made.encode_array(text).tolist() == ids, f"encode_array({text!r}) is not encode's")
        inside = all(0 <= i < made.vocab_size for i in ids)
        require(inside, f"{text!r} gives an id outside 0 … {made.vocab_size - 1}")
        require(made.end_of_text not in ids, f"{text!r} gives end_of_text")
        lost += [text] if made.decode(ids) != text else []
    told = (
        f", but {lost[0]!r} does not come back: no bits per byte" if lost else ", text comes back"
    )
    return f"{len(TEXTS)} texts, ids in 0 … {made.vocab_size - 1}{told}"


def own_trackers(s: Subject) -> str:
    from altgrad.training.trackers import TrackedRun

    names = [n for n in s.config.tracker.names if ":" in n]
    if not names:
        raise NotApplicable("no tracker of your own")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            run = TrackedRun(Path(folder), "run", s.config.tracker, s.config.to_dict())
            tracker = load_outside(name, setting="tracker.names")(run)
            tracker.log(1, {"loss": 2.0, "val_loss": math.nan})
            tracker.alert(1, "title", "text", "warning")
            tracker.artifact("best", Path(folder))
            tracker.close("finished")
            require(bool(getattr(tracker, "id", None)), f"{name} has no id")
    return f"{', '.join(names)}: opened, logged, warned, closed"


SIGNATURES = Check("signature", "it can be called as a run calls it", "its arguments", signatures)
CHECKS = [
    Check("own schedule", "a factor of the step alone", "factor(step)", own_schedule),
    Check("own optimiser", "a resumed run is the same run", "self.state", own_optimiser),
    Check("own metric", "looking changes nothing", "what it writes to", own_metrics),
    Check("own tokenizer", "text and ids mean the same", "encode, decode", own_tokenizer),
    Check("own tracker", "it takes what a run tells", "log, alert, artifact, close", own_trackers),
]
