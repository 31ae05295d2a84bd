"""Damage to any byte of a checkpoint is noticed, and a hostile one is refused without harm."""

import json
import os
import pickle
import random
import shutil
import struct
import zipfile

import pytest
import safetensors.torch
import torch
from torch import nn

from altgrad.runs.disk import Disk
from altgrad.training.checkpoints.files import verify_files
from altgrad.training.checkpoints.manager import CheckpointError, CheckpointManager, load_checkpoint
from altgrad.training.checkpoints.manifest import FILES, MANIFEST, Manifest, read_manifest
from altgrad.training.checkpoints.tensor_file import DTYPES, parse_header, tensor_pieces, tensors_of

EVERY_FILE = [*FILES, MANIFEST]


def save(folder, step=1, run="mine", fill=0.5):
    model = nn.Linear(6, 6)
    nn.init.constant_(model.weight, fill)
    extra = {"rng": torch.get_rng_state(), "note": "x" * 40, "pair": (1, 2.5, None)}
    return CheckpointManager(folder, 9, run=run).save(step, model, extra=extra, val_loss=1.0)


def assert_refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_every_flipped_bit_is_noticed_and_the_file_named(tmp_path, name):
    path = save(tmp_path)
    whole = (path / name).read_bytes()
    bits = range(8 * len(whole))
    # All of a short file; of a long one its ends, where headers lie, and a sample.
    chosen = [*bits[:600], *bits[-100:], *random.Random(0).sample(bits, min(150, len(bits)))]
    for bit in chosen:
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        (path / name).write_bytes(spoilt)
        with pytest.raises(CheckpointError):
            verify_files(path)
    assert_refused(path, name if name != MANIFEST else "")
    (path / name).write_bytes(whole)
    load_checkpoint(path)


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("length", ["0", "1", "half", "all but one", "one more"])
def test_every_other_length_is_noticed(tmp_path, name, length):
    path = save(tmp_path)
    whole = (path / name).read_bytes()
    size = {"0": 0, "1": 1, "half": len(whole) // 2, "all but one": len(whole) - 1}
    (path / name).write_bytes(whole[: size[length]] if length in size else whole + b" ")
    assert_refused(path, name)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_named(tmp_path, name):
    path = save(tmp_path)
    (path / name).unlink()
    assert_refused(path, name, "missing")


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_file_of_another_run_is_noticed(tmp_path, name):
    mine, other = save(tmp_path / "a"), save(tmp_path / "b", run="other", fill=0.7)
    same = (mine / name).read_bytes() == (other / name).read_bytes()
    shutil.copy(other / name, mine / name)
    if not same:
        assert_refused(mine)
    assert not (same and name == "model.safetensors")


def test_an_older_manifest_is_noticed(tmp_path):
    older, newer = save(tmp_path, 1), save(tmp_path, 2, fill=0.7)
    shutil.copy(older / MANIFEST, newer / MANIFEST)
    assert_refused(newer, "sha256 differs")


def test_a_renamed_checkpoint_is_noticed(tmp_path):
    path = save(tmp_path, 1)
    assert_refused(path.rename(tmp_path / "step_00000009"), "renamed")


def test_another_format_version_is_refused_by_its_number(tmp_path):
    path = save(tmp_path)
    content = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**content, "version": 1}))
    assert_refused(path, "format version 1", "environment.json")


# -- hostile: the manifest agrees with the files, and still ----------------------------------------


def forge(path, **files):
    """Put other files into a checkpoint, with a manifest that vouches for them."""
    old = read_manifest(path)
    disk = Disk()
    written = {n: disk.write(path / n, [c]) for n, c in files.items()}
    manifest = Manifest(old.step, old.val_loss, old.run, {**old.files, **written})
    (path / MANIFEST).write_bytes(manifest.to_bytes())


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch exploded",))


@pytest.mark.parametrize("name", FILES)
def test_a_pickle_is_refused_and_never_run(tmp_path, name):
    path = save(tmp_path)
    forge(path, **{name: pickle.dumps(Bomb())})
    assert_refused(path, name)
    assert not os.path.exists("exploded")


def test_a_torch_file_is_refused_and_never_run(tmp_path):
    torch.save(Bomb(), tmp_path / "model.pt")
    assert zipfile.is_zipfile(tmp_path / "model.pt")
    assert_refused(tmp_path / "model.pt", "can run code")
    assert not os.path.exists("exploded")


