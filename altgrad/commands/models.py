"""`altgrad sample|serve|eval|export|import|merge`: a run's model, used."""

import argparse
import sys
from pathlib import Path
from typing import Any

from altgrad.commands.stopping import end_at_once
from altgrad.commands.words import add_command, add_trust, say
from altgrad.runs.printable import printable

WEIGHTS = "which of the run's weights (best)"
QUICK = "ask at most N questions of each task (all), for a quick look"
DTYPE = "precision of the computation (auto)"


def add_model_commands(commands: Any) -> None:
    """Add `sample`, `serve`, `eval`, `export`, `import` and `merge`."""
    _add_sample(commands)
    _add_serve(commands)
    _add_eval(commands)
    _add_export(commands)
    _add_import(commands)
    _add_merge(commands)


def _add_sample(commands: Any) -> None:
    parser = add_command(commands, "sample", sample, "write text with a trained model")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    add_trust(parser)
    parser.add_argument("--prompt", help="text to go on from (a line break)")
    parser.add_argument("--tokens", type=int, default=500, help="how many tokens to write (500)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (0.8)")
    parser.add_argument("--top-k", type=int, help="only the k likeliest tokens")
    parser.add_argument("--top-p", type=float, help="only the likeliest tokens of this total share")
    parser.add_argument("--seed", type=int, default=1337, help="same seed, same text (1337)")
    parser.add_argument(
        "--count", type=int, default=1, help="number of texts, written side by side (1)"
    )
    parser.add_argument(
        "--interactive", action="store_true", help="one prompt per line; an empty line continues"
    )
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best", help=WEIGHTS)


def _add_serve(commands: Any) -> None:
    summary = "answer OpenAI's completions requests on this machine, with a page to try it"
    parser = add_command(commands, "serve", serve, summary)
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    add_trust(parser)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (8000)")
    parser.add_argument("--anywhere", action="store_true", help="let other machines connect")
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best", help=WEIGHTS)


