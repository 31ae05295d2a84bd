"""What LoRA is for: a small GPT learns another text with few numbers; and beside peft."""

import copy
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from altgrad.learn.endings.common import batches, loss_of, mark, small_gpt, train
from altgrad.learn.probes.common import draw
from altgrad.learn.probes.training import seeded

NAMES = ("c_q", "c_v", "c_fc", "c_proj")
RANK, ALPHA, STEPS = 4, 8.0, 20
LIMIT = 1e-5  # float32: peft multiplies in another order
OTHER = Path(__file__).parents[1] / "lessons" / "nanochat.toml"


def run(ns: dict[str, Any], flow: Any) -> None:
    """A base is trained; then only A and B learn another text; then they are merged."""
    flow.stage("a base, trained as a whole")
    base = small_gpt()
    losses = train(base, [torch.optim.AdamW(base.parameters(), lr=3e-3)], 40)
    flow.note(f"loss {losses[0]:.4f} at step 0, {losses[-1]:.4f} at step {len(losses) - 1}")
    other = list(batches(40, seed=1, text=OTHER))
    before = _mean_loss(base, other[:4])
    flow.stage("LoRA beside it")
    model = _adapted(ns, copy.deepcopy(base))
    flow.note(f"{ns['trainable_share'](model):.1%} of the parameters train")
    flow.note(
        f"loss on another text {before:.4f}, with LoRA at first {_mean_loss(model, other[:4]):.4f}"
    )
    flow.stage("training A and B")
    optimizer = torch.optim.AdamW(ns["lora_parameters"](model), lr=1e-2, weight_decay=0.0)
    for pair in other:
        _step(model, optimizer, pair)
    after = _mean_loss(model, other[:4])
    flow.note(f"loss on another text {after:.4f}")
    flow.stage("what is saved")
    state = ns["lora_state_dict"](model)
    kept, whole = (sum(t.numel() for t in d.values()) for d in (state, base.state_dict()))
    again = _adapted(ns, copy.deepcopy(base))
    ns["load_lora"](again, state)
    flow.note(
        f"{kept:,} numbers beside {whole:,}; loss when loaded {_mean_loss(again, other[:4]):.4f}"
    )
    flow.stage("merged")
    plain = ns["merge_all"](model)
    flow.note(f"loss of a plain model {_mean_loss(plain, other[:4]):.4f}")


def _adapted(ns: dict[str, Any], model: Any) -> Any:
    with seeded():
        return ns["add_lora"](model, NAMES, RANK, ALPHA)


@torch.no_grad()
def _mean_loss(model: Any, pairs: list[tuple[Tensor, Tensor]]) -> float:
    return sum(loss_of(model, *pair).item() for pair in pairs) / len(pairs)


def _step(model: Any, optimizer: Any, pair: tuple[Tensor, Tensor]) -> float:
    loss = loss_of(model, *pair)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def beside(ns: dict[str, Any]) -> Iterator[str | bool]:
    """The equation in float64; then peft, from the same A and B, where it is installed."""
    checks = [("a layer beside W x + (alpha/rank) B A x in float64", _equation(ns), 1e-12)]
    if find_spec("peft") is None:
        yield "peft is not installed (pip install 'altgrad[lora]'): only the equation is asked"
    else:
        checks += [(what, error, LIMIT) for what, error in _beside_peft(ns)]
    for what, error, limit in checks:
        yield f"{mark(error <= limit)} {what}: {error:.1e} apart"
    yield all(error <= limit for _, error, limit in checks)


def _equation(ns: dict[str, Any]) -> float:
    base = torch.nn.Linear(48, 16).double()
    with seeded():
        layer = ns["LoRALinear"](base, 4, 12.0)
    x, b = draw("x", 11, 48), draw("B", 16, 4)
    with torch.no_grad():
        layer.B.copy_(b)
        wanted = x @ base.weight.T + base.bias + 12.0 / 4 * (x @ layer.A.T @ b.T)
        first = (layer(x) - wanted).abs().max().item()
        layer.merge()
        return max(first, (layer(x) - wanted).abs().max().item())


def _beside_peft(ns: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Twenty steps of AdamW on both from the same start, then both merged."""
    from altgrad.training.adapters import adapt, merge
    from altgrad.training.finetune import FinetuneConfig

    config = FinetuneConfig(name="lora", r=RANK, alpha=ALPHA, targets=list(NAMES))
    theirs = adapt(small_gpt(), config, seed=0)
    mine = _adapted(ns, small_gpt())
    known = {n: p for n, p in theirs.named_parameters() if ".lora_" in n}
    own = ns["lora_parameters"](mine)
    if [p.shape for p in own] != [p.shape for p in known.values()]:
        yield "the shapes of A and B beside peft's", float("inf")
        return
    with torch.no_grad():
        for p, q in zip(own, known.values(), strict=True):
            p.copy_(q)
    optimizers = [torch.optim.AdamW(list(ps), lr=1e-2) for ps in (own, known.values())]
    worst = 0.0
    for pair in batches(STEPS, seed=1):
        a, b = (_step(m, o, pair) for m, o in zip((mine, theirs), optimizers, strict=True))
        worst = max(worst, abs(a - b))
    yield f"losses of {STEPS} steps beside peft", worst
    weights = dict(ns["merge_all"](mine).named_parameters())
    merged = dict(merge(theirs).named_parameters())
    if weights.keys() != merged.keys():
        yield "the names of the merged weights beside peft's", float("inf")
        return
    errors = [(weights[n] - merged[n]).abs().max().item() for n in merged]
    yield "merged weights beside peft's", max(errors)
