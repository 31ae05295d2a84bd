"""What a model expects after each token of a text, and what the same weights expect in another
precision: odds, the distance between the two, and where attention looks."""

import copy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from altgrad.data.special_tokens import prompt_ids
from altgrad.evaluate.run import arithmetic
from altgrad.model import GPT
from altgrad.model.backends import watched
from altgrad.quantization import PrecisionConfig, Recipe, apply_recipe, strip_recipe
from altgrad.training.loading import LoadedRun

MOST_TOKENS = 256
TOP = 8
"""Tokens whose odds are given for each position."""


def odds_under(
    run: LoadedRun, text: str, precision: PrecisionConfig, *, label: str
) -> dict[str, Any]:
    """The text read twice: as the run computes, and under `precision`.

    Returns plain values. `own` and `other`: `tokens` x TOP of [token's text, odds], `surprise` of
    the token that does follow (nats; None behind the last), `attention` layers x heads x T x T.
    `moved`: for each position the total variation distance between the two, 0 to 1.

    Raises:
        ValueError: no token, an unknown character, or a precision that cannot be had.
    """
    ids = prompt_ids(run.tokenizer, text)
    longest = min(MOST_TOKENS, run.config.model.block_size)
    cut = max(0, len(ids) - longest)
    ids = ids[cut:]
    own, own_seen = read(run.model, ids, run.config.precision)
    model = copy.deepcopy(run.model)
    strip_recipe(model)
    if precision.simulate:
        recipe = Recipe.of(replace(precision, native=False))
        apply_recipe(model, recipe, seed=run.config.seed)
    other, other_seen = read(model, ids, precision)
    moved = 0.5 * (own - other).abs().sum(-1)
    return {
        "step": run.step,
        "cut": cut,
        "tokens": [_text(run, i) for i in ids],
        "own": {"label": "as it was trained", **_facts(run, own, ids, own_seen)},
        "other": {"label": label, **_facts(run, other, ids, other_seen)},
        "moved": [round(v, 5) for v in moved.tolist()],
        "remarks": list(run.remarks),
    }


@torch.no_grad()
def read(
    model: GPT, ids: list[int], precision: PrecisionConfig
) -> tuple[Float[Tensor, "T V"], list[Tensor]]:
    """Odds of the next token at each position, and each layer's attention [H, T, T]."""
    seen: list[Tensor] = []
    device = next(model.parameters()).device
    x = torch.tensor([ids], dtype=torch.long, device=device)
    with watched(seen.append), arithmetic(precision.compute, device):
        logits, _ = model(x)
    known = logits[0].float()
    return known.softmax(-1).cpu(), [weights[0].float().cpu() for weights in seen]


def _facts(
    run: LoadedRun, odds: Float[Tensor, "T V"], ids: list[int], seen: list[Tensor]
) -> dict[str, Any]:
    known = odds[:, : run.tokenizer.vocab_size]
    best = known.topk(min(TOP, known.size(-1)), dim=-1)
    after = torch.tensor(ids[1:])
    surprise = -odds[:-1].gather(1, after[:, None]).log().squeeze(1) if len(ids) > 1 else after
    return {
        "odds": [
            [[_text(run, i), round(p, 5)] for i, p in zip(i_row, p_row, strict=True)]
            for i_row, p_row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
        "surprise": [*(round(v, 4) for v in surprise.tolist()), None],
        "attention": [[[_row(r) for r in head] for head in layer.tolist()] for layer in seen],
    }


def _row(weights: list[float]) -> list[float]:
    return [round(w, 3) for w in weights]


def _text(run: LoadedRun, token: int) -> str:
    return str(run.tokenizer.decode([token]))
