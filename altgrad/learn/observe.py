"""What a unit does, as a list of labelled values, and how two such lists differ.

A probe runs one unit on fixed inputs and yields observations. The same probe runs on the
reference and on the learner's unit; the first label whose values differ is the complaint.
Everything is float64, where two right ways to compute one thing differ by about 1e-15 and the
smallest mistake worth naming by more than 1e-7.
"""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

RTOL = 1e-9
SMALLEST = 1e-5


@dataclass(frozen=True)
class Observation:
    """One value that a probe asks for; compared within `rtol` of the expected value's largest."""

    label: str
    value: Callable[[], Any]
    rtol: float = RTOL


@dataclass(frozen=True)
class Failure:
    """An exception instead of a value, with the place in the learner's file."""

    kind: str
    message: str
    line: int | None = None
    trace: str = ""


@dataclass(frozen=True)
class Odd:
    """What a unit gave that is neither a tensor nor a plain value, by its type and its text."""

    kind: str
    text: str


@dataclass(frozen=True)
class Difference:
    """Where two outcomes part: at `path` inside the value of `label`."""

    label: str
    path: str
    what: str  # exception, type, dtype, shape, value, keys
    expected: Any
    got: Any
    error: float | None = None  # relative to the largest expected magnitude


Probe = Callable[[dict[str, Any]], Iterator[Observation]]
Outcomes = dict[str, Any]


def observe(probe: Probe, namespace: dict[str, Any], *, file: Path | None = None) -> Outcomes:
    """Label -> value, or the `Failure` that came instead. Never raises what the unit raises."""
    with double_stays_double():
        return {o.label: _outcome(o, file) for o in probe(namespace)}


def agrees(probe: Probe, namespace: dict[str, Any], outcomes: Outcomes, *, rtol: float) -> bool:
    """Would `observe` give these outcomes? Stops at the first that differs."""
    with double_stays_double():
        return not any(
            _differ(o.label, "", _outcome(o, None), outcomes[o.label], rtol)
            for o in probe(namespace)
        )


def agreeing(
    probe: Probe, namespace: dict[str, Any], outcomes: Outcomes, labels: set[str], *, rtol: float
) -> set[str]:
    """Those of the labels for which `observe` would give these outcomes."""
    with double_stays_double():
        return {
            o.label
            for o in probe(namespace)
            if o.label in labels
            and not _differ(o.label, "", _outcome(o, None), outcomes[o.label], rtol)
        }


def _outcome(observation: Observation, file: Path | None) -> Any:
    try:
        with torch.enable_grad():  # a unit may have left it off, and the next one is not to blame
            return _frozen(observation.value())
    except Exception as error:
        return failure_of(error, file)


def tolerances(probe: Probe, namespace: dict[str, Any]) -> dict[str, float]:
    return {o.label: o.rtol for o in probe(namespace)}


def failure_of(error: BaseException, file: Path | None) -> Failure:
    """The exception with the last line of the learner's file that it passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if file is not None and f.filename == str(file)]
    text = "".join(traceback.format_list(own)) if own else ""
    message = re.sub(r"0x[0-9a-f]+", "0x…", " ".join(str(error).split()))
    return Failure(type(error).__name__, message, own[-1].lineno if own else None, text)


def differences(
    expected: Outcomes, got: Outcomes, *, rtol: dict[str, float] | float = RTOL
) -> list[Difference]:
    """One difference per label that does not agree, in the probe's order."""
    found = []
    for label, value in expected.items():
        limit = rtol.get(label, RTOL) if isinstance(rtol, dict) else rtol
        if difference := _differ(label, "", value, got.get(label), limit):
            found.append(difference)
    return found


def _differ(label: str, path: str, a: Any, b: Any, rtol: float) -> Difference | None:
    def part(what: str, error: float | None = None) -> Difference:
        return Difference(label, path, what, a, b, error)

    if isinstance(a, Failure) or isinstance(b, Failure):
        return None if _same_failure(a, b) else part("exception")
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _differ_tensor(a, b, rtol, part)
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return part("keys")
        pairs = [(f"{path}.{k}" if path else str(k), a[k], b[k]) for k in a]
        return next((d for p, x, y in pairs if (d := _differ(label, p, x, y, rtol))), None)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return part("length")
        pairs = [(f"{path}[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
        return next((d for p, x, y in pairs if (d := _differ(label, p, x, y, rtol))), None)
    if _is_number(a) and _is_number(b):
        error = abs(a - b) / max(abs(a), 1e-30) if a == a and b == b else float(a == a or b == b)
        return part("value", error) if a != b and error > rtol else None
    if type(a) is not type(b):
        return part("type")
    return None if a == b else part("value")


def _same_failure(a: Any, b: Any) -> bool:
    """Two mistakes often raise the same kind of exception: only the message tells them apart."""
    both = isinstance(a, Failure) and isinstance(b, Failure)
    return both and (a.kind, a.message) == (b.kind, b.message)


def _differ_tensor(
    a: Tensor, b: Tensor, rtol: float, part: Callable[..., Difference]
) -> Difference | None:
    if a.shape != b.shape:
        return part("shape")
    if a.device != b.device:
        return part("device")
    if a.dtype != b.dtype:
        return part("dtype")
    if a.numel() == 0 or a.is_meta:
        return None
    x, y = a.double(), b.double()
    if not torch.equal(x.isfinite(), y.isfinite()):
        return part("value", float("inf"))
    x, y = x.nan_to_num(), y.nan_to_num()
    # Below SMALLEST a value is what exact zeros become in another order of summation.
    error = ((x - y).abs().max() / x.abs().max().clamp(min=SMALLEST)).item()
    return part("value", error) if error > rtol else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def version_of(x: Tensor) -> int:
    """Counts what is written into the tensor; those of inference mode do not count."""
    return 0 if x.is_inference() else x._version


def _frozen(value: Any) -> Any:
    """The value as it is now, without its graph."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {k: _frozen(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_frozen(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return Odd(type(value).__name__, repr(value)[:90])


@contextmanager
def double_stays_double() -> Iterator[None]:
    """`x.float()` and `x.to(torch.float32)` leave a float64 tensor alone.

    Casting logits up to float32 is right in training; here it would hide a mistake in rounding.
    """
    own_float, own_to = Tensor.float, Tensor.to

    def stay_float(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x if x.dtype == torch.float64 else own_float(x, *args, **kwargs)

    def stay_to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        wants = torch.float32 in args or kwargs.get("dtype") is torch.float32
        return x if wants and x.dtype == torch.float64 else own_to(x, *args, **kwargs)

    Tensor.float, Tensor.to = stay_float, stay_to  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Tensor.float, Tensor.to = own_float, own_to  # type: ignore[method-assign]
