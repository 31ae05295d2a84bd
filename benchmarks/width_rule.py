"""Does the best rate stand still over widths, and do activations, with `optim.width_rule`?

    python benchmarks/width_rule.py [--picture docs/figures/width_rule.png]

Two blocks of 32, 64 and 128 on Tiny Shakespeare (characters), 150 steps of 256 tokens, rates in
factors of two around those of the base (width 32): validation loss for every rate, with the rule
and without. Beside it the coordinate check: sizes of activations after the steps, at one rate.
Printed: the tables of docs/evidence/width-rule.md.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch

from altgrad.data import load_tokens
from altgrad.model import GPT, GPTConfig
from altgrad.optim import OptimConfig, build_optimizer
from altgrad.training.build import settle_data
from altgrad.training.config import TrainConfig
from altgrad.training.unread_settings import settle_width_rule

WIDTHS, BASE, HEAD = (32, 64, 128), 32, 16
STEPS, BATCH, BLOCK = 150, 4, 64
DOUBLINGS = range(-3, 4)
ARMS = {
    "adamw": {"name": "adamw", "lr": 0.004},
    "muon": {"name": "muon", "muon_scale": "match_rms_adamw", "lr": 0.024},
}
"""Rates about where the base's best lies. Muon's matched scale is the one that the rule
corrects."""


def config_of(arm: str, width: int, doublings: int, *, ruled: bool) -> TrainConfig:
    optim = dict(ARMS[arm])
    optim["lr"] *= 2.0**doublings
    if ruled:
        optim |= {"width_rule": "mup", "base_width": BASE}
    model = GPTConfig(n_layer=2, n_embd=width, n_head=width // HEAD, block_size=BLOCK, bias=False)
    config = TrainConfig(model=model, optim=OptimConfig(**optim), device="cpu")
    config.data.name, config.data.tokenizer = "shakespeare", "char"
    config.seed = 1
    settle_width_rule(config)
    return config


def train(config: TrainConfig) -> tuple[float, dict[str, float]]:
    """Validation loss after the steps (nan if it diverged), and sizes of activations."""
    folder = settle_data(config)
    tokens = torch.from_numpy(np.asarray(load_tokens(folder, "train"), dtype=np.int64))
    held = torch.from_numpy(np.asarray(load_tokens(folder, "val"), dtype=np.int64))
    model = GPT(config.model)
    optimizer = build_optimizer(model, config.optim)
    rates = [group["lr"] for group in optimizer.param_groups]
    draw = torch.Generator().manual_seed(5)
    x, y = batch(held, torch.Generator().manual_seed(6), 64)
    start = model(x)[0].detach()
    for step in range(STEPS):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 6, (STEPS - step) / 24)
        optimizer.zero_grad()
        model(*batch(tokens, draw, BATCH))[1].backward()
        optimizer.step()
    return measure(model, x, y, start)


def batch(tokens: torch.Tensor, draw: torch.Generator, rows: int) -> tuple[torch.Tensor, ...]:
    starts = torch.randint(len(tokens) - BLOCK - 1, (rows,), generator=draw)
    whole = torch.stack([tokens[i : i + BLOCK + 1] for i in starts.tolist()])
    return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()


@torch.no_grad()
def measure(
    model: GPT, x: torch.Tensor, y: torch.Tensor, start: torch.Tensor
) -> tuple[float, dict[str, float]]:
    seen: dict[str, torch.Tensor] = {}
    last = model.transformer.h[-1]
    last.register_forward_hook(lambda m, i, o: seen.update({"stream": o}))
    last.mlp.register_forward_hook(lambda m, i, o: seen.update({"mlp's output": o}))
    logits, loss = model(x, y)
    seen["logits, moved"] = logits - start
    return float(loss), {name: float(t.abs().mean()) for name, t in seen.items()}


def sweep(arm: str, *, ruled: bool) -> dict[int, list[float]]:
    """Width -> loss at each rate."""
    return {
        width: [train(config_of(arm, width, k, ruled=ruled))[0] for k in DOUBLINGS]
        for width in WIDTHS
    }


def optimum(losses: list[float]) -> float:
    """Doublings of the base's rate at which a parabola through the three best is lowest."""
    best = int(np.nanargmin(losses))
    if best in (0, len(losses) - 1):
        return float(DOUBLINGS[best])
    a, b, c = losses[best - 1 : best + 2]
    return DOUBLINGS[best] + 0.5 * (a - c) / (a - 2 * b + c)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, help="where to draw the curves (PNG)")
    picture = parser.parse_args(words).picture
    torch.set_num_threads(1)
    curves, sizes = {}, {}
    print("| optimiser | rule |" + "".join(f" {w} |" for w in WIDTHS) + " drift per doubling |")
    print("|" + " --- |" * (len(WIDTHS) + 3))
    for arm in ARMS:
        for ruled in (False, True):
            found = curves[arm, ruled] = sweep(arm, ruled=ruled)
            best = [optimum(found[w]) for w in WIDTHS]
            drift = np.polyfit(np.log2(WIDTHS), best, 1)[0]
            cells = "".join(
                f" {b:+.1f} ({min(found[w]):.3f}) |" for b, w in zip(best, WIDTHS, strict=True)
            )
            print(f"| {arm} | {'mup' if ruled else 'none'} |{cells} {drift:+.2f} |", flush=True)
            sizes[arm, ruled] = [train(config_of(arm, w, 0, ruled=ruled))[1] for w in WIDTHS]
    print_slopes(sizes)
    if picture:
        draw(curves, sizes, picture)


