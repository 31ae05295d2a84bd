"""A door: `from altgrad.training.shadow import FP32ShadowModel`; see `instruments/`."""

from altgrad.training.instruments import FP32ShadowModel

__all__ = ["FP32ShadowModel"]
