"""Number formats, rounding, scaling, counting; and training with them.

Names load when they are used, so `altgrad.quantization.Format` needs no torch.
"""

from importlib import import_module

_HOME = {
    "Format": "formats",
    "CATALOGUE": "formats",
    "SPLITS": "catalogue",
    "catalogue_table": "format_table",
    "Stochastic": "rounding.stochastic",
    "dequantize": "rounding.codes",
    "fake_quantize": "rounding.fake_quantize",
    "quantize": "rounding.codes",
    "ulp": "rounding.round",
    "Statistics": "rounding.counts",
    "round_backward": "rounding.straight_through",
    "round_both": "rounding.straight_through",
    "round_forward": "rounding.straight_through",
    **dict.fromkeys(("MX", "NVFP4", "Delayed", "PerBlock", "PerColumn", "PerRow"), "scaling"),
    "PerTensor": "scaling",
    **dict.fromkeys(("PrecisionConfig", "CastConfig", "Recipe"), "recipe"),
    "QuantLinear": "linear",
    **dict.fromkeys(("apply_recipe", "strip_recipe", "unrounded"), "convert"),
    "grids_of": "weight_grid",
    "BitStallDetector": "diagnostics",
    "code_histogram": "diagnostics",
    "code_utilisation": "diagnostics",
    "count_stalls": "diagnostics",
    "grid_distance": "diagnostics",
    "sqnr_db": "diagnostics",
    "ulp_distance": "diagnostics",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'altgrad.quantization' has no attribute {name!r}")
    return getattr(import_module(f"altgrad.quantization.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
