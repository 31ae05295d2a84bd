"""A normalisation of your own. As it stands it is RMSNorm: change what is marked.

    altgrad verify model.norm=mine:Norm
    altgrad train model.norm=mine:Norm
    altgrad compare model.norm=layernorm,mine:Norm seeds=5

Contract
    __init__(width, config)   width: of the last dimension; config: the settings `model.*`
    forward(x)                [..., width] -> the same shape and type; acts on the last dimension
Where model.qk_norm is on it also normalises queries and keys after they were rotated: with a
learned number per channel scores no longer depend on the distance alone, and `verify` says so.
"""

from torch import Tensor, nn

from altgrad.model.config import GPTConfig


class Norm(nn.Module):
    def __init__(self, width: int, config: GPTConfig):
        super().__init__()
        self.width, self.eps = width, config.norm_eps
        # What is learned beside Linears gets its first values here and in `reset_parameters(self)`.

    def forward(self, x: Tensor) -> Tensor:
        # Yours begins here.
        size = x.square().mean(-1, keepdim=True)
        # Yours ends here.
        return x * (size + self.eps).rsqrt()
