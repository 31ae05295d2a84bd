"""The loss over the validation split, or its first tokens: it draws no random number."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from altgrad.data import Metadata, evaluation_batches, load_tokenizer, load_tokens
from altgrad.data.config import cache_root
from altgrad.optim import WeightAverage
from altgrad.runs import Metrics
from altgrad.training.config import TrainConfig
from altgrad.training.metrics import bits_per_byte, compute_perplexity


def part_bytes(
    folder: Path, metadata: Metadata, config: TrainConfig, limit: int | None
) -> int | None:
    """UTF-8 bytes of the validation text that `limit` predicted tokens stand for; None = all.

    Not known (None) of a tokenizer that loses text, or that the folder does not name. The first
    token is no prediction, as of the whole split, whose bytes count it all the same.
    """
    whole = metadata.text_bytes("val")
    if limit is None or whole is None or metadata.tokenizer is None:
        return whole if limit is None else None
    tokenizer = load_tokenizer(folder, cache=cache_root(config.data))
    ids, counts = np.unique(load_tokens(folder, "val")[: limit + 1], return_counts=True)
    pairs = zip(ids.tolist(), counts.tolist(), strict=True)
    end = tokenizer.end_of_text
    return sum(n * len(tokenizer.token_bytes(i)) for i, n in pairs if i != end) or None


class Evaluator:
    """Evaluates `network(x, y) -> (logits, loss)` on `tokens`.

    Args:
        limit: predict so many tokens, the first; None = all of `tokens`.
        text_bytes: UTF-8 bytes of the text that so many predicted tokens are of, asked once; None
            where they are not known.
        average: evaluate with these averaged weights instead of the network's own.
        one_graph: run the graph that was compiled for training. Without gradients torch.compile
            would make a second one, which takes many times longer than an evaluation.
    """

    def __init__(
        self,
        network: nn.Module,
        tokens: np.ndarray,
        *,
        block_size: int,
        batch_size: int,
        device: torch.device,
        text_bytes: Callable[[int | None], int | None],
        limit: int | None = None,
        average: WeightAverage | None = None,
        one_graph: bool = False,
    ) -> None:
        self.limit = limit if limit is not None and limit < len(tokens) - 1 else None
        self.network = network
        self.tokens = tokens if self.limit is None else tokens[: self.limit + 1]
        self.text_bytes = text_bytes
        self.block_size, self.batch_size = block_size, batch_size
        self.device, self.average = device, average
        self.one_graph = one_graph

    def loss(self) -> float:
        """Mean loss in nats per token; every token but the first is predicted once."""
        was_training = self.network.training
        self.network.eval()
        averaged = self.average.swapped() if self.average is not None else nullcontext()
        try:
            with torch.set_grad_enabled(self.one_graph), averaged:
                return self._mean_loss()
        finally:
            self.network.train(was_training)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return evaluation_batches(self.tokens, self.block_size, batch_size=self.batch_size)

    def _mean_loss(self) -> float:
        """Every process sees every batch: the sum is the same however many processes there are."""
        losses, counts = [], []
        for x, y in self._batches():
            loss = self._loss_of(x.to(self.device), y.to(self.device)).detach()
            losses.append(loss.double().cpu() if self.device.type == "cpu" else loss.double())
            counts.append(int((y != -1).sum()))
        weights = torch.tensor(counts, dtype=torch.double)
        return float((torch.stack(losses).cpu() * weights).sum() / weights.sum())

    @cached_property
    def _n_bytes(self) -> int | None:
        return self.text_bytes(self.limit)

    def _loss_of(self, x: Tensor, y: Tensor) -> Tensor:
        _, loss = self.network(x, y)
        return loss

    def metrics(self) -> Metrics:
        """`val_loss`, `val_perplexity`, `val_bits_per_byte` where bytes are known, `eval_s`."""
        start = time.perf_counter()
        val_loss = self.loss()
        metrics = {"val_loss": val_loss, "val_perplexity": compute_perplexity(val_loss)}
        if n_bytes := self._n_bytes:
            how = {"predicted": len(self.tokens) - 1, "n_bytes": n_bytes}
            metrics["val_bits_per_byte"] = bits_per_byte(val_loss, **how)
        metrics["eval_s"] = time.perf_counter() - start
        return metrics


def loss_of_logits(network: nn.Module, x: Tensor, y: Tensor, *, reduction: str = "mean") -> Tensor:
    """The loss computed here, from logits that were given without the targets having been shown:
    whatever a network says its loss is.

    x, y: `(B, T)` token ids, -1 in `y` is left out.
    """
    logits, _ = network(x)
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    targets = y.flatten().long()
    return functional.cross_entropy(
        logits.flatten(0, 1), targets, ignore_index=-1, reduction=reduction
    )


def judge_by_logits() -> None:
    """From now on, in this process, evaluations take `loss_of_logits`."""

    def loss_of(self: Evaluator, x: Tensor, y: Tensor) -> Tensor:
        return loss_of_logits(self.network, x, y)

    Evaluator._loss_of = loss_of  # type: ignore[method-assign]
