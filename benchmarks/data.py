"""Preparing a corpus and reading batches: altgrad against the usual way of doing the same.

    python benchmarks/data.py                    # 48 MB of text, one process and two, medians of 3
    python benchmarks/data.py --megabytes 16 --workers 1

1. MB of text per second from a parquet file to `train.bin`, GPT-2 BPE with `<|endoftext|>` between
   documents: `prepare` against `datasets` + `tiktoken` as nanoGPT's OpenWebText script uses them
   (needs `pip install datasets`). Both write the same bytes; that is checked.
2. Peak memory of `prepare` when the corpus grows: it should stay where it is.
3. Batches per second (16 x 256): `BatchSource` against nanoGPT's `get_batch`, in turns.

The text is Tiny Shakespeare's, cut into documents of one speech or more, shuffled and repeated.
Every measurement of 1 and 2 is a process of its own; imports are not counted.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from altgrad.data import DataConfig, load_metadata, load_tokens, prepare
from altgrad.data.config import cache_root

MB = 1e6
VAL_MEGABYTES = 1
ROUNDS = 3


def write_corpus(path: Path, megabytes: float, *, seed: int) -> None:
    """A parquet file of shuffled documents, about 2 kB each, in row groups of 1,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    prepare(DataConfig())
    text = (cache_root(DataConfig()) / "corpora" / "shakespeare" / "input.txt").read_text()
    speeches = text.split("\n\n")
    draw = random.Random(seed)
    schema = pa.schema([("text", pa.string())])
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while written < megabytes * MB:
            documents = ["\n\n".join(draw.sample(speeches, 12)) for _ in range(1000)]
            written += sum(map(len, documents))
            writer.write_table(pa.table({"text": documents}))


def with_altgrad(folder: Path, workers: int) -> float:
    config = DataConfig(
        path=str(folder / "train.parquet"),
        val_path=str(folder / "val.parquet"),
        tokenizer="gpt2",
        workers=workers,
    )
    import tiktoken  # noqa: F401 - not to be timed

    start = time.perf_counter()
    made = prepare(config)
    seconds = time.perf_counter() - start
    (folder / "altgrad.json").write_text(json.dumps(str(made)))
    return seconds


def with_datasets(folder: Path, workers: int) -> float:
    """nanoGPT's way: map every document to its ids, then write them one shard after the other."""
    import datasets
    import tiktoken

    from altgrad.data.bpe import gpt2

    datasets.disable_progress_bars()
    encoding = gpt2(cache_root(DataConfig()))._bpe
    del tiktoken

    def process(example):
        ids = encoding.encode_ordinary(example["text"])
        ids.append(encoding.eot_token)
        return {"ids": ids, "len": len(ids)}

    start = time.perf_counter()
    data = datasets.load_dataset(
        "parquet",
        data_files=str(folder / "train.parquet"),
        cache_dir=os.environ["ALTGRAD_CACHE"] + "/hf",
    )["train"]
    processes = workers if workers > 1 else None
    tokenized = data.map(process, remove_columns=["text"], num_proc=processes)
    length = int(np.sum(tokenized["len"], dtype=np.uint64))
    out = np.memmap(folder / "datasets.bin", dtype=np.uint16, mode="w+", shape=(length,))
    at = 0
    for shard in range(64):
        batch = tokenized.shard(num_shards=64, index=shard, contiguous=True).with_format("numpy")
        ids = np.concatenate(batch["ids"])
        out[at : at + len(ids)] = ids
        at += len(ids)
    out.flush()
    return time.perf_counter() - start


