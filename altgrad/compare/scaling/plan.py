"""From a ladder to rungs: each one's words, its size, its budget, and how often it reads the
text."""

import math
from dataclasses import dataclass, replace

from altgrad.compare.arm import Arm, Compose, compose_arms
from altgrad.compare.budget import flops_per_step, tokens_per_step
from altgrad.compare.comparison import settle_arms
from altgrad.compare.designs import Ladder
from altgrad.compare.question import Question
from altgrad.settings import require

LARGER = 10
"""Where no size is named, the forecast is for so many times the largest rung's parameters."""


@dataclass(frozen=True)
class Rung:
    """One size. parameters and flops (of a whole run) are the control's; folder is the name of the
    rung's own comparison."""

    name: str
    folder: str
    words: list[str]
    parameters: int
    steps: int
    tokens: int
    flops: float
    epochs: float

    def size(self, fit_over: str) -> float:
        return float(self.parameters if fit_over == "parameters" else self.flops)


@dataclass(frozen=True)
class Target:
    """The size that is forecast: what to call it, and how large it is."""

    name: str
    parameters: int
    flops: float

    def size(self, fit_over: str) -> float:
        return float(self.parameters if fit_over == "parameters" else self.flops)


def question_of(question: Question, name: str, words: list[str], folder: str) -> Question:
    """The ordinary comparison that a rung is."""
    return replace(
        question,
        question=f"{name}: {question.question}",
        name=folder,
        base=[*question.base, *words],
        design="one",
        ladder=Ladder(),
    )


def plan_rungs(question: Question, compose: Compose, folder: str, *, elsewhere: bool) -> list[Rung]:
    """Every rung of a complete question, smallest first.

    folder: name of the whole comparison's, after which the rungs' are named.

    Raises:
        ConfigError: a rung is not larger than the one before it, or reads the text too often.
    """
    ladder, rungs = question.ladder, list[Rung]()
    kept = _kept_words(question, compose)
    for name, own in ladder.words_of_rungs().items():
        place, words = f"{folder}-{name}", [*own, *kept]
        control = _control_of(question_of(question, name, words, place), compose, elsewhere)
        rung = _rung(name, place, words, control, ladder)
        _refuse_repetition(rung, control, ladder)
        require(
            not rungs or rung.size(ladder.fit_over) > rungs[-1].size(ladder.fit_over),
            f"the rung {name} is not larger than {rungs[-1].name if rungs else ''} in "
            f"{ladder.fit_over}; name the rungs smallest first.",
        )
        rungs.append(rung)
    return rungs


def plan_target(
    question: Question, compose: Compose, rungs: list[Rung], *, elsewhere: bool
) -> Target:
    """The size to forecast.

    Raises:
        ConfigError: it is no larger than the largest rung.
    """
    ladder, last = question.ladder, rungs[-1]
    if not ladder.forecast_to:
        name, parameters = f"{LARGER} x {last.name}", LARGER * last.parameters
        # Tokens grow with the parameters where the budget does: FLOPs then grow with their square.
        power = 2 if ladder.tokens_per_parameter else 1
        return Target(name, parameters, last.flops * LARGER**power)
    name = ladder.forecast_to
    words = [*ladder.words_of(name), *_kept_words(question, compose)]
    asked = question_of(question, name, words, last.folder)
    rung = _rung(name, "", [], _control_of(asked, compose, elsewhere), ladder)
    require(
        rung.size(ladder.fit_over) > last.size(ladder.fit_over),
        f"forecast_to={name} has {rung.size(ladder.fit_over):.3g} {ladder.fit_over}, no more than "
        f"the largest rung ({last.name}, {last.size(ladder.fit_over):.3g}); name a larger size.",
    )
    return Target(name, rung.parameters, rung.flops)


def _kept_words(question: Question, compose: Compose) -> list[str]:
    """What keeps the kind of attention when a size sets the heads: a preset that gives every query
    head a key head of its own (`n_kv_head` as large as `n_head`) says so for its own size alone.
    Fewer key heads are left as they are, or refused where they do not fit."""
    typed = [*question.base, *(w for own in question.arms.values() for w in own)]
    if not question.ladder.sizes or any(w.startswith("model.n_kv_head=") for w in typed):
        return []
    plain = replace(question, design="one", ladder=Ladder())
    models = [arm.config.model for arm in compose_arms(plain, compose)]
    return ["model.n_kv_head=null"] if all(m.n_kv_head == m.n_head for m in models) else []


def _control_of(question: Question, compose: Compose, elsewhere: bool) -> Arm:
    """Settled: its vocabulary and its tokens are known."""
    arms, _ = settle_arms(compose_arms(question, compose), elsewhere=elsewhere)
    return arms[0]


def _rung(name: str, folder: str, words: list[str], control: Arm, ladder: Ladder) -> Rung:
    parameters, per_step = parameters_of(control), flops_per_step(control.config)
    step = tokens_per_step(control.config)
    steps = control.config.max_steps
    if ladder.tokens_per_parameter is not None:
        steps = math.ceil(ladder.tokens_per_parameter * parameters / step)
    elif ladder.flops_per_run is not None:
        steps = round(ladder.flops_per_run / per_step)
        require(
            steps >= 1,
            f"rung {name}: a step costs {per_step:.3g} FLOPs, more than "
            f"flops_per_run={ladder.flops_per_run:g}; raise it.",
        )
    words = [*words, *([] if _equal_steps(ladder) else [f"max_steps={steps}"])]
    tokens = steps * step
    epochs = tokens / _train_tokens(control)
    return Rung(name, folder, words, parameters, steps, tokens, steps * per_step, epochs)


def _equal_steps(ladder: Ladder) -> bool:
    return ladder.tokens_per_parameter is None and ladder.flops_per_run is None


def parameters_of(arm: Arm) -> int:
    """Distinct parameters of an arm's network, embeddings included; counted without making
    weights."""
    import torch

    from altgrad.model import GPT

    with torch.device("meta"):
        return GPT(arm.config.model).num_parameters()


def _train_tokens(arm: Arm) -> int:
    from altgrad.data import load_metadata
    from altgrad.training.build import settle_data

    return load_metadata(settle_data(arm.config)).splits["train"].tokens


def _refuse_repetition(rung: Rung, control: Arm, ladder: Ladder) -> None:
    require(
        rung.epochs <= ladder.max_epochs,
        f"rung {rung.name} reads {rung.tokens:,} tokens, {rung.epochs:.1f} epochs of "
        f"{control.config.data.path or control.config.data.name}; at most max_epochs="
        f"{ladder.max_epochs:g}. Take a larger corpus (data=sotu, data=botocore_docs), a smaller "
        f"budget, or declare it: max_epochs={math.ceil(rung.epochs)}.",
    )
