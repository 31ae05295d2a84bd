"""How fast a step was."""

from typing import Any

import torch
from torch import nn

from altgrad.training.metrics import model_flops_utilisation, peak_flops


class SpeedMeter:
    """Numbers about one step's duration, over all devices together."""

    def __init__(self, model: nn.Module, device: torch.device, world_size: int) -> None:
        self.world_size = world_size
        peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self.peak = peak * world_size if peak else None
        estimate: Any = getattr(model, "estimate_flops", None)
        self.flops = estimate() if estimate else None

    def measure(self, tokens: int, seconds: float) -> dict[str, float]:
        """`step_ms`, `tokens_per_s`, and `mfu` where the device's peak is known."""
        rate = tokens * self.world_size / seconds
        speed = {"step_ms": seconds * 1e3, "tokens_per_s": rate}
        if self.peak and self.flops:
            speed["mfu"] = model_flops_utilisation(rate, self.flops, self.peak)
        return speed
