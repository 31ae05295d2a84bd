"""ManifoldAdamW: the gradient times the stiffness of the weight, before the moments.

    g' = S * g,  S = 2^(floor(log2 |w|) - M)
    w <- AdamW(w, g')                     (or another base optimiser)

Cost: one more tensor the size of the largest weight during the step.
When: to test the published idea. Adam divides it away: its step is m / sqrt(v), and as long as S of
a weight stays the same, m and sqrt(v) both carry the factor S; what remains is the eps in the
denominator and the binades a weight crosses (`tests/optim/test_manifold.py` measures it). SGD with
momentum keeps it; Muon keeps what is not a common factor. Use `ulp_adamw` for geometry that acts.

Faithful to the published optimiser in its rule, the order of decay and step, S = 1 at zero weights
and the bound on S. One difference: there every tensor of the model has stiffness, biases and gains
too; here only weights with a number format do, the others move as under the base optimiser.
Source: the `ManifoldAdamW` of altgrad's first version ("stiffness-preconditioned updates").
"""

from collections.abc import Mapping

from torch import Tensor
from torch.optim import Optimizer

from altgrad.optim.combined import CombinedOptimizer
from altgrad.optim.stiffness import Field, evened


class ManifoldOptimizer(CombinedOptimizer):
    """`base` with the gradients of the parameters in `fields` multiplied by their stiffness.

    After the step the gradients are the plain ones again. `even` is the placebo of one factor for
    all entries of a matrix.
    """

    def __init__(
        self, base: Optimizer, fields: Mapping[Tensor, Field], *, even: bool = False
    ) -> None:
        super().__init__([base])
        self.fields, self.even = fields, even

    def move(self) -> None:
        plain = {p: p.grad for p, _ in self.moving() if p in self.fields}
        for p, grad in plain.items():
            assert grad is not None
            scaled = grad * self.fields[p](p)
            p.grad = evened(scaled, grad) if self.even else scaled
        super().move()
        for p, grad in plain.items():
            p.grad = grad
