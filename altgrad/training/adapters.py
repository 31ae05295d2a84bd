"""Adapters on a trained network: LoRA, DoRA, and both on a base of four bits, through peft.

Every adapted Linear computes W·x + (alpha / r)·B·A·x, where only A (r x in) and B (out x r) learn,
B starting at zero (LoRA, arXiv 2106.09685). DoRA learns the length of each row of W beside it
(arXiv 2402.09353). A base of four bits keeps W rounded to blocks of sixteen levels (QLoRA, arXiv
2305.14314). The network stays what it was: only its Linears are wrapped.
"""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.model import GPT
from altgrad.model.init import own_random_stream
from altgrad.settings import ConfigError
from altgrad.training.finetune import FinetuneConfig

ADAPTER = "default"
INT4_GROUP = 32
"""Weights that share a scale: fewer cost memory, more cost accuracy."""


def adapt(model: GPT, config: FinetuneConfig, *, seed: int) -> GPT:
    """Round the base if asked, and wrap the target Linears, in place.

    Raises:
        ConfigError: peft or the base's library is missing, or no Linear has one of the names.
    """
    found = {name.rpartition(".")[2] for name, _ in _linears(model)}
    absent = [name for name in config.targets if name not in found]
    if set(absent) == set(config.targets):
        raise ConfigError(
            f"finetune.targets={config.targets}: no Linear of the model has such a name; "
            f"there are {', '.join(sorted(found))}."
        )
    from_peft = _peft()
    ROUNDERS[config.base](model)
    alpha = 2 * config.r if config.alpha is None else config.alpha
    wanted = from_peft.LoraConfig(
        r=config.r,
        lora_alpha=alpha,
        lora_dropout=config.dropout,
        target_modules=[name for name in config.targets if name in found],
        use_dora=config.name == "dora",
    )
    with own_random_stream(seed), warnings.catch_warnings():
        # It cannot merge into torchao's weights; `merge` below does so by itself.
        warnings.filterwarnings("ignore", message="TorchaoLoraLinear was instantiated")
        from_peft.inject_adapter_in_model(wanted, model)
    return model


def _peft() -> Any:
    """peft; on its way in it loads torchao and bitsandbytes, which warn of every missing kernel."""
    was = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import peft
        import peft.tuners.lora
    except ImportError:
        raise ConfigError("adapters need peft: pip install 'altgrad[lora]'.") from None
    finally:
        logging.disable(was)
    return peft


def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Every Linear of the blocks; the head may be tied to the embedding and is left alone."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.endswith("lm_head"):
            yield name, module


# -- bases of four bits -------------------------------------------------------------------------


def _keep(model: GPT) -> None:
    """A float base stays as it is."""


def _to_nf4(model: GPT) -> None:
    """bitsandbytes: blocks of 64 values, each a code of the normal distribution's quantiles."""
    try:
        import bitsandbytes as bnb
    except ImportError:
        raise ConfigError(
            "finetune.base=nf4 needs bitsandbytes: pip install 'altgrad[lora]'."
        ) from None
    for name, linear in list(_linears(model)):
        quantised = bnb.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=torch.float32,
            quant_type="nf4",
        )
        quantised.weight = bnb.nn.Params4bit(
            linear.weight.detach().clone(), requires_grad=False, quant_type="nf4"
        )
        quantised.bias = linear.bias
        # Its repacking for evaluation on a CPU would round the scales once more, for good.
        quantised.support_avx512bf16_for_cpu = False
        model.set_submodule(name, quantised.to(linear.weight.device))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # peft asks for it


def _to_int4(model: GPT) -> None:
    """torchao: groups of 32 values, each an integer in [-8, 7] with the group's scale."""
    try:
        from torchao.quantization import IntxWeightOnlyConfig, quantize_
        from torchao.quantization.granularity import PerGroup
    except ImportError:
        raise ConfigError(
            "finetune.base=int4 needs torchao: pip install 'altgrad[lora]'."
        ) from None
    odd = [name for name, linear in _linears(model) if linear.in_features % INT4_GROUP]
    if odd:
        raise ConfigError(
            f"finetune.base=int4 rounds groups of {INT4_GROUP}, but {odd[0]} reads a width that is "
            "no multiple of it; use finetune.base=nf4."
        )
    names = {name for name, _ in _linears(model)}
    rounding = IntxWeightOnlyConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]
        granularity=PerGroup(INT4_GROUP),
    )
    quantize_(model, rounding, filter_fn=lambda module, name: name in names)


ROUNDERS = {"float": _keep, "nf4": _to_nf4, "int4": _to_int4}


# -- what is saved, and merging -----------------------------------------------------------------


def is_adapted(model: nn.Module) -> bool:
    return any(".lora_" in name for name, _ in model.named_parameters())


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that learn: all that has to be saved."""
    return {n: p.detach() for n, p in model.named_parameters() if ".lora_" in n}


@torch.no_grad()
def load_adapters(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Take over saved adapters.

    Raises:
        ConfigError: other names or shapes than the model's own.
    """
    own = {n: p for n, p in model.named_parameters() if ".lora_" in n}
    same = own.keys() == weights.keys() and all(own[n].shape == t.shape for n, t in weights.items())
    if not same:
        raise ConfigError(
            f"the saved adapters ({len(weights)} tensors) do not fit the model's ({len(own)}); "
            "finetune.r and finetune.targets must be those they were trained with."
        )
    for name, tensor in weights.items():
        own[name].copy_(tensor)


@torch.no_grad()
def merge(model: GPT) -> GPT:
    """A plain network that computes the same: every adapter added to its (dequantised) weight."""
    from peft.tuners.lora import LoraLayer

    merged = GPT(model.config, torch.Generator().manual_seed(0))
    weights: dict[str, Any] = {n: p for n, p in model.named_parameters() if ".lora_" not in n}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            weights[f"{name}.weight"] = merged_weight(module)
            if module.get_base_layer().bias is not None:
                weights[f"{name}.bias"] = module.get_base_layer().bias
    for name, parameter in merged.named_parameters():
        parameter.copy_(dense(weights[name]))
    return merged.train(model.training)


def merged_weight(layer: Any) -> Tensor:
    """W + BA, for DoRA with each row brought to its learnt length."""
    base = dense(layer.get_base_layer().weight)
    weight = base + layer.get_delta_weight(ADAPTER).float()
    magnitude = getattr(layer, "lora_magnitude_vector", {})
    if ADAPTER in magnitude:
        length = weight.norm(dim=1, keepdim=True)
        weight = weight * (magnitude[ADAPTER].weight.float()[:, None] / length)
    return weight


def dense(weight: Tensor) -> Tensor:
    """A weight as float32 numbers, whatever form it is kept in."""
    if hasattr(weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state).float()
    return (weight.dequantize() if hasattr(weight, "qdata") else weight).float()
