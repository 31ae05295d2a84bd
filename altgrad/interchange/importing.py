"""A checkpoint of `transformers` -> a run folder, from which one can sample, evaluate, fine-tune.

The weights are kept in float32, which holds every float16 and bfloat16 number exactly.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from altgrad.data import DataConfig, DataError, Metadata
from altgrad.interchange.export import FORMATS
from altgrad.interchange.run_writer import data_facts, write_run
from altgrad.interchange.tokenizer import FILE
from altgrad.model import GPT, GPTConfig
from altgrad.training import TrainConfig
from altgrad.training.checkpoint import load_into
from altgrad.training.room import refuse_more_than_stored

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


def import_model(source: str, run: Path) -> Path:
    """Make `run` out of a local folder, or of a model's name on the hub; returns `run`.

    Raises:
        ValueError: `run` exists, the source is neither, its architecture is not one of `FORMATS`,
            a setting has no counterpart, or a tensor is missing, unknown or of another shape.
    """
    if run.exists():
        raise DataError(f"{run} exists already; choose another --out")
    folder = find_folder(source)
    values = _read_json(folder / "config.json")
    config, shape = read_config(values)
    weights = read_weights(folder)
    refuse_more_than_stored(config, [w.shape for w in weights.values()], folder)
    model = GPT(config, torch.Generator().manual_seed(0))
    load_into(model, FORMATS[shape].from_weights(weights, config))
    identity = tokenizer_identity(folder, values)
    data = DataConfig(tokenizer=_tokenizer_name(identity, run))
    settings = TrainConfig(model=config, data=data)
    metadata = Metadata(
        corpus=Path(source).name,
        licence="see its source",
        sources=[{"imported": source}],
        split_rule="none: imported, not trained here",
        tokenizer=identity,
        vocab_size=config.vocab_size,
        dtype="uint16" if (config.vocab_size or 0) <= 2**16 else "uint32",
        splits={},
    )
    step = values.get("altgrad", {}).get("step", 0)
    return write_run(
        run,
        settings,
        model,
        data_facts(metadata),
        step=step,
        origin=f"imported from {source}",
        files=[folder / FILE] if (identity or {}).get("name") == "file" else [],
    )


def find_folder(source: str) -> Path:
    """`source` itself if it is a folder, else the hub's model of this name, downloaded."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.exists() or source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise DataError(f"{source}: no such folder, nor a name on the hub such as openai/gpt2")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise DataError(
            f"importing {source} from the hub needs: pip install 'altgrad[hf]'"
        ) from None
    try:
        return Path(snapshot_download(source, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # The library raises its own kinds, and those of its HTTP client.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise DataError(f"{source} cannot be had from the hub: {reason or error!r}") from None


def read_config(values: dict[str, Any]) -> tuple[GPTConfig, str]:
    """Our settings and the format's name, out of a `config.json`."""
    shape = values.get("model_type")
    if shape not in FORMATS:
        raise DataError(
            f"model_type={shape!r} cannot be imported; those that can are {', '.join(FORMATS)}"
        )
    kept = values.get("altgrad", {}).get("model")
    return (GPTConfig(**kept) if kept else FORMATS[shape].from_config(values)), shape


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, in float32; out of one file, or several with an index."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    index = folder / INDEX
    names = [WEIGHTS]
    if index.is_file():
        names = sorted(set(_read_json(index)["weight_map"].values()))
    weights: dict[str, Tensor] = {}
    for name in names:
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}; only safetensors are read, never pickles")
        try:
            weights |= load_file(folder / name)
        except SafetensorError as error:
            raise DataError(f"{folder / name} is damaged ({error})") from None
    return {name: tensor.float() for name, tensor in weights.items()}


def tokenizer_identity(folder: Path, values: dict[str, Any]) -> dict[str, Any] | None:
    """Which tokenizer the model has: ours, if it came from here, else its `tokenizer.json`."""
    kept: dict[str, Any] | None = values.get("altgrad", {}).get("tokenizer")
    if kept is not None:
        return kept
    if not (folder / FILE).is_file():
        return None
    from altgrad.data.config import cache_root
    from altgrad.data.tokenizers import identify

    return identify(str(folder / FILE), cache_root(DataConfig()))


def _tokenizer_name(identity: dict[str, Any] | None, run: Path) -> str:
    """The value of `data.tokenizer` with which more text can be prepared for this model."""
    name: str = (identity or {}).get("name", "byte")
    return str(run.resolve() / FILE) if name == "file" else name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    return content
