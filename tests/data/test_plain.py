"""Folders of tokens that other programs wrote: read for what they are, or refused."""

import json

import numpy as np
import pytest

from altgrad.data import DataConfig, DataError, load_metadata, load_tokens, prepare, split_hashes

IDS = np.random.default_rng(0).integers(0, 50_000, 4000)
CURE = r"""echo '\{"dtype": "uint32"\}' > .*meta\.json"""


def write(folder, ids=IDS, dtype="uint16", header=b""):
    for split in ("train", "val"):
        (folder / f"{split}.bin").write_bytes(header + ids.astype(dtype).tobytes())
    return folder


def llmc(magic: int, count: int) -> bytes:
    return np.array([magic, 1, count] + [0] * 253, dtype=np.int32).tobytes()


def tokens_of(folder):
    return load_tokens(prepare(DataConfig(path=str(folder))), "train").tolist()


def test_bare_uint16_files_are_read_as_nanogpt_wrote_them(tmp_path):
    assert tokens_of(write(tmp_path)) == IDS.tolist()
    assert load_metadata(tmp_path).largest_token == IDS.max()


@pytest.mark.parametrize("dtype", ["uint32", "int64"])
@pytest.mark.parametrize("ids", [IDS, IDS + 70_000, IDS % 5], ids=["gpt2", "large", "few"])
def test_wider_numbers_without_a_word_are_not_read_in_halves(tmp_path, dtype, ids):
    with pytest.raises(DataError, match=rf"train\.bin looks like 32-bit tokens.*{CURE}"):
        tokens_of(write(tmp_path, ids, dtype))


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "int32", "int64"])
def test_one_line_of_meta_json_says_what_they_are(tmp_path, dtype):
    ids = IDS % 200 if dtype == "uint8" else IDS + 70_000
    (tmp_path / "meta.json").write_text(json.dumps({"dtype": dtype, "vocab_size": 200_000}))
    assert tokens_of(write(tmp_path, ids, dtype)) == ids.tolist()
    assert load_metadata(tmp_path).vocab_size == 200_000
    assert set(split_hashes(tmp_path)) == {"train", "val"}


@pytest.mark.parametrize(("magic", "dtype"), [(20240520, "uint16"), (20240801, "uint32")])
def test_the_header_of_llmc_is_no_text(tmp_path, magic, dtype):
    assert tokens_of(write(tmp_path, IDS, dtype, llmc(magic, len(IDS)))) == IDS.tolist()


def test_a_file_of_llmc_that_was_cut_off_is_refused(tmp_path):
    write(tmp_path, IDS[:-1], header=llmc(20240520, len(IDS)))
    with pytest.raises(DataError, match=r"llm\.c's header.*4,000 uint16 tokens.*cut off"):
        tokens_of(tmp_path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dtype": "float32"}, r"unknown dtype in .*meta\.json 'float32'"),
        ({"dtype": "uint16", "tokens": 3}, "unknown entry"),
        ({"dtype": "uint16", "vocab_size": "many"}, "must be a whole number"),
        ({"dtype": "int64"}, "negative numbers"),
        ({"dtype": None}, "looks like 32-bit"),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path, given, words):
    (tmp_path / "meta.json").write_text(json.dumps(given))
    ids = IDS - 900 if given["dtype"] == "int64" else IDS
    with pytest.raises(DataError, match=words):
        tokens_of(write(tmp_path, ids, given["dtype"] or "uint32"))


def test_half_a_token_at_the_end_is_refused(tmp_path):
    write(tmp_path)
    with open(tmp_path / "val.bin", "ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"val\.bin has 8,001 bytes, no whole number of uint16"):
        tokens_of(tmp_path)


def test_two_kinds_of_files_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "val.bin").write_bytes(llmc(20240801, 2) + IDS[:2].astype("uint32").tobytes())
    with pytest.raises(DataError, match=r"train\.bin is uint16 and val\.bin uint32"):
        tokens_of(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        {"val_fraction": 0.2},
        {"share": 0.5},
        {"text_field": "body"},
        {"tokenizer": "byte"},
        {"shards": 2},
        {"val_path": "val.txt"},
    ],
)
def test_settings_that_prepared_tokens_cannot_follow_are_refused(tmp_path, setting):
    (name,) = setting
    with pytest.raises(DataError, match=rf"data\.{name}=.* prepared already.*leave data\.{name}"):
        prepare(DataConfig(path=str(write(tmp_path)), **setting))


def test_the_tokenizer_they_were_made_with_may_be_named(tmp_path):
    (tmp_path / "x.txt").write_text("to be or not to be " * 9)
    made = prepare(
        DataConfig(path=str(tmp_path / "x.txt"), tokenizer="byte", cache_dir=str(tmp_path))
    )
    assert prepare(DataConfig(path=str(made), tokenizer="byte")) == made
    assert prepare(DataConfig(path=str(made))) == made
