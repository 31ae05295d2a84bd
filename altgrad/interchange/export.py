"""A run -> a folder that `transformers` loads: weights, settings, tokenizer.

    config.json  model.safetensors  generation_config.json  tokenizer.json  tokenizer_config.json
    modeling_altgrad.py     only where transformers has no such network itself

`config.json` also keeps our own settings, in the block `altgrad`, so that an import gives back the
same model: same settings, same tokenizer, the same bits.
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from altgrad.data.errors import DataError
from altgrad.data.special_tokens import special_ids
from altgrad.interchange import gpt2, llama, own
from altgrad.interchange.shapes import shape_of
from altgrad.interchange.tokenizer import write_tokenizer
from altgrad.model import GPT
from altgrad.model.future import PREFIX
from altgrad.training.build import LoadedRun

FORMATS: dict[str, ModuleType] = {"gpt2": gpt2, "llama": llama, "altgrad": own}
TARGETS = ("hf",)


def export_run(run: LoadedRun, folder: Path, *, tokenizer: bool = True) -> str:
    """Write the run's model into `folder`, which must not exist; returns the architecture's name.

    Raises:
        ValueError: the folder exists, or a part of the model or its tokenizer cannot be exported.
    """
    if folder.exists():
        raise DataError(f"{folder} exists already; choose another --out, or delete it")
    shape = shape_of(run.model.config)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _write(run, unfinished, shape, tokenizer)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return shape


def _write(run: LoadedRun, folder: Path, shape: str, tokenizer: bool) -> None:
    from safetensors.torch import save_file

    config = replace(run.model.config, mtp_heads=0)  # which only training knows
    values = FORMATS[shape].to_config(config)
    values["altgrad"] = {"model": asdict(config), "step": run.step}
    values["dtype"] = "float32"
    if tokenizer:
        write_tokenizer(run.tokenizer, folder)
        values["altgrad"]["tokenizer"] = run.tokenizer.describe()
        values |= special_ids(run.tokenizer)
    weights = FORMATS[shape].to_weights(own_weights(run.model), config)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", values)
    ends = {name: values[name] for name in ("bos_token_id", "eos_token_id") if name in values}
    _write_json(folder / "generation_config.json", {**ends, "use_cache": shape != "altgrad"})
    if shape == "altgrad":
        shutil.copy(own.MODELING, folder / own.MODELING.name)


def own_weights(model: GPT) -> dict[str, Tensor]:
    """Every parameter once that predicts the next token, under the network's own names, on the
    CPU."""
    parameters = dict(model.named_parameters())
    return {
        name: tensor.detach().cpu()
        for name, tensor in parameters.items()
        if not name.startswith(PREFIX)
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
