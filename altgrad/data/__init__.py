"""Tokens: named corpora, tokenizers, preparation, batches.

Importing this loads nothing of weight; numpy and torch come with the first name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from altgrad.data.config import DataConfig
from altgrad.data.errors import DataError
from altgrad.data.metadata import Metadata, load_metadata, split_hashes

# Not lazily: the module has the function's name, and would take its place once imported.
from altgrad.data.prepare import prepare, use_tokens

if TYPE_CHECKING:
    from altgrad.data.batches import BatchSource, evaluation_batches, get_batch
    from altgrad.data.order import document_token, make_batches
    from altgrad.data.tokenizers import Tokenizer, load_tokenizer
    from altgrad.data.tokens import load_tokens

_HOME = {
    "BatchSource": "batches",
    "evaluation_batches": "batches",
    "get_batch": "batches",
    "Tokenizer": "tokenizers",
    "load_tokenizer": "tokenizers",
    "load_tokens": "tokens",
    "document_token": "order",
    "make_batches": "order",
}

__all__ = [
    "BatchSource",
    "DataConfig",
    "DataError",
    "Metadata",
    "Tokenizer",
    "document_token",
    "evaluation_batches",
    "get_batch",
    "load_metadata",
    "load_tokenizer",
    "load_tokens",
    "make_batches",
    "prepare",
    "split_hashes",
    "use_tokens",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
