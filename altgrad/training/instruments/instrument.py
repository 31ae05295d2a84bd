"""What a measure of a step is: when it is called, what it may look at, where its numbers go."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.quantization.convert import Layers
from altgrad.quantization.rounding import GradientSums, gradient_sums
from altgrad.training.instruments.config import DiagnosticsConfig
from altgrad.training.instruments.readout import Readout

COUNTS, RANKS = "diagnostics.every_steps", "diagnostics.rank_every_steps"
SHADOW, OWN = "shadow.every_steps", "diagnostics.own_every_steps"


@dataclass
class Context:
    """What instruments may look at and must not change: of the run, and of the step at hand.

    Attributes:
        model: the network itself, without wrappers. optimizer: its optimiser, as we built it.
        layers: name -> rounded layer; others after a change of format.
        fabric: the run's machine. compiled: whether its network is. twin: an `FP32ShadowModel`
            of the model, where one was asked for. accumulation: micro-batches a step.
        readout: takes an instrument's numbers; all are read from the device at once.
        x, y: the step's batch, each `(accumulation·B, T)` token ids.
        weights_before: parameter -> copy from before the optimiser's step, where `COUNTS` or `OWN`
            is due.
        wanted: parameter -> what the optimiser wanted, where it stored something else; likewise.
    """

    model: nn.Module
    optimizer: Any = None
    layers: Layers = field(default_factory=dict)
    fabric: Any = None
    compiled: bool = False
    twin: Any = None
    accumulation: int = 1
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    readout: Readout = field(default_factory=Readout)
    x: Tensor = field(default_factory=lambda: torch.empty(0))
    y: Tensor = field(default_factory=lambda: torch.empty(0))
    weights_before: dict[Tensor, Tensor] = field(default_factory=dict)
    _gradients: dict[str, Tensor] | None = None
    _sums: GradientSums | None = None
    _copies: list[Tensor] = field(default_factory=list)

    def start(self) -> None:
        """A step begins: nothing is known of it."""
        self.readout, self.weights_before = Readout(), {}
        self._gradients = self._sums = None

    @property
    def gradients(self) -> dict[str, Tensor]:
        """`gradients_of` the model, looked up once a step: before they are clipped."""
        if self._gradients is None:
            self._gradients = gradients_of(self.model)
        return self._gradients

    @property
    def gradient_sums(self) -> GradientSums:
        """Sums over every gradient; one native pass a step, however many instruments ask."""
        if self._sums is None:
            threshold = self.diagnostics.dead_neuron_threshold
            self._sums = gradient_sums(list(self.gradients.values()), threshold)
        return self._sums

    @torch.no_grad()
    def remember_weights(self) -> None:
        """Fill `weights_before`, in the same memory at every step: fresh pages cost more than
        the copy."""
        parameters: list[Tensor] = [p for p in self.model.parameters() if p.requires_grad]
        if self._copies:
            torch._foreach_copy_(self._copies, parameters)
        else:
            self._copies = [p.detach().clone() for p in parameters]
        self.weights_before = dict(zip(parameters, self._copies, strict=True))
        if hasattr(self.optimizer, "wanted"):  # it stores something else, and tells if asked
            self.optimizer.wanted = {}

    @property
    def wanted(self) -> dict[Tensor, Tensor]:
        return getattr(self.optimizer, "wanted", None) or {}

    def forget_wanted(self) -> None:
        """Or the optimiser would keep a copy of every weight."""
        if hasattr(self.optimizer, "wanted"):
            self.optimizer.wanted = None


class Instrument:
    """One measure of a step: looks, adds tensors to `context.readout`, changes nothing.

    A new one overrides what it needs and gets a line in `panel.INSTRUMENTS`. It draws nothing from
    the global generators and reads nothing from the device by itself.

    Attributes:
        when: settings of frequency; it is called at the steps at which all of them are due.
    """

    when: tuple[str, ...] = (COUNTS,)

    def __init__(self, context: Context) -> None:
        self.context = context

    def before(self, step: int) -> None:
        """Before the forward pass of step number `step` (from 1)."""

    def gradients(self) -> None:
        """After the backward pass, before clipping."""

    def moved(self) -> None:
        """After the optimiser's step, or instead of it where the guard left the weights alone."""

    def format_changed(self) -> None:
        """The model is rounded to another format from here on; `context.layers` are new."""

    def news(self) -> str:
        """What a person should be told after this step, said once; usually nothing."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must find again."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""


def whole(p: Tensor) -> Tensor:
    """All of a tensor that may be sharded."""
    return p.full_tensor() if hasattr(p, "full_tensor") else p.detach()


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Name -> gradient in float32, whole if sharded, for every parameter that has one."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad.detach()
            gradient = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
            found[name] = gradient.float()
    return found
