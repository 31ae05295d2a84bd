"""What there is to train on, in words: the rows of `altgrad data list` and `altgrad data info`."""

from altgrad.data.config import DataConfig
from altgrad.data.corpora import Corpus, find_corpus
from altgrad.data.metadata import load_metadata
from altgrad.data.prepare import prepared_folder


def list_rows(presets: dict[str, DataConfig]) -> list[tuple[str, ...]]:
    """(preset, what it is, size, licence, whether it is prepared) of each preset."""
    rows: list[tuple[str, ...]] = []
    for preset, config in presets.items():
        corpus = find_corpus(config.name)
        ready = "yes" if prepared_folder(config) else "no"
        short = (text.partition(";")[0] for text in (corpus.size, corpus.licence))
        rows.append((preset, corpus.title, *short, ready))
    return rows


def info_rows(preset: str, config: DataConfig) -> list[tuple[str, str]]:
    """(what, value) of everything that is known about a preset, and of its tokens if prepared."""
    corpus = find_corpus(config.name)
    rows = [
        ("preset", preset),
        ("corpus", f"{corpus.name}: {corpus.title}"),
        ("licence", corpus.licence),
        ("citation", corpus.citation),
        ("size", corpus.size),
        *_origin_rows(corpus),
        ("tokenizer", config.tokenizer),
    ]
    return rows + _token_rows(preset, config)


def _origin_rows(corpus: Corpus) -> list[tuple[str, str]]:
    if corpus.file is not None:
        routes = [(f"route {i}", route.label) for i, route in enumerate(corpus.file.routes, 1)]
        return [*routes, ("sha256", corpus.file.sha256)]
    assert corpus.hub is not None
    hub = corpus.hub
    return [
        ("hub", f"{hub.repository}, revision {hub.revision}"),
        ("train", hub.train),
        ("val", hub.val),
        ("sha256", "of every file, in the hub's manifest, which is kept at the first download"),
    ]


def _token_rows(preset: str, config: DataConfig) -> list[tuple[str, str]]:
    folder = prepared_folder(config)
    if folder is None:
        return [("prepared", f"no; altgrad data prepare {preset}")]
    meta = load_metadata(folder)
    rows = [("prepared", str(folder)), ("vocabulary", f"{meta.vocab_size:,} tokens")]
    for split, info in meta.splits.items():
        documents = f"{info.documents:,} document{'' if info.documents == 1 else 's'}"
        ratio = f"{meta.bytes_per_token(split) or 0:.3f} bytes per token"
        rows.append((split, f"{info.tokens:,} tokens, {documents}, {ratio}"))
    return rows
