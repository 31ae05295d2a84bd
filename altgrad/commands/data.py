"""`altgrad data` and `altgrad tokenizer`: words -> calls of `altgrad.data`, and what they print."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altgrad.data import DataConfig

AddCommand = Callable[..., argparse.ArgumentParser]
Compose = Callable[..., Any]

SAMPLE_CHARACTERS = 100_000
"""How much of a corpus `tokenizer show` measures the compression on."""
SHOWN_CHARACTERS = 600


def add_data_commands(
    commands: Any, add_command: AddCommand, add_overrides: Callable[..., None], compose: Compose
) -> None:
    """Add `data` and `tokenizer`; `compose(words, config_dir)` makes settings of words."""
    _add_data(commands, add_command, add_overrides, compose)
    _add_tokenizer(commands, add_command, add_overrides, compose)


def _add_data(
    commands: Any, add_command: AddCommand, add_overrides: Callable[..., None], compose: Compose
) -> None:
    parser: argparse.ArgumentParser
    parser = add_command(
        commands, "data", lambda _: parser.print_help(), "list corpora, and prepare them"
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    run = partial(list_corpora, compose)
    listing = add_command(actions, "list", run, "list the corpora and what is prepared")
    listing.add_argument("--config-dir", metavar="DIR", help="folder with further presets")
    for name, call, summary in (
        ("info", print_corpus, "show licence, origin, hash and tokens of a corpus"),
        ("prepare", prepare_corpus, "download and tokenize a corpus"),
    ):
        action = add_command(actions, name, partial(call, compose), summary)
        action.add_argument(
            "name", help="a preset of the group `data`, such as shakespeare_char, or data.path=TEXT"
        )
        add_overrides(action)


def _add_tokenizer(
    commands: Any, add_command: AddCommand, add_overrides: Callable[..., None], compose: Compose
) -> None:
    summary = "train a tokenizer, or show how one cuts a text"
    parser: argparse.ArgumentParser
    parser = add_command(commands, "tokenizer", lambda _: parser.print_help(), summary)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    train = add_command(
        actions, "train", partial(train_one, compose), "train a byte-pair tokenizer"
    )
    add_overrides(train)
    train.epilog = "example: altgrad tokenizer train data.path=my.txt vocab_size=4096"
    train.add_argument("--out", metavar="DIR", help="the folder to write (tokenizers/CORPUS-SIZE)")
    show = add_command(
        actions,
        "show",
        partial(show_one, compose),
        "print how a tokenizer cuts a text, in colours, and how well it compresses",
    )
    add_overrides(show)
    show.epilog = "example: altgrad tokenizer show data.tokenizer=gpt2 --text 'To be, or not'"
    show.add_argument("--text", help="the text (the beginning of the corpus)")


# -- the calls ------------------------------------------------------------------------------------


def list_corpora(compose: Compose, arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from altgrad.compose import preset_names
    from altgrad.data.listing import list_rows

    names = preset_names(arguments.config_dir)["data"]
    presets = {name: compose([f"data={name}"], arguments.config_dir).data for name in names}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("preset", "what it is", "size", "licence", "prepared"):
        table.add_column(title, no_wrap=title in ("preset", "prepared"))
    for row in list_rows(presets):
        table.add_row(*row)
    Console(highlight=False).print(table, markup=False)


def print_corpus(compose: Compose, arguments: argparse.Namespace) -> None:
    config = _named(compose, arguments)
    from altgrad.data.listing import info_rows

    for name, value in info_rows(arguments.name, config):
        print(f"{name:>10}  {value}")


def prepare_corpus(compose: Compose, arguments: argparse.Namespace) -> None:
    config = _named(compose, arguments)
    from altgrad.data import prepare

    with progress_bar() as progress:
        folder = prepare(config, block_size=1, progress=progress)
    print(folder)


def _named(compose: Compose, arguments: argparse.Namespace) -> "DataConfig":
    """Of a preset, or at once a setting of the default one: `data prepare data.path=my.txt`."""
    first = arguments.name if "=" in arguments.name else f"data={arguments.name}"
    config: DataConfig = compose([first, *arguments.overrides], arguments.config_dir).data
    return config


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes with speed and time left; another total begins another bar."""
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[int, rich.TaskID] = {}

        def show(done: int, total: int) -> None:
            if total not in tasks:
                tasks[total] = bar.add_task("", total=total)
            bar.update(tasks[total], completed=done)

        yield show


def train_one(compose: Compose, arguments: argparse.Namespace) -> None:
    """Train a tokenizer, print where it is and how to use it."""
    sizes = [w.partition("=")[2] for w in arguments.overrides if w.startswith("vocab_size=")]
    if len(sizes) != 1 or not sizes[0].isdecimal():
        raise ValueError("say how large it should be, such as vocab_size=4096.")
    words = [word for word in arguments.overrides if not word.startswith("vocab_size=")]
    config = compose(words, arguments.config_dir).data
    from altgrad.data.train_tokenizer import train_tokenizer

    corpus = config.name if config.path is None else Path(config.path).stem
    folder = Path(arguments.out or f"tokenizers/{corpus}-{sizes[0]}")
    with progress_bar() as progress:
        train_tokenizer(config, int(sizes[0]), folder=folder, progress=progress)
    print(folder)
    print(f"use it with data.tokenizer={folder}", file=sys.stderr)


def show_one(compose: Compose, arguments: argparse.Namespace) -> None:
    """Vocabulary, compression against GPT-2's, and a coloured view of a text's tokens."""
    config = compose(arguments.overrides, arguments.config_dir).data
    if arguments.text == "":
        raise ValueError("--text is empty; give some text to cut into tokens.")
    text = arguments.text or _first_text(config)
    for line in _compression(config, text):
        print(line)
    from altgrad.data.show_tokens import bracketed, coloured, token_pieces

    pieces = token_pieces(_tokenizer(config, text), text[:SHOWN_CHARACTERS])
    print(coloured(pieces) if sys.stdout.isatty() else bracketed(pieces))


def _tokenizer(config: "DataConfig", text: str) -> Any:
    from altgrad.data.config import cache_root
    from altgrad.data.tokenizers import build_tokenizer, identify

    cache = cache_root(config)
    return build_tokenizer(identify(config.tokenizer, cache), "".join(sorted(set(text))), cache)


def _compression(config: "DataConfig", text: str) -> list[str]:
    import dataclasses

    from altgrad.data.show_tokens import bytes_per_token

    lines = []
    for name in dict.fromkeys([config.tokenizer, "gpt2"]):
        tokenizer = _tokenizer(dataclasses.replace(config, tokenizer=name), text)
        ratio = bytes_per_token(tokenizer, text)
        lines.append(f"{ratio:6.3f} bytes per token: {name}, {tokenizer.vocab_size:,} tokens")
    return [*lines, f"measured on {len(text):,} characters"]


def _first_text(config: "DataConfig") -> str:
    """The beginning of what `config` names."""
    from altgrad.data.passages import first_text
    from altgrad.data.sources import find_source

    source = find_source(config)
    source.fetch(None)
    return first_text(config, source, SAMPLE_CHARACTERS)
