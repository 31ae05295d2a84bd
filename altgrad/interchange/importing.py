"""A checkpoint of `transformers` -> a run folder, from which one can sample, evaluate, fine-tune.

The weights are kept in float32, which holds every float16 and bfloat16 number exactly.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from altgrad.data import DataConfig, DataError, Metadata
from altgrad.data.hf_tokenizer import FILE, SPECIAL_FILE
from altgrad.interchange.config_json import Values, read_json
from altgrad.interchange.export import FORMATS
from altgrad.interchange.reading import (
    check_fit,
    read_weights,
    refuse_other_formats,
    settle,
)
from altgrad.interchange.run_writer import data_facts, write_run
from altgrad.interchange.shapes import NEEDS
from altgrad.model import GPT, GPTConfig
from altgrad.model.config import known
from altgrad.settings import from_dict
from altgrad.training import TrainConfig
from altgrad.training.checkpoints import load_into

MOST_LAYERS = 2**16
"""No network has more; settings may be written out layer by layer before weights are looked at."""


def import_model(
    source: str, run: Path, *, tokenizer: str | None = None, need_tokenizer: bool = False
) -> Path:
    """Make `run` out of a local folder, or of a model's name on the hub; returns `run`.

    `tokenizer` is a name as in `data.tokenizer`, by default what lies beside the weights.

    Raises:
        ValueError: `run` exists, the source is neither, its architecture is not one of `FORMATS`,
            a setting has no counterpart, or a tensor is missing, unknown or of another shape; or
            there is no tokenizer and `need_tokenizer`.
    """
    if run.exists():
        raise DataError(f"{run} exists already; choose another --out")
    folder = find_folder(source)
    refuse_other_formats(folder)
    values = read_json(folder / "config.json")
    read_config(values)  # what is wrong with it is said before the tokenizer is looked at
    identity = tokenizer_identity(folder, values, tokenizer)
    if identity is None and need_tokenizer:
        raise DataError(
            f"{folder} has no {FILE}; put one there "
            "(AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)), or name the model's "
            "tokenizer: --tokenizer gpt2, byte, or the path of a tokenizer.json"
        )
    model = read_model(folder, values)
    data = DataConfig(tokenizer=_tokenizer_name(identity, run))
    settings = TrainConfig(model=model.config, data=data)
    metadata = Metadata(
        corpus=Path(source).name,
        licence="see its source",
        sources=[{"imported": source}],
        split_rule="none: imported, not trained here",
        tokenizer=identity,
        vocab_size=model.config.vocab_size,
        dtype="uint16" if known(model.config.vocab_size) <= 2**16 else "uint32",
        splits={},
    )
    return write_run(
        run,
        settings,
        model,
        data_facts(metadata),
        step=_block(values).get("step", 0),
        origin=f"imported from {source}",
        files=_tokenizer_files(identity, folder, values, tokenizer),
    )


def find_folder(source: str) -> Path:
    """`source` itself if it is a folder, else the hub's model of this name, downloaded."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        refuse_other_formats(path)
        raise DataError(f"{path} is a file; import the folder it lies in")
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
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


def read_model(folder: Path, values: dict[str, Any]) -> GPT:
    """The network of a folder with this `config.json`; nothing is built that does not fit."""
    config, shape = read_config(values)
    stored = read_weights(folder)
    if config.n_layer > len(stored):  # before anything walks the layers
        raise DataError(
            f"{folder}: config.json asks for {config.n_layer:,} layers, but the weights are "
            f"{len(stored):,} tensors: they do not belong together"
        )
    weights = FORMATS[shape].from_weights(stored, config)
    config, weights = settle(config, weights)
    check_fit(config, weights)
    model = GPT(config, torch.Generator().manual_seed(0))
    load_into(model, weights)
    return model.eval()