def _add_eval(commands: Any) -> None:
    summary = "measure a run: bits per byte, CORE's tasks, lm-eval's"
    parser = add_command(commands, "eval", evaluate, summary)
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    add_trust(parser)
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=["loss"],
        metavar="TASK",
        help="loss, core, names of CORE's tasks (hellaswag), lm-eval:NAME (default: loss)",
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="PATH",
        help="also measure the loss of this text",
    )
    parser.add_argument("--bundle", metavar="PATH", help="CORE's data, a folder or zip file")
    parser.add_argument("--max-per-task", type=int, default=-1, metavar="N", help=QUICK)
    parser.add_argument(
        "--unknown",
        choices=["refuse", "skip"],
        default="refuse",
        help="what to do with examples whose characters the tokenizer does not know (refuse)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, … (the best there is)")
    parser.add_argument("--dtype", choices=["auto", "fp32", "bf16"], default="auto", help=DTYPE)
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best", help=WEIGHTS)
    parser.add_argument(
        "--keep",
        choices=["yes", "no"],
        default="yes",
        help="keep the report in the run folder (yes)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_export(commands: Any) -> None:
    parser = add_command(commands, "export", export, "write a run's model in another format")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    add_trust(parser)
    parser.add_argument("--to", choices=["hf"], default="hf", help="the format: Hugging Face (hf)")
    parser.add_argument("--out", metavar="DIR", help="the folder to make (RUN/export/hf)")
    parser.add_argument(
        "--no-tokenizer", action="store_true", help="write weights and settings only"
    )
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best", help=WEIGHTS)


def _add_import(commands: Any) -> None:
    summary = "make a run out of a Hugging Face checkpoint"
    parser = add_command(commands, "import", import_model, summary)
    parser.add_argument("source", help="a local folder, or a name on the hub (openai/gpt2)")
    add_trust(parser)
    parser.add_argument("--out", metavar="DIR", help="the run folder to make (runs/NAME)")
    parser.add_argument(
        "--tokenizer", metavar="NAME", help="gpt2, byte or a tokenizer.json (the model's own)"
    )


def _add_merge(commands: Any) -> None:
    parser = add_command(commands, "merge", merge, "add a run's adapters to its base's weights")
    parser.add_argument("run", nargs="?", help="a run folder or its name (default: the latest)")
    add_trust(parser)
    parser.add_argument("--out", metavar="DIR", help="the run folder to make (RUN-merged)")
    parser.add_argument("--checkpoint", choices=["best", "latest"], default="best", help=WEIGHTS)


def sample(arguments: argparse.Namespace) -> None:
    from altgrad.runs import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.interchange.writing import write
    from altgrad.training.build import load_run

    loaded = load_run(run, which=arguments.checkpoint)
    say_remarks(loaded)
    how = {"temperature": arguments.temperature, "seed": arguments.seed}
    how |= {k: v for k in ("top_k", "top_p") if (v := getattr(arguments, k)) is not None}
    if arguments.interactive or arguments.count != 1:
        sample_more(loaded, arguments, how)
        return
    writing = write(loaded, arguments.prompt, arguments.tokens, **how)
    for piece in (writing.prompt, *writing):
        write_piece(piece)
    print()


def say_remarks(loaded: Any) -> None:
    for remark in loaded.remarks:
        say(f"note: {remark}", file=sys.stderr)


def sample_more(loaded: Any, arguments: argparse.Namespace, how: dict[str, Any]) -> None:
    from altgrad.data.special_tokens import opening
    from altgrad.interchange.writing import converse, write_batch

    if arguments.interactive:
        converse(loaded, read_line, write_piece, tokens=arguments.tokens, **how)
        return
    if arguments.count < 1:
        raise ValueError(f"--count {arguments.count} must be at least 1")
    prompt = opening(loaded.tokenizer)[0] if arguments.prompt is None else arguments.prompt
    texts = write_batch(loaded, prompt, arguments.tokens, arguments.count, **how)
    for number, text in enumerate(texts, start=1):
        say(f"--- {number} of {len(texts)}\n{prompt}{text}")


def read_line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def write_piece(piece: str) -> None:
    print(printable(piece), end="", flush=True)


def serve(arguments: argparse.Namespace) -> None:
    from altgrad.runs import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.interchange.local_server import check_host, check_installed
    from altgrad.interchange.serve import serve as listen
    from altgrad.training.build import load_run

    check_host(arguments.host, anywhere=arguments.anywhere)
    check_installed()
    loaded = load_run(run, which=arguments.checkpoint)
    say_remarks(loaded)
    end_at_once()
    listen(loaded, run.name, host=arguments.host, port=arguments.port, anywhere=arguments.anywhere)


def evaluate(arguments: argparse.Namespace) -> None:
    from altgrad.runs import resolve_run

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
    evaluate_and_show(
        run,
        wishes,
        checkpoint=arguments.checkpoint,
        as_json=arguments.json,
        keep=arguments.keep == "yes",
    )


def export(arguments: argparse.Namespace) -> None:
    from altgrad.runs import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.interchange.export import export_run
    from altgrad.training.build import load_run

    folder = Path(arguments.out or run / "export" / arguments.to)
    loaded = load_run(run, which=arguments.checkpoint)
    say_remarks(loaded)
    shape = export_run(loaded, folder, tokenizer=not arguments.no_tokenizer)
    say(f"{folder} ({shape})")


def import_model(arguments: argparse.Namespace) -> None:
    from altgrad.interchange.importing import import_model as make_run

    name = Path(arguments.source).name
    out = Path(arguments.out or Path("runs") / name)
    how = {"tokenizer": arguments.tokenizer, "need_tokenizer": True}
    say(make_run(arguments.source, out, **how))


def merge(arguments: argparse.Namespace) -> None:
    from altgrad.runs import resolve_run

    run = resolve_run(arguments.run)
    from altgrad.interchange.merging import merge_run

    out = Path(arguments.out) if arguments.out else run.with_name(f"{run.name}-merged")
    say(merge_run(run, out, which=arguments.checkpoint))
