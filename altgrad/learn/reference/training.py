"""The training loop in one file: what one step is, what surrounds it, and how it goes on.

B sequences of T tokens, V words. model(ids) gives logits (B, T, V) for ids (B, T); targets (B, T)
are the next tokens, -1 where none counts. A micro-batch is a pair (ids, targets).
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

IGNORE = -1  # the target of a position that does not count


@dataclass
class Settings:
    """max_steps 100, warmup_steps 10, micro_batches 4 (int); floor 0.1, max_norm 1.0 (float).

    micro_batches: how many make one step. floor: where the rate ends, as a share of its peak.
    """

    max_steps: int = 100
    warmup_steps: int = 10
    micro_batches: int = 4
    floor: float = 0.1
    max_norm: float = 1.0


def rate_factor(step, warmup_steps, max_steps, floor):
    """The share of the peak rate at a step (counted from 0), a float: warm-up, then a cosine.

    (step + 1) / warmup_steps while step < warmup_steps. Then from 1 at step warmup_steps to floor
    at max_steps: floor + (1 - floor)·(1 + cos(pi·progress)) / 2, progress growing from 0 to 1.
    From max_steps on floor.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= max_steps:
        return floor
    progress = (step - warmup_steps) / (max_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rates(optimizer, factor):
    """Each group's lr is factor times its own peak; nothing comes back.

    The peak is the group's lr at the first call, kept as group["initial_lr"]; one that has an
    initial_lr already keeps it.
    """
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = factor * group["initial_lr"]


def token_loss(logits, targets):
    """(sum of the cross-entropies, how many): over the positions whose target is not IGNORE.

    logits (B, T, V), targets (B, T). The sum is a 0-d tensor with its graph, how many an int.
    """
    flat = logits.flatten(0, 1)
    total = F.cross_entropy(flat, targets.flatten(), ignore_index=IGNORE, reduction="sum")
    return total, int((targets != IGNORE).sum())


def accumulate(model, micro_batches):
    """Gradients of the mean loss of all tokens of all micro-batches, as if they were one batch.

    micro_batches: a list; they may differ in size and in how many of their targets count: every
    token weighs the same. Gradients of before are dropped first. The backward pass of each comes
    before the forward pass of the next, so that only one graph is kept. Returns the mean loss
    (float); it is 0.0 where no token counts.
    """
    count = max(1, sum(int((targets != IGNORE).sum()) for _, targets in micro_batches))
    for p in model.parameters():
        p.grad = None
    loss = 0.0
    for ids, targets in micro_batches:
        total, _ = token_loss(model(ids), targets)
        (total / count).backward()
        loss += total.item() / count
    return loss


def global_norm(parameters):
    """sqrt of the sum of the squares of all gradients of all parameters, a 0-d tensor.

    Parameters without a gradient are left out; 0 where none has one.
    """
    squares = [p.grad.square().sum() for p in parameters if p.grad is not None]
    return torch.stack(squares).sum().sqrt() if squares else torch.tensor(0.0)


def clip_gradients(parameters, max_norm):
    """Scale all gradients in place by max_norm / (global_norm + 1e-6) where that is below 1.

    One factor for all, so the direction stays. parameters: a list or an iterator, such as
    model.parameters(). Returns the norm before clipping (float).
    """
    parameters = list(parameters)
    norm = global_norm(parameters).item()
    factor = max_norm / (norm + 1e-6)
    if factor < 1:
        for p in parameters:
            if p.grad is not None:
                p.grad.mul_(factor)
    return norm


class Batches:
    """Every block of `length` tokens once an epoch, in an order that depends on seed and epoch."""

    def __init__(self, tokens, batch_size, length, seed):
        """Keep tokens (a 1-d tensor of ids), batch_size, length and seed; epoch = position = 0.

        position: how many blocks of this epoch have been given. Refuse (ValueError) tokens that
        hold fewer than batch_size blocks; a block needs one token more, for its last target.
        """
        if (len(tokens) - 1) // length < batch_size:
            raise ValueError(f"{len(tokens)} tokens are too few for a batch of {batch_size}")
        self.tokens = tokens
        self.batch_size = batch_size
        self.length = length
        self.seed = seed
        self.epoch = 0
        self.position = 0

    def order(self):
        """The numbers of this epoch's blocks in the order in which they come, a 1-d tensor.

        torch.randperm of a generator of its own, seeded with seed + epoch; the global one is left
        alone. There are as many blocks as fit whole, each with its last target.
        """
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return torch.randperm((len(self.tokens) - 1) // self.length, generator=generator)

    def next_batch(self):
        """(ids, targets), each (batch_size, length): the next batch_size blocks of order().

        Block i begins at token i·length; its targets are its ids one token later. position moves
        on by batch_size. Where fewer blocks are left they are dropped, and the next epoch begins.
        """
        blocks = self.order()
        if self.position + self.batch_size > len(blocks):
            self.epoch += 1
            self.position = 0
            blocks = self.order()
        chosen = blocks[self.position : self.position + self.batch_size].tolist()
        self.position += self.batch_size
        starts = [i * self.length for i in chosen]
        rows = torch.stack([self.tokens[s : s + self.length + 1] for s in starts])
        return rows[:, :-1], rows[:, 1:]

    def state_dict(self):
        """{"epoch", "position"}: all that decides what comes next."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state):
        """Go on where another object with this state would."""
        self.epoch = state["epoch"]
        self.position = state["position"]


def train_step(model, optimizer, micro_batches, factor, max_norm):
    """One step: the model in training mode, rates, gradients, clipping, then the optimiser moves.

    factor: of set_rates. A norm that is not finite moves nothing. Returns (loss, norm before
    clipping), two floats.
    """
    model.train()
    set_rates(optimizer, factor)
    loss = accumulate(model, micro_batches)
    norm = clip_gradients(model.parameters(), max_norm)
    if math.isfinite(norm):
        optimizer.step()
    return loss, norm


def evaluate(model, batches):
    """The mean loss (float) of all tokens of all batches, without dropout and without a graph.

    batches: pairs (ids, targets); every token weighs the same. The model is afterwards in the mode
    (training or evaluation) in which it came.
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, targets in batches:
            part, number = token_loss(model(ids), targets)
            total += part.item()
            count += number
    model.train(was_training)
    return total / count


def checkpoint(model, optimizer, batches, step):
    """All that the next step depends on: "model", "optimizer", "batches", "random", "step".

    The first three are the objects' state_dict(), "random" the state of torch's global generator
    (dropout draws from it), "step" the next one to be done. Training on does not change what was
    kept: a state_dict shares its tensors with the model, so copy them.
    """
    return {
        "model": copy.deepcopy(model.state_dict()),
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "batches": copy.deepcopy(batches.state_dict()),
        "random": torch.get_rng_state(),
        "step": step,
    }


def resume(state, model, optimizer, batches):
    """Put a checkpoint's state into the three objects and torch's global generator; its step.

    Training on does not change the state, so that one can resume from it again: the optimiser
    would share its tensors, so give it a copy.
    """
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
    batches.load_state_dict(state["batches"])
    torch.set_rng_state(state["random"])
    return state["step"]


def train(model, optimizer, batches, settings, start, stop):
    """Steps start … stop - 1 of a run of settings.max_steps; their losses, a list of floats.

    Each step takes settings.micro_batches batches, the rate_factor of its own number in the whole
    run, and settings.max_norm. So a run in two pieces is the run in one.
    """
    losses = []
    for step in range(start, stop):
        factor = rate_factor(step, settings.warmup_steps, settings.max_steps, settings.floor)
        micro_batches = [batches.next_batch() for _ in range(settings.micro_batches)]
        loss, _ = train_step(model, optimizer, micro_batches, factor, settings.max_norm)
        losses.append(loss)
    return losses
