"""All instruments around a step, in the order of one table; what they found is read at once.

A step calls `before`, `gradients` (before they are clipped) and `moved` (the optimiser has, or the
guard has not let it); `metrics()` then gives the numbers, whose names and units are in
altgrad/runs/metric_catalogue.py.
"""

from typing import Any, cast

from lightning_fabric import Fabric
from torch import Tensor

from altgrad.optim import OptimConfig, change_storage
from altgrad.quantization.convert import count_statistics, finish_step, needs_counts
from altgrad.runs import Metrics
from altgrad.training.instruments.arrived import ArrivedUpdates
from altgrad.training.instruments.code_use import CodeUse
from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig, interval
from altgrad.training.instruments.dead_neurons import DeadNeurons
from altgrad.training.instruments.gradients import GradientStats
from altgrad.training.instruments.instrument import COUNTS, OWN, RANKS, SHADOW, Context, Instrument
from altgrad.training.instruments.lost_updates import LostUpdates
from altgrad.training.instruments.own import make_own
from altgrad.training.instruments.ranks import Ranks
from altgrad.training.instruments.rounding_counts import RoundingCounts
from altgrad.training.instruments.shadow import FP32ShadowModel, Shadow
from altgrad.training.rounding import ModelRounding

INSTRUMENTS: dict[str, type[Instrument]] = {
    "gradients": GradientStats,
    "dead_neurons": DeadNeurons,
    "rounding_counts": RoundingCounts,
    "shadow": Shadow,
    "ranks": Ranks,
    "code_use": CodeUse,
    "arrived": ArrivedUpdates,
    "lost_updates": LostUpdates,
}
"""Name -> class. Their order is that of the numbers in a line of `metrics.jsonl`."""

STATE_KEYS = {"dead_neurons": "dead", "ranks": "spectra", "lost_updates": "stalls"}
"""Names under which checkpoints hold an instrument's state, where they are not the table's: they
were written before there was a table."""


class Numerics:
    """The instruments of a run.

    Args:
        rounding: of the model, which is on its device by now.
        optimizer: as `optim` describes it, before Fabric wrapped it.
        twin: the model's FP32 copy, made before the model was sharded; None without a shadow.
        accumulation: micro-batches per step, which the shadow cuts alike.
        compiled: compile the twin as the network is.
    """

    def __init__(
        self,
        rounding: ModelRounding,
        optimizer: Any,
        fabric: Fabric,
        *,
        optim: OptimConfig,
        shadow: ShadowConfig,
        diagnostics: DiagnosticsConfig,
        twin: FP32ShadowModel | None = None,
        accumulation: int = 1,
        compiled: bool = False,
    ) -> None:
        self.rounding, self.optim, self.fabric = rounding, optim, fabric
        self.context = Context(
            rounding.model,
            optimizer,
            rounding.layers,
            fabric=fabric,
            compiled=compiled,
            twin=twin,
            accumulation=accumulation,
            diagnostics=diagnostics,
        )
        self.every = _frequencies(rounding, shadow, diagnostics)
        self.own = make_own(diagnostics.own, self.context)
        ours = {name: make(self.context) for name, make in INSTRUMENTS.items()}
        self.instruments = {**ours, **self.own}
        self._due: list[Instrument] = []
        self._counting = False
        self._always_counting = needs_counts(rounding.layers)

    def change_format(self, name: str) -> None:
        """From now on everything is rounded to `name`, with the settings it had otherwise."""
        self.rounding.change_format(name)
        change_storage(self.context.optimizer, self.optim, self.rounding.storage(self.optim))
        self.context.layers = self.rounding.layers
        self._always_counting = needs_counts(self.rounding.layers)
        for instrument in self.instruments.values():
            instrument.format_changed()

    # -- around a step --------------------------------------------------------------------------

    def before(self, step: int) -> None:
        """Before the forward pass of step number `step` (from 1)."""
        due = {setting for setting, every in self.every.items() if every > 0 and not step % every}
        self._due = [i for n, i in self.instruments.items() if due.issuperset(self._when(n))]
        self._counting = not due.isdisjoint((COUNTS, OWN))
        self.context.start()
        # A delayed scale needs the layers' largest numbers at every step, whoever looks at them.
        count_statistics(self.rounding.layers, self._counting or self._always_counting)
        for instrument in self._due:
            instrument.before(step)

    def _when(self, name: str) -> tuple[str, ...]:
        return (OWN,) if name in self.own else self.instruments[name].when

    def gradients(self, x: Tensor, y: Tensor) -> None:
        """After the backward pass, before clipping."""
        self.context.x, self.context.y = x, y
        if self._counting:
            self.context.remember_weights()
        for instrument in self._due:
            instrument.gradients()
        self.rounding.clip_gradients()  # last: what is measured is what backward gave

    def moved(self) -> None:
        """After the optimiser's step, or instead of it where the guard left the weights alone."""
        for instrument in self._due:
            instrument.moved()
        self.context.forget_wanted()
        # After everybody has looked: the counts start anew, and delayed scales move on.
        finish_step(self.rounding.layers, self._largest if self.fabric.world_size > 1 else None)

    def _largest(self, values: Tensor) -> Tensor:
        return cast(Tensor, self.fabric.all_reduce(values, reduce_op="max"))

    def metrics(self) -> Metrics:
        """The numbers of the last step, read from the device all at once.

        Empty in a plain run without a shadow.
        """
        return self.context.readout.read()

    def news(self) -> str:
        """What instruments want a person to know after the last step; or nothing."""
        return "; ".join(filter(None, (i.news() for i in self.instruments.values())))

    # -- state ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        states = {name: i.state_dict() for name, i in self.instruments.items()}
        kept = {n: state for n, state in states.items() if state or n in STATE_KEYS}
        return {
            **self.rounding.state_dict(),
            **{STATE_KEYS.get(name, name): state for name, state in kept.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["format"] != self.rounding.precision.format:
            self.change_format(state["format"])
        self.rounding.load_state_dict(state)
        for name, instrument in self.instruments.items():
            key = STATE_KEYS.get(name, name)
            if key in state or name in STATE_KEYS:
                instrument.load_state_dict(state[key])


def _frequencies(
    rounding: ModelRounding, shadow: ShadowConfig, diagnostics: DiagnosticsConfig
) -> dict[str, int]:
    """Setting -> every how many steps it is due, -1 for never."""
    rounded = rounding.rounds
    return {
        COUNTS: interval(diagnostics.every_steps, rounded=rounded, usual=1),
        RANKS: interval(diagnostics.rank_every_steps, rounded=rounded, usual=100),
        SHADOW: shadow.every_steps if shadow.enabled else -1,
        OWN: diagnostics.own_every_steps if diagnostics.own else -1,
    }
