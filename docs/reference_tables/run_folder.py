"""What a run folder holds: the files and fields of a real run of two steps, each with its meaning.

A file or field that such a run writes and that has no meaning here is an error.
"""

import contextlib
import fnmatch
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from reference_tables.markdown import code, table

FILES = {
    "config.yaml": "every setting, resolved: `auto` is replaced by what it became",
    "environment.json": "the machine, the versions, the commit",
    "data.json": "corpus, licence, tokenizer, sha256 of the tokens",
    "weights.json": "how the initial weights came about, and their hashes",
    "metrics.jsonl": "one line a step, or every `log_interval` steps: [metrics](metrics.md)",
    "events.jsonl": "what happened to the run, a line an event",
    "checkpoints/step_*/manifest.json": "sha256 and size of the other files, and of itself",
    "checkpoints/step_*/model.safetensors": "the weights",
    "checkpoints/step_*/state.safetensors": "the optimiser's tensors, generators, every part's",
    "checkpoints/step_*/state.json": "the state that is not tensors, and the settings",
    "checkpoints/anomalies/": "steps whose loss or gradient was not finite, with their batches",
    "samples/step_*.txt": "what the model wrote at an evaluation",
    "figures/loss.png": "the losses; `altgrad plot` adds others",
    "evaluations/": "reports of `altgrad eval`",
    "export/": "what `altgrad export` wrote, unless `--out` says where",
    "tokenizer.json": "the tokenizer, where it is such a file",
    "special_ids.json": "BOS and EOS of an imported model",
    "code/": "copies of the outside code that the run was begun with, if it has any",
    "metrics.csv": "with `tracker=csv`",
    ".lock": "held by the process that writes the run",
}

FIELDS = {
    "environment.json": {
        "command": "what was typed",
        "python": "version of Python",
        "platform": "operating system",
        "torch": "version of torch",
        "cuda": "version of CUDA that torch was built for; null without",
        "gpus": "names of the GPUs",
        "cpu": "name of the processor",
        "cpu_capability": "vector instructions that torch uses",
        "threads": "CPU threads of the run",
        "cores": "cores of the machine",
        "git": "commit and uncommitted difference of altgrad's checkout; null without one",
        "packages": "name and version of every installed package",
        "code": "hashes of altgrad's code and of outside code",
    },
    "data.json": {
        "data_dir": "where the tokens lie",
        "corpus": "name of the corpus",
        "licence": "its licence",
        "sources": "its files, with origin and sha256",
        "split_rule": "what was cut off for validation",
        "tokenizer": "name and description of the tokenizer",
        "vocab_size": "its number of tokens",
        "dtype": "how a token is stored",
        "splits": "tokens, bytes, characters, documents and sha256 of each split",
        "format_version": "version of the tokens' layout",
        "largest_token": "of tokens that altgrad did not make",
        "sha256": "of `train.bin` and `val.bin`, as the run read them",
    },
    "weights.json": {
        "from": "`seed 1337`, `init_from …` or `given`",
        "sha256": "of all initial weights",
        "tensors": "sha256 of each",
    },
    "manifest.json": {
        "version": "of the checkpoint's layout",
        "run": "id of the run",
        "step": "steps taken",
        "val_loss": "validation loss, where one was measured at that step",
        "files": "name of each file: sha256 and size",
        "digest": "sha256 of the manifest itself",
    },
    "events.jsonl: started": {
        "time": "seconds since 1970",
        "event": "its kind, here and below",
        "step": "steps taken",
        "run": "id of the run",
        "layout": "version of the run folder's layout",
    },
    "events.jsonl: saved": {
        "path": "the checkpoint",
        "waited_s": "seconds that training waited",
        "write_s": "seconds of writing",
    },
    "events.jsonl: finished": {
        "best_val_loss": "smallest validation loss",
        "weights": "sha256 of the last weights",
        "train_s": "seconds of training: no compilation, evaluation or saving",
        "wall_s": "seconds of everything",
        "peak_memory_bytes": "most memory of the process",
        "peak_gpu_bytes": "most memory of the GPU, where there is one",
        "energy_j": "energy, where the machine tells it",
        "metrics": "lines, last step and sha256 of `metrics.jsonl`",
    },
}
"""File (of events: and kind) -> field -> meaning; what a kind shares with `started` is there."""

SOMETIMES = {"peak_gpu_bytes", "energy_j"}
"""Fields that only some machines give."""

