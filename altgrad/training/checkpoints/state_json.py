"""Nested state -> JSON plus a flat table of tensors, and back. No code is ever in it."""

from typing import Any

from torch import Tensor


def encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON; every tensor in it goes into `tensors` under a name that starts with `name`.

    Raises:
        TypeError: something that is neither a tensor, a number, a text nor a collection of these.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {"__tensor__": name}
    if isinstance(value, dict):
        items = [[k, encode(v, f"{name}.{k}", tensors)] for k, v in value.items()]
        return {"__dict__": items}
    if isinstance(value, list | tuple):
        kind = "__tuple__" if isinstance(value, tuple) else "__list__"
        return {kind: [encode(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot save {name}: {type(value).__name__}")


def decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """What `encode` was given.

    Raises:
        ValueError, KeyError, TypeError: `value` is not something that `encode` made.
    """
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "__tensor__":
        return tensors[content]
    if kind == "__dict__":
        return {k: decode(v, tensors) for k, v in content}
    if kind not in ("__tuple__", "__list__"):
        raise ValueError(f"unknown kind {kind[:40]!r}")
    items = [decode(v, tensors) for v in content]
    return tuple(items) if kind == "__tuple__" else items
