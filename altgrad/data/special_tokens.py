"""Around a text: what it starts with, what ends it, and how the text after a prompt reads.

Tokenizers need none of these attributes; those read from a `tokenizer.json` have them.
"""

from collections.abc import Sequence
from typing import Any


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a prompt, after the token that the tokenizer puts before every text (a BOS)."""
    begin = getattr(tokenizer, "begin_of_text", None)
    return [*([] if begin is None else [begin]), *tokenizer.encode(text)]


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
