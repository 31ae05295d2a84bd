"""Inputs and measurements that the probes of all tracks share."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from altgrad.model import GPTConfig as ModelConfig
from altgrad.model import KVCache

B, T = 2, 7


def stream(name: str) -> torch.Generator:
    digest = hashlib.blake2b(name.encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def draw(name: str, *shape: int) -> Tensor:
    """Standard normal float64 numbers that depend on `name` and the shape only."""
    return torch.randn(shape, generator=stream(name), dtype=torch.float64)


def draw_ids(name: str, vocab_size: int, *shape: int) -> Tensor:
    return torch.randint(vocab_size, shape, generator=stream(name))


def awake(module: nn.Module) -> nn.Module:
    """`module` in float64 with every parameter random and non-zero, by the parameter's name."""
    module = module.double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = parameter.size(-1) ** -0.5 if parameter.dim() > 1 and "wt" not in name else 1.0
            parameter.copy_(scale * draw(name, *parameter.shape))
    return module


def exact_tables(n_positions: int, head_dim: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """cos and sin of t·base^(-2j/D), (1, T, 1, D/2), in float64."""
    j = torch.arange(0, head_dim, 2, dtype=torch.float64)
    t = torch.arange(n_positions, dtype=torch.float64)
    angle = torch.outer(t, base ** -(j / head_dim))[None, :, None, :]
    return angle.cos(), angle.sin()


def gradients(output: Tensor, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Gradients of one random projection of `output`; None where there is none."""
    if not output.requires_grad:
        return dict.fromkeys(tensors, "no gradient")
    loss = (output * draw("cotangent", *output.shape)).sum()
    found = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
    named = zip(tensors, found, strict=True)
    return {name: "no gradient" if g is None else g for name, g in named}


def shapes(module: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def weight_of(module: nn.Module) -> Tensor:
    return cast(Tensor, module.weight)


def used_embedding() -> nn.Embedding:
    """One whose numbers are not those that torch draws by itself: left alone, it shows."""
    module = nn.Embedding(512, 64)
    nn.init.constant_(module.weight, 3.0)
    return module


def statistics(tensor: Tensor) -> dict[str, float]:
    """Standard deviation, mean in its units, and mean |x| in its units (0.80 for a normal)."""
    x = tensor.detach().double()
    std = x.std().item()
    if std == 0 or std != std:
        return {"std": std, "centre": x.mean().item(), "tails": 0.0}
    return {
        "std": std,
        "centre": round(x.mean().item() / std, 1) + 1.0,
        "tails": x.abs().mean().item() / std,
    }


def attributes_of(module: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Each attribute's value, "missing" for one that was never set."""
    return {name: getattr(module, name, "missing") for name in names}


def field_defaults(kind: type) -> dict[str, Any]:
    """Default of every field; under "without a type" what stands in the class and is no field."""
    fields = {f.name: f.default for f in dataclasses.fields(kind)}
    plain = [n for n in vars(kind) if not n.startswith("_") and n not in fields]
    bare = [n for n in plain if not callable(getattr(kind, n))]
    return fields | ({"without a type": bare} if bare else {})


def refuses(build: Any) -> bool:
    """Does it raise an assertion or a ValueError, rather than build something odd?"""
    try:
        build()
    except (AssertionError, ValueError):
        return True
    return False


def same(a: Tensor, b: Tensor) -> bool:
    """Equal, NaN being equal to NaN: what is always NaN is not random."""
    return torch.equal(a.nan_to_num(), b.nan_to_num())


def unchanged(run: Callable[[Tensor], Any], x: Tensor) -> bool:
    """Is the input the same after the call?"""
    before = x.clone()
    run(x)
    return torch.equal(before, x)


class Pretended(TorchFunctionMode):
    """Inside, `device="meta"` is a place of its own whose tensors are really on the CPU.

    The first operation on true meta tensors loads a second of torch's Python; this asks the same
    question, on which device something is made, for nothing.
    """

    def __init__(self, *there: Tensor):
        super().__init__()
        self.there: list[Tensor] = list(there)  # kept alive, so that ids stay theirs

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__self__", None) is Tensor.device:
            return torch.device("meta") if self.holds(args[0]) else func(*args, **kwargs)
        asked = [d for d in (kwargs.get("device"), *args) if _is_device(d)]
        moved = [str(d).partition(":")[0] for d in asked]
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        args = tuple("cpu" if _is_device(a) else a for a in args)
        given = _tensors_in([*args, *kwargs.values()])
        places = {self.place_of(x) for x in given if x.dim()}
        if len(places) > 1:
            raise RuntimeError("Expected all tensors to be on the same device: meta and cpu meet")
        result = func(*args, **kwargs)
        carried = not moved and any(map(self.holds, given))
        if isinstance(result, Tensor) and ("meta" in moved or carried):
            result = result.view_as(result)
            self.there.append(result)
        return result

    def holds(self, x: Any) -> bool:
        return any(x is tensor for tensor in self.there)

    def place_of(self, x: Tensor) -> str:
        return "meta" if self.holds(x) else "cpu"


def _is_device(value: Any) -> bool:
    """A device or its name; not any string (einsum's equation is one)."""
    named = isinstance(value, str) and value.partition(":")[0] in ("cpu", "meta", "cuda")
    return named or isinstance(value, torch.device)


def _tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """Those of an operation's arguments, in lists too (`torch.cat([a, b])`)."""
    flat = [x for v in values for x in (v if isinstance(v, list | tuple) else [v])]
    return [x for x in flat if isinstance(x, Tensor)]


def trainable(module: nn.Module) -> list[str]:
    return sorted(name for name, p in module.named_parameters() if p.requires_grad)


def cache(n_layer: int) -> KVCache:
    return KVCache(ModelConfig(n_layer=n_layer, block_size=16))


class RecordingCache(KVCache):
    """Remembers what each layer inserted."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.inserted: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def insert_kv(self, layer_idx: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.inserted.setdefault(layer_idx, []).append((k, v))
        return super().insert_kv(layer_idx, k, v)
