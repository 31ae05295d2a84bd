"""Probes of the training track. Sizes are no letter of a GPT's contract: 5, 9, 11, 13."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.observe import Observation, Probe
from altgrad.learn.probes.common import (
    attributes_of,
    awake,
    draw,
    draw_ids,
    field_defaults,
    gradients,
    refuses,
)

Namespace = dict[str, Any]
WORDS, WIDTH = 11, 5
LIMIT = 0.05  # of the norm: the gradients of these runs are longer
INF, NAN = float("inf"), float("nan")


class Toy(nn.Module):
    """ids (B, T) -> logits (B, T, 11). Notes what each call found; `idle` never has a gradient."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.wte = nn.Embedding(WORDS, WIDTH)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, WORDS)
        self.idle = nn.Parameter(torch.zeros(9))
        self.notes: list[str] = []
        self.graphs: list[bool] = []

    def forward(self, ids: Tensor) -> Tensor:
        self.notes.append("forward")
        self.graphs.append(torch.is_grad_enabled())
        logits = self.head(self.drop(self.wte(ids)).tanh())
        if logits.requires_grad:
            logits.register_hook(lambda _: self.notes.append("backward"))
        return logits


def toy(dropout: float = 0.0) -> Toy:
    return awake(Toy(dropout))  # type: ignore[return-value]


def micro_batch(name: str, rows: int, columns: int, ignored: int = 0) -> tuple[Tensor, Tensor]:
    """(ids, targets); the first `ignored` targets of every row do not count."""
    ids, targets = (draw_ids(f"{name} {what}", WORDS, rows, columns) for what in ("ids", "targets"))
    targets[:, :ignored] = -1
    return ids, targets


def uneven() -> list[tuple[Tensor, Tensor]]:
    return [micro_batch("a", 5, 9, 5), micro_batch("b", 1, 5), micro_batch("c", 5, 11, 10)]


def even() -> list[tuple[Tensor, Tensor]]:
    return [micro_batch(name, 5, 9) for name in ("a", "b", "c")]


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Torch's global generator begins here, and is afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def same_draws(value: Callable[[], Any]) -> Callable[[], Any]:
    """The value as it comes when torch's global generator is seeded."""

    def call() -> Any:
        with seeded():
            return value()

    return call


def values(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in module.named_parameters()}


def found(module: nn.Module) -> dict[str, Any]:
    """The gradients of all parameters but the idle one."""
    pairs = module.named_parameters()
    return {n: "no gradient" if p.grad is None else p.grad for n, p in pairs if n != "idle"}


def probe_settings(ns: Namespace) -> Iterator[Observation]:
    yield Observation("fields and their defaults", lambda: field_defaults(ns["Settings"]))
    yield Observation("order of the fields", lambda: [*field_defaults(ns["Settings"])])
    yield Observation("fields set by keyword", lambda: vars(ns["Settings"](warmup_steps=5)))


def probe_rate_factor(ns: Namespace) -> Iterator[Observation]:
    def f(steps: range, *how: Any) -> list[float]:
        return [ns["rate_factor"](step, *how) for step in steps]

    yield Observation("factors of the warm-up", lambda: f(range(5), 5, 45, 0.1))
    yield Observation("factors of the decay", lambda: f(range(5, 45), 5, 45, 0.1))
    yield Observation("factor at the end and after it", lambda: f(range(45, 90, 9), 5, 45, 0.1))
    yield Observation("factors without a warm-up", lambda: f(range(11), 0, 11, 0.1))
    yield Observation("factors with a floor of 0", lambda: f(range(20), 5, 20, 0.0))
    yield Observation("factors with a floor of 1", lambda: f(range(20), 5, 20, 1.0))


def two_groups() -> torch.optim.Optimizer:
    p, q = (nn.Parameter(draw(n, 5)) for n in "pq")
    groups: list[dict[str, Any]] = [{"params": [p]}, {"params": [q], "lr": 0.2}]
    return torch.optim.SGD(groups, lr=0.5)


def probe_set_rates(ns: Namespace) -> Iterator[Observation]:
    def rates(*factors: float, peak: float | None = None) -> list[float]:
        optimizer = two_groups()
        if peak is not None:
            optimizer.param_groups[0]["initial_lr"] = peak
        for factor in factors:
            ns["set_rates"](optimizer, factor)
        return [group["lr"] for group in optimizer.param_groups]

    def peaks() -> list[Any]:
        optimizer = two_groups()
        for factor in (0.5, 0.3):
            ns["set_rates"](optimizer, factor)
        return [group.get("initial_lr", "missing") for group in optimizer.param_groups]

    yield Observation("rates after one call", lambda: rates(0.5))
    yield Observation("rates after three calls", lambda: rates(0.5, 0.25, 0.75))
    yield Observation("rates after a factor of 0", lambda: rates(0.0, 0.5))
    yield Observation("rates where a peak was noted", lambda: rates(0.5, peak=0.8))
    yield Observation("peaks that are kept", peaks)


