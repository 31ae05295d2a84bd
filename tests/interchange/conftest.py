"""Small trained-looking runs of every shape; nothing is trained or downloaded."""

import pytest
import torch

from altgrad.data.tokenizers import CharTokenizer
from altgrad.model import GPT, GPTConfig
from altgrad.training import TrainConfig
from altgrad.training.build import LoadedRun

TEXT = "\n !,.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyzé"
SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 24, "vocab_size": len(TEXT)}
LLAMA = {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False, "init": "llama"}
NANOCHAT = {
    "position": "rope_reversed",
    "rope_dtype": "bfloat16",
    "norm": "rmsnorm_plain",
    "norm_eps": 1e-6,
    "mlp": "relu2",
    "bias": False,
    "embedding_norm": True,
    "qk_norm": True,
    "logit_softcap": 15.0,
    "tie_head": False,
}
SHAPES = {
    "gpt2": ("gpt2", {}),
    "gpt2_without_biases": ("gpt2", {"bias": False, "tie_head": False, "mlp": "gelu"}),
    "gpt2_relu2": ("gpt2", {"mlp": "relu2", "n_inner": 48, "norm_eps": 1e-4}),
    "llama": ("llama", LLAMA | {"tie_head": False}),
    "llama_grouped": (
        "llama",
        LLAMA | {"n_kv_head": 2, "head_dim": 6, "rope_base": 500.0, "norm_eps": 1e-6},
    ),
    "llama_biases": ("llama", LLAMA | {"bias": True, "n_kv_head": 1}),
    "nanochat": ("altgrad", NANOCHAT),
    "no_positions": ("altgrad", {"position": "none", "windows": [5, -1]}),
    "bigram": ("altgrad", {"embedding": "bigram", "bigram_rows": 500, "residual": "skip"}),
    "exact_bigram": ("altgrad", LLAMA | {"embedding": "bigram", "residual": "mix"}),
    "shift": ("altgrad", NANOCHAT | {"block": "shift"}),
    "trigram": ("altgrad", NANOCHAT | {"embedding": "trigram", "trigram_rows": 50}),
    "conv": ("altgrad", LLAMA | {"block": "conv", "residual": "mix"}),
    "documents": ("altgrad", {"document_token": 5}),
    "trigram_conv_documents": (
        "altgrad",
        NANOCHAT | {"document_token": 5, "embedding": "trigram", "block": "conv"},
    ),
    "everything": (
        "altgrad",
        NANOCHAT
        | {"document_token": 5, "embedding": "bigram", "block": "shift", "residual": "skip"}
        | {"value_embeddings": True, "windows": [5, -1], "n_kv_head": 2},
    ),
    "values": ("altgrad", LLAMA | {"value_embeddings": True, "n_kv_head": 2, "qk_norm": True}),
}


def random_model(**parts) -> GPT:
    """Every parameter far from its start, so that none can be forgotten unseen."""
    model = GPT(GPTConfig(**SIZES | parts), torch.Generator().manual_seed(0)).eval()
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=noise))
    return model


@pytest.fixture
def make_run():
    """`make_run(**parts)`: a loaded run over a character vocabulary."""

    def make(**parts) -> LoadedRun:
        model = random_model(**parts)
        config = TrainConfig(model=model.config)
        return LoadedRun(config, model, CharTokenizer("".join(sorted(TEXT))), 7)

    return make


@pytest.fixture
def prompt():
    ids = torch.randint(0, len(TEXT), (1, 9), generator=torch.Generator().manual_seed(2))
    ids[0, 4] = 5  # where it opens a document, half of the prompt is another one's
    return ids
