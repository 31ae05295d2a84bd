"""Weights under the model's own names; tied parameters are saved once and stay tied."""

from torch import Tensor, nn

from altgrad.training.checkpoints.manifest import CheckpointError


def load_into(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights saved without the second names of tied parameters.

    Raises:
        CheckpointError: a name or shape that does not fit the model.
    """
    own = model.state_dict()
    names = _alias_of(own)
    missing = [n for n in own if n not in weights and names.get(n) not in weights]
    surplus = [n for n in weights if n not in own]
    wrong = [n for n in weights if n in own and own[n].shape != weights[n].shape]
    if missing or surplus or wrong:
        first = [*missing, *surplus, *wrong][0]
        raise CheckpointError(
            f"the checkpoint does not fit the model: {len(missing)} missing, "
            f"{len(surplus)} unknown and {len(wrong)} differently shaped tensors, first {first!r}."
        )
    model.load_state_dict(weights, strict=False)


def without_aliases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor once, under its first name."""
    aliases = _alias_of(state)
    return {n: t.detach() for n, t in state.items() if n not in aliases}


def _alias_of(state: dict[str, Tensor]) -> dict[str, str]:
    """Second name of a tied tensor -> its first name."""
    first: dict[tuple[int, ...], str] = {}
    aliases = {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.numel(), *tensor.shape)
        if tensor.numel() and key in first:
            aliases[name] = first[key]
        first.setdefault(key, name)
    return aliases
