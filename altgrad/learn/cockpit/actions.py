"""What the cockpit's commands do beside `watch`: lines of text out, exit code last."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from altgrad.learn.actions import TRACE_TIMEOUT_S, Lines, stopped
from altgrad.learn.checker import read_source
from altgrad.learn.cockpit.attention_map import LONGEST, AttentionMap, attention_map
from altgrad.learn.cockpit.attention_view import draw_map, map_lines
from altgrad.learn.cockpit.borrowed import borrowed_line, load_with_borrowed
from altgrad.learn.cockpit.gradient_walk import walk_lines
from altgrad.learn.harness import harness_of
from altgrad.learn.isolate import run_isolated
from altgrad.learn.iteration import SIZES
from altgrad.learn.observe import Failure, failure_of
from altgrad.learn.track import Track
from altgrad.learn.workshop import Workshop
from altgrad.runs import resolve_run

ATTENTION = "CausalSelfAttention.forward"


def backward(space: Workshop, unit: str | None) -> Lines:
    """The backward pass, unit by unit, beside the reference's; exit code 0 where they agree."""
    need_model(space.track, "backward pass to be shown")
    read_source(space.file)
    name = None if unit is None else space.track.find(unit)
    lines = yield from isolated(space, _list, walk_lines, space.track, space.file, name)
    yield from lines or []
    return 0 if lines and lines[-1].startswith("✓") else 1


@dataclass(frozen=True)
class MapWishes:
    """Which attention map is asked for.

    run: a run of the learner's model, by name below the folder's `runs`, "" for the latest; None
    for the file as it is, freshly initialised. heads: all where empty.
    """

    text: str
    layer: int = 0
    heads: tuple[int, ...] = ()
    run: str | None = None
    png: Path | None = None


def attention(space: Workshop, wishes: MapWishes, width: int) -> Lines:
    """The attention weights of one layer for one text: shades for the terminal, and a PNG."""
    need_model(space.track, "attention map")
    read_source(space.file)
    if wishes.run is None:
        found = yield from isolated(space, _fresh_map, space, wishes)
    else:
        run = resolve_run(wishes.run or None, space.folder / "runs").resolve()
        import altgrad.training.build  # noqa: F401  # seconds, which are not the learner's

        found = yield from isolated(space, _trained_map, space, wishes, run)
    if found is None:
        return 1
    heads = wishes.heads or tuple(range(found.heads))
    if wrong := [h for h in heads if not 0 <= h < found.heads]:
        raise ValueError(f"head {wrong[0]} is not one of 0 … {found.heads - 1}")
    yield from map_lines(found, heads, width)
    if ahead := found.looking_ahead():
        yield f"✗ {ahead}: the mask (altgrad learn check {ATTENTION})"
    yield from found.remarks
    path = wishes.png or space.folder / "attention.png"
    draw_map(found, heads, path)
    yield str(path)
    return 0


def _fresh_map(space: Workshop, wishes: MapWishes) -> AttentionMap:
    namespace, borrowed = load_with_borrowed(space.track, space.file)
    if ATTENTION in borrowed:
        raise ValueError(f"{ATTENTION} is still to be written: altgrad learn hint {ATTENTION}")
    harness = harness_of(space.track.name)
    torch.manual_seed(0)
    model = harness.make(namespace, SIZES)
    harness.initialise(model)
    ids = list(wishes.text.encode())
    _check_length(len(ids), SIZES["length"])
    made = attention_map(
        model, ids, [chr(i) for i in ids], layer=wishes.layer, n_head=SIZES["n_head"]
    )
    remark = "weights as initialised; --run shows a trained model's (altgrad learn train)"
    return replace(made, remarks=[*made.remarks, *borrowed_line(borrowed), remark])


def _trained_map(space: Workshop, wishes: MapWishes, run: Path) -> AttentionMap:
    from altgrad.training.build import load_run

    os.chdir(space.folder)  # where the run's `my_gpt` is found
    loaded = load_run(run)
    ids = list(loaded.tokenizer.encode(wishes.text))
    _check_length(len(ids), min(LONGEST, loaded.config.model.block_size))
    tokens = [loaded.tokenizer.decode([i]) for i in ids]
    n_head = loaded.config.model.n_head
    made = attention_map(loaded.model, ids, tokens, layer=wishes.layer, n_head=n_head)
    remark = f"weights of {run.name} after step {loaded.step}"
    return replace(made, remarks=[*made.remarks, *loaded.remarks, remark])


def _check_length(tokens: int, most: int) -> None:
    if not 1 <= tokens <= most:
        raise ValueError(f"the text has {tokens} tokens; a map has 1 to {most}")


def need_model(track: Track, for_what: str) -> None:
    """Raises ValueError on a track whose file is no model."""
    if not track.is_model:
        raise ValueError(
            f"the track {track.name} has no model of your own and so no {for_what}; "
            "the tracks nanochat and gpt2 have"
        )


def isolated(space: Workshop, function: Callable[..., Any], *args: Any) -> Any:
    """What `function(*args)` gives in a child process; None after lines that say why nothing."""
    work = (_or_failure, space.file, function, args)
    ended = run_isolated(*work, timeout_s=TRACE_TIMEOUT_S)
    if not ended.ok:
        yield f"✗ {ended.crash or f'not finished after {TRACE_TIMEOUT_S:g} s'}"
        return None
    yield from (f"   | {line}" for line in ended.printed.splitlines()[:20])
    if isinstance(ended.value, Refused):
        raise ValueError(ended.value.why)
    if isinstance(ended.value, Failure):
        yield from stopped(space, ended.value)
        return None
    return ended.value


@dataclass(frozen=True)
class Refused:
    """A wish that cannot be fulfilled, in one line."""

    why: str


def _or_failure(path: Path, function: Callable[..., Any], args: tuple) -> Any:
    try:
        return function(*args)
    except Exception as error:
        failure = failure_of(error, path)
        if isinstance(error, ValueError) and failure.line is None:  # ours, not the learner's
            return Refused(str(error))
        return failure


def _list(function: Callable[..., Iterator[str]], *args: Any) -> list[str]:
    return list(function(*args))
