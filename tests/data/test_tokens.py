import numpy as np
import pytest

from altgrad.data import DataConfig, DataError, load_tokens, prepare
from altgrad.data.metadata import Metadata, SplitInfo, smallest_dtype


@pytest.fixture
def folder(text_file, tmp_path):
    return prepare(DataConfig(path=str(text_file), cache_dir=str(tmp_path / "cache")))


@pytest.mark.parametrize(("vocab", "dtype"), [(65, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_tokens_take_the_narrowest_type(vocab, dtype):
    assert smallest_dtype(vocab) == dtype


def test_tokens_are_mapped_not_read(folder):
    tokens = load_tokens(folder, "train")
    assert isinstance(tokens, np.memmap)
    assert not tokens.flags.writeable


def test_wide_tokens_are_read_as_wide(tmp_path):
    ids = np.array([0, 70_000, 3], dtype=np.uint32)
    ids.tofile(tmp_path / "train.bin")
    splits = {"train": SplitInfo(tokens=3)}
    Metadata("own", "own", [], "", None, 100_000, "uint32", splits).write(tmp_path)
    assert load_tokens(tmp_path, "train").tolist() == ids.tolist()


def test_a_file_that_was_cut_off_is_refused(folder):
    path = folder / "train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"train\.bin has .* cut off or changed; delete"):
        load_tokens(folder, "train")


def test_a_missing_file_is_refused(folder):
    (folder / "val.bin").unlink()
    with pytest.raises(DataError, match=r"val\.bin is missing"):
        load_tokens(folder, "val")


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(DataError, match=r"unknown split 'valid' \(did you mean 'val'\?\)"):
        load_tokens(folder, "valid")


def test_a_folder_without_tokens_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"train\.bin is missing; `altgrad data prepare`"):
        load_tokens(tmp_path, "train")
