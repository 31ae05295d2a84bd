"""Words typed by a person -> one call.

The only file that knows Hydra and OmegaConf, through the compose API. Everything heavy is imported
by the command that needs it, so that `altgrad --help` and `altgrad show` answer at once.
"""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from altgrad.commands.compare import add_compare_commands
from altgrad.commands.completion import add_completion_command
from altgrad.commands.data import add_data_commands
from altgrad.commands.formats import add_formats_command
from altgrad.commands.learn import add_learn_commands
from altgrad.commands.verify import add_verify_command

Tree = dict[str, Any]
USER_MISTAKE = 2
INTERRUPTED = 130

EXAMPLES = """\
examples:
  altgrad train                                     the default GPT on Tiny Shakespeare
  altgrad train model=gpt2 optim=adamw max_steps=500
  altgrad train model.n_layer=8 data.batch_size=32 data.path=my.txt
  altgrad config model=llama                        every setting, and where its value comes from
  altgrad train resume=auto …                       go on with the same run if it was stopped
  altgrad watch                                     follow the latest run from another terminal
  altgrad reproduce runs/20261120-143000-3fa9c1     the same again? bit for bit?
  altgrad show                                      all runs: status, best loss
  altgrad sample --prompt 'ROMEO:'                  text from the latest run
  altgrad compare optim=adamw,muon seeds=5          which is better, and how sure is that
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 the user's mistake, 130 interrupted)."""
    arguments = parse_words(argv)
    try:
        return arguments.command(arguments) or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ValueError as error:
        if os.environ.get("ALTGRAD_TRACEBACK"):
            raise
        print(f"altgrad: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_MISTAKE


def parse_words(argv: list[str] | None) -> argparse.Namespace:
    """`KEY=VALUE` words may stand before, between and after the options."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    words = getattr(arguments, "overrides", getattr(arguments, "words", None))
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest and words is not None:
        words.extend(rest)
    return arguments


# -- the words ------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="altgrad",
        description="Change one thing about how a small GPT is trained; learn whether it helped.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_resume(commands)
    _add_gc(commands)
    _add_reproduce(commands)
    _add_watch(commands)
    _add_config(commands)
    _add_show(commands)
    _add_sample(commands)
    _add_serve(commands)
    _add_eval(commands)
    _add_export(commands)
    _add_import(commands)
    _add_merge(commands)
    _add_plot(commands)
    add_data_commands(commands, add_command, add_overrides, compose_config)
    add_compare_commands(commands, add_command, compose_config)
    add_learn_commands(commands, add_command)
    add_formats_command(commands, add_command)
    add_verify_command(commands, add_command, add_overrides, compose_config)
    add_completion_command(commands, add_command, preset_names)
    return parser


class _Version(argparse.Action):
    def __init__(self, **how: Any) -> None:
        super().__init__(**{**how, "nargs": 0, "help": "print the version"})

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from altgrad import __version__

        parser.exit(message=f"altgrad {__version__}\n")


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """`KEY=VALUE` words, as `altgrad train` takes them."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="a setting (model.n_layer=8) or a preset of a group (model=gpt2); "
        "`altgrad config` lists them",
    )
    parser.add_argument(
        "--config-dir", metavar="DIR", help="folder with further presets, as DIR/GROUP/NAME.yaml"
    )


def _add_train(commands: Any) -> None:
    parser = add_command(commands, "train", train, "train a model")
    add_overrides(parser)
    parser.epilog = _presets_help()


def _add_resume(commands: Any) -> None:
    parser = add_command(commands, "resume", resume, "continue a run from its newest checkpoint")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    add_overrides(parser)
    parser.epilog = (
        "A setting that differs from the run's own must be allowed by name:\n"
        "  altgrad resume RUN max_steps=2000 'resume.allow=[max_steps]'"
    )


