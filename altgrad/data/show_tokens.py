"""How a tokenizer cuts a text: how much it compresses, and where the cuts fall."""

from itertools import cycle

from altgrad.data.tokenizers import Tokenizer

BACKGROUNDS = (153, 217, 157, 222, 183)
"""Light colours of the 256-colour terminal, one token after the other."""
RESET = "\033[0m"


def bytes_per_token(tokenizer: Tokenizer, text: str) -> float:
    """UTF-8 bytes of `text` per token: larger is the better compression."""
    return len(text.encode()) / len(tokenizer.encode(text))


def token_pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """What each token of `text` stands for; bytes that are no whole character as `\\xNN`."""
    made = (tokenizer.token_bytes(token) for token in tokenizer.encode(text))
    return [piece.decode(errors="backslashreplace") for piece in made]


def coloured(pieces: list[str]) -> str:
    """The pieces side by side on changing backgrounds, line breaks shown and kept."""
    shown = []
    for piece, colour in zip(pieces, cycle(BACKGROUNDS), strict=False):
        start = f"\033[30;48;5;{colour}m"
        visible = piece.replace("\t", "⇥").replace("\n", f"⏎{RESET}\n{start}")
        shown.append(f"{start}{visible}{RESET}")
    return "".join(shown)


def bracketed(pieces: list[str]) -> str:
    """The same without colours, for files and pipes."""
    return "".join(f"[{piece}]" for piece in pieces)
