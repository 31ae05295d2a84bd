"""How every tensor starts.

| tensor                         | gpt2             | llama      | nanochat                       |
|--------------------------------|------------------|------------|--------------------------------|
| wte                            | N(0, 0.02²)      | N(0, 0.02²)| N(0, 1)                        |
| wpe                            | N(0, 0.02²)      | N(0, 0.02²)| N(0, 1)                        |
| value embeddings               | N(0, 0.02²)      | N(0, 0.02²)| N(0, 1)                        |
| bigram and trigram embedding   | 0                | 0          | 0                              |
| c_q c_k c_v c_fc c_gate        | N(0, 0.02²)      | N(0, 0.02²)| N(0, s²), s below              |
| c_proj of attention and MLP    | N(0, 0.02²/(2L)) | N(0, 0.02²)| 0                              |
| lm_head, when not tied; mtp    | N(0, 0.02²)      | N(0, 0.02²)| 0                              |
| biases                         | 0                | 0          | 0                              |
| norm weights                   | 1                | 1          | (none)                         |
| lambda_x / lambda_x0, gain     | 1 / 0, 0         | 1 / 0, 0   | 1 / 0, 0                       |
| value_gain                     | 1                | 1          | 1                              |

With `init_width` the matrices of the blocks (c_q … c_proj under gpt2 and llama) start (n_embd /
init_width)^½ smaller, and `init_depth` stands for L: the start that `optim.width_rule` asks for.
nanochat's s falls with the width by itself.

s = fan_in^-½ · min(1, (fan_out/fan_in)^½). L is n_layer. Any other Linear or Embedding (an outside
part's) starts as c_q or wte does; other parameters as their own constructor sets them.

Every tensor draws from a stream of its own, seeded by (the generator's seed, the tensor's name):
changing one part leaves the start of all the others as it was. Draws are float32 on the CPU, so
that device and dtype change nothing either.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

GPT2_STD = 0.02


def _gpt2_std(name: str, weight: Tensor, n_layer: int) -> float:
    return GPT2_STD / (2 * n_layer) ** 0.5 if name.endswith("c_proj.weight") else GPT2_STD


def _llama_std(name: str, weight: Tensor, n_layer: int) -> float:
    return GPT2_STD


def _nanochat_std(name: str, weight: Tensor, n_layer: int) -> float:
    if name.endswith(("c_proj.weight", "lm_head.weight")):
        return 0.0
    fan_out, fan_in = weight.shape
    return fan_in**-0.5 * min(1.0, (fan_out / fan_in) ** 0.5)


# Standard deviation of a Linear's weight, and of an Embedding's, under each scheme.
SCHEMES: dict[str, tuple[Callable[[str, Tensor, int], float], float]] = {
    "gpt2": (_gpt2_std, GPT2_STD),
    "llama": (_llama_std, GPT2_STD),
    "nanochat": (_nanochat_std, 1.0),
}


FALLS_WITH_WIDTH = ("nanochat",)
"""Schemes whose matrices start smaller in a wider network without being told."""


def initialise(
    model: nn.Module, *, scheme: str, n_layer: int, seed: int, shrink: float = 1.0
) -> None:
    """Set every Linear and Embedding of `model` by the table above, in place.

    shrink: factor on the standard deviation of the matrices inside the blocks (not of the head).
    """
    linear_std, embedding_std = SCHEMES[scheme]
    if scheme in FALLS_WITH_WIDTH:
        shrink = 1.0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            weight_name = f"{name}.weight"
            std = linear_std(weight_name, module.weight, n_layer)
            std *= 1.0 if name.endswith("lm_head") else shrink
            _normal(module.weight, std, seed, name)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    # Embeddings last: a tied head's matrix starts as the embedding it is.
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            std = 0.0 if name.endswith(("bigram", "trigram")) else embedding_std
            _normal(module.weight, std, seed, name)


def reset_other_modules(model: nn.Module) -> None:
    """`reset_parameters()` of all that `initialise` does not set: norms, tables, gains."""
    for module in model.modules():
        if not isinstance(module, nn.Linear | nn.Embedding) and hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]


def draw_seed(generator: torch.Generator | None) -> int:
    """One 62-bit seed out of the generator; out of torch's global one when there is none."""
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**62, (), generator=generator, device=device))


@contextmanager
def own_random_stream(seed: int) -> Iterator[None]:
    """Random draws of module constructors come from `seed` and leave the global stream alone."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed) if devices else torch.default_generator.manual_seed(seed)
        yield


@torch.no_grad()
def _normal(tensor: Tensor, std: float, seed: int, name: str) -> None:
    if tensor.is_meta:
        return
    if std == 0.0:
        tensor.zero_()
        return
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "big") >> 1)
    drawn = torch.empty(tensor.shape, dtype=torch.float32, device="cpu")
    tensor.copy_(drawn.normal_(0.0, std, generator=generator))
