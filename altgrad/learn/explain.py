"""Differences in words: what differs, by how much, in which cases, and what that points to."""

import math
from typing import Any

import torch
from torch import Tensor

from altgrad.learn.observe import Difference, Failure, Odd, Outcomes

SMALL_ERROR = 1e-3


def describe(found: list[Difference]) -> list[str]:
    """One line per difference: what it was, and as few numbers as tell it."""
    return [_line(difference) for difference in found]


def smallest_first(found: list[Difference]) -> list[Difference]:
    """The differences whose case is smallest first; exceptions where they stand."""
    return sorted(found, key=_size_of_case)


def _size_of_case(d: Difference) -> float:
    both = isinstance(d.got, Tensor) and isinstance(d.expected, Tensor)
    return d.expected.numel() if both and d.what == "value" else math.inf


def _line(d: Difference) -> str:
    where = f"{d.label}: {d.path}" if d.path else d.label
    if isinstance(d.got, Failure):
        return f"{where}: {d.got.kind}: {d.got.message}"
    if isinstance(d.expected, Failure):
        return f"{where}: should raise {d.expected.kind}, and gives {_short(d.got)}"
    if d.what == "shape":
        return f"{where}: shape {list(d.got.shape)}, expected {list(d.expected.shape)}"
    if d.what == "dtype":
        return f"{where}: {_dtype(d.got)}, expected {_dtype(d.expected)}"
    if d.what == "device":
        return f"{where}: on {d.got.device}, expected on {d.expected.device}"
    if d.what == "keys":
        return f"{where}: {_key_difference(d.expected, d.got)}"
    if isinstance(d.got, Tensor) and isinstance(d.expected, Tensor):
        return f"{where}: {_first_wrong(d.expected, d.got)}"
    if isinstance(d.got, list) and isinstance(d.expected, list):
        return f"{where}: {_first_apart(d.expected, d.got)}"
    expected, got = _apart(d.expected, d.got)
    return f"{where}: expected {expected}, yours {got}"


def _dtype(x: Any) -> str:
    return str(x.dtype).removeprefix("torch.")


def _short(value: Any) -> str:
    """A value in a few words; of tensors their shape, of lists their length."""
    if value is None:
        return "nothing (None)"
    if isinstance(value, Tensor):
        return f"a tensor {_dtype(value)}{list(value.shape)}"
    if isinstance(value, Odd):
        return f"a {value.kind}"
    if isinstance(value, list) and any(isinstance(v, list | Tensor) for v in value):
        return f"{len(value)} values: {', '.join(_short(v) for v in value[:3])}"
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) < 90 else f"{text[:87]}..."


def _apart(a: Any, b: Any) -> tuple[str, str]:
    """Both values, numbers with as many digits as tell them apart."""
    if not (isinstance(a, float) and isinstance(b, int | float)) or a == b:
        return _short(a), _short(b)
    for digits in range(6, 18):
        shown = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if shown[0] != shown[1]:
            break
    return shown


def _first_apart(expected: list, got: list) -> str:
    """Two lists of different lengths or values: the first place where they part."""
    pairs = zip(expected, got, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(got)))
    one, other = (_short(x[at]) if at < len(x) else "the end" for x in (expected, got))
    lengths = (
        f" ({len(expected)} expected, {len(got)} in yours)" if len(expected) != len(got) else ""
    )
    return f"the first difference is at [{at}]: expected {one}, yours {other}{lengths}"


def _key_difference(expected: dict, got: dict) -> str:
    missing, extra = [k for k in expected if k not in got], [k for k in got if k not in expected]
    parts = [f"missing {_few(missing)}"] if missing else []
    parts += [f"not in the contract: {_few(extra)}"] if extra else []
    return "; ".join(parts)


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _first_wrong(expected: Tensor, got: Tensor) -> str:
    """How many numbers differ, and the first that does."""
    if expected.dtype == torch.bool:
        wrong = expected != got
    else:
        scale = expected.double().abs().max().clamp(min=1e-30)
        wrong = ((expected.double() - got.double()).abs() / scale > 1e-9) | (
            expected.isfinite() != got.isfinite()
        )
    if not wrong.any():
        return "numbers differ by less than can be shown"
    first = wrong.nonzero()[0].tolist()
    place = f"at [{', '.join(map(str, first))}] " if first else ""
    a, b = _apart(expected[tuple(first)].item(), got[tuple(first)].item())
    if wrong.numel() == 1:
        return f"{place}expected {a}, yours {b}"
    share = wrong.double().mean().item()
    return f"{place}expected {a}, yours {b} ({share:.0%} of the numbers differ)"


def symptoms(unit: str, found: list[Difference], got: Outcomes) -> list[str]:
    """What the pattern of agreement and disagreement points to."""
    lines = _which_cases(found, got)
    value = next((d for d in found if d.what == "value" and isinstance(d.got, Tensor)), None)
    if value is not None:
        lines += [text for text in (_relation(value.expected, value.got),) if text]
    errors = [d.error for d in found if d.what == "value" and d.error is not None]
    if errors and len(errors) == len(found) and max(errors) < SMALL_ERROR:
        lines.append("the same idea with another constant: this looks like eps or precision")
    return lines


def _which_cases(found: list[Difference], got: Outcomes) -> list[str]:
    wrong = [d.label for d in found]
    right = [label for label in got if label not in wrong]
    if not right:
        return []
    if all("cache" in label for label in wrong):
        return [
            "right without a cache, wrong with one: this shows when generating, not in training"
        ]
    if all("gradient" in label for label in wrong):
        return ["the values are right; only gradients differ: look for detach, .data or no_grad"]
    if all("left as it was" in label or "untouched" in label for label in wrong):
        return ["the result is right, but something else was changed on the way"]
    return [f"these agree: {'; '.join(right[:4])}{' …' if len(right) > 4 else ''}"]


def _relation(expected: Tensor, got: Tensor) -> str | None:
    """A simple relation between the two, where there is one."""
    a, b = expected.double().flatten(), got.double().flatten()
    if a.numel() < 4 or not (a.isfinite().all() and b.isfinite().all()):
        return "yours contains NaN or infinity" if not b.isfinite().all() else None
    if b.abs().max() == 0:
        return "yours is all zeros"
    ratio = (a @ b) / (a @ a).clamp(min=1e-300)
    if (b - ratio * a).abs().max() < 1e-9 * b.abs().max():
        return f"yours is the expected result times {ratio.item():.6g} everywhere"
    if expected.dim() >= 2 and expected.size(1) > 1:
        same = [
            t
            for t in range(expected.size(1))
            if torch.allclose(expected[:, t], got[:, t], rtol=1e-9, atol=1e-12)
        ]
        if same == [0]:
            return "position 0 is right and all later ones are wrong"
        if same and len(same) < expected.size(1):
            return f"right only at position{'s' * (len(same) > 1)} {', '.join(map(str, same))}"
    if torch.allclose(a.sort().values, b.sort().values, rtol=1e-9, atol=1e-12):
        return "yours has the right numbers in other places"
    return None


def remark_on(unit: str, source: str) -> list[str]:
    """Remarks on a unit that passed."""
    return []
