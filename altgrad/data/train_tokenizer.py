"""Training a byte-pair tokenizer on a corpus, in files that both worlds read.

The folder holds `tokenizer.json` and `tokenizer_config.json` (Hugging Face), `encoder.json` and
`vocab.bpe` (GPT-2's own layout), and `ranks.tiktoken` (tiktoken, with GPT-2's word pattern). All
three give the same ids: bytes first, then merges in order, `<|endoftext|>` last.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from altgrad.data.bpe import END_OF_TEXT
from altgrad.data.config import DataConfig
from altgrad.data.errors import DataError
from altgrad.data.files import whole_folder
from altgrad.data.hf_tokenizer import FILE, byte_level_alphabet
from altgrad.data.passages import passages, scan
from altgrad.data.sources import WHOLE, Progress, find_source

SMALLEST = 257
"""The 256 bytes and `<|endoftext|>`."""


def train_tokenizer(
    config: DataConfig, vocab_size: int, *, folder: Path, progress: Progress | None = None
) -> Path:
    """Train on the training split of `config` and write `folder`, whole or not at all.

    Raises DataError when `folder` exists, or the text has too few different words for
    `vocab_size`.
    """
    if vocab_size < SMALLEST:
        raise DataError(
            f"vocab_size={vocab_size}: at least {SMALLEST}, the 256 bytes and {END_OF_TEXT}"
        )
    if folder.exists():
        raise DataError(f"{folder} exists; choose another folder with --out, or remove it")
    trained = _train(_training_texts(config, progress), vocab_size)
    found = trained.get_vocab_size()
    if found < vocab_size:
        raise DataError(
            f"vocab_size={vocab_size}: this text has pairs for {found} tokens only; use "
            f"vocab_size={found} or more text"
        )
    with whole_folder(folder) as inside:
        _write(trained, inside)
    return folder


def _training_texts(config: DataConfig, progress: Progress | None) -> Iterator[str]:
    source = find_source(config)
    source.fetch(progress)
    found = scan(config, source, lambda count: None) if WHOLE in source.splits else None
    done = 0
    for passage in passages(config, source, found):
        done += passage.file_bytes
        if progress:
            progress(done, source.size_bytes)
        if passage.split == "train" and passage.text:
            yield passage.text


def _train(texts: Iterator[str], vocab_size: int) -> Any:
    try:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise DataError(
            "training a tokenizer needs tokenizers: pip install 'altgrad[hf]'"
        ) from None
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        show_progress=False,
        initial_alphabet=list(byte_level_alphabet()),
    )
    made.train_from_iterator(texts, trainer)
    # Added after training, so that ids are bytes, merges, end of text: the order tiktoken needs.
    made.add_special_tokens([AddedToken(END_OF_TEXT, special=True)])
    return made


def _write(trained: Any, folder: Path) -> None:
    trained.save(str(folder / FILE))
    model = json.loads((folder / FILE).read_text())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "vocab.bpe").write_text("#version: 0.2\n" + "".join(f"{m}\n" for m in merges))
    with_end = {**vocabulary, END_OF_TEXT: len(vocabulary)}
    (folder / "encoder.json").write_text(json.dumps(with_end))
    (folder / "ranks.tiktoken").write_text(_tiktoken_lines(vocabulary))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def _tiktoken_lines(vocabulary: dict[str, int]) -> str:
    byte_of = byte_level_alphabet()
    ranked = sorted(vocabulary.items(), key=lambda item: item[1])
    tokens = (bytes(byte_of[char] for char in piece) for piece, _ in ranked)
    return "".join(f"{base64.b64encode(t).decode()} {rank}\n" for rank, t in enumerate(tokens))
