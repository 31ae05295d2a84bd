"""Text as it is generated, until a stop text, the end-of-text token, or the limit."""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from altgrad.data.special_tokens import continuation, ends_of_text, opening, prompt_ids
from altgrad.model.generate import stream
from altgrad.training.build import LoadedRun

CUT_OFF = "\ufffd"


class Writing:
    """Iterate for the pieces. Afterwards `finish_reason` is `stop` or `length`."""

    def __init__(
        self, run: LoadedRun, prompt: str, ids: list[int], drawn: Iterator[Tensor], stop: list[str]
    ):
        self.prompt, self.prompt_ids = prompt, ids
        self.finish_reason = "length"
        self.tokens = 0
        self._tokenizer, self._drawn, self._stop = run.tokenizer, drawn, stop
        self._ends = ends_of_text(run.tokenizer)

    def __iter__(self) -> Iterator[str]:
        return (piece for piece in self.steps() if piece)

    def steps(self) -> Iterator[str]:
        """What each token adds to the text that can be shown: often nothing yet."""
        ids: list[int] = []
        shown = ""
        for drawn in self._drawn:
            token = int(drawn)
            self.tokens += 1
            if token in self._ends:
                self.finish_reason = "stop"
                break
            ids.append(token)
            text = continuation(self._tokenizer, ids)
            found = min((text.find(s) for s in self._stop if s in text), default=-1)
            if found >= 0:
                self.finish_reason = "stop"
                yield text[len(shown) : found]
                return
            ready = text[: len(text) - self._held_back(text)]
            yield ready[len(shown) :]
            shown = max(shown, ready, key=len)
        yield continuation(self._tokenizer, ids)[len(shown) :]

    def _held_back(self, text: str) -> int:
        """Characters at the end that may still change: half a letter, half a stop text."""
        half_letter = len(text) - len(text.rstrip(CUT_OFF))
        half_stops = (
            n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])
        )
        return max(half_letter, *half_stops, 0)


def write(
    run: LoadedRun,
    prompt: str | None,
    tokens: int,
    *,
    stop: Sequence[str] = (),
    **how: Any,
) -> Writing:
    """The model's continuation of `prompt`; `how` is that of `model.generate.stream`.

    Without a prompt it begins where `opening` says.

    Raises:
        ValueError: an impossible setting, a prompt without a token, or with a character that the
            tokenizer does not know.
    """
    begin, ids = opening(run.tokenizer)
    if prompt is not None:
        begin, ids = prompt, prompt_ids(run.tokenizer, prompt)
    device = next(run.model.parameters()).device
    start = torch.tensor([ids], dtype=torch.long, device=device)
    known = run.tokenizer.vocab_size
    drawn = stream(run.model, start, max_new_tokens=tokens, vocab_size=known, **how)
    return Writing(run, begin, ids, drawn, list(stop))


def write_batch(run: LoadedRun, prompt: str, tokens: int, count: int, **how: Any) -> list[str]:
    """`count` continuations drawn side by side, one token of each at a time."""
    device = next(run.model.parameters()).device
    ids = prompt_ids(run.tokenizer, prompt)
    start = torch.tensor([ids] * count, dtype=torch.long, device=device)
    how = {"vocab_size": run.tokenizer.vocab_size, **how}
    made = run.model.generate(start, tokens, **how)[:, len(ids) :]
    return [continuation(run.tokenizer, _before(row, run)) for row in made.tolist()]


def _before(ids: list[int], run: LoadedRun) -> list[int]:
    """The tokens before the first end of text."""
    ends = ends_of_text(run.tokenizer)
    return list(takewhile(lambda token: token not in ends, ids))


def converse(
    run: LoadedRun,
    read: Callable[[], str | None],
    say: Callable[[str], None],
    *,
    tokens: int,
    seed: int,
    **how: Any,
) -> None:
    """Prompts from `read` until it gives None, each answered piece by piece through `say`.

    An empty line goes on from where the last text ended. Turn i has seed + i.
    """
    text = ""
    turn = 0
    while (line := read()) is not None:
        text = line or text
        if not text:
            continue
        try:
            writing = write(run, text, tokens, seed=seed + turn, **how)
        except ValueError as error:
            say(f"{error}\n")
            continue
        for piece in writing:
            say(piece)
            text += piece
        say("\n")
        turn += 1
