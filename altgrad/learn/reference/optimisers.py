"""AdamW and Muon in one file, from the equation to the numbers of torch and altgrad.

p a parameter, g its gradient, m the mean of its gradients, v the mean of their squares, t the
number of the step, counted from 1.
"""

import math

import torch


def moving_average(average, value, beta):
    """beta·average + (1 - beta)·value, as a new tensor; neither argument is changed."""
    return beta * average + (1 - beta) * value


def debiased(average, beta, step):
    """average / (1 - beta^t), t = step: what an average that began at zero has too little.

    After the first step (t = 1) it is the first value itself.
    """
    return average / (1 - beta**step)


def adamw_update(grad, state, betas, eps):
    """The direction of AdamW, m̂ / (sqrt(v̂) + eps), of grad's shape.

    state is a dict, empty before the first call. This call brings it up to date: state["step"]
    (an int, 1 after the first call), state["m"] and state["v"], moving averages with betas[0] and
    betas[1] of grad and of grad², both begun at zero. m̂ and v̂ are the debiased ones.
    grad is not changed.
    """
    if not state:
        state["step"] = 0
        state["m"] = torch.zeros_like(grad)
        state["v"] = torch.zeros_like(grad)
    state["step"] += 1
    state["m"] = moving_average(state["m"], grad, betas[0])
    state["v"] = moving_average(state["v"], grad * grad, betas[1])
    m = debiased(state["m"], betas[0], state["step"])
    v = debiased(state["v"], betas[1], state["step"])
    return m / (v.sqrt() + eps)


class AdamW(torch.optim.Optimizer):
    """Every number moves by about the learning rate, whatever the size of its gradient."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        """Hand params and the defaults lr, betas, eps, weight_decay to torch's Optimizer, which
        keeps them in self.param_groups, one dict a group.

        Refuse (ValueError) lr < 0 and betas outside [0, 1).
        """
        if lr < 0:
            raise ValueError(f"lr={lr} must not be negative")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={betas} must lie in [0, 1)")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self):
        """p <- (1 - lr·weight_decay)·p - lr·adamw_update, in place, with each group's own settings.

        self.state[p] is the parameter's dict. A parameter without a gradient is left alone, its
        state too: its t counts its own steps.
        """
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = adamw_update(p.grad, self.state[p], group["betas"], group["eps"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * update)


def newton_schulz(matrix, steps=5):
    """About the orthogonal matrix nearest to `matrix` (rows, columns): singular values near 1.

    X = matrix / |matrix|, |·| the Frobenius norm, at least 1e-7; a matrix with more rows than
    columns is transposed first and back at the end. Then `steps` times, with A = X Xᵀ,
    X <- a·X + (b·A + c·A A) X for a, b, c = 3.4445, -4.7750, 2.0315.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def muon_scale(rows, columns):
    """sqrt(max(1, rows / columns)), a float: a tall matrix moves further."""
    return math.sqrt(max(1.0, rows / columns))


def muon_direction(grad, state, momentum, nesterov):
    """What Muon makes orthogonal. grad is not changed.

    state["m"] <- moving_average(state["m"], grad, momentum), begun at zero in an empty dict.
    With nesterov the same average once more, of the new state["m"] and grad; without it state["m"].
    """
    if not state:
        state["m"] = torch.zeros_like(grad)
    state["m"] = moving_average(state["m"], grad, momentum)
    return moving_average(state["m"], grad, momentum) if nesterov else state["m"]


class Muon(torch.optim.Optimizer):
    """A matrix moves by its momentum made orthogonal: the same distance in every direction."""

    def __init__(self, params, lr=0.02, momentum=0.95, nesterov=True, ns_steps=5, weight_decay=0.0):
        """Hand params and the defaults lr, momentum, nesterov, ns_steps, weight_decay to torch's
        Optimizer.

        Refuse (ValueError) a parameter that is no matrix.
        """
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            if any(p.dim() != 2 for p in group["params"]):
                raise ValueError("Muon moves matrices only")

    @torch.no_grad()
    def step(self):
        """p <- (1 - lr·weight_decay)·p - lr·muon_scale(rows, columns)·newton_schulz(direction), in
        place, with each group's own settings.

        direction: muon_direction of the gradient. A parameter without a gradient is left alone.
        """
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                direction = muon_direction(p.grad, state, group["momentum"], group["nesterov"])
                update = newton_schulz(direction, group["ns_steps"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * muon_scale(p.size(0), p.size(1)) * update)


def split_parameters(model):
    """(for Muon, for AdamW): two lists of the model's parameters, each in the model's order.

    For Muon: matrices whose name holds none of wte, wpe, lm_head. For AdamW: all others. What does
    not train (requires_grad=False) is in neither.
    """
    muon, adamw = [], []
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        lookup = any(word in name for word in ("wte", "wpe", "lm_head"))
        (adamw if lookup or p.dim() != 2 else muon).append(p)
    return muon, adamw
