"""Every command of README's list on a tiny run, in one process: what each ends with, as JSON.

Run by `test_without_extras.py`, in an environment of its own.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from altgrad.cli import main

TINY = [
    *("model.n_layer=1", "model.n_head=2", "model.n_kv_head=null", "model.n_embd=16"),
    *("model.block_size=8", "data.path=my.txt", "data.batch_size=2", "compile=false"),
    *("precision=fp32", "device=cpu", "max_steps=2", "eval_interval=2", "sample_tokens=2"),
]
COMMANDS = {
    "train": ["train", *TINY, "run_dir=runs/a"],
    "train again": ["train", *TINY, "run_dir=runs/b", "model=gpt2", "optim=adamw"],
    "verify": ["verify", *TINY],
    "learn": ["learn", "start", "workshop"],
    "config": ["config", "model=llama"],
    "show": ["show"],
    "resume": ["resume", "runs/a"],
    "sample": ["sample", "runs/a", "--tokens", "3"],
    "plot": ["plot", "runs/a", "runs/b"],
    "compare": ["compare", "optim=adamw,muon", "seeds=2", *(w for w in TINY if "sample" not in w)],
    "report": ["report"],
    "eval": ["eval", "runs/a"],
    "export": ["export", "runs/a", "--to", "hf", "--no-tokenizer"],
    "export with tokenizer": ["export", "runs/a", "--to", "hf", "--out", "hf"],
    "import": ["import", "runs/a/export/hf", "--out", "runs/c", "--tokenizer", "byte"],
    "lora": ["train", *TINY[8:], "finetune=lora", "init_from=runs/a", "data.path=my.txt"],
    "serve": ["serve", "runs/a"],
    "studio": ["studio", "runs"],
    "prepare": ["data", "prepare", "shakespeare_bpe", "data.path=my.txt", "data.tokenizer=byte"],
    "tokenizer": ["tokenizer", "train", "data.path=my.txt", "vocab_size=300"],
    "parquet": ["train", *TINY, "data.path=my.parquet", "run_dir=runs/d"],
    "zst": ["train", *TINY, "data.path=my.txt.zst", "run_dir=runs/e"],
    "core": ["eval", "runs/a", "--tasks", "lm-eval:arc_easy"],
    "ray": ["compare", "optim=adamw,sgd", "seeds=2", "launcher=ray", *TINY],
    "wandb": ["train", *TINY, "tracker=wandb", "run_dir=runs/f"],
    "hub": ["import", "openai/gpt2", "--out", "runs/g"],
}


def run(words: list[str]) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    return code, said.getvalue()


if __name__ == "__main__":
    Path("my.txt").write_text("To be, or not to be, that is the question.\n" * 20)
    Path("my.parquet").write_bytes(b"PAR1")
    Path("my.txt.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    chosen = sys.argv[1:] or list(COMMANDS)
    print(json.dumps({name: run(COMMANDS[name]) for name in chosen}))
