"""What of a run lives on in its checkpoints: weights, optimiser, and each part's own state.

Nothing in it depends on the number of processes. A model sharded by FSDP2 holds `DTensor`s, which
become whole tensors on saving and are taken apart again on loading.
"""

from typing import Any, Protocol

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad.training.adapters import adapter_state, is_adapted, load_adapters
from altgrad.training.checkpoints import CheckpointError, load_into
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
    remarks = _restore(saved["parts"], parts, lenient)
    if rank >= len(processes):  # torchrun goes on with more processes: this one's are its own
        return remarks
    return remarks + _restore(processes[rank], own_parts, lenient)


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


# -- weights and optimiser -------------------------------------------------------------------------


def is_sharded(model: nn.Module) -> bool:
    return any(hasattr(p, "full_tensor") for p in model.parameters())


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """Whole weights under the model's own names; on other processes than 0 possibly empty.

    Of a network with adapters, the adapters alone: the base is another run's.
    """
    if is_adapted(model):
        return {name: whole(t) for name, t in adapter_state(model).items()}
    if not is_sharded(model):
        return model.state_dict()
    once = {name for name, _ in model.named_parameters()}
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - once
    return {name: whole(t) for name, t in model.state_dict().items() if name not in tied}


def optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser's state dict with whole tensors."""
    state = optimizer.state_dict()
    return _map_tensors(state, whole) if is_sharded(model) else state


def load_model_state(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load whole weights into a model that may be sharded."""
    if is_adapted(model):
        load_adapters(model, weights)
        return
    if not is_sharded(model):
        load_into(model, weights)
        return
    own = model.state_dict()
    model.load_state_dict({n: _like(t, own[n]) for n, t in weights.items()}, strict=False)


def load_optimizer_state(model: nn.Module, optimizer: Optimizer, state: Any) -> None:
    """Load an optimiser state with whole tensors; a state tensor is sharded like its parameter."""
    optimizer.load_state_dict(state)
    if not is_sharded(model):
        return
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                slots[name] = _like(value, parameter)


def whole(tensor: Tensor) -> Tensor:
    """The tensor, gathered from all processes where it is sharded."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _like(whole: Tensor, target: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(target, DTensor) or isinstance(whole, DTensor):
        return whole
    return distribute_tensor(whole.to(target.device), target.device_mesh, target.placements)


def _map_tensors(tree: Any, change: Any) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {k: _map_tensors(v, change) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_map_tensors(v, change) for v in tree]
    return tree