def probe_token_loss(ns: Namespace) -> Iterator[Observation]:
    def f(ignored: int = 0) -> tuple[Tensor, Any]:
        _, targets = micro_batch("loss", 5, 9, ignored)
        return ns["token_loss"](draw("logits", 5, 9, WORDS), targets)

    def gradient() -> dict[str, Any]:
        logits = draw("logits", 5, 9, WORDS).requires_grad_()
        parts = ns["token_loss"](logits, micro_batch("loss", 5, 9, 4)[1])
        total = next((x for x in parts if isinstance(x, Tensor) and x.requires_grad), None)
        return gradients(torch.zeros(()) if total is None else total, {"logits": logits})

    yield Observation("sum of the losses", lambda: f()[0])
    yield Observation("how many", lambda: f()[1])
    yield Observation("sum where four of nine are ignored", lambda: f(4)[0])
    yield Observation("how many where four of nine are ignored", lambda: f(4)[1])
    yield Observation("sum where all are ignored", lambda: f(9)[0])
    yield Observation("gradient for the logits", gradient)
    yield Observation("kind of the number", lambda: type(f(4)[1]).__name__)


def probe_accumulate(ns: Namespace) -> Iterator[Observation]:
    def after(*calls: list[tuple[Tensor, Tensor]]) -> tuple[Any, Toy]:
        model = toy()
        for micro_batches in calls:
            loss = ns["accumulate"](model, micro_batches)
        return loss, model

    def order() -> list[str]:
        return after(even())[1].notes

    def none_counts() -> Any:
        return after([micro_batch("none", 5, 9, 9)])[0]

    yield Observation("gradients of one micro-batch", lambda: found(after(even()[:1])[1]))
    yield Observation("gradients of three equal ones", lambda: found(after(even())[1]))
    yield Observation("gradients of uneven ones", lambda: found(after(uneven())[1]))
    yield Observation("loss of one micro-batch", lambda: after(even()[:1])[0])
    yield Observation("loss of three equal ones", lambda: after(even())[0])
    yield Observation("loss of uneven ones", lambda: after(uneven())[0])
    yield Observation("gradients of a second call", lambda: found(after(even(), uneven())[1]))
    yield Observation("loss where no target counts", none_counts)
    yield Observation("forward and backward passes in their order", order)


def with_gradients(scale: float = 1.0, *, idle: bool = True) -> list[nn.Parameter]:
    params = [nn.Parameter(draw(n, *s)) for n, s in (("a", (5, 9)), ("b", (11,)), ("c", (9, 5)))]
    for name, p in zip("abc", params, strict=True):
        p.grad = scale * (5 if name == "b" else 1) * draw(f"grad {name}", *p.shape)
    return params[:1] + [nn.Parameter(draw("idle", 13))] * idle + params[1:]


def probe_global_norm(ns: Namespace) -> Iterator[Observation]:
    def f(params: list[nn.Parameter]) -> Any:
        return ns["global_norm"](params)

    yield Observation("norm of three gradients", lambda: f(with_gradients(idle=False)))
    yield Observation("norm of one gradient", lambda: f(with_gradients()[:1]))
    yield Observation("norm where one has no gradient", lambda: f(with_gradients()))
    yield Observation("norm of small gradients", lambda: f(with_gradients(1e-3)))
    yield Observation("norm of an iterator", lambda: f(iter(with_gradients())))  # type: ignore[arg-type]
    yield Observation("norm where none has one", lambda: float(f(with_gradients()[1:2])))


