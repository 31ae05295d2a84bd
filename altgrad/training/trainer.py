"""One run: step after step, evaluation, samples, checkpoints, and a clean stop.

A batch becomes a number in this order: tokens on disk -> `BatchSource` -> `TrainingStep` (forward,
backward, guard, optimiser) -> one `log(step, metrics)` to every tracker.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from altgrad.data import load_metadata, load_tokens, make_batches
from altgrad.model import compile_network
from altgrad.optim import WeightAverage, build_optimizer, build_schedule
from altgrad.quantization import unrounded
from altgrad.quantization.fp32_products import use_fast_products
from altgrad.quantization.rounding import native
from altgrad.runs import GIVEN, FolderLostError, Metrics
from altgrad.training import checkpoint_state
from altgrad.training.checkpoint_state import GlobalRandom, Parts, collect, restore
from altgrad.training.checkpoints import Checkpoint, find_checkpoint, load_checkpoint
from altgrad.training.config import TrainConfig
from altgrad.training.evaluation import Evaluator, part_bytes
from altgrad.training.health import Emergency, Finding, Health, NonFiniteGuard, StopSignal
from altgrad.training.instruments import FP32ShadowModel, Numerics, interval, join
from altgrad.training.machine import (
    accumulation_of,
    launch,
    make_fabric,
    pick_device,
    readable_compile_errors,
)
from altgrad.training.metrics import compute_perplexity
from altgrad.training.randomness import seed_dropout
from altgrad.training.recording import (
    Keeper,
    Recorder,
    RunClock,
    SpeedMeter,
    data_facts,
    initial_weights,
    start_facts,
    tensor_hashes,
    whole_hash,
)
from altgrad.training.rounding import ModelRounding
from altgrad.training.step import StepOutcome, TrainingStep

NOT_DRAWN = (
    "initial weights: given, not drawn from seed={seed}, so `altgrad reproduce` cannot draw them "
    "again; build_run(config) and GPT(config.model) draw them"
)


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
        accumulation: micro-batches of this process a step.
        step: optimiser steps taken. best_val_loss: lowest validation loss so far.
        parts, own_parts: name -> whatever else must survive in a checkpoint; `own_parts` differ
            from process to process. A new part joins with one line.
        remarks: what a person should know, told at the start of `train()`.
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
        sampler: Callable[..., str] | None = None,
    ) -> None:
        self.config, self.model, self.data_dir = config, model, Path(data_dir)
        self.fabric = fabric or launch(make_fabric(config, pick_device(device or config.device)))
        self.device = self.fabric.device
        self.accumulation = accumulation_of(config, self.fabric.world_size)
        self.recorder = recorder or Recorder(config, enabled=self.fabric.is_global_zero)
        self.sampler = sampler
        self.step = 0
        self.best_val_loss = math.inf
        self._val_loss = math.inf  # none yet; NaN is what an evaluation may give
        self.clock = RunClock(self.device)
        self.remarks: list[str] = []
        seed_dropout(config.seed, self.fabric.global_rank)
        self.recorder.initial = initial_weights(model, config)
        if self.fabric.world_size != config.devices:
            self.remarks.append(
                f"{self.fabric.world_size} processes for devices={config.devices}: each takes "
                f"{self.accumulation} micro-batches a step, so that a step reads the same tokens; "
                "sums in another order differ in their last bits"
            )
        if self.recorder.initial["from"] == GIVEN:
            self.remarks.append(NOT_DRAWN.format(seed=config.seed))
        # Before this nothing may round, shard or move the model: its hashes are of what was given.
        self._set_up_network()
        self._set_up_step()
        self._set_up_data()
        self._set_up_saving()

    def _build_kernels(self) -> None:
        """Once on a machine, and before the clock of training runs."""
        if self.device.type != "cpu" or not self._uses_kernels():
            return
        if native.must_be_built():
            self.recorder.announce("compiling the C++ kernels for rounding, once on this machine …")
        native.library()

    def _uses_kernels(self) -> bool:
        looks = interval(self.config.diagnostics.every_steps, rounded=False, usual=1) > 0
        return self.config.precision.simulate or looks or self.config.shadow.enabled

    def _set_up_network(self) -> None:
        config = self.config
        self._build_kernels()
        use_fast_products(self.model)
        # The twin is copied while the model is plain and whole, before it is rounded and sharded.
        self.shadow = FP32ShadowModel(self.model) if config.shadow.enabled else None
        self.rounding = ModelRounding(
            self.model, config.precision, seed=config.seed, device=self.device
        )
        # A graph for each of two contexts; left to itself the second would be a slow one for any.
        shapes: dict[str, Any] = {} if config.schedule.short_context is None else {"dynamic": False}
        network = self.model
        if config.compile:
            how = {"device": self.device, "processes": self.fabric.world_size, **shapes}
            network = compile_network(network, **how)
        self._network = self.fabric.setup_module(network)
        # Only now: a sharded model has other parameters than it had.
        storage = self.rounding.storage(config.optim)
        self.optimizer = build_optimizer(self.model, config.optim, storage)
        self.numerics = Numerics(
            self.rounding,
            self.optimizer,
            self.fabric,
            optim=config.optim,
            shadow=config.shadow,
            diagnostics=config.diagnostics,
            twin=self.shadow,
            accumulation=self.accumulation,
            compiled=bool(config.compile),
        )
        decay = config.optim.ema_decay
        self.average = WeightAverage(self.model, decay) if decay else None

    def _set_up_step(self) -> None:
        config = self.config
        self.scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        self.schedule = build_schedule(config.schedule, config.max_steps)
        self._speed = SpeedMeter(self.model, self.device, self.fabric.world_size)
        self.guard = NonFiniteGuard(config.guards.nan_patience)
        self.health = Health(config.guards, config.precision)
        self.emergency = Emergency(config.precision, config.guards.bit_stall_threshold)
        self._take_step = TrainingStep(
            self.fabric,
            self._network,
            self.fabric.setup_optimizers(self.optimizer),
            accumulation=self.accumulation,
            grad_clip=config.optim.grad_clip,
            judge=self._judge,
            observer=self.numerics,
            faults=config.faults,
        )

    def _set_up_data(self) -> None:
        block, batch = self.config.model.block_size, self.config.data.batch_size
        self.metadata = load_metadata(self.data_dir)
        self.batches = make_batches(
            self.config.data,
            self.data_dir,
            block,
            seed=self.config.seed,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        self.evaluator = Evaluator(
            self._network,
            load_tokens(self.data_dir, "val"),
            limit=self.config.eval_tokens,
            text_bytes=partial(part_bytes, self.data_dir, self.metadata, self.config),
            block_size=block,
            batch_size=batch,
            device=self.device,
            average=self.average,
            one_graph=self.config.compile is True and self.fabric.world_size == 1,
        )

    def _set_up_saving(self) -> None:
        self.parts: Parts = {
            "batches": self.batches,
            "guard": self.guard,
            "clock": self.clock,
            "numerics": self.numerics,
            "health": self.health,
            "emergency": self.emergency,
        }
        if self.average is not None:
            self.parts["average"] = self.average
        self.parts["trackers"] = self.recorder.trackers
        self.own_parts: Parts = {"random": GlobalRandom()}
        self.keeper = Keeper(self.config, self.recorder, self.fabric, self._state)
        self.checkpoint_manager, self.anomalies = self.keeper.manager, self.keeper.anomalies

    @property
    def train_s(self) -> float:
        """Seconds of training that led here: no compilation, no evaluation, no saving."""
        return self.clock.train_s

    # -- one step -------------------------------------------------------------------------------

    def train_step(self, x: Tensor, y: Tensor) -> Metrics:
        """One optimiser step on `x`, `y` (each `(accumulation·B, T)` token ids).

        Returns:
            `loss`, `perplexity`, `grad_norm` (before clipping), `lr`, `skipped` (1.0 if the guard
            left the weights alone), and what `diagnostics.*` and `shadow.*` ask for, as numbers.
        """
        scale = self.schedule(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * scale
        x, y = (t.reshape(-1, self._context(t.size(1))).to(self.device) for t in (x, y))
        outcome = self._take_step(x, y, self.step + 1)
        if self.average is not None and outcome.finding.action == "continue":
            self.average.update()
        self.step += 1
        self._last_outcome = outcome
        return self._step_metrics(outcome)

    def _context(self, length: int) -> int:
        """Tokens in a block at this step. Targets stay those of the whole blocks: the last token of
        a piece still predicts the next one."""
        return self.config.schedule.context(self.step, self.config.max_steps, length)

    def _step_metrics(self, outcome: StepOutcome) -> Metrics:
        usual = {
            "loss": outcome.loss,
            "perplexity": compute_perplexity(outcome.loss),
            "grad_norm": outcome.grad_norm,
            "lr": self.optimizer.param_groups[0]["lr"],
            "skipped": float(outcome.finding.action != "continue"),
        }
        return join(usual, self.numerics.metrics())

    def _judge(self, loss: float, grad_norm: float) -> Finding:
        """A gradient scaler finds its scale by overflowing: that alone is no finding."""
        if self.scaler is not None and math.isfinite(loss):
            grad_norm = 0.0
        return self.guard.judge(loss, grad_norm)

    def eval_step(self) -> float:
        """Mean loss (nats per token) over the whole validation split; draws no random number.

        With `optim.ema_decay` it is the loss of the averaged weights.
        """
        return self.evaluator.loss()

    # -- the run --------------------------------------------------------------------------------

    def train(self, max_steps: int | None = None) -> dict[str, Any]:
        """Train until `max_steps` optimiser steps (default: the setting) have been taken.

        Ctrl-C, SIGTERM and SIGHUP finish the step at hand, save, and return; SIGUSR1 saves and
        goes on; a second Ctrl-C stops at once.

        Returns:
            `status` (`finished`, `interrupted` or `diverged`), `step`, `best_val_loss`, `val_loss`,
            `run_dir`, `train_s`, `compile_s`.

        Raises:
            CheckpointError: the last save failed.
        """
        end = self.config.max_steps if max_steps is None else max_steps
        self._open()
        self._result = {"val_loss": self._val_loss, "compile_s": 0.0}
        status, error, weights = "failed", None, None  # what `close` writes if all else fails
        try:
            with StopSignal() as stop:
                reached = self._loop(end, stop)
                for line in self.health.unseen_limits():
                    self.recorder.note(self.step, line)
                self.keeper.finish(self.step)
            status, weights = reached, self._last_weights()
        except (KeyboardInterrupt, SystemExit):  # the latter: submitit, when a job is preempted
            status = "interrupted"
            raise
        except FolderLostError:
            raise  # without a rescue: there is no place of ours to save to
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            self.keeper.rescue(self.step, whole=not self._within_step)
            raise
        finally:
            self.recorder.close(
                status,
                checkpoints=self.keeper.to_upload(),
                step=self.step,
                best_val_loss=self.best_val_loss,
                error=error,
                weights=weights,
                **self.clock.costs(),
            )
            self.keeper.release()
        return self._summary(status)

    def _last_weights(self) -> str:
        """Hash of the weights as they are, averaged ones included; every process must call it."""
        state = checkpoint_state.model_state(self.model)
        if self.average is not None:
            averaged = self.average.weights().items()
            state |= {f"average.{name}": checkpoint_state.whole(t) for name, t in averaged}
        return whole_hash(tensor_hashes(state))

    def _open(self) -> None:
        facts = start_facts(
            self.config,
            self.model,
            self.metadata,
            device=self.device,
            world_size=self.fabric.world_size,
        )
        if lines := self.rounding.report.lines():
            stored = self.rounding.storage_in_words(self.config.optim)
            facts["rounding"] = f"\n{'':10}".join([*lines, f"weights: {stored}"])
        self.keeper.claim()
        self.recorder.open(data_facts(self.data_dir, self.metadata), facts)
        self.keeper.open()
        if planned := self.config.faults.announcement():
            self.recorder.note(self.step, planned)
        while self.remarks:
            self.recorder.note(self.step, self.remarks.pop(0))

    def _loop(self, end: int, stop: StopSignal) -> str:
        compiled: set[int] = set()  # contexts that have a graph
        while self.step < end:
            context = self._context(self.config.model.block_size)
            metrics = self._timed_step(context not in compiled)
            compiled.add(context)
            finding = self._last_outcome.finding
            # Before the evaluation: a bad batch is kept with the state that it left behind.
            if finding.reason:
                self._report(finding, metrics)
            if news := self.numerics.news():
                self.recorder.note(self.step, news)
            # Evaluation before the log: one line a step holds all of its numbers.
            if self._due(self.config.eval_interval, end):
                self._evaluate_into(metrics)
            self._log_if_due(metrics, end)
            # Health reads what was logged, so that every warning can be looked up there.
            for warning in self.health.look(metrics):
                self.recorder.alert(self.step, warning)
            # Before the save: a checkpoint must hold the format that the next step uses.
            self._change_format_in_an_emergency(finding, metrics)
            if finding.action == "stop":
                return "diverged"
            improved = self._improved(metrics)
            # One vote on everything in which processes may differ: whoever saves or stops alone
            # leaves the others waiting in a collective for ever.
            wanted, stopping, lost = self._agreed(
                self.keeper.saver.due_by_time() or stop.save_requested,
                stop.requested,
                not self.recorder.folder.is_ours(),
            )
            # Before anything is written: the folder may be another run's by now.
            if lost:
                raise FolderLostError(self.recorder.folder.root)
            if improved or wanted or self.keeper.saver.due_by_step(self.step, end):
                stop.save_requested = False
                self.keeper.save(metrics.get("val_loss", math.inf))
            self.keeper.report()
            # Last: what this step was worth is logged and, by `finish`, saved.
            if stopping:
                return "interrupted" if self.step < end else "finished"
        return "finished"

    def _change_format_in_an_emergency(self, finding: Finding, metrics: Metrics) -> None:
        refused = finding.action != "continue"
        name = self.emergency.observe(
            refused=refused, bit_stall=metrics.get("bit_stall/total", 0.0)
        )
        if name is not None:
            self.numerics.change_format(name)
            what = "nothing is rounded" if name == "none" else f"everything is in {name}"
            self.recorder.note(self.step, f"precision.fallback: from now on {what}")

    def _agreed(self, *wishes: bool) -> list[bool]:
        """What one process wishes all do: signals and clocks differ from process to process."""
        if self.fabric.world_size == 1:
            return list(wishes)
        votes = torch.tensor([float(w) for w in wishes], device=self.device)
        votes = cast(Tensor, self.fabric.all_reduce(votes, reduce_op="sum"))
        return [bool(v) for v in votes.tolist()]

    def _timed_step(self, first: bool) -> Metrics:
        """One step with its duration. The first of a context, if it compiles, is timed apart."""
        start = time.perf_counter()
        self._batch = x, y = self._next_batch()
        self._within_step = True
        with readable_compile_errors():
            metrics = self.train_step(x, y)
        self._within_step = False
        seconds = time.perf_counter() - start
        if first and self.config.compile:
            self._result["compile_s"] += seconds
            return {**metrics, "compile_s": seconds, "train_s": self.train_s}
        self.clock.train_s += seconds
        return {**metrics, **self._speed.measure(x.numel(), seconds), "train_s": self.train_s}

    _within_step = False
    """Between two steps the state is whole and can be saved; within one it cannot."""

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        """`accumulation` micro-batches, one below the other; all of them are read or none."""
        position = self.batches.state_dict()
        try:
            pieces = [self.batches.next_batch() for _ in range(self.accumulation)]
        except BaseException:
            self.batches.load_state_dict(position)
            raise
        return torch.cat([x for x, _ in pieces]), torch.cat([y for _, y in pieces])

    def _due(self, interval: int, end: int) -> bool:
        """Whether this step is one of every `interval`, or the last (if the interval is on)."""
        return interval > 0 and (self.step % interval == 0 or self.step >= end)

    def _evaluate_into(self, metrics: Metrics) -> None:
        metrics.update(self.evaluator.metrics())
        if self.rounding.rounds and self.config.eval_unrounded:
            with unrounded(self.model):
                metrics["val_loss_unrounded"] = self.evaluator.loss()
        self._result["val_loss"] = metrics["val_loss"]
        self.recorder.evaluated(self.step, metrics, self._sample())

    def _sample(self) -> str:
        """A sample is decoration: one that fails is told and costs nothing else."""
        if self.sampler is None or not self.config.sample_tokens:
            return ""
        try:
            return self.sampler(self.step)
        except Exception as error:
            self.recorder.trouble(self.step, "sample", error)
            return ""

    def _log_if_due(self, metrics: Metrics, end: int) -> None:
        self.recorder.progress(self.step, end, metrics)
        if self._due(self.config.log_interval, end) or "val_loss" in metrics:
            self.recorder.log(self.step, {**metrics, **self.clock.so_far()})

    def _improved(self, metrics: Metrics) -> bool:
        if metrics.get("val_loss", math.inf) < self.best_val_loss:
            self.best_val_loss = metrics["val_loss"]
            return True
        return False

    def _report(self, finding: Finding, metrics: Metrics) -> None:
        """The first of a series of bad steps is kept, with the batch that caused it."""
        self.recorder.alert(self.step, finding, news=self.health.is_news(finding))
        if finding.first:
            self.keeper.save_anomaly(self._batch, metrics)

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
        """What `CheckpointManager.save` takes. Every process must call it."""
        return {
            "step": self.step,
            "model": checkpoint_state.model_state(self.model),
            "optimizer": checkpoint_state.optimizer_state(self.model, self.optimizer),
            "scaler": self.scaler,
            "config": self.config,
            "val_loss": val_loss,
            "extra": {
                "best_val_loss": self.best_val_loss,
                "metrics": self.recorder.metrics.record.to_dict(),
                "manager": self.checkpoint_manager.state_with(self.step, val_loss),
                **collect(self.parts, self.own_parts, self.fabric),
            },
        }

    def resume(self, path: str | Path) -> None:
        """Continue from a checkpoint (or the newest one of a run folder), bit for bit.

        Raises:
            CheckpointError: no checkpoint there, damaged, or it does not fit the model.
        """
        saved = load_checkpoint(find_checkpoint(path))
        if saved.run is not None and saved.run == self.recorder.run_id:
            self.recorder.require_whole_metrics(saved)
        self.remarks += self.load(saved)

    def load(self, saved: Checkpoint, *, lenient: bool = False) -> list[str]:
        """Take over a checkpoint; `lenient` and the returned remarks as in `restore`."""
        checkpoint_state.load_model_state(self.model, saved.model)
        checkpoint_state.load_optimizer_state(self.model, self.optimizer, saved.optimizer)
        if self.scaler is not None and saved.scaler:
            self.scaler.load_state_dict(saved.scaler)
        self.best_val_loss = saved.extra["best_val_loss"]
        rank = self.fabric.global_rank
        _say_what_was_read(saved)
        remarks = restore(saved.extra, self.parts, self.own_parts, rank=rank, lenient=lenient)
        self.step = self.recorder.resumed_at = saved.step
        self.recorder.metric_lines = saved.extra.get("metrics", {}).get("lines")
        self._val_loss = saved.val_loss
        self.keeper.resumed(saved)
        if lost := self.checkpoint_manager.has_lost(saved.extra["manager"]):
            remarks.append(f"the best checkpoint so far, {lost}, is damaged or gone")
        return remarks


def _say_what_was_read(saved: Checkpoint) -> None:
    """The position of an order that counts micro-batches alone: of what, the settings tell."""
    settings, state = saved.config, saved.extra["parts"].get("batches")
    if not state or not settings:
        return
    data, block_size = settings["data"], settings["model"]["block_size"]
    told = {"order": data.get("order", "random"), "block_size": block_size}
    told |= {"seed": settings["seed"], "rows": state["position"] * data["batch_size"]}
    saved.extra["parts"]["batches"] = told | state
