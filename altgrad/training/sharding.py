"""State dicts that do not know how many processes there are: gathered on saving, spread on loading.

A model sharded by FSDP2 holds `DTensor`s; `torch.distributed.checkpoint.state_dict` makes whole
tensors of them on process 0 and takes them apart again.
"""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad.training.adapters import adapter_state, is_adapted, load_adapters
from altgrad.training.checkpoints import load_into


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
