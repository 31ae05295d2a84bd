"""The loss over the whole validation split: deterministic, draws no random number."""

import time
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from altgrad.data import Metadata, evaluation_batches
from altgrad.optim import WeightAverage
from altgrad.runs import Metrics
from altgrad.training.metrics import bits_per_byte, compute_perplexity


class Evaluator:
    """Evaluates `network(x, y) -> (logits, loss)` on `tokens`.

    Args:
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
        metadata: Metadata,
        average: WeightAverage | None = None,
        one_graph: bool = False,
    ) -> None:
        self.network, self.tokens = network, tokens
        self.block_size, self.batch_size = block_size, batch_size
        self.device, self.metadata, self.average = device, metadata, average
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

    def _loss_of(self, x: Tensor, y: Tensor) -> Tensor:
        _, loss = self.network(x, y)
        return loss

    def metrics(self) -> Metrics:
        """`val_loss`, `val_perplexity`, `val_bits_per_byte` where bytes are known, `eval_s`."""
        start = time.perf_counter()
        val_loss = self.loss()
        metrics = {"val_loss": val_loss, "val_perplexity": compute_perplexity(val_loss)}
        if n_bytes := self.metadata.text_bytes("val"):
            how = {"predicted": len(self.tokens) - 1, "n_bytes": n_bytes}
            metrics["val_bits_per_byte"] = bits_per_byte(val_loss, **how)
        metrics["eval_s"] = time.perf_counter() - start
        return metrics


def judge_by_logits() -> None:
    """From now on, in this process: whatever a network says its loss is, the loss that is judged is
    computed here, from logits that it gave without having been shown the targets."""

    def loss_of(self: Evaluator, x: Tensor, y: Tensor) -> Tensor:
        logits, _ = self.network(x)
        logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
        return functional.cross_entropy(logits.flatten(0, 1), y.flatten().long(), ignore_index=-1)

    Evaluator._loss_of = loss_of  # type: ignore[method-assign]
