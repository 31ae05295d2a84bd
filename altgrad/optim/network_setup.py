"""`optim.name=own`: the optimisers that a whole class of one's own (`model=my_gpt:GPT`) sets up."""

from torch import nn
from torch.optim import Optimizer

from altgrad.optim.combined import CombinedOptimizer
from altgrad.optim.config import OptimConfig

OWN = "own"


def own_setup(model: nn.Module, config: OptimConfig) -> Optimizer:
    """One optimiser over what the class's `setup_optimizers` or `configure_optimizers` returns.

    Its rates are scaled by the schedule from where it sets them.

    Raises:
        ValueError: the network is made of parts, or the setup leaves a parameter out, holds one
            twice, or returns something else.
    """
    setup = getattr(model, "own_optimizers", None)
    if setup is None:
        raise ValueError(
            "optim.name=own is the setup of a whole class (model=my_gpt:GPT); with a network made "
            "of parts choose optim=muon or optim=adamw"
        )
    made = setup(config)
    if not made or not all(isinstance(o, Optimizer) for o in made):
        raise ValueError(
            "optim.name=own: the class's setup must return a torch.optim.Optimizer or a list of "
            f"them, got {', '.join(type(o).__name__ for o in made) or 'an empty list'}"
        )
    _refuse_uneven(model, made)
    groups = (group for optimizer in made for group in optimizer.param_groups)
    for number, group in enumerate(groups):
        group.setdefault("name", f"own {number}")
    return made[0] if len(made) == 1 else CombinedOptimizer(made)


def _refuse_uneven(model: nn.Module, made: list[Optimizer]) -> None:
    """Every trainable parameter must be held exactly once: a tied one under either name."""
    held = [id(p) for o in made for group in o.param_groups for p in group["params"]]
    for name, parameter in model.named_parameters():
        count = held.count(id(parameter))
        if parameter.requires_grad and count != 1:
            how = "leaves out" if count == 0 else f"holds {count} times"
            raise ValueError(f"optim.name=own: the class's setup {how} {name}; each goes in once")
