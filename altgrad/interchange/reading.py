"""The tensors of a folder as `transformers` reads them: which files, and what stands for what."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from altgrad.data import DataError
from altgrad.interchange.config_json import read_json
from altgrad.model import GPT, GPTConfig

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
SAVE_ANEW = "AutoModelForCausalLM.from_pretrained({}).save_pretrained(FOLDER)"
LAYER = re.compile(r"transformer\.h\.(\d+)\.")
HEAD, TABLE = "lm_head.weight", "transformer.wte.weight"
MAX_POSITIONS = 2**20
"""No tensor bounds the context of a rotary network, and tables are made for all of it."""


def refuse_other_formats(source: Path) -> None:
    """Raises DataError for anything but a folder of safetensors, with the way to make one."""
    inside = {p.name for p in source.iterdir()} if source.is_dir() else {source.name}
    if "adapter_config.json" in inside:
        raise DataError(
            f"{source} holds adapters for another model, not a model; merge them with peft "
            f"(AutoPeftModelForCausalLM.from_pretrained('{source}').merge_and_unload()"
            ".save_pretrained(FOLDER)) and import that folder"
        )
    if inside & {WEIGHTS, INDEX}:
        return
    gguf = next((name for name in sorted(inside) if name.endswith(".gguf")), None)
    if gguf is not None:
        folder = source if source.is_dir() else source.parent
        how = SAVE_ANEW.format(f"'{folder}', gguf_file='{gguf}'")
        raise DataError(f"{source}: GGUF is not read; write safetensors with transformers: {how}")
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")) for name in inside):
        raise DataError(
            f"{source} has no {WEIGHTS}; only safetensors are read, never pickles, which can run "
            f"code; if you trust it, write it anew: {SAVE_ANEW.format(repr(str(source)))}"
        )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, in float32; out of one file, or else of several with an index."""
    weights: dict[str, Tensor] = {}
    for name in _files(folder):
        tensors = _read_file(folder / name)
        twice = next((n for n in tensors if n in weights), None)
        if twice is not None:
            raise DataError(f"{folder / name}: the tensor {twice} is in another file, too")
        weights |= tensors
    return {name: _in_float32(folder, name, tensor) for name, tensor in weights.items()}


def _files(folder: Path) -> list[str]:
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [WEIGHTS]
    places = read_json(index).get("weight_map")
    names = list(places.values()) if isinstance(places, dict) else []
    if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise DataError(f"{index} must say in 'weight_map' which file beside it has which tensor")
    return sorted(set(names))


def _read_file(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if not path.is_file():
        raise DataError(f"{path.parent} has no {path.name}; only safetensors are read")
    try:
        return load_file(path)
    except MemoryError:
        raise
    except Exception as error:  # The library's own kinds, and whatever a strange dtype raises.
        raise DataError(f"{path} is damaged ({error!r})") from None


def _in_float32(folder: Path, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise DataError(f"{folder}: {name} holds {kind}; quantised weights are not read")
    exact = tensor.float()
    if tensor.dtype == torch.float64 and not torch.equal(exact.double(), tensor):
        raise DataError(f"{folder}: {name} is float64 and would be rounded; save it as float32")
    return exact


def settle(config: GPTConfig, weights: dict[str, Tensor]) -> tuple[GPTConfig, dict[str, Tensor]]:
    """Head and biases as the tensors have them, where `config.json` says otherwise.

    As in transformers: a head of its own is kept even if it is said to be tied, and a tied one may
    stand for the embedding. `weights` have our names.
    """
    head, table = weights.get(HEAD), weights.get(TABLE)
    if config.tie_head and head is not None:
        if table is None or torch.equal(head, table):
            weights = {n: t for n, t in weights.items() if n != HEAD} | {TABLE: head}
        else:
            config = replace(config, tie_head=False)
    if not config.bias and any(name.endswith(".c_proj.bias") for name in weights):
        config = replace(config, bias=True)
    return config, weights


def check_fit(config: GPTConfig, weights: dict[str, Tensor]) -> None:
    """Raises DataError where the network has other tensors, before memory is spent on it."""
    layers = 1 + max((int(m[1]) for m in map(LAYER.match, weights) if m), default=-1)
    if config.n_layer > layers:
        raise DataError(f"config.json asks for {config.n_layer} layers, the weights have {layers}")
    if config.block_size > MAX_POSITIONS:
        raise DataError(f"a context of {config.block_size} is more than {MAX_POSITIONS} tokens")
    wanted = _shapes(config)
    missing = [n for n in wanted if n not in weights]
    surplus = [n for n in weights if n not in wanted]
    wrong = [n for n in wanted if n in weights and wanted[n] != weights[n].shape]
    if missing or surplus or wrong:
        first = [*missing, *surplus, *wrong][0]
        raise DataError(
            f"the weights do not fit config.json: {len(missing)} missing, {len(surplus)} unknown "
            f"and {len(wrong)} differently shaped tensors, first {first!r} ("
            f"{_size(weights.get(first))} in the file, {_size(wanted.get(first))} by config.json)"
        )


def _shapes(config: GPTConfig) -> dict[str, torch.Size]:
    try:
        with torch.device("meta"):
            skeleton = GPT(config)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise DataError(f"config.json asks for an impossible network ({error})") from None
    return {name: parameter.shape for name, parameter in skeleton.named_parameters()}


def _size(thing: Any) -> str:
    shape = getattr(thing, "shape", thing)
    return "none" if shape is None else "×".join(map(str, shape))
