"""A small world for the pages' commands: they run as written, on little.

The package is copied and its presets shrunk (a layer of 16 numbers, three steps, no compiler); the
corpora are a few kilobytes under the names of the real ones. A working folder has what the pages
assume of a reader: `my.txt`, finished runs under the names the pages use, a question or two.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
HOUSE = HERE.parents[1]
LINES = [
    "ROMEO: To be, or not to be, that is question {n}; the rest is silence.",
    "JULIET: Who is it that says {n} words and means but one of them?",
    "FIRST CITIZEN: We are {n} good people, and we would speak.",
]
TEXT = "\n".join(LINES[n % 3].format(n=n * n) for n in range(240)) + "\n"
SPEECHES = "".join(json.dumps({"text": LINES[n % 3].format(n=n) * 9}) + "\n" for n in range(40))

SMALL = {"n_layer": 1, "n_head": 2, "n_kv_head": "null", "n_embd": 32, "block_size": 16}
SMALL |= {"embedding": "token"}
USUAL = "\ndevice: cpu\ndata:\n  batch_size: 4\n"
NUMBERS = {"max_steps": 3, "compile": "false", "eval_interval": 50, "sample_tokens": 8}

RUNS = {
    "RUN": "data.tokenizer=byte",
    "A": "seed=1",
    "B": "seed=2",
    "a": "precision=e4m3",
    "before": "optim=adamw",
    "TUNED": "finetune=lora finetune.r=2 init_from=runs/RUN data.path=my.txt",
}
"""Finished runs of a reader: name -> the settings it was trained with."""
COPIES = {"default": "A", "b": "B", "20261120-143000-3fa9c1": "A", "after": "A"}

FILES = {
    "my.txt": TEXT,
    "t.txt": TEXT,
    "FILE": TEXT,
    "TOKENS": TEXT,
    "plain.yaml": "model: gpt2\noptim: adamw\noptim.lr: 0.001\n",
    "fast.yaml": "model: gpt2\noptim: adamw\noptim.lr: 0.003\nmodel.mlp: relu2\n",
    "ideas.yaml": "- optim.lr=0.04\n",
    "results.tsv": "val_bpb\tstatus\tdescription\n0.9\tkeep\tdeeper\n",
}
PROGRAM = """\
import argparse
import random

words = argparse.ArgumentParser()
words.add_argument("--lr", type=float, default=0.1)
arguments, _ = words.parse_known_args()
import torch

torch.manual_seed(1)
for step in range(3):
    print(f"step {step}: train loss 2.0, val loss {2 + arguments.lr + torch.rand(1).item():.4f}")
"""
IDEA = """\
--- a/train.py
+++ b/train.py
@@ -12,2 +12,2 @@
 for step in range(3):
