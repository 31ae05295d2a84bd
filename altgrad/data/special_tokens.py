"""Around a text: what it starts with, what ends it, and how the text after a prompt reads.

Tokenizers need none of these attributes; those read from a `tokenizer.json` have them.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from altgrad.data.errors import DataError

END_OF_TEXT = "end of text"


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """The ids of a prompt, after the token that the tokenizer puts before every text (a BOS); an
    empty prompt begins a text, after the end of another.

    Raises DataError for a prompt without a single token, or with a character that the tokenizer
    does not know.
    """
    begin = getattr(tokenizer, "begin_of_text", None)
    ids = [*([] if begin is None else [begin]), *(tokenizer.encode(prompt) if prompt else [])]
    if ids:
        return ids
    if not prompt and tokenizer.end_of_text is not None:
        return [tokenizer.end_of_text]
    raise DataError(
        f"the prompt {prompt!r} is no token to begin from: the tokenizer {tokenizer.name} "
        f"{'drops it' if prompt else 'has no end-of-text token'}; give some text"
    )


def opening(tokenizer: Any, first: int = 0) -> tuple[str, list[int]]:
    """Where to begin when nobody said: a line break if the tokenizer has one, else the end of
    text, else the token `first`. Its text (nothing for the end of text), and its tokens."""
    with suppress(ValueError):
        if tokenizer.encode("\n"):
            return "\n", prompt_ids(tokenizer, "\n")
    if tokenizer.end_of_text is not None:
        return "", [tokenizer.end_of_text]
    return tokenizer.decode([first]), [first]


def first_token(tokenizer: Any) -> int | None:
    """What stands before a text that is judged: its BOS, else the end of the text before it."""
    begin: int | None = getattr(tokenizer, "begin_of_text", None)
    return getattr(tokenizer, "end_of_text", None) if begin is None else begin


def ends_of_text(tokenizer: Any) -> tuple[int, ...]:
    """The tokens at which writing stops."""
    end = getattr(tokenizer, "end_of_text", None)
    return getattr(tokenizer, "ends_of_text", None) or (() if end is None else (end,))


def continuation(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of `ids` that follow others: a space at its beginning is part of it."""
    decode = getattr(tokenizer, "decode_continuation", tokenizer.decode)
    return str(decode(ids))


def special_ids(tokenizer: Any) -> dict[str, Any]:
    """`bos_token_id` and `eos_token_id` as transformers' settings have them."""
    end = getattr(tokenizer, "end_of_text", None)
    own = {"bos_token_id": first_token(tokenizer), "eos_token_id": end}
    return own | getattr(tokenizer, "special_ids", {})
