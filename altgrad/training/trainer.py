"""One run: step after step, evaluation, samples, checkpoints, and a clean stop.

A batch becomes a number in this order: tokens on disk -> `BatchSource` -> `TrainingStep` (forward,
backward, guard, optimiser) -> one `log(step, metrics)` to every tracker.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from altgrad.data import BatchSource, evaluation_batches, load_metadata, load_tokens, split_hashes
from altgrad.optim import WeightAverage, build_optimizer, build_schedule
from altgrad.training import sharding
from altgrad.training.checkpoint import CheckpointManager, find_checkpoint, load_checkpoint
from altgrad.training.config import TrainConfig
from altgrad.training.fabric import make_fabric, pick_device
from altgrad.training.guards import Finding, NonFiniteGuard
from altgrad.training.interrupt import StopSignal
from altgrad.training.metrics import (
    bits_per_byte,
    compute_perplexity,
    model_flops_utilisation,
    peak_flops,
)
from altgrad.training.randomness import global_state, restore_global_state, seed_dropout
from altgrad.training.recorder import Recorder
from altgrad.training.step import StepOutcome, TrainingStep

Metrics = dict[str, float]


class Trainer:
    """Trains one model on one prepared corpus.

    Args:
        config: all settings of the run.
        model: `model(idx, targets) -> (logits, loss)`, on any device; it is moved and, if
            `config.compile`, compiled.
        data_dir: folder with `train.bin` and `val.bin`, as `altgrad.data.prepare` makes it.
        device: `auto`, `cpu`, `cuda`, …; wins over `config.device`.
        fabric: a launched Fabric, for runs over several processes.
        recorder: writes the run folder; by default a new one, made at the first `train()`.
        sampler: `sampler(step) -> text`, called at each evaluation.

    Attributes:
        model: the network itself, without wrappers. optimizer: its optimiser.
        scaler: the gradient scaler of `16-mixed`, else None.
        step: optimiser steps taken. best_val_loss: lowest validation loss so far.
        checkpoint_manager, shadow, config.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: nn.Module,
        data_dir: str | Path,
        device: str | None = None,
        *,
        fabric: Fabric | None = None,
        recorder: Recorder | None = None,
        sampler: Callable[[int], str] | None = None,
    ) -> None:
        self.config, self.model, self.data_dir = config, model, Path(data_dir)
        self.fabric = fabric or _launched(make_fabric(config, pick_device(device or config.device)))
        self.device = self.fabric.device
        self.recorder = recorder or Recorder(config, enabled=self.fabric.is_global_zero)
        self.sampler = sampler
        self.checkpoint_manager = CheckpointManager(
            self.recorder.checkpoint_dir, config.max_checkpoints
        )
        self.anomalies = CheckpointManager(self.checkpoint_manager.directory / "anomalies", 5)
        seed_dropout(config.seed, self.fabric.global_rank)
        self._set_up_network()
        self._set_up_data()
        self.step = 0
        self.best_val_loss = math.inf
        self.train_s = 0.0
        self.shadow = None

    def _set_up_network(self) -> None:
        compiled = torch.compile(self.model) if self.config.compile else self.model
        self._network = self.fabric.setup_module(compiled)
        self.optimizer = build_optimizer(self.model, self.config.optim)
        self._fabric_optimizer = self.fabric.setup_optimizers(self.optimizer)
        self.scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        self.schedule = build_schedule(self.config.schedule, self.config.max_steps)
        decay = self.config.optim.ema_decay
        self.average = WeightAverage(self.model, decay) if decay else None
        self.guard = NonFiniteGuard(self.config.guards.nan_patience)
        self._take_step = TrainingStep(
            self.fabric,
            self._network,
            self._fabric_optimizer,
            accumulation=self.config.accumulation,
            grad_clip=self.config.optim.grad_clip,
            judge=self._judge,
        )

    def _set_up_data(self) -> None:
        block, batch = self.config.model.block_size, self.config.data.batch_size
        self.val_tokens = load_tokens(self.data_dir, "val")
        self.batches = BatchSource(
            load_tokens(self.data_dir, "train"),
            block,
            batch_size=batch,
            seed=self.config.seed,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        self.metadata = load_metadata(self.data_dir)

    # -- one step -------------------------------------------------------------------------------

    def train_step(self, x: Tensor, y: Tensor) -> Metrics:
        """One optimiser step on `x`, `y` (each `(accumulation·B, T)` token ids).

        Returns:
            `loss`, `perplexity`, `grad_norm` (before clipping), `lr`, `skipped` (1.0 if the guard
            left the weights alone), as numbers.
        """
        scale = self.schedule(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * scale
        outcome = self._take_step(x.to(self.device), y.to(self.device))
        if self.average is not None and outcome.finding.action == "continue":
            self.average.update()
        self.step += 1
        self._last_outcome = outcome
        return self._step_metrics(outcome)

    def _step_metrics(self, outcome: StepOutcome) -> Metrics:
        return {
            "loss": outcome.loss,
            "perplexity": compute_perplexity(outcome.loss),
            "grad_norm": outcome.grad_norm,
            "lr": self.optimizer.param_groups[0]["lr"],
            "skipped": float(outcome.finding.action != "continue"),
        }

    def _judge(self, loss: float, grad_norm: float) -> Finding:
        """A gradient scaler finds its scale by overflowing: that alone is no finding."""
        if self.scaler is not None and math.isfinite(loss):
            grad_norm = 0.0
        return self.guard.judge(loss, grad_norm)

    # -- evaluation -----------------------------------------------------------------------------

    def eval_step(self) -> float:
        """Mean loss (nats per token) over the whole validation split; draws no random number.

        With `optim.ema_decay` it is the loss of the averaged weights.
        """
        was_training = self._network.training
        self._network.eval()
        averaged = self.average.swapped() if self.average is not None else nullcontext()
        try:
            with torch.no_grad(), averaged:
                return self._mean_loss(self._validation_batches())
        finally:
            self._network.train(was_training)

    def _validation_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        block, batch = self.config.model.block_size, self.config.data.batch_size
        return evaluation_batches(self.val_tokens, block, batch_size=batch)

    def _mean_loss(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        """Every process sees every batch: the sum is the same however many processes there are."""
        losses, counts = [], []
        for x, y in batches:
            _, loss = self._network(x.to(self.device), y.to(self.device))
            losses.append(loss.double().cpu() if self.device.type == "cpu" else loss.double())
            counts.append(int((y != -1).sum()))
        weights = torch.tensor(counts, dtype=torch.double)
        return float((torch.stack(losses).cpu() * weights).sum() / weights.sum())

    def _evaluate(self) -> Metrics:
        start = time.perf_counter()
        val_loss = self.eval_step()
        metrics = {"val_loss": val_loss, "val_perplexity": compute_perplexity(val_loss)}
        if bytes_per_token := self.metadata.bytes_per_token("val"):
            metrics["val_bits_per_byte"] = bits_per_byte(val_loss, bytes_per_token)
        metrics["eval_s"] = time.perf_counter() - start
        return metrics

    # -- the run --------------------------------------------------------------------------------

    def train(self, max_steps: int | None = None) -> dict[str, Any]:
        """Train until `max_steps` optimiser steps (default: the setting) have been taken.

        Ctrl-C and SIGTERM finish the step at hand, save, and return; a second Ctrl-C stops at once.

        Returns:
            `status` (`finished`, `interrupted` or `diverged`), `step`, `best_val_loss`, `val_loss`,
            `run_dir`, `train_s`, `compile_s`.
        """
        end = self.config.max_steps if max_steps is None else max_steps
        self.recorder.open(self._data_facts(), self._facts())
        status, self._result = "failed", {"val_loss": math.nan, "compile_s": 0.0}
        try:
            with StopSignal() as stop:
                status = self._loop(end, stop)
            self._save_if_new()
        finally:
            self.recorder.close(status, step=self.step, best_val_loss=self.best_val_loss)
        return self._summary(status)

    def _loop(self, end: int, stop: StopSignal) -> str:
        first = True
        while self.step < end:
            metrics = self._timed_step(first)
            first = False
            finding = self._last_outcome.finding
            if finding.reason:
                self._report(finding, metrics)
            if self._due(self.config.eval_interval, end):
                self._evaluate_into(metrics)
            self._log_if_due(metrics, end)
            if finding.action == "stop":
                return "diverged"
            if self._improved(metrics) or self._due(self.config.checkpoint_interval, end):
                self._save(metrics.get("val_loss", math.inf))
            if stop.requested:
                return "interrupted" if self.step < end else "finished"
        return "finished"

    def _timed_step(self, first: bool) -> Metrics:
        """One step with its duration. A first step that compiles is timed apart."""
        start = time.perf_counter()
        self._batch = x, y = self._next_batch()
        metrics = self.train_step(x, y)
        seconds = time.perf_counter() - start
        if first and self.config.compile:
            self._result["compile_s"] = seconds
            return {**metrics, "compile_s": seconds, "train_s": self.train_s}
        self.train_s += seconds
        return {**metrics, **self._speed(x.numel(), seconds), "train_s": self.train_s}

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        """`accumulation` micro-batches, one below the other."""
        pieces = [self.batches.next_batch() for _ in range(self.config.accumulation)]
        return torch.cat([x for x, _ in pieces]), torch.cat([y for _, y in pieces])

    def _speed(self, tokens: int, seconds: float) -> Metrics:
        rate = tokens * self.fabric.world_size / seconds
        speed = {"step_ms": seconds * 1e3, "tokens_per_s": rate}
        peak = self._peak_flops()
        if peak and hasattr(self.model, "estimate_flops"):
            flops = self.model.estimate_flops()
            speed["mfu"] = model_flops_utilisation(rate, flops, peak * self.fabric.world_size)
        return speed

    def _peak_flops(self) -> float | None:
        if self.device.type != "cuda":
            return None
        return peak_flops(torch.cuda.get_device_name(self.device))

    def _due(self, interval: int, end: int) -> bool:
        """Whether this step is one of every `interval`, or the last (if the interval is on)."""
        return interval > 0 and (self.step % interval == 0 or self.step >= end)

    def _evaluate_into(self, metrics: Metrics) -> None:
        metrics.update(self._evaluate())
        self._result["val_loss"] = metrics["val_loss"]
        sample = self.sampler(self.step) if self.sampler and self.config.sample_tokens else ""
        self.recorder.evaluated(self.step, metrics, sample)

    def _log_if_due(self, metrics: Metrics, end: int) -> None:
        self.recorder.progress(self.step, end, metrics)
        if self._due(self.config.log_interval, end) or "val_loss" in metrics:
            self.recorder.log(self.step, metrics)

    def _improved(self, metrics: Metrics) -> bool:
        if metrics.get("val_loss", math.inf) < self.best_val_loss:
            self.best_val_loss = metrics["val_loss"]
            return True
        return False

    def _report(self, finding: Finding, metrics: Metrics) -> None:
        """The first of a series of bad steps is kept, with the batch that caused it."""
        self.recorder.alert(self.step, finding)
        if finding.first:
            self._save_anomaly(metrics)

    def _data_facts(self) -> dict[str, Any]:
        """What `data.json` says: the folder of tokens and its description."""
        described = dataclasses.asdict(self.metadata)
        return {
            "data_dir": str(self.data_dir),
            **described,
            "sha256": split_hashes(self.data_dir),
        }

    def _facts(self) -> dict[str, Any]:
        """What a person wants to know before a run starts."""
        config = self.config
        processes = f" x {self.fabric.world_size} {config.strategy}" if config.devices > 1 else ""
        per_step = config.data.batch_size * config.accumulation * self.fabric.world_size
        return {
            "model": f"{config.model.n_layer} layers x {config.model.n_embd}, "
            f"{sum(p.numel() for p in self.model.parameters()):,} parameters",
            "data": f"{self.metadata.corpus}, {self.metadata.splits['train'].tokens:,} tokens "
            f"to learn from, {len(self.val_tokens):,} to validate on",
            "work": f"{config.max_steps:,} steps of {per_step} x {config.model.block_size} tokens, "
            f"{config.optim.name}",
            "machine": f"{self.device}{processes}, {config.precision.compute}, "
            f"{'compiled' if config.compile else 'not compiled'}",
        }

    def _summary(self, status: str) -> dict[str, Any]:
        return {
            "status": status,
            "step": self.step,
            "best_val_loss": self.best_val_loss,
            "run_dir": self.recorder.folder.root,
            "train_s": self.train_s,
            **self._result,
        }

    # -- saving and resuming --------------------------------------------------------------------

    def _state(self, val_loss: float) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": sharding.model_state(self.model),
            "optimizer": sharding.optimizer_state(self.model, self.optimizer),
            "scaler": self.scaler,
            "config": self.config,
            "val_loss": val_loss,
            "extra": {
                "best_val_loss": self.best_val_loss,
                "batches": self.batches.state_dict(),
                "guard": self.guard.state_dict(),
                "average": self.average.state_dict() if self.average is not None else None,
                "random": global_state(),
                "train_s": self.train_s,
            },
        }

    def _save(self, val_loss: float = math.inf) -> None:
        state = self._state(val_loss)
        if self.fabric.is_global_zero:
            path = self.checkpoint_manager.save(**state)
            self.recorder.saved(self.step, path)
        self._saved_step = self.step
        self.fabric.barrier()

    def _save_anomaly(self, metrics: Metrics) -> None:
        state = self._state(math.inf)
        state["extra"] |= {"batch_x": self._batch[0], "batch_y": self._batch[1], "metrics": metrics}
        if self.fabric.is_global_zero:
            self.recorder.saved(self.step, self.anomalies.save(**state), kind="anomaly")
        self.fabric.barrier()

    def _save_if_new(self) -> None:
        if getattr(self, "_saved_step", None) != self.step:
            self._save()

    def resume(self, path: str | Path) -> None:
        """Continue from a checkpoint (or the newest one of a run folder), bit for bit.

        Raises:
            CheckpointError: no checkpoint there, damaged, or it does not fit the model.
        """
        saved = load_checkpoint(find_checkpoint(path))
        sharding.load_model_state(self.model, saved.model)
        sharding.load_optimizer_state(self.model, self.optimizer, saved.optimizer)
        if self.scaler is not None and saved.scaler:
            self.scaler.load_state_dict(saved.scaler)
        self.step = self._saved_step = saved.step
        self.best_val_loss = saved.extra["best_val_loss"]
        self.train_s = saved.extra["train_s"]
        self.batches.load_state_dict(saved.extra["batches"])
        self.guard.load_state_dict(saved.extra["guard"])
        if self.average is not None:
            self.average.load_state_dict(saved.extra["average"])
        restore_global_state(saved.extra["random"])
        self.recorder.resumed_at = self.step


def _launched(fabric: Fabric) -> Fabric:
    fabric.launch()
    return fabric