def probe_clip_gradients(ns: Namespace) -> Iterator[Observation]:
    def f(max_norm: float, scale: float = 1.0, *, iterator: bool = False) -> tuple[Any, list[Any]]:
        params = with_gradients(scale)
        norm = ns["clip_gradients"](iter(params) if iterator else params, max_norm)
        return norm, ["none" if p.grad is None else p.grad for p in params]

    def weights() -> list[Tensor]:
        params = with_gradients()
        ns["clip_gradients"](params, 1.0)
        return [p.detach() for p in params]

    def same_objects() -> bool:
        params = with_gradients(idle=False)
        before = [p.grad for p in params]
        ns["clip_gradients"](params, 1.0)
        return all(p.grad is g for p, g in zip(params, before, strict=True))

    yield Observation("gradients above the limit", lambda: f(1.0)[1])
    yield Observation("gradients far above a limit of 0.5", lambda: f(0.5, 100.0)[1])
    yield Observation("gradients below the limit", lambda: f(1.0, 1e-3)[1])
    yield Observation("gradients when an iterator is given", lambda: f(1.0, iterator=True)[1])
    yield Observation("norm that comes back", lambda: f(1.0)[0])
    yield Observation("norm that comes back, below the limit", lambda: f(1.0, 1e-3)[0])
    yield Observation("kind of what comes back", lambda: type(f(1.0)[0]).__name__)
    yield Observation("the weights themselves", weights)
    yield Observation("are the gradients the same tensors", same_objects)


def corpus(length: int = 100) -> Tensor:
    return draw_ids("corpus", WORDS, length)


def batches_of(ns: Namespace, length: int = 100, seed: int = 20) -> Any:
    """Eleven blocks of nine in batches of five: two batches an epoch, and one block is left."""
    return ns["Batches"](corpus(length), 5, 9, seed)


def probe_batches_init(ns: Namespace) -> Iterator[Observation]:
    names = ("batch_size", "length", "seed", "epoch", "position")
    yield Observation("attributes", lambda: attributes_of(batches_of(ns), names))
    yield Observation("the ids that are kept", lambda: getattr(batches_of(ns), "tokens", "missing"))
    yield Observation("refuses four blocks for a batch of five", lambda: _refuses(ns, 44))
    yield Observation("refuses blocks whose last target is missing", lambda: _refuses(ns, 45))
    yield Observation("refuses just enough", lambda: _refuses(ns, 46))


def _refuses(ns: Namespace, length: int) -> bool:
    return refuses(lambda: batches_of(ns, length))


def probe_batches_order(ns: Namespace) -> Iterator[Observation]:
    def f(epoch: int = 0, **how: int) -> Any:
        batches = batches_of(ns, **how)
        batches.epoch = epoch
        return batches.order()

    def alone() -> bool:
        with seeded(5):
            before = torch.get_rng_state()
            f()
            return torch.equal(before, torch.get_rng_state())

    yield Observation("order in the first epoch", same_draws(f))
    yield Observation("order in the sixth epoch", same_draws(lambda: f(5)))
    yield Observation("order with another seed", same_draws(lambda: f(seed=5)))
    yield Observation("how many blocks 100 ids have", lambda: len(f()))
    yield Observation("how many blocks 99 ids have", lambda: len(f(length=99)))
    yield Observation("how many blocks 190 ids have", lambda: len(f(length=190)))
    yield Observation("torch's global generator left alone", alone)


def probe_next_batch(ns: Namespace) -> Iterator[Observation]:
    def drawn(number: int, length: int = 100) -> tuple[list[Any], list[list[int]]]:
        batches = batches_of(ns, length)
        given, places = [], []
        for _ in range(number):
            given.append(batches.next_batch())
            places.append([batches.epoch, batches.position])
        return given, places

    yield Observation("ids of the first batch", lambda: drawn(1)[0][0][0])
    yield Observation("targets of the first batch", lambda: drawn(1)[0][0][1])
    yield Observation("ids of the second batch", lambda: drawn(2)[0][1][0])
    yield Observation("ids of the next epoch", lambda: drawn(3)[0][2][0])
    yield Observation("epoch and position after each of five", lambda: drawn(5)[1])
    yield Observation("ids where an epoch is used up exactly", lambda: drawn(2, 91)[0][1][0])
    yield Observation("epoch and position where it is used up exactly", lambda: drawn(5, 91)[1])


def probe_batches_state(ns: Namespace) -> Iterator[Observation]:
    def state(*, go_on: bool = False) -> Any:
        batches = batches_of(ns)
        for _ in range(4):
            batches.next_batch()
        kept = batches.state_dict()
        if go_on:
            batches.next_batch()
        return kept

    yield Observation("state after four batches", state)
    yield Observation("state, when more batches follow", lambda: state(go_on=True))
    yield Observation("state at the beginning", lambda: batches_of(ns).state_dict())


def probe_batches_load(ns: Namespace) -> Iterator[Observation]:
    def loaded(before: int = 0) -> Any:
        batches = batches_of(ns)
        for _ in range(before):
            batches.next_batch()
        batches.load_state_dict({"epoch": 9, "position": 5})
        return batches

    yield Observation("epoch and position of a new object", lambda: place(loaded()))
    yield Observation("epoch and position of one that was used", lambda: place(loaded(3)))
    yield Observation("ids that come next", lambda: loaded().next_batch()[0])