def in_a_process(what: str, folder: Path, workers: int, cache: Path) -> tuple[float, float]:
    """Seconds of work, and the peak memory in MB of the process that leads it."""
    command = [sys.executable, __file__, "--only", what, "--folder", str(folder)]
    command += ["--workers", str(workers), "--cache", str(cache)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def measure(what: str, folder: Path, workers: int) -> None:
    seconds = {"altgrad": with_altgrad, "datasets": with_datasets}[what](folder, workers)
    print(json.dumps([seconds, peak_megabytes()]))


def peak_megabytes() -> float:
    """Linux's own count for this program (`ru_maxrss` would carry over what started it)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def make_folder(root: Path, megabytes: float) -> tuple[Path, float]:
    folder = root / f"{megabytes:g}"
    folder.mkdir()
    write_corpus(folder / "train.parquet", megabytes, seed=1)
    write_corpus(folder / "val.parquet", VAL_MEGABYTES, seed=2)
    import pyarrow.parquet as pq

    column = pq.read_table(folder / "train.parquet").column("text")
    return folder, sum(len(text.encode()) for text in column.to_pylist()) / MB


def compare_preparation(root: Path, megabytes: float, workers: list[int]) -> None:
    folder, size = make_folder(root, megabytes)
    for count in workers:
        ours, theirs = [], []
        for _ in range(ROUNDS):
            shutil.rmtree(root / "cache", ignore_errors=True)
            ours.append(in_a_process("altgrad", folder, count, root / "cache"))
            theirs.append(in_a_process("datasets", folder, count, root / "cache"))
            check_equal(folder)
        (our_s, our_peak), (their_s, their_peak) = median(ours), median(theirs)
        # altgrad prepares the validation file as well
        rates = (size + VAL_MEGABYTES) / our_s, size / their_s
        print(
            f"prepare, {count} process{'es' if count > 1 else ''}: altgrad {rates[0]:.1f} MB/s "
            f"({our_peak:.0f} MB), datasets + tiktoken {rates[1]:.1f} MB/s "
            f"({their_peak:.0f} MB): {rates[0] / rates[1]:.2f} x",
            flush=True,
        )


def median(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def check_equal(folder: Path) -> None:
    made = json.loads((folder / "altgrad.json").read_text())
    ours = load_tokens(made, "train")
    theirs = np.memmap(folder / "datasets.bin", dtype=np.uint16, mode="r")
    # theirs ends every document with the end-of-text token, ours stands between two
    assert np.array_equal(ours, theirs[:-1])


def compare_memory(root: Path, sizes: list[float]) -> None:
    for megabytes in sizes:
        folder, size = make_folder(root, megabytes)
        _, peak = in_a_process("altgrad", folder, 1, root / f"cache-memory-{megabytes:g}")
        print(f"memory: {size:6.1f} MB of text prepared within {peak:.0f} MB", flush=True)


def compare_batches() -> None:
    import torch

    from altgrad.data import BatchSource

    folder = prepare(DataConfig())
    tokens = load_tokens(folder, "train")
    source = BatchSource(tokens, 256, batch_size=16, seed=0)

    def plain() -> tuple[torch.Tensor, torch.Tensor]:
        data = np.memmap(folder / "train.bin", dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - 256, (16,))
        x = torch.stack([torch.from_numpy(data[i : i + 256].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 257].astype(np.int64)) for i in starts])
        return x, y

    rates: dict[str, list[float]] = {"altgrad": [], "plain": []}
    for _ in range(7):
        for name, step in (("altgrad", source.next_batch), ("plain", plain)):
            start = time.perf_counter()
            for _ in range(500):
                step()
            rates[name].append(500 / (time.perf_counter() - start))
    ours, theirs = (statistics.median(rates[name]) for name in ("altgrad", "plain"))
    print(
        f"batches: altgrad {ours:,.0f}/s, plain memmap loop {theirs:,.0f}/s: {ours / theirs:.1f} x"
    )
    assert load_metadata(folder).vocab_size == 65


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=48)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", choices=["altgrad", "datasets"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    how = parser.parse_args()
    if how.only:
        known = cache_root(DataConfig()) / "tokenizers"
        shutil.copytree(known, how.cache / "tokenizers", dirs_exist_ok=True)
        os.environ["ALTGRAD_CACHE"] = str(how.cache)
        measure(how.only, how.folder, how.workers[0])
        return
    prepare(DataConfig(tokenizer="gpt2"))
    with tempfile.TemporaryDirectory() as name:
        compare_batches()
        compare_preparation(Path(name), how.megabytes, how.workers)
        compare_memory(Path(name), [how.megabytes / 4, how.megabytes * 2])


if __name__ == "__main__":
    main()
