"""The named corpora: what each is, whose it is, and where its bytes come from."""

from dataclasses import dataclass

from altgrad.data.errors import refuse_unknown
from altgrad.data.fetch import PublishedFile, Wheel


@dataclass(frozen=True)
class Corpus:
    """A recipe: everything about a text that is known before it is fetched."""

    name: str
    title: str
    licence: str
    citation: str
    files: tuple[PublishedFile, ...]


CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn"
SHAKESPEARE = Corpus(
    name="shakespeare",
    title="Tiny Shakespeare: 40,000 lines out of the plays",
    licence="public domain",
    citation="A. Karpathy, char-rnn (2015), data/tinyshakespeare",
    files=(
        PublishedFile(
            filename="input.txt",
            url=f"{CHAR_RNN}/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            size_bytes=1_115_394,
            wheel=Wheel(
                requirement="dm-sonnet==1.36",
                sha256="afe292a5f2eaed5c3e2be4b30f2a14b67425422457b9a51579d616af6f075dac",
                members=(
                    "sonnet/examples/data/ts.train.txt",
                    "sonnet/examples/data/ts.valid.txt",
                    "sonnet/examples/data/ts.test.txt",
                ),
            ),
        ),
    ),
)

CORPORA = {
    "shakespeare": SHAKESPEARE,
}


def find_corpus(name: str) -> Corpus:
    if name not in CORPORA:
        raise refuse_unknown(name, CORPORA, what="corpus data.name")
    return CORPORA[name]