EVENTS = {
    "started": "the run began",
    "resumed": "it went on; with the settings and code that changed",
    "saved": "a checkpoint was written",
    "alert": "a guard found something",
    "anomaly": "a step was not finite and is kept in `checkpoints/anomalies/`",
    "tracker": "id of the run in a tracker",
    "note": "something to know",
    "trouble": "something beside training failed; training went on",
    "collected": "`altgrad gc` removed something",
    "finished": "all steps were taken",
    "interrupted": "it was stopped, and saved",
    "diverged": "loss or gradient stayed not finite",
    "failed": "an error ended it",
    "gave_up": "a comparison has tried it often enough, and counts it as lost",
}

PACKAGE = Path(__file__).parents[2] / "altgrad"


def files() -> str:
    unknown = [f for f in written() if not any(fnmatch.fnmatch(f, known) for known in FILES)]
    if unknown:
        raise LookupError(f"no meaning in FILES for {unknown}")
    return table(("file", "content"), ([code(name), text] for name, text in FILES.items()))


def fields() -> str:
    return "\n".join(
        f"### `{place}`\n\n" + table(("field", "meaning"), rows) for place, rows in field_rows()
    )


def field_rows() -> Iterator[tuple[str, list[list[str]]]]:
    """Of each place in FIELDS its rows. Raises LookupError where run and meanings differ."""
    found = {place: set(keys) for place, keys in keys_of_run().items()}
    shared = set(FIELDS["events.jsonl: started"])
    for place, meanings in FIELDS.items():
        own = found[place] - (shared if "jsonl" in place and "started" not in place else set())
        if own | SOMETIMES != set(meanings) | SOMETIMES:
            raise LookupError(f"{place}: the run has {sorted(own)}, FIELDS {sorted(meanings)}")
        yield place, [[code(name), text] for name, text in meanings.items()]


def events() -> str:
    if unknown := event_kinds() - set(EVENTS):
        raise LookupError(f"no meaning in EVENTS for {sorted(unknown)}")
    return table(("event", "when"), ([code(name), text] for name, text in EVENTS.items()))


def event_kinds() -> set[str]:
    """Every kind that the sources name where an event is written, or as a constant beside it."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    literal = {kind for text in sources for kind in re.findall(r'\.event\(\s*"(\w+)"', text)}
    named = {name for text in sources for name in re.findall(r"\.event\(\s*([A-Z_]+)\b", text)}
    values = {
        value
        for text in sources
        for name, value in re.findall(r'^([A-Z_]+) = "(\w+)"', text, re.MULTILINE)
        if name in named
    }
    return literal | values


def written() -> list[str]:
    return sorted(_contents())


def keys_of_run() -> dict[str, list[str]]:
    """`environment.json` or `events.jsonl: saved` -> the fields that it has in a real run."""
    found = {}
    for name, text in _contents().items():
        if name.endswith(".json"):
            found[Path(name).name] = list(json.loads(text))
        elif name == "events.jsonl":
            for event in map(json.loads, text.splitlines()):
                found[f"{name}: {event['event']}"] = list(event)
    return found


@cache
def _contents() -> dict[str, str]:
    """File of a run of two steps -> its text; nothing for those that are none."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        cache_before = os.environ.get("ALTGRAD_CACHE")
        os.environ["ALTGRAD_CACHE"] = str(Path(folder, "cache"))
        try:
            _train(Path("text.txt"))
        finally:
            os.environ.pop("ALTGRAD_CACHE")
            if cache_before is not None:
                os.environ["ALTGRAD_CACHE"] = cache_before
        paths = [p for p in Path("run").rglob("*") if p.is_file()]
        readable = (".json", ".jsonl")
        return {
            str(p.relative_to("run")): p.read_text() if p.suffix in readable else "" for p in paths
        }


def _train(text: Path) -> None:
    """In this process, quietly: a run of two steps over a text of one sentence."""
    from altgrad.cli import main

    text.write_text("To be, or not to be, that is the question.\n" * 60)
    sizes = ["n_layer=1", "n_head=2", "n_embd=16", "block_size=8"]
    words = [f"data.path={text}", "model=gpt2", *(f"model.{size}" for size in sizes)]
    words += ["max_steps=2", "eval_interval=2", "compile=false", "device=cpu", "run_dir=run"]
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        code_of_exit = main(["train", "data.batch_size=4", *words])
    if code_of_exit:
        raise RuntimeError(quiet.getvalue())
