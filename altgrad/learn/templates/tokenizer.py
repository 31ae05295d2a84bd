"""A tokenizer of your own. As it stands a token is a UTF-8 byte: change what is marked.

    altgrad verify data.tokenizer=mine:Tokenizer
    altgrad train data.tokenizer=mine:Tokenizer data.path=my.txt

Contract (made without arguments)
    name          "module:Class", by which a run finds it again
    vocab_size    how many tokens there are
    end_of_text   the token between documents, which no text gives; or None
    encode(text) -> list of ids; encode_array(text) -> the same as an array, for preparation
    decode(ids)   -> text; decode(encode(text)) should be text, else bits per byte are not measured
    token_bytes(id) -> what one token stands for
    describe()    {"name": name} and whatever else makes its ids what they are, as JSON can hold
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


class Tokenizer:
    name = "mine:Tokenizer"
    vocab_size = 256
    end_of_text: int | None = 0

    def encode(self, text: str) -> list[int]:
        # Yours begins here.
        return list(text.encode())
        # Yours ends here.

    def encode_array(self, text: str) -> np.ndarray:
        return np.array(self.encode(text), dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.token_bytes(i) for i in ids).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        # Yours begins here.
        return bytes([token])
        # Yours ends here.

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}