-    print(f"step {step}: train loss 2.0, val loss {2 + arguments.lr + torch.rand(1).item():.4f}")
+    print(f"step {step}: train loss 2.0, val loss {1 + arguments.lr + torch.rand(1).item():.4f}")
"""


class World:
    """root: its folder. Entered, its server runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.socket = root, root / "s"
        path = f"{root / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(root),
            "ALTGRAD_CACHE": str(root / "cache"),
            "ALTGRAD_CORE": str(root / "PATH"),
            "ALTGRAD_TEST_SERVER": str(self.socket),
            "XDG_CONFIG_HOME": str(root / "home"),
            "MPLCONFIGDIR": str(root / "home"),
            "OMP_NUM_THREADS": "1",
            "BROWSER": "true",
        }

    def __enter__(self) -> "World":
        small_package(self.root / "altgrad")
        self._corpora()
        self._client()
        self.server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), str(self.socket)],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == b"ready\n"
        self._reader()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait(30)

    def _corpora(self) -> None:
        """Small texts under the names and hashes of the package's copy."""
        source = self.root / "altgrad" / "data" / "corpora.py"
        code = source.read_text()
        for name, file, text in (
            ("SHAKESPEARE", "shakespeare/input.txt", TEXT),
            ("SOTU", "sotu/sotu.jsonl", SPEECHES),
        ):
            path = self.root / "cache" / "corpora" / file
            path.parent.mkdir(parents=True)
            path.write_text(text)
            before, after = code.split(f"\n{name} = ")
            after = re.sub(r'sha256="\w+"', f'sha256="{sha256(text)}"', after, count=1)
            after = re.sub(r"size_bytes=[\d_]+", f"size_bytes={len(text)}", after, count=1)
            code = f"{before}\n{name} = {after}"
        source.write_text(code)

    def _client(self) -> None:
        client = self.root / "bin" / "altgrad"
        client.parent.mkdir()
        client.write_text(f"#!{sys.executable} -IS\n{(HERE / 'client.py').read_text()}")
        client.chmod(0o755)

    def _reader(self) -> None:
        """The folder that each page begins with."""
        self.reader = self.root / "reader"
        self.reader.mkdir()
        for name, text in FILES.items():
            (self.reader / name).write_text(text)
        (self.reader / "experiments").mkdir()
        for question in (HOUSE / "experiments").glob("*.yaml"):
            shutil.copy(question, self.reader / "experiments")
        for name, words in RUNS.items():
            failed = self.run(f"altgrad train run_dir=runs/{name} {words}", self.reader)
            assert not failed, failed
        for name, of in COPIES.items():
            shutil.copytree(self.reader / "runs" / of, self.reader / "runs" / name)
        for name in ("theirs", "nanoGPT"):
            folder = self.root / "pages" / name
            folder.mkdir(parents=True)
            (folder / "train.py").write_text(PROGRAM)
        (self.reader / "train.py").write_text(PROGRAM)
        (self.reader / "idea.diff").write_text(IDEA)
        bundle(self.root / "PATH")
        (self.reader / "PATH").symlink_to(self.root / "PATH")

    def page(self, name: str) -> Path:
        """A fresh working folder of a reader, for one page."""
        folder = self.root / "pages" / name.replace("/", "-").removesuffix(".md")
        shutil.copytree(self.reader, folder, symlinks=True)
        return folder

    def run(self, block: str, folder: Path, limit_s: float = 120) -> list[str]:
        """Type a block into a shell; the commands of it that failed, with what was said."""
        log, said = folder / ".failed", folder / ".said"
        log.write_text("")
        script = f"trap 'echo \"$? $BASH_COMMAND\" >> {log}' ERR\n{block}"
        with said.open("w") as output:
            shell = subprocess.Popen(
                ["bash", "-c", script],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            shell.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            return [f"longer than {limit_s} s: {block}\n{said.read_text()[-800:]}"]
        failed = [line for line in log.read_text().splitlines() if not is_outcome(line)]
        return [*failed, said.read_text()[-1500:]] if failed else []


def is_outcome(line: str) -> bool:
    """Whether an exit code is what a ledger answered, not a failure (docs/howto/ideas.md)."""
    code, _, command = line.partition(" ")
    return command.startswith("altgrad ideas") and code in ("10", "11", "13")


def small_package(place: Path) -> None:
    """A copy of altgrad whose presets are for a run of no time."""
    shutil.copytree(HOUSE / "altgrad", place, ignore=shutil.ignore_patterns("__pycache__"))
    for preset in (place / "conf" / "model").glob("*.yaml"):
        preset.write_text(with_values(preset.read_text(), SMALL))
    end = place / "commands" / "end_of_run.py"
    end.write_text(end.read_text().replace("SAMPLE_TOKENS = 300", "SAMPLE_TOKENS = 30"))
    usual = place / "conf" / "config.yaml"
    usual.write_text(with_values(usual.read_text(), NUMBERS) + USUAL)


def with_values(text: str, values: dict[str, object]) -> str:
    """YAML with the values of the keys that it has at its top."""
    for key, value in values.items():
        text = re.sub(rf"^{key}:.*$", f"{key}: {value}", text, flags=re.MULTILINE)
    return text


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def bundle(root: Path) -> None:
    """CORE's layout with a few questions of three of its tasks."""
    tasks = {
        "copa": ("multiple_choice", 0, choice),
        "hellaswag": ("multiple_choice", 2, choice),
        "lambada_openai": ("language_modeling", 0, word),
    }
    entries, baselines = ["icl_tasks:"], ["Eval Task,Random baseline"]
    for name, (kind, shots, question) in tasks.items():
        entries.append(
            f"- {{label: {name}, dataset_uri: {name}.jsonl, num_fewshot: [{shots}], "
            f"icl_task_type: {kind}}}"
        )
        baselines.append(f"{name},25")
        path = root / "eval_data" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(question(n)) + "\n" for n in range(6)))
    (root / "core.yaml").write_text("\n".join(entries) + "\n")
    (root / "eval_meta_data.csv").write_text("\n".join(baselines) + "\n")


Question = Callable[[int], dict[str, object]]


def choice(n: int) -> dict[str, object]:
    return {"query": f"Question {n} is", "choices": ["good", "bad"], "gold": n % 2}


def word(n: int) -> dict[str, object]:
    return {"context": f"The word after {n} is ", "continuation": "good"}
