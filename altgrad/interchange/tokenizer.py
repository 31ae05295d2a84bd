"""Our tokenizers as a `tokenizer.json`, the format of Hugging Face's `tokenizers`.

Each gives the same ids for the same text and the same text for the same ids.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from altgrad.data.errors import DataError
from altgrad.data.hf_tokenizer import FILE, SPECIAL_FILE
from altgrad.data.special_tokens import special_ids


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """`tokenizer.json` and `tokenizer_config.json` in `folder`.

    Raises DataError for a tokenizer of your own, which has no such form, and without `tokenizers`.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise DataError(
            "writing a tokenizer.json needs tokenizers: pip install 'altgrad[hf]', or leave it out "
            "with --no-tokenizer"
        ) from None
    own = getattr(tokenizer, "path", None)
    if own is not None:
        (folder / FILE).write_bytes(Path(own).read_bytes())
    else:
        _converted(tokenizer).save(str(folder / FILE))
    written = Tokenizer.from_file(str(folder / FILE))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for name, token in special_ids(tokenizer).items():
        token = token[0] if isinstance(token, list) else token
        if token is not None:
            config[name.removesuffix("_id")] = written.id_to_token(token)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def kept_files(tokenizer: Any) -> dict[str, bytes]:
    """What a run folder keeps of a tokenizer that is a file: name -> content."""
    path = getattr(tokenizer, "path", None)
    if path is None:
        return {}
    beside = {FILE: path, SPECIAL_FILE: path.with_name(SPECIAL_FILE)}
    return {name: file.read_bytes() for name, file in beside.items() if file.is_file()}


def _converted(tokenizer: Any) -> Any:
    if hasattr(tokenizer, "vocabulary"):
        return _characters(tokenizer.vocabulary)
    if tokenizer.name == "byte":
        return _byte_pairs({bytes([b]): b for b in range(256)}, {}, pattern=None)
    if hasattr(tokenizer, "_bpe"):
        bpe = tokenizer._bpe
        return _byte_pairs(bpe._mergeable_ranks, bpe._special_tokens, pattern=bpe._pat_str)
    raise DataError(
        f"the tokenizer {tokenizer.name} has no tokenizer.json form; export with --no-tokenizer"
    )


def _characters(vocabulary: str) -> Any:
    """One token per character; others are dropped, as `tokenizers` does without an unknown."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(vocabulary)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return made


def _byte_pairs(ranks: dict[bytes, int], specials: dict[str, int], *, pattern: str | None) -> Any:
    """A tiktoken encoding as byte-level BPE; without a pattern the text is not cut into words."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    shown = _byte_alphabet()
    vocab = {"".join(shown[b] for b in token): rank for token, rank in ranks.items()}
    merges = [
        _shown_pair(shown, *_split(ranks, token, rank))
        for token, rank in sorted(ranks.items(), key=lambda pair: pair[1])
        if len(token) > 1
    ]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    made.pre_tokenizer = pre_tokenizers.Sequence([*steps, level])
    made.decoder = decoders.ByteLevel()
    ordered = sorted(specials, key=lambda name: specials[name])
    made.add_special_tokens([AddedToken(name, special=True) for name in ordered])
    for name in ordered:
        if made.token_to_id(name) != specials[name]:
            raise DataError(f"the special token {name} cannot keep its id {specials[name]}")
    return made


def _shown_pair(shown: dict[int, str], left: bytes, right: bytes) -> tuple[str, str]:
    return "".join(shown[b] for b in left), "".join(shown[b] for b in right)


def _split(ranks: dict[bytes, int], token: bytes, rank: int) -> list[bytes]:
    """The two tokens out of which `token` is merged: merge its bytes with the earlier ranks."""
    parts = [bytes([b]) for b in token]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, rank) for a, b in pairwise(parts)]
        best = min(pairs)
        assert best < rank, "not a byte-pair encoding"
        i = pairs.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _byte_alphabet() -> dict[int, str]:
    """The character that stands for each byte (GPT-2's table, Radford et al. 2019)."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(256 + i) for i, b in enumerate(rest)}
