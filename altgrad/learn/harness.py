"""How a track's finished file is used: made, trained, sampled. One class per track."""

from typing import Any

import torch
from torch import Tensor

from altgrad.learn.probes.common import exact_tables

Sizes = dict[str, int]  # n_layer n_head n_kv_head n_embd length vocab_size
Namespace = dict[str, Any]


class Nanochat:
    """`GPT(config)`, `init_weights()`, `setup_optimizers()`; the model gives logits or a loss."""

    optimizers_unit = "GPT.setup_optimizers"

    def make(self, ns: Namespace, sizes: Sizes) -> Any:
        names = {"length": "sequence_len"}
        return ns["GPT"](ns["GPTConfig"](**{names.get(k, k): v for k, v in sizes.items()}))

    def initialise(self, model: Any) -> None:
        model.init_weights()

    def make_exact(self, model: Any, sizes: Sizes) -> Any:
        """In float64, with tables that are exact rather than bfloat16."""
        model = model.double()
        head_dim = sizes["n_embd"] // sizes["n_head"]
        model.cos, model.sin = exact_tables(10 * sizes["length"], head_dim)
        return model

    def optimizers(self, model: Any) -> list[Any]:
        return list(model.setup_optimizers())

    def loss(self, model: Any, idx: Tensor, targets: Tensor) -> Tensor:
        return model(idx, targets)

    def logits(self, model: Any, idx: Tensor) -> Tensor:
        return model(idx)

    def generate(self, model: Any, ids: list[int], count: int) -> list[int]:
        return list(model.generate(ids, count))

    def notes(self, model: Any) -> list[str]:
        return [f"{model.estimate_flops():,} FLOPs per token, on {model.get_device()}"]


class GPT2:
    """`GPT(config)` initialises itself; the model gives (logits, loss)."""

    optimizers_unit = "GPT.configure_optimizers"

    def make(self, ns: Namespace, sizes: Sizes) -> Any:
        names = {"length": "block_size"}
        own = {names.get(k, k): v for k, v in sizes.items() if k != "n_kv_head"}
        return ns["GPT"](ns["GPTConfig"](**own))

    def initialise(self, model: Any) -> None:
        model.init_weights()

    def make_exact(self, model: Any, sizes: Sizes) -> Any:
        return model.double()

    def optimizers(self, model: Any) -> list[Any]:
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99))
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return [optimizer]

    def loss(self, model: Any, idx: Tensor, targets: Tensor) -> Tensor:
        return model(idx, targets)[1]

    def logits(self, model: Any, idx: Tensor) -> Tensor:
        return model(idx)[0]

    def generate(self, model: Any, ids: list[int], count: int) -> list[int]:
        generator = torch.Generator().manual_seed(42)
        made = model.generate(torch.tensor([ids]), count, generator=generator)
        return made[0, len(ids) :].tolist()

    def notes(self, model: Any) -> list[str]:
        return [f"{model.estimate_flops():,} FLOPs per token"]


HARNESSES: dict[str, type] = {"nanochat": Nanochat, "gpt2": GPT2}


def harness_of(track_name: str) -> Any:
    return HARNESSES[track_name]()