def read_config(values: dict[str, Any]) -> tuple[GPTConfig, str]:
    """Our settings and the format's name, out of a `config.json`.

    What the file says itself holds; our block in it adds what the format has no place for.
    """
    shape = values.get("model_type")
    if shape not in FORMATS:
        raise DataError(
            f"model_type={shape!r} cannot be imported; those that can are {', '.join(FORMATS)}"
        )
    given = Values(values, f"model_type={shape}")
    given.only("quantization_config", None)
    given.only("pruned_heads", None, {})
    kept = _block(values).get("model")
    for asked in (values.get("n_layer"), (kept or {}).get("n_layer")):
        if isinstance(asked, int) and asked > MOST_LAYERS:
            raise DataError(
                f"config.json asks for n_layer={asked:,}: it and the weights do not belong together"
            )
    written = FORMATS[shape].from_config(values)
    if kept is None:
        return from_dict(GPTConfig, written, "model."), shape
    ours = from_dict(GPTConfig, kept, "model.")
    _check_block(ours, shape)
    if written == FORMATS[shape].from_config(FORMATS[shape].to_config(ours)):
        return ours, shape
    return from_dict(GPTConfig, asdict(ours) | written, "model."), shape


def _block(values: dict[str, Any]) -> dict[str, Any]:
    """What an export keeps of our own settings: model, tokenizer, step."""
    block = Values(values, "model").table("altgrad")
    for name in ("model", "tokenizer"):
        Values(block, "the block 'altgrad'").table(name)
    step = block.get("step", 0)
    if type(step) is not int or step < 0:
        raise DataError("config.json: the block 'altgrad' has a step that is no whole number")
    return block


def _check_block(ours: GPTConfig, shape: str) -> None:
    """Raises DataError where the block describes a network that is not of `shape`."""
    for need in NEEDS.get(shape, ()):
        if not need.met_by(ours):
            raise DataError(
                f"config.json: its block 'altgrad' has model.{need.setting}="
                f"{getattr(ours, need.setting)}, which is no {shape}"
            )


def tokenizer_identity(
    folder: Path, values: dict[str, Any], name: str | None = None
) -> dict[str, Any] | None:
    """Which tokenizer the model has: `name`, or ours if it came from here, or the folder's."""
    kept: dict[str, Any] | None = _block(values).get("tokenizer")
    if name is None and kept is not None and (kept.get("name") != "file"):
        return kept
    if name is None and not (folder / FILE).is_file():
        return None
    from altgrad.data.config import cache_root
    from altgrad.data.tokenizers import identify

    return identify(name or str(folder / FILE), cache_root(DataConfig()))


def _tokenizer_files(
    identity: dict[str, Any] | None, folder: Path, values: dict[str, Any], name: str | None
) -> dict[str, bytes]:
    """The run's own copy of the `tokenizer.json`, and the special tokens of the model beside it."""
    if (identity or {}).get("name") != "file":
        return {}
    path = Path(name).expanduser() if name else folder
    content = (path / FILE if path.is_dir() else path).read_bytes()
    special = _special_ids(folder, values)
    return {FILE: content, **({SPECIAL_FILE: json.dumps(special).encode()} if special else {})}


def _special_ids(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """BOS and EOS as generation takes them: `generation_config.json` comes before `config.json`."""
    beside = folder / "generation_config.json"
    said = values | (read_json(beside) if beside.is_file() else {})
    found = {name: said[name] for name in ("bos_token_id", "eos_token_id") if name in said}
    for name, ids in found.items():
        for token in ids if isinstance(ids, list) else [ids]:
            if token is not None and (type(token) is not int or token < 0):
                raise DataError(
                    f"{folder}: {name}={json.dumps(ids)[:60]} must be token ids, or null"
                )
    return {name: ids for name, ids in found.items() if _within(ids, values.get("vocab_size"))}


def _within(ids: Any, vocab_size: Any) -> bool:
    """A class's default (50256) is written for smaller vocabularies too, where it names nothing."""
    return all(i is None or i < vocab_size for i in (ids if isinstance(ids, list) else [ids]))


def _tokenizer_name(identity: dict[str, Any] | None, run: Path) -> str:
    """The value of `data.tokenizer` with which more text can be prepared for this model."""
    name: str = (identity or {}).get("name", "byte")
    return str(run.resolve() / FILE) if name == "file" else name