def place(batches: Any) -> dict[str, Any]:
    return {"epoch": batches.epoch, "position": batches.position}


class Run:
    """A model with dropout, an optimiser with momentum and two groups, batches, settings."""

    def __init__(
        self, ns: Namespace, *, dropout: float = 0.5, weights: str = "", longer: float = 0.0
    ):
        self.ns, self.model = ns, toy(dropout)
        if longer:
            self.model.head.weight.register_hook(lambda gradient: longer * gradient)
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                if weights:
                    p.copy_(draw(f"{weights} {name}", *p.shape))
        first, *others = self.model.parameters()
        groups: list[dict[str, Any]] = [{"params": [first]}, {"params": others, "lr": 0.2}]
        self.optimizer = torch.optim.SGD(groups, lr=0.5, momentum=0.9)
        self.batches = batches_of(ns)
        self.settings = ns["Settings"](11, 5, 3, 0.2, LIMIT)

    def train(self, start: int, stop: int) -> list[Any]:
        parts = (self.model, self.optimizer, self.batches, self.settings)
        return self.ns["train"](*parts, start, stop)

    def step(self, micro_batches: Any = None, factor: float = 0.3, max_norm: float = LIMIT) -> Any:
        given = uneven() if micro_batches is None else micro_batches
        return self.ns["train_step"](self.model, self.optimizer, given, factor, max_norm)

    def checkpoint(self, step: int) -> Any:
        return self.ns["checkpoint"](self.model, self.optimizer, self.batches, step)

    def resume(self, state: Any) -> Any:
        return self.ns["resume"](state, self.model, self.optimizer, self.batches)


def probe_train_step(ns: Namespace) -> Iterator[Observation]:
    def moved(
        steps: int = 1, *, dropout: float = 0.0, mode: bool = True, longer: float = 0.0, **how: Any
    ) -> Run:
        run = Run(ns, dropout=dropout, longer=longer)
        run.model.train(mode)
        for _ in range(steps):
            run.step(**how)
        return run

    def broken(value: float) -> bool:
        """Do the weights stay where a gradient is not finite?"""
        run = Run(ns, dropout=0.0)
        run.model.head.weight.register_hook(lambda g: torch.full_like(g, value))
        before = values(run.model)
        before = {n: p.clone() for n, p in before.items()}
        run.step()
        return all(torch.equal(p, before[n]) for n, p in values(run.model).items())

    def rates() -> list[float]:
        return [group["lr"] for group in moved().optimizer.param_groups]

    yield Observation("weights after one step", lambda: values(moved().model))
    yield Observation("weights after five steps", lambda: values(moved(5).model))
    yield Observation("weights without clipping", lambda: values(moved(max_norm=1e6).model))
    yield Observation("weights after long gradients", lambda: values(moved(longer=99.0).model))
    yield Observation("weights at another rate", lambda: values(moved(factor=0.1).model))
    yield Observation("loss and norm", lambda: Run(ns, dropout=0.0).step())
    yield Observation(
        "weights with dropout, from evaluation mode",
        same_draws(lambda: values(moved(dropout=0.5, mode=False).model)),
    )
    yield Observation(
        "weights with dropout, from training mode",
        same_draws(lambda: values(moved(dropout=0.5).model)),
    )
    yield Observation("rates of the groups", rates)
    yield Observation("mode of the model afterwards", lambda: moved(mode=False).model.training)
    yield Observation("weights stay where a gradient is NaN", lambda: broken(NAN))
    yield Observation("weights stay where a gradient is infinite", lambda: broken(INF))


def probe_evaluate(ns: Namespace) -> Iterator[Observation]:
    def f(model: Toy, batches: Any = None) -> Any:
        return ns["evaluate"](model, uneven() if batches is None else batches)

    def mode(training: bool) -> list[bool]:
        model = toy(0.5)
        model.train(training)
        f(model)
        return [module.training for module in model.modules()]

    def graphs() -> list[bool]:
        model = toy()
        f(model)
        return model.graphs

    def grad_mode() -> bool:
        f(toy())
        return torch.is_grad_enabled()

    yield Observation("loss of equal batches", lambda: f(toy(), even()))
    yield Observation("loss of uneven batches", lambda: f(toy()))
    yield Observation("loss of an iterator of batches", lambda: f(toy(), iter(uneven())))
    yield Observation("loss of a model with dropout", same_draws(lambda: f(toy(0.5))))
    yield Observation("kind of what comes back", lambda: type(f(toy())).__name__)
    yield Observation("mode of a model in training, afterwards", lambda: mode(True))
    yield Observation("mode of a model in evaluation, afterwards", lambda: mode(False))
    yield Observation("is a graph kept in each forward pass", graphs)
    yield Observation("are gradients on afterwards", grad_mode)


