"""What a text is written on from, as tokens."""

from contextlib import suppress

from altgrad.data import DataError, Tokenizer

END_OF_TEXT = "end of text"


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of a prompt; an empty one begins a text, after the end of another.

    Raises DataError for a prompt without a single token, or with a character that the tokenizer
    does not know.
    """
    ids = list(tokenizer.encode(prompt)) if prompt else []
    if ids:
        return ids
    if not prompt and tokenizer.end_of_text is not None:
        return [tokenizer.end_of_text]
    raise DataError(
        f"the prompt {prompt!r} is no token to begin from: the tokenizer {tokenizer.name} "
        f"{'drops it' if prompt else 'has no end-of-text token'}; give some text"
    )


def opening(tokenizer: Tokenizer, first: int = 0) -> tuple[str, list[int]]:
    """Where to begin when nobody said: a line break if the tokenizer has one, else the end of
    text, else the token `first`. Its text (nothing for the end of text), and its tokens."""
    with suppress(ValueError):
        if ids := tokenizer.encode("\n"):
            return "\n", ids
    if tokenizer.end_of_text is not None:
        return "", [tokenizer.end_of_text]
    return tokenizer.decode([first]), [first]
