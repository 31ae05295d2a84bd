"""Everything of a run that lives on in a checkpoint: each part gives and takes its own state."""

from typing import Any, Protocol

from lightning.fabric import Fabric

from altgrad.training.checkpoints import CheckpointError
from altgrad.training.randomness import global_state, restore_global_state


class Stateful(Protocol):
    """A part with a position, a history, a count: anything a resumed run must find again.

    Its state is any nest of dicts, lists, tensors, numbers and texts.
    """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


Parts = dict[str, Stateful]


class GlobalRandom:
    """The generators of Python, NumPy, torch and CUDA as a part: each process has its own."""

    def state_dict(self) -> dict[str, Any]:
        return global_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_global_state(state)


def collect(parts: Parts, own_parts: Parts, fabric: Fabric) -> dict[str, Any]:
    """State of the parts that are the same on all processes, and of each process's own parts.

    Every process must call it.
    """
    own = _states(own_parts)
    processes: list[Any] = [own]
    if fabric.world_size > 1:
        import torch.distributed as dist

        processes = [None] * fabric.world_size
        dist.all_gather_object(processes, own)
    return {"parts": _states(parts), "processes": processes}


def _states(parts: Parts) -> dict[str, Any]:
    return {name: part.state_dict() for name, part in parts.items()}


def restore(
    saved: dict[str, Any], parts: Parts, own_parts: Parts, *, rank: int, lenient: bool = False
) -> list[str]:
    """Give every part its state back.

    Args:
        lenient: a part without a saved state starts afresh, a saved state without a part is left
            out; for a run whose settings were changed on purpose.

    Returns:
        What `lenient` let pass, in words.

    Raises:
        CheckpointError: parts and states do not match.
    """
    processes = saved["processes"]
    known = processes[rank] if rank < len(processes) else {}
    remarks = _restore(saved["parts"], parts, lenient)
    return remarks + _restore(known, own_parts, lenient)


def _restore(states: dict[str, Any], parts: Parts, lenient: bool) -> list[str]:
    fresh = [f"{name} starts afresh" for name in parts if name not in states]
    left = [f"the saved state of {name} is left out" for name in states if name not in parts]
    if (fresh or left) and not lenient:
        raise CheckpointError(f"the checkpoint does not fit the run: {'; '.join(fresh + left)}.")
    for name, part in parts.items():
        if name in states:
            _load(part, name, states[name])
    return fresh + left


def _load(part: Stateful, name: str, state: dict[str, Any]) -> None:
    try:
        part.load_state_dict(state)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"the saved state of {name} does not fit: {error}") from error
