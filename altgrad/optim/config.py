"""Settings of the optimiser (`optim.…`)."""

from dataclasses import dataclass, field

from altgrad.optim.muon import SCALES
from altgrad.optim.stiffness import PLACEBOS
from altgrad.optim.width_rule import check_rule


@dataclass
class OptimConfig:
    """How the weights move. The four `*_lr` are the rates of the parameter roles (`groups.py`)."""

    name: str = "adamw"
    """The optimiser: a key of `OPTIMIZERS` in `optim/build.py`, or package.module:Class."""
    lr: float = 1e-3
    """Learning rate; the rates of the parameter roles follow from it."""
    matrix_lr: float | None = None
    """Learning rate of matrices inside the blocks; null derives it from `lr`."""
    embedding_lr: float | None = None
    """Learning rate of embeddings; null derives it from `lr`."""
    head_lr: float | None = None
    """Learning rate of the output layer; null derives it from `lr`."""
    scalar_lr: float | None = None
    """Learning rate of gains, biases and other parameters that are not 2-D; null derives it from
    `lr`."""
    width_scaling: bool = False
    """Multiply embedding and head rates by (n_embd / 768) ** -0.5."""
    width_rule: str | None = None
    """How rates, decay, start and factors in the network follow its size, so that rates found at
    `base_width` suit other widths: mup, or completep (depth too); null = they do not."""
    base_width: int | None = None
    """Width (n_embd) the rates are meant for, with `width_rule`."""
    base_depth: int | None = None
    """Number of blocks (n_layer) the rates are meant for, with width_rule=completep."""
    base_head_dim: int | None = None
    """Width of a head at the base, with `width_rule`; null = the same as here."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    """Adam's decay of its two moments."""
    eps: float = 1e-8
    """Adam's epsilon."""
    weight_decay: float = 0.1
    """Decoupled weight decay, of 2-D parameters only."""
    grad_clip: float = 1.0
    """Largest global L2 norm of the gradient; 0 = off."""
    momentum: float = 0.95
    """Momentum of Muon and SGD."""
    nesterov: bool = True
    """Nesterov's form of the momentum, of Muon and SGD."""
    ns_steps: int = 5
    """Newton-Schulz steps of Muon."""
    muon_scale: str = "original"
    """How Muon's update is scaled: original or match_rms_adamw."""
    momentum_warmup_steps: int = 0
    """Steps over which Muon's momentum rises from 0.85 to `momentum`."""
    neuron_beta: float = 0.0
    """Decay of the mean square of each row of Muon's update, by whose root the row is divided
    (NorMuon); 0 = off."""
    ema_decay: float = 0.0
    """Decay of the running average of the weights, which is what is evaluated; 0 = off."""
    state_format: str | None = None
    """Number format of the optimiser's state; null = float32."""
    match_rms: bool = True
    """ulp_*: steps as long as the base's; else `lr` counts spacings."""
    stiffness: str = "own"
    """manifold_*, ulp_*: whose spacing steps are scaled by: own (the weight's format's), or that of
    the format named here, which needs no rounded weights."""
    placebo: str = "none"
    """manifold_*, ulp_*: what becomes of that spacing: none, shuffled among the weights of a
    matrix, or constant in a matrix, with the same mean step."""
    rung_clip: float = 10.0
    """grid*: largest move in one step, in rungs (stored numbers)."""
    free_lr: float = 1e-3
    """grid*, madam, lns_madam: AdamW's rate for the parameters they leave to it."""
    madam_bound: float = 10.0
    """madam, lns_madam: largest normalised gradient."""
    madam_scale: float = 3.0
    """madam, lns_madam: largest weight, in units of the first RMS."""
    lns_steps_per_octave: int = 128
    """lns_madam: levels between w and 2 w."""
    exponent_lr_ratio: float = 1.0
    """m_adam: the exponent's rate over the mantissa's."""

    def check(self) -> None:
        """Raise ValueError, in one line, for a value outside its range."""
        for name in ("lr", "matrix_lr", "embedding_lr", "head_lr", "scalar_lr"):
            _require(name, getattr(self, name) or 0.0, 0.0, float("inf"))
        for name in ("eps", "weight_decay", "grad_clip", "free_lr", "exponent_lr_ratio"):
            _require(name, getattr(self, name), 0.0, float("inf"))
        _require("momentum", self.momentum, 0.0, 1.0)
        _require("neuron_beta", self.neuron_beta, 0.0, 1.0)
        _require("ema_decay", self.ema_decay, 0.0, 1.0)
        _require("ns_steps", self.ns_steps, 1, 100)
        _require("momentum_warmup_steps", self.momentum_warmup_steps, 0, float("inf"))
        for name in ("rung_clip", "madam_bound", "madam_scale", "lns_steps_per_octave"):
            _require(name, getattr(self, name), 1e-6, float("inf"))
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"optim.betas={list(self.betas)} must be two numbers in [0, 1)")
        if self.placebo not in PLACEBOS:
            allowed = ", ".join(PLACEBOS)
            raise ValueError(f"optim.placebo={self.placebo!r} is not one of {allowed}")
        if self.muon_scale not in SCALES:
            raise ValueError(
                f"optim.muon_scale={self.muon_scale!r} is not one of {', '.join(SCALES)}"
            )
        check_rule(self)
        self._check_pairs()

    def _check_pairs(self) -> None:
        if self.name.endswith(("sgd", "grid")) and self.nesterov and self.momentum == 0.0:
            raise ValueError(
                "optim.nesterov=true needs optim.momentum above 0; set optim.nesterov=false"
            )
        if self.name.startswith(("manifold", "ulp")):
            return
        for name, usual in (("stiffness", "own"), ("placebo", "none")):
            if (value := getattr(self, name)) != usual:
                raise ValueError(
                    f"optim.{name}={value!r} means nothing to optim.name={self.name!r}; "
                    f"choose a manifold_ or ulp_ optimiser, or optim.{name}={usual}"
                )


def _require(name: str, value: float, low: float, high: float) -> None:
    """low <= value < high; NaN fails."""
    if not low <= value < high:
        raise ValueError(f"optim.{name}={value} must be in [{low}, {high})")