def probe_checkpoint(ns: Namespace) -> Iterator[Observation]:
    def kept(what: str, *, go_on: bool) -> Any:
        run = Run(ns)
        run.train(0, 3)
        state = run.checkpoint(3)
        if go_on:
            run.train(3, 5)
        return [state[what]] if what in state else ["missing"]

    yield Observation("names in it", lambda: sorted(Run(ns).checkpoint(5)))
    for what in ("model", "optimizer", "batches", "random", "step"):
        now = partial(kept, what, go_on=False)
        later = partial(kept, what, go_on=True)
        yield Observation(f"kept under {what}", same_draws(now))
        yield Observation(f"kept under {what}, after training on", same_draws(later))


def probe_resume(ns: Namespace) -> Iterator[Observation]:
    def resumed() -> tuple[Run, Any, Any]:
        """A new run, brought to the third step of another; the step, and the state."""
        first = Run(ns)
        first.train(0, 3)
        state = first.checkpoint(3)
        torch.rand(5)
        second = Run(ns, weights="other")
        second.batches.next_batch()
        return second, second.resume(state), state

    def momentum() -> list[Any]:
        second, _, _ = resumed()
        states = second.optimizer.state_dict()["state"].values()
        return [s.get("momentum_buffer", "missing") for s in states]

    def twice() -> list[Any]:
        """Two different runs from one state: the first must not have changed it."""
        second, _, state = resumed()
        second.train(3, 5)
        third = Run(ns, weights="third")
        third.resume(state)
        return third.train(3, 5)

    yield Observation("the step", same_draws(lambda: resumed()[1]))
    yield Observation("weights", same_draws(lambda: values(resumed()[0].model)))
    yield Observation("momentum of the optimiser", same_draws(momentum))
    yield Observation("place in the data", same_draws(lambda: place(resumed()[0].batches)))
    yield Observation(
        "random numbers that follow", same_draws(lambda: (resumed(), torch.rand(9))[1])
    )
    yield Observation("losses that follow", same_draws(lambda: resumed()[0].train(3, 5)))
    yield Observation("losses that follow a second resume", same_draws(twice))


def probe_train(ns: Namespace) -> Iterator[Observation]:
    def run(*pieces: tuple[int, int], longer: float = 0.0) -> tuple[list[Any], Run]:
        one, losses = Run(ns, dropout=0.0, longer=longer), []
        for start, stop in pieces:
            losses += one.train(start, stop)
        return losses, one

    def rates(*pieces: tuple[int, int]) -> list[float]:
        return [group["lr"] for group in run(*pieces)[1].optimizer.param_groups]

    yield Observation("losses of nine steps", lambda: run((0, 9))[0])
    yield Observation("losses in two pieces", lambda: run((0, 5), (5, 9))[0])
    yield Observation("losses after long gradients", lambda: run((0, 5), longer=99.0)[0])
    yield Observation("weights after nine steps", lambda: values(run((0, 9))[1].model))
    yield Observation("rates after the first step", lambda: rates((0, 1)))
    yield Observation("rates after nine steps", lambda: rates((0, 9)))
    yield Observation("rates after two pieces", lambda: rates((0, 5), (5, 9)))
    yield Observation("place in the data", lambda: place(run((0, 5))[1].batches))
    yield Observation("how many losses", lambda: len(run((1, 5))[0]))


PROBES: dict[str, Probe] = {
    "Settings": probe_settings,
    "rate_factor": probe_rate_factor,
    "set_rates": probe_set_rates,
    "token_loss": probe_token_loss,
    "accumulate": probe_accumulate,
    "global_norm": probe_global_norm,
    "clip_gradients": probe_clip_gradients,
    "Batches.__init__": probe_batches_init,
    "Batches.order": probe_batches_order,
    "Batches.next_batch": probe_next_batch,
    "Batches.state_dict": probe_batches_state,
    "Batches.load_state_dict": probe_batches_load,
    "train_step": probe_train_step,
    "evaluate": probe_evaluate,
    "checkpoint": probe_checkpoint,
    "resume": probe_resume,
    "train": probe_train,
}
