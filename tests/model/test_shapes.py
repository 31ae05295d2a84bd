"""The shapes written in the signatures are checked at run time, once, for every preset."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
from jaxtyping import install_import_hook
with install_import_hook("altgrad.model", "beartype.beartype"):
    import altgrad.model
import torch
from altgrad.model import GPT, preset, preset_names
extras = {"embedding": "bigram", "value_embeddings": True, "windows": [3, -1], "residual": "mix"}
sizes = {"vocab_size": 11, "n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 8}
idx = torch.randint(11, (2, 5))
for name in preset_names():
    for extra in ({}, extras):
        for backend in ("auto", "explicit", "chunked"):
            settings = sizes | {"n_kv_head": 2, "attention_backend": backend} | extra
            model = GPT(preset(name, **settings))
            model(idx, idx)
            model.generate(idx, 6, top_k=3, top_p=0.9)
print("checked")
"""


def test_forward_and_generation_keep_to_their_declared_shapes():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert run.stdout == "checked\n", run.stderr[-2000:]


def test_importing_the_network_loads_torch_and_nothing_else_of_weight():
    heavy = (
        "lightning_fabric transformers wandb pandas scipy matplotlib hydra omegaconf tiktoken yaml"
    )
    code = f"import altgrad.model, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert run.stdout == "[]\n", run.stderr[-2000:]
