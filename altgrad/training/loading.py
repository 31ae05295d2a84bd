"""Reading runs back: their settings, network and tokenizer; and networks that start from a run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from altgrad.data import Metadata, Tokenizer, load_tokenizer
from altgrad.data.config import cache_root
from altgrad.model import GPT
from altgrad.quantization import Recipe, apply_recipe
from altgrad.runs import RunFolder, changed_sources, read_json, read_settings, resolve_run
from altgrad.settings import ConfigError
from altgrad.training.adapters import adapt, load_adapters, merge
from altgrad.training.checkpoints import (
    CheckpointManager,
    checkpoints_of,
    load_into,
    load_weights,
    read_manifest,
    step_of,
)
from altgrad.training.config import TrainConfig
from altgrad.training.finetune import check_same_network, check_same_tokens
from altgrad.training.randomness import initialisation_generator
from altgrad.training.size_limits import refuse_more_than_memory, refuse_more_than_stored


@dataclass
class LoadedRun:
    """A finished (or stopped) run, ready to be used. folder: where it lies, if it does. remarks:
    what somebody who uses it should know."""

    config: TrainConfig
    model: GPT
    tokenizer: Tokenizer
    step: int
    folder: Path | None = None
    remarks: list[str] = dataclasses.field(default_factory=list)


def read_config(run: Path) -> TrainConfig:
    """The resolved settings of a run folder.

    Raises:
        ConfigError: missing, not ours, or of another version of altgrad.
    """
    return TrainConfig.from_dict(read_settings(RunFolder(run).config))


def load_run(run: Path, *, which: str = "best") -> LoadedRun:
    """The model of a run with the weights of its `best` or `latest` checkpoint.

    It rounds as it was trained (but for native FP8 products, without which it computes). Adapters
    are merged into their base: the model is a plain network.
    """
    config, checkpoint = read_config(run), pick_checkpoint(run, which)
    model, tokenizer = rounding_network(config, checkpoint), run_tokenizer(run)
    return LoadedRun(config, model, tokenizer, step_of(checkpoint), run, _edited(config, run))


def rounding_network(config: TrainConfig, checkpoint: Path) -> GPT:
    """The network of a checkpoint, ready to be evaluated: what it makes of tokens, whatever text
    they stand for."""
    model = stored_network(config, checkpoint)
    if config.precision.simulate and not config.precision.native:
        apply_recipe(model, Recipe.of(config.precision), seed=config.seed)
    return model.eval()


def _edited(config: TrainConfig, run: Path) -> list[str]:
    """That code of the person's own is not what the run was trained with."""
    kept = RunFolder(run).code
    settings = config.to_dict()
    used = {group: settings[group] for group in ("model", "data")}  # the others may be gone
    changed = [name for name, (_, now) in changed_sources(used, kept).items() if now]
    if not changed:
        return []
    return [f"{', '.join(changed)} was edited since: {kept} has it as {run} was trained with it"]


def stored_network(config: TrainConfig, checkpoint: Path) -> GPT:
    """The plain network of a checkpoint, unrounded, its adapters merged."""
    weights = load_weights(checkpoint)
    if config.finetune.name == "none":
        refuse_more_than_stored(config.model, [w.shape for w in weights.values()], checkpoint)
        model = GPT(config.model)
        load_into(model, weights)
        return model
    adapted = make_network(config)
    load_adapters(adapted, weights)
    return merge(adapted)


def pick_checkpoint(run: Path, which: str) -> Path:
    """The `best` or `latest` checkpoint of a run, or the one whose weights have this sha256."""
    manager = checkpoints_of(run)
    if which not in ("best", "latest"):
        return _with_weights(manager, which)
    return (manager.best() if which == "best" else None) or manager.newest_whole()


def _with_weights(manager: CheckpointManager, sha256: str) -> Path:
    for path in manager.all():
        if weights_sha256(path) == sha256:
            return path
    raise ConfigError(
        f"no checkpoint in {manager.directory} has the weights these adapters were trained on "
        f"(sha256 {sha256[:16]}…)."
    )


def weights_sha256(checkpoint: Path) -> str:
    return str(read_manifest(checkpoint).files["model.safetensors"]["sha256"])


def make_network(config: TrainConfig) -> GPT:
    """A new network, or with `init_from` that run's, with adapters where they are asked for.

    Raises:
        ConfigError: the base is another network.
    """
    checkpoint = settle_base(config)
    if config.init_from is None or checkpoint is None:
        refuse_more_than_memory(config.model)
        return GPT(config.model, initialisation_generator(config.seed))
    base = stored_network(read_config(Path(config.init_from)), checkpoint)
    model = GPT(config.model, initialisation_generator(config.seed))
    model.load_state_dict(base.state_dict())
    if config.finetune.name == "none":
        return model
    return adapt(model, config.finetune, seed=config.seed)


def settle_base(config: TrainConfig, metadata: Metadata | None = None) -> Path | None:
    """Which checkpoint `init_from` means, written into the settings; None if there is no base.

    metadata: of the data, whose tokens must be those that the base reads.

    Raises:
        ConfigError: the base is another network, or reads other tokens than the data has.
    """
    if config.init_from is None:
        return None
    run = resolve_run(config.init_from)
    settings = read_config(run)
    checkpoint = pick_checkpoint(run, config.finetune.base_sha256 or "best")
    config.init_from, config.finetune.base_sha256 = str(run.resolve()), weights_sha256(checkpoint)
    check_same_network(config.model, settings.model, str(run))
    config.model.vocab_size = settings.model.vocab_size
    if metadata is not None:
        check_same_tokens(metadata.tokenizer, run_tokenizer(run).describe(), str(run))
    return checkpoint


def kept_vocabulary(run: Path) -> str | None:
    """The characters that a run of data.tokenizer=char reads, which other texts may lack."""
    try:
        tokenizer = read_json(RunFolder(run).data)["tokenizer"]
    except (ValueError, KeyError):
        return None
    return tokenizer.get("vocabulary") if isinstance(tokenizer, dict) else None


def run_tokenizer(run: Path) -> Tokenizer:
    """The tokenizer of a run, as its `data.json` describes it: the corpus need not be there.

    Raises:
        ConfigError: the run's tokens came without one.
    """
    path = RunFolder(run).data
    try:
        facts = read_json(path)
        known = {f.name for f in dataclasses.fields(Metadata)}
        metadata = Metadata.from_dict({k: v for k, v in facts.items() if k in known})
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} does not describe a run's data: {error!r}.") from None
    if not _names_a_tokenizer(metadata.tokenizer):
        raise ConfigError(f"{path} does not describe a tokenizer.")
    return load_tokenizer(metadata, cache=cache_root(read_config(run).data), beside=run)


def _names_a_tokenizer(identity: object) -> bool:
    if identity is None:
        return True
    words = ("name", "vocabulary", "sha256")
    return (
        isinstance(identity, dict)
        and "name" in identity
        and all(isinstance(identity.get(word, ""), str) for word in words)
    )
