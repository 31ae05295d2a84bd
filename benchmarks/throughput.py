"""Tokens per second and peak memory: altgrad against a plain loop, equal work.

    python benchmarks/throughput.py [--model readme|larger] [--dtype float32|bfloat16] [--steps 20]
                                    [--rounds 3]

The reference loop is written out below in the manner of nanoGPT: fused qkv, torch's attention,
GELU, LayerNorm, AdamW, autocast, clipping; once eager, once compiled by torch.compile. Loop and
altgrad train the same GPT-2-style model (same weights' shapes, batch, block, dtype and optimiser)
on the same random tokens, each in a process of its own, so that peak memory is its own; in turn,
`--rounds` times, of which the median counts, since a machine's speed changes. Every figure is over
the eager loop's tokens/s; `altgrad / loop, compiled` is over the compiled loop's.

`readme` is the CPU model of nanoGPT's README: 4 layers x 128, batch 12 x 64.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = {
    "readme": {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64},
    "larger": {"n_layer": 4, "n_head": 4, "n_embd": 256, "block_size": 256},
}
SIZES: dict[str, int] = {}
VOCABULARY, BATCH = 512, 12
WAYS = ("loop", "loop, compiled", "altgrad, eager", "altgrad")
FIGURES = ("tokens_per_s", "peak_mib")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=[*MODELS], action="append")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], action="append")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dtypes = arguments.dtype or ["float32", "bfloat16"]
    models = arguments.model or [*MODELS]
    if arguments.only:
        SIZES.update(MODELS[models[0]])
        measure = run_altgrad if arguments.only.startswith("altgrad") else run_reference
        rate = measure(dtypes[0], arguments.steps, compiled=arguments.only in WAYS[1::2])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"tokens_per_s": rate, "peak_mib": peak}))
        return
    for model in models:
        for dtype in dtypes:
            compare(model, dtype, arguments.steps, arguments.rounds)


def compare(model: str, dtype: str, steps: int, rounds: int) -> None:
    """Run all in turn, each in its own process, and print the medians and their ratios."""
    rows = [{way: run_apart(way, model, dtype, steps) for way in WAYS} for _ in range(rounds)]
    found = {way: {n: statistics.median(r[way][n] for r in rows) for n in FIGURES} for way in WAYS}
    loop, compiled = (found[way]["tokens_per_s"] for way in WAYS[:2])
    for way, row in found.items():
        rate, peak = row["tokens_per_s"], row["peak_mib"]
        line = f"{rate:>10,.0f} tokens/s {peak:>8,.0f} MiB peak {rate / loop:>6.2f} x"
        print(f"{model:<7} {dtype:>9}  {way:<15} {line}", flush=True)
    ratio = found["altgrad"]["tokens_per_s"] / compiled
    print(f"{model:<7} {dtype:>9}  altgrad / loop, compiled: {ratio:.2f} x", flush=True)


def run_apart(way: str, model: str, dtype: str, steps: int) -> dict[str, float]:
    words = ["--only", way, "--model", model, "--dtype", dtype, "--steps", str(steps)]
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def batches(steps: int):
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, SIZES["block_size"] + 1)
    for _ in range(steps):
        ids = torch.randint(VOCABULARY, shape, generator=generator)
        yield ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def rate_of(durations: list[float]) -> float:
    """From the median step, the first five left out: they compile and warm up."""
    return BATCH * SIZES["block_size"] / statistics.median(durations[5:])


def run_altgrad(dtype: str, steps: int, *, compiled: bool) -> float:
    """altgrad's own trainer."""
    import numpy as np
    import torch

    from altgrad.quantization import PrecisionConfig
    from altgrad.training import GPT, TrainConfig, Trainer

    compute = {"float32": "32-true", "bfloat16": "bf16-mixed"}[dtype]
    with tempfile.TemporaryDirectory() as folder:
        tokens = np.arange(20_000, dtype=np.uint16) % VOCABULARY
        for split in ("train", "val"):
            tokens.tofile(Path(folder) / f"{split}.bin")
        config = TrainConfig(
            **SIZES,
            vocab_size=VOCABULARY,
            batch_size=BATCH,
            learning_rate=1e-3,
            weight_decay=0.1,
            compile=compiled,
            device="cpu",
            precision=PrecisionConfig(compute=compute),
            run_dir=f"{folder}/run",
        )
        model = GPT(config.model, torch.Generator().manual_seed(1))
        trainer = Trainer(config, model, folder, "cpu")
        return rate_of([timed(trainer.train_step, x, y) for x, y in batches(steps)])


def timed(step, x, y) -> float:
    start = time.perf_counter()
    step(x, y)
    return time.perf_counter() - start


def run_reference(dtype: str, steps: int, *, compiled: bool) -> float:
    """The plain loop."""
    import torch
    from torch.nn import functional as F

    model = reference_model()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    forward = torch.compile(model) if compiled else model

    def step(x, y) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = forward(x)
            loss = F.cross_entropy(logits.view(-1, VOCABULARY), y.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return rate_of([timed(step, x, y) for x, y in batches(steps)])


def reference_model():
    """A GPT-2-style network in the plainest form."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    width, heads, block = SIZES["n_embd"], SIZES["n_head"], SIZES["block_size"]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            batch, length, _ = x.shape
            parts = self.qkv(self.norm_1(x)).split(width, dim=2)
            q, k, v = (p.view(batch, length, heads, -1).transpose(1, 2) for p in parts)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
            hidden = F.gelu(self.up(self.norm_2(x)), approximate="tanh")
            return x + self.down(hidden)

    class Reference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(block, width)
            self.blocks = nn.ModuleList(Block() for _ in range(SIZES["n_layer"]))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, VOCABULARY, bias=False)
            self.head.weight = self.tokens.weight
            self.apply(self.initialise)

        @staticmethod
        def initialise(module) -> None:
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

        def forward(self, idx):
            x = self.tokens(idx) + self.places(torch.arange(idx.shape[1]))
            for layer in self.blocks:
                x = layer(x)
            return self.head(self.norm(x))

    torch.manual_seed(1)
    return Reference()


if __name__ == "__main__":
    main()