def _add_gc(commands: Any) -> None:
    parser = add_command(commands, "gc", gc, "remove what a run folder no longer needs")
    parser.add_argument("run", help="a run folder or its name")
    parser.add_argument("--keep", type=int, metavar="N", help="newest checkpoints that stay")
    parser.add_argument("--anomalies", action="store_true", help="also states with bad batches")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def _add_reproduce(commands: Any) -> None:
    summary = "run a run again from its folder alone and say whether it is the same"
    parser = add_command(commands, "reproduce", reproduce, summary)
    parser.add_argument("run", help="a run folder or its name")
    parser.add_argument("--out", metavar="DIR", help="the new run folder (a new one below runs/)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-3, help="relative difference that counts as the same"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_watch(commands: Any) -> None:
    parser = add_command(commands, "watch", watch, "follow a run of another process")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    parser.add_argument("--every", type=float, default=2.0, metavar="S", help="seconds (2)")


def _add_config(commands: Any) -> None:
    summary = "print the resolved configuration and where each value comes from"
    add_overrides(add_command(commands, "config", show_config, summary))


def _add_show(commands: Any) -> None:
    parser = add_command(commands, "show", show, "list runs with status and best loss, or show one")
    parser.add_argument("run", nargs="?", help="a run folder or its name")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where the runs are (runs)")
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_sample(commands: Any) -> None:
    parser = add_command(commands, "sample", sample, "write text with a trained model")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    parser.add_argument("--prompt", default="\n", help="text to go on from")
    parser.add_argument("--tokens", type=int, default=500, help="how many tokens to write (500)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (0.8)")
    parser.add_argument("--top-k", type=int, help="only the k likeliest tokens")
    parser.add_argument("--top-p", type=float, help="only the likeliest tokens of this total share")
    parser.add_argument("--seed", type=int, default=1337, help="same seed, same text (1337)")
    parser.add_argument("--count", type=int, default=1, help="so many texts side by side (1)")
    parser.add_argument(
        "--interactive", action="store_true", help="a prompt a line; an empty line goes on"
    )
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best")


def _add_serve(commands: Any) -> None:
    summary = "answer OpenAI's completions requests on this machine, with a page to try it"
    parser = add_command(commands, "serve", serve, summary)
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--anywhere", action="store_true", help="let other machines in")
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best")


def _add_eval(commands: Any) -> None:
    summary = "measure a run: bits per byte, CORE's tasks, lm-eval's"
    parser = add_command(commands, "eval", evaluate, summary)
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=["loss"],
        metavar="TASK",
        help="loss, core, names of CORE's tasks (hellaswag), lm-eval:NAME (default: loss)",
    )
    parser.add_argument(
        "--text", action="append", default=[], metavar="PATH", help="the loss of a text, too"
    )
    parser.add_argument("--bundle", metavar="PATH", help="CORE's data, a folder or zip file")
    parser.add_argument("--max-per-task", type=int, default=-1, metavar="N", help="a quick look")
    parser.add_argument(
        "--unknown",
        choices=["refuse", "skip"],
        default="refuse",
        help="examples with characters that the tokenizer does not know (refuse)",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best")
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_export(commands: Any) -> None:
    parser = add_command(commands, "export", export, "write a run's model in another format")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    parser.add_argument("--to", choices=["hf"], default="hf", help="Hugging Face (hf)")
    parser.add_argument("--out", metavar="DIR", help="the folder to make (RUN/export/hf)")
    parser.add_argument("--no-tokenizer", action="store_true", help="weights and settings only")
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best")


def _add_import(commands: Any) -> None:
    summary = "make a run out of a Hugging Face checkpoint"
    parser = add_command(commands, "import", import_model, summary)
    parser.add_argument("source", help="a local folder, or a name on the hub (openai/gpt2)")
    parser.add_argument("--out", metavar="DIR", help="the run folder to make (runs/NAME)")


def _add_merge(commands: Any) -> None:
    parser = add_command(commands, "merge", merge, "add a run's adapters to its base's weights")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    parser.add_argument("--out", metavar="DIR", help="the run folder to make (RUN-merged)")
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best")


def _add_plot(commands: Any) -> None:
    parser = add_command(commands, "plot", plot, "plot the losses of one or several runs")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folders (default: the latest)")
    parser.add_argument("--out", metavar="FILE", help="the PNG to write")


# -- the calls ------------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> int:
    from altgrad.training.resume_words import split_resume_words

    words, how = split_resume_words(arguments.overrides)
    config = compose_config(words, arguments.config_dir)
    from altgrad.training.build import build_run, resume_run, settle
    from altgrad.training.console import Console
    from altgrad.training.resuming import newest_unfinished

    console = Console()
    watched: Any = {"listeners": [console], "progress": console.preparing}
    if how.auto:
        settle(config)
        if run := newest_unfinished(config, allow=how.allow):
            console.say(f"resuming {run}")
            return _run(resume_run(run, config=config, allow=how.allow, **watched), console)
        if is_finished(config.run_dir):
            console.say(f"{config.run_dir} is finished already")
            return 0
    return _run(build_run(config, **watched), console)


def is_finished(run_dir: str | None) -> bool:
    from altgrad.training.run_folder import run_status

    return bool(run_dir) and run_status(Path(str(run_dir))) == "finished"


def resume(arguments: argparse.Namespace) -> int:
    from altgrad.training.resume_words import split_resume_words
    from altgrad.training.run_folder import resolve_run

    name, overrides = arguments.run, arguments.overrides
    if name and "=" in name and not Path(name).exists():
        name, overrides = None, [name, *overrides]
    words, how = split_resume_words(overrides)
    run = resolve_run(name)
    if is_finished(str(run)) and not words:
        print(f"{run} is finished; for more steps: max_steps=… 'resume.allow=[max_steps]'")
        return 0
    from altgrad.training.build import read_config, resume_run
    from altgrad.training.console import Console

    config = changed_config(read_config(run), words, arguments.config_dir) if words else None
    console = Console()
    trainer = resume_run(
        run, config=config, allow=how.allow, listeners=[console], progress=console.preparing
    )
    return _run(trainer, console)


def changed_config(config: Any, words: list[str], config_dir: str | None) -> Any:
    """`config` with the settings and presets that the words name."""
    from altgrad.training.config import TrainConfig

    composed, changed = compose_values(words, config_dir)[0], config.to_dict()
    for word in words:
        *path, last = word.partition("=")[0].lstrip("+").split(".")
        source, target = composed, changed
        for part in path:
            source, target = source[part], target[part]
        target[last] = source[last]
    return TrainConfig.from_dict(changed)


def reproduce(arguments: argparse.Namespace) -> int:
    import json

    from altgrad.training.run_folder import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.training.console import Console
    from altgrad.training.reproduce import reproduce as run_again

    console = Console()
    out = Path(arguments.out) if arguments.out else None
    watched: Any = {} if arguments.json else {"listeners": [console], "progress": console.preparing}
    result = run_again(run, out=out, tolerance=arguments.tolerance, **watched)
    if arguments.json:
        print(json.dumps(result.to_dict(), indent=2, default=str))
    else:
        for name, (then, now) in result.environment.items():
            print(f"environment: {name} was {str(then)[:60]!r}, is {str(now)[:60]!r}")
        print(f"{result.again}: {result.verdict}")
    return 0 if result.likeness.within(arguments.tolerance) else 1


def watch(arguments: argparse.Namespace) -> int:
    from altgrad.training.run_folder import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.training.watching import watch as follow

    terminal = sys.stdout.isatty()

    def draw(text: str) -> None:
        print(f"\033[H\033[2J{text}" if terminal else text, flush=True)

    status = follow(run, every_s=arguments.every, draw=draw, curves=terminal)
    return 0 if status == "finished" else 1


def gc(arguments: argparse.Namespace) -> None:
    from altgrad.training.run_folder import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.training.garbage import collect_garbage, find_garbage

    act = find_garbage if arguments.dry_run else collect_garbage
    found = act(run, keep=arguments.keep, anomalies=arguments.anomalies)
    for garbage in found:
        print(f"{garbage.path.name}: {garbage.bytes:,} bytes, {garbage.why}")
    said = "would free" if arguments.dry_run else "freed"
    print(f"{said} {sum(g.bytes for g in found):,} bytes in {len(found)} folders of {run}")


def _run(trainer: Any, console: Any) -> int:
    from altgrad.training.closing import close_run

    summary = trainer.train()
    if not trainer.fabric.is_global_zero:
        return 0
    run = Path(os.path.relpath(summary["run_dir"]))
    if summary["status"] == "interrupted":
        resume = f"{program()} resume {shlex.quote(str(run))}"
        console.say(f"stopped and saved at step {summary['step']}; continue with: {resume}")
        return INTERRUPTED
    close_run(trainer, summary, console)
    return 0 if summary["status"] == "finished" else 1


def program() -> str:
    """This program as the person can type it again."""
    typed = sys.argv[0]
    if Path(typed).name == "__main__.py":
        return f"{shlex.quote(os.path.relpath(sys.executable))} -m altgrad"
    if shutil.which("altgrad") and Path(shutil.which("altgrad") or "").samefile(typed):
        return "altgrad"
    return shlex.quote(os.path.relpath(typed))


def show_config(arguments: argparse.Namespace) -> None:
    values, origin = compose_values(arguments.overrides, arguments.config_dir)
    from altgrad.training.config import TrainConfig

    resolved = TrainConfig.from_dict(values).to_dict()
    for line in annotated_yaml(resolved, origin):
        print(line)


def show(arguments: argparse.Namespace) -> None:
    import json

    from altgrad.training.run_folder import find_runs, resolve_run
    from altgrad.training.run_table import summarise_run

    base = arguments.runs
    runs = [resolve_run(arguments.run, base)] if arguments.run else find_runs(base)
    summaries = [summarise_run(run) for run in runs]
    if arguments.json:
        print(json.dumps([s.to_dict() for s in summaries], indent=2))
        return
    from altgrad.training.run_view import print_run, print_runs

    if arguments.run:
        print_run(summaries[0])
    else:
        print_runs(summaries, base)


def sample(arguments: argparse.Namespace) -> None:
    from altgrad.training.run_folder import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.training.build import load_run, stream_text

    loaded = load_run(run, which=arguments.checkpoint)
    how = {"temperature": arguments.temperature, "seed": arguments.seed}
    how |= {k: v for k in ("top_k", "top_p") if (v := getattr(arguments, k)) is not None}
    if arguments.interactive or arguments.count != 1:
        sample_more(loaded, arguments, how)
        return
    for piece in stream_text(loaded, arguments.prompt, arguments.tokens, **how):
        print(piece, end="", flush=True)
    print()


def sample_more(loaded: Any, arguments: argparse.Namespace, how: dict[str, Any]) -> None:
    from altgrad.interchange.writing import converse, write_batch

    if arguments.interactive:
        converse(loaded, read_line, write_piece, tokens=arguments.tokens, **how)
        return
    if arguments.count < 1:
        raise ValueError(f"--count {arguments.count} must be at least 1")
    texts = write_batch(loaded, arguments.prompt, arguments.tokens, arguments.count, **how)
    for number, text in enumerate(texts, start=1):
        print(f"--- {number} of {len(texts)}\n{arguments.prompt}{text}")


def read_line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def write_piece(piece: str) -> None:
    print(piece, end="", flush=True)


def serve(arguments: argparse.Namespace) -> None:
    from altgrad.training.run_folder import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.interchange.serve import check_host
    from altgrad.interchange.serve import serve as listen
    from altgrad.training.build import load_run

    check_host(arguments.host, anywhere=arguments.anywhere)
    loaded = load_run(run, which=arguments.checkpoint)
    print(
        f"http://{arguments.host}:{arguments.port}/ serves {run.name}; Ctrl-C stops it", flush=True
    )
    listen(loaded, run.name, host=arguments.host, port=arguments.port, anywhere=arguments.anywhere)


def evaluate(arguments: argparse.Namespace) -> None:
    from altgrad.training.run_folder import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.evaluate.run import Wishes
    from altgrad.evaluate.view import evaluate_and_show

    wishes = Wishes(
        tasks=arguments.tasks,
        texts=[Path(text) for text in arguments.text],
        bundle=arguments.bundle,
        max_per_task=arguments.max_per_task,
        unknown=arguments.unknown,
        device=arguments.device,
        dtype=arguments.dtype,
    )
    evaluate_and_show(run, wishes, checkpoint=arguments.checkpoint, as_json=arguments.json)


def export(arguments: argparse.Namespace) -> None:
    from altgrad.training.run_folder import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.interchange.export import export_run
    from altgrad.training.build import load_run

    folder = Path(arguments.out or run / "export" / arguments.to)
    loaded = load_run(run, which=arguments.checkpoint)
    shape = export_run(loaded, folder, tokenizer=not arguments.no_tokenizer)
    print(f"{folder} ({shape})")


def import_model(arguments: argparse.Namespace) -> None:
    from altgrad.interchange.importing import import_model as make_run

    name = Path(arguments.source).name
    print(make_run(arguments.source, Path(arguments.out or Path("runs") / name)))


def merge(arguments: argparse.Namespace) -> None:
    from altgrad.training.run_folder import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.interchange.merging import merge_run

    out = Path(arguments.out) if arguments.out else run.with_name(f"{run.name}-merged")
    print(merge_run(run, out, which=arguments.checkpoint))


def plot(arguments: argparse.Namespace) -> None:
    from altgrad.training.plots import plot_runs, terminal_plot
    from altgrad.training.run_folder import resolve_run

    runs = [resolve_run(name) for name in arguments.runs] or [resolve_run(None)]
    default = runs[0] / "figures" / ("loss.png" if len(runs) == 1 else "losses.png")
    path = plot_runs(runs, Path(arguments.out) if arguments.out else default)
    if len(runs) == 1 and sys.stdout.isatty():
        print(terminal_plot(runs[0]))
    print(path)


# -- the configuration ----------------------------------------------------------------------------


def compose_config(overrides: list[str], config_dir: str | None = None) -> Any:
    """Typed words -> `TrainConfig`, strictly.

    Merge order, later wins: dataclass defaults, `conf/config.yaml`, the chosen preset of each
    group, the experiment, the command line.
    """
    from altgrad.training.config import TrainConfig

    return TrainConfig.from_dict(compose_values(overrides, config_dir)[0])


def compose_values(
    overrides: list[str], config_dir: str | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The composed values, and the origin of every setting by its full name."""
    if config_dir and not Path(config_dir).is_dir():
        raise ValueError(f"--config-dir {config_dir}: no such folder.")
    from hydra import compose, initialize_config_module
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from altgrad.training.config import TrainConfig

    words = [check_override(word, config_dir) for word in overrides]
    extra = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []
    ConfigStore.instance().store(name="dataclass_defaults", node=TrainConfig().to_dict())
    try:
        with initialize_config_module("altgrad.conf", version_base="1.3"):
            composed = compose("config", [*extra, *words], return_hydra_config=True)
        choices = cast(Tree, OmegaConf.to_container(composed.hydra.runtime.choices))
        OmegaConf.set_struct(composed, False)
        composed.pop("hydra")
        values = cast(Tree, OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"the configuration does not compose: {error}") from None
    origin = origins(values, choices, words, config_dir)
    if values.get("init_from"):
        values, origin = inherit_settings(values, origin, words)
    return values, origin


def inherit_settings(
    values: dict[str, Any], origin: dict[str, str], words: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """With `init_from=RUN`: that run's network and tokenizer, where no word says otherwise."""
    from altgrad.training.build import read_config
    from altgrad.training.finetune import inherit
    from altgrad.training.run_folder import resolve_run

    run = resolve_run(values["init_from"])
    base = read_config(run).to_dict()
    typed = [word.partition("=")[0] for word in words]
    inherited = inherit(values, base, typed)
    taken = {n for n in flatten(inherited["model"], "model.") if n not in typed}
    taken |= {"data.tokenizer"} - set(typed)
    names = taken if "model" not in typed else set()
    return inherited, origin | dict.fromkeys(names, f"init_from {run.name}")


def check_override(word: str, config_dir: str | None) -> str:
    """One `KEY=VALUE` word, or a line that says what is wrong with it."""
    from altgrad.training.config import FLAT_NAMES, all_setting_names
    from altgrad.training.settings import ConfigError, nearest

    key, equals, value = word.partition("=")
    key = key.lstrip("+")
    if not equals or not key or key.startswith("~"):
        raise ConfigError(f"{word!r} is not KEY=VALUE, such as max_steps=500 or model=gpt2.")
    presets = preset_names(config_dir)
    if key in presets:
        _check_preset(key, value, presets[key])
        return f"{key}={value}"
    names = all_setting_names()
    known = any(key == n or n.startswith(f"{key}.") or key.startswith(f"{n}.") for n in names)
    if not known:
        hint = (
            f" Write {FLAT_NAMES[key]}=…" if key in FLAT_NAMES else nearest(key, [*presets, *names])
        )
        raise ConfigError(
            f"unknown setting {key!r}.{hint} `altgrad config` lists all settings and their values."
        )
    return f"{key}={value}"


def _check_preset(group: str, value: str, allowed: list[str]) -> None:
    from altgrad.training.settings import ConfigError, nearest

    if value not in allowed and not (group == "experiment" and value == "null"):
        raise ConfigError(
            f"{group}={value!r} is not a preset.{nearest(value, allowed)} "
            f"Allowed: {', '.join(allowed) or 'none yet'}."
        )


def preset_names(config_dir: str | None = None) -> dict[str, list[str]]:
    """Group -> names of its presets, ours and those of an overlay folder."""
    roots = [Path(str(files("altgrad.conf")))] + ([Path(config_dir)] if config_dir else [])
    groups = sorted({d.name for root in roots for d in root.iterdir() if d.is_dir()})
    return {
        group: sorted({f.stem for root in roots for f in (root / group).glob("*.yaml")})
        for group in groups
        if not group.startswith(("_", "."))
    }


def _presets_help() -> str:
    lines = [f"  {group}={'|'.join(names)}" for group, names in preset_names().items() if names]
    return "presets:\n" + "\n".join(lines)


def origins(
    values: dict[str, Any], choices: dict[str, Any], words: Iterable[str], config_dir: str | None
) -> dict[str, str]:
    """Full setting name -> the file or word its value comes from; dataclass defaults are absent."""
    import yaml

    roots = [Path(str(files("altgrad.conf")))] + ([Path(config_dir)] if config_dir else [])
    found: dict[str, str] = {}

    def note(path: Path, prefix: str) -> None:
        content = yaml.safe_load(path.read_text()) or {} if path.is_file() else {}
        for name in flatten(content, prefix):
            found[name] = "/".join(path.parts[-2:]) if path.name != "config.yaml" else path.name

    for root in roots:
        note(root / "config.yaml", "")
        for group, name in choices.items():
            note(root / group / f"{name}.yaml", "" if group == "experiment" else f"{group}.")
    for word in words:
        key = word.partition("=")[0]
        found |= {
            n: "command line"
            for n in flatten(values)
            if n == key or n.startswith(f"{key}.")
            if key not in choices
        }
    return found


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict -> `{"model.n_layer": 3}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def annotated_yaml(tree: dict[str, Any], origin: dict[str, str], prefix: str = "") -> list[str]:
    """YAML lines with the origin of each value as a comment."""
    import yaml

    lines = []
    indent = "  " * prefix.count(".")
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", *annotated_yaml(value, origin, f"{prefix}{key}.")]
        else:
            scalar = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
            text = f"{indent}{key}: {scalar}"
            lines.append(f"{text:<44} # {origin.get(prefix + key, 'default')}")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