def print_slopes(sizes: dict[tuple[str, bool], list[dict[str, float]]]) -> None:
    """Of the sizes of activations over width, at the base's rate."""
    names = list(next(iter(sizes.values()))[0])
    print("\n| optimiser | rule |" + "".join(f" {n} |" for n in names))
    print("|" + " --- |" * (len(names) + 2))
    for (arm, ruled), rows in sizes.items():
        slopes = [np.polyfit(np.log2(WIDTHS), [math.log2(r[n]) for r in rows], 1)[0] for n in names]
        cells = "".join(f" {s:+.2f} |" for s in slopes)
        print(f"| {arm} | {'mup' if ruled else 'none'} |{cells}")


def draw(curves: dict, sizes: dict, picture: Path) -> None:
    """Loss over rate without and with the rule, and activations over width."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(ARMS), 3, figsize=(11, 6.2), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, len(WIDTHS)))
    for row, arm in zip(axes, ARMS, strict=True):
        low = min(min(v) for r in (False, True) for v in curves[arm, r].values())
        for panel, ruled in zip(row, (False, True), strict=False):
            rates = [ARMS[arm]["lr"] * 2.0**k for k in DOUBLINGS]
            for width, colour in zip(WIDTHS, colours, strict=True):
                losses = curves[arm, ruled][width]
                panel.plot(rates, losses, color=colour, marker="o", ms=3, label=f"width {width}")
                at = ARMS[arm]["lr"] * 2.0 ** optimum(losses)
                panel.plot([at], [min(losses)], marker="v", ms=9, color=colour)
            panel.set(xscale="log", ylim=(low - 0.05, low + 0.9), xlabel="optim.lr")
            panel.set(
                ylabel="validation loss", title=f"{arm}, width_rule={'mup' if ruled else 'null'}"
            )
        row[0].legend(fontsize=8)
        for ruled, style in ((False, ":"), (True, "-")):
            for name, colour in zip(sizes[arm, ruled][0], ("C0", "C1", "C2"), strict=True):
                values = [s[name] for s in sizes[arm, ruled]]
                label = f"{name}, {'mup' if ruled else 'null'}"
                row[2].plot(WIDTHS, values, style, color=colour, marker="o", ms=3, label=label)
        row[2].set(xscale="log", yscale="log", xlabel="width", ylabel="mean |x|")
        row[2].set(title=f"{arm}: activations after {STEPS} steps")
        row[2].set_xticks(WIDTHS, [str(w) for w in WIDTHS])
        row[2].minorticks_off()
        row[2].legend(fontsize=7)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1:])