def header(entry, length=None):
    text = json.dumps({"w": entry}).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    "content",
    [
        header({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, length=2**63),
        header({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, length=10**6),
        header({"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 2**82]}),
        header({"dtype": "F32", "shape": [2**62], "data_offsets": [0, 2**64]}) + b"1234",
        header({"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}),
        header({"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}) + b"1234",
        header({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}),
        header({"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}) + b"1234",
        header({"dtype": "F32", "shape": [1.5], "data_offsets": [0, 6]}) + b"123456",
        header("F32"),
        struct.pack("<Q", 40) + b"[" * 40,
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        b"",
        b"123",
    ],
    ids=range(14),
)
def test_an_absurd_header_is_refused(tmp_path, content):
    path = save(tmp_path)
    forge(path, **{"model.safetensors": content})
    assert_refused(path, "model.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        b'{"optimizer": {"__import__": "os"}}',
        b'{"optimizer": {"__tensor__": "not there"}, "scaler": null, "extra": null, "config": {}}',
        b'{"optimizer": {"a": 1, "b": 2}, "scaler": null, "extra": null, "config": {}}',
        b"[" * 100_000,
        b"null",
        b'{"optimizer": ' + b"9" * 5000 + b"}",
    ],
    ids=range(6),
)
def test_a_state_that_is_none_is_refused(tmp_path, content):
    path = save(tmp_path)
    forge(path, **{"state.json": content})
    assert_refused(path, "state.json")


def test_a_sparse_file_larger_than_memory_is_refused_unread(tmp_path):
    path = save(tmp_path)
    old = read_manifest(path)
    with (path / "model.safetensors").open("wb") as file:
        file.truncate(2**43)
    files = {**old.files, "model.safetensors": {"bytes": 2**43, "sha256": "0" * 64}}
    (path / MANIFEST).write_bytes(Manifest(old.step, old.val_loss, old.run, files).to_bytes())
    assert_refused(path, "this machine has")


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "../step_00000002/state.json"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path, target):
    path = save(tmp_path, 1)
    save(tmp_path, 2)
    (path / "state.json").unlink()
    (path / "state.json").symlink_to(target)
    assert_refused(path, "state.json")


def test_a_pipe_does_not_make_a_reader_wait(tmp_path):
    path = save(tmp_path)
    (path / "state.json").unlink()
    os.mkfifo(path / "state.json")
    assert_refused(path, "not a plain file")


def test_a_manifest_cannot_name_files_outside(tmp_path):
    path = save(tmp_path)
    old = read_manifest(path)
    files = {"../../secret": old.files["state.json"], **old.files}
    (path / MANIFEST).write_bytes(Manifest(old.step, old.val_loss, old.run, files).to_bytes())
    assert_refused(path, "other files")


# -- the tensor file, against the format's own library ---------------------------------------------


def every_dtype():
    numbers = torch.arange(6).reshape(2, 3)
    made = {
        name: (numbers.float() if name.startswith("F8") else numbers).to(dtype)
        for name, dtype in DTYPES.items()
    }
    return {**made, "scalar": torch.tensor(3), "empty": torch.zeros(0, 4)}


def raw(tensor):
    return bytes(tensor.reshape(-1).view(torch.uint8).numpy())


def test_the_library_reads_what_we_write(tmp_path):
    own = {n: t for n, t in every_dtype().items() if n != "F8_E8M0"}
    Disk().write(tmp_path / "a.safetensors", tensor_pieces(own))
    read = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert read.keys() == own.keys()
    for name, tensor in own.items():
        assert read[name].dtype == tensor.dtype
        assert raw(read[name]) == raw(tensor), name


def test_we_read_what_the_library_writes(tmp_path):
    own = {n: t for n, t in every_dtype().items() if n != "F8_E8M0"}
    content = safetensors.torch.save(own, {"format": "pt"})
    length = int.from_bytes(content[:8], "little")
    data = torch.frombuffer(bytearray(content[8 + length :]), dtype=torch.uint8)
    read = tensors_of(parse_header(content[8 : 8 + length], len(data)), data)
    for name, tensor in own.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert raw(read[name]) == raw(tensor), name
