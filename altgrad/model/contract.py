"""What an outside part must look like, checked by its signature before anything is built."""

import inspect

from torch import nn

CONTRACT: dict[str, tuple[str, str]] = {
    "embedding": ("config", "idx, kv_cache=None"),
    "position": ("config", "x, start"),
    "norm": ("width, config", "x"),
    "attention": ("config, layer_idx", "x, cos_sin=None, kv_cache=None"),
    "mlp": ("config", "x"),
    "block": ("config, layer_idx", "x, cos_sin=None, kv_cache=None"),
    "residual": ("config", "x, x0"),
}
"""Kind -> arguments of `__init__` and of `forward`, after `self`; see the table in `parts.py`."""


def check_contract(kind: str, name: str, part: type[nn.Module]) -> None:
    """Refuse an outside part that cannot be called as the network calls it.

    Raises:
        ValueError: one line with the lines to write.
    """
    if ":" not in name:
        return
    made, called = CONTRACT[kind]
    wrong = [
        f"{method}{inspect.signature(getattr(part, method))} must be "
        f"`def {method}(self, {arguments})`"
        for method, arguments in (("__init__", made), ("forward", called))
        if not takes(part, method, arguments)
    ]
    if wrong:
        raise ValueError(f"model.{kind}={name} has the wrong signature: {'; '.join(wrong)}")


def takes(part: type[nn.Module], method: str, arguments: str) -> bool:
    """Whether the method takes as many arguments by position as it will be given."""
    if method == "forward" and part.forward is nn.Module.forward:
        return False  # torch's placeholder, which takes anything and does nothing
    given = [None] * (1 + arguments.count(",") + 1)
    try:
        inspect.signature(getattr(part, method)).bind(*given)
    except TypeError:
        return False
    return True
