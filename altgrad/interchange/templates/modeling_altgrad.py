"""A small GPT made of named parts, for `transformers`, without the library it was trained with.

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

Letters: B batch, T time, C width, H heads, K key/value heads, D = head width, V vocabulary.
Every forward pass reads the whole text (at most `block_size` tokens): there is no key/value cache.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

DEFAULTS = {
    "vocab_size": 50257,
    "block_size": 1024,
    "n_layer": 12,
    "n_head": 12,
    "n_kv_head": 12,
    "n_embd": 768,
    "head_dim": 64,
    "n_inner": 3072,
    "bias": True,
    "embedding": "token",
    "position": "learned",
    "norm": "layernorm",
    "mlp": "gelu_tanh",
    "residual": "plain",
    "block": "prenorm",
    "norm_eps": 1e-5,
    "embedding_norm": False,
    "qk_norm": False,
    "logit_softcap": None,
    "rope_base": 10000.0,
    "rope_dtype": "float32",
    "windows": [-1],
    "value_embeddings": False,
    "bigram_rows": 65536,
}


class AltgradConfig(PretrainedConfig):
    model_type = "altgrad"
    attribute_map = {  # noqa: RUF012
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "block_size",
    }

    def __init__(self, **values):
        for name, default in DEFAULTS.items():
            setattr(self, name, values.pop(name, default))
        values["use_cache"] = False
        super().__init__(**values)


class PlainRMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.width, self.eps = width, eps

    def forward(self, x):
        return F.rms_norm(x, (self.width,), eps=self.eps)


def build_norm(config, width):
    if config.norm == "layernorm":
        return nn.LayerNorm(width, eps=config.norm_eps, bias=config.bias)
    if config.norm == "rmsnorm":
        return nn.RMSNorm(width, eps=config.norm_eps)
    return PlainRMSNorm(width, config.norm_eps)


class BigramEmbedding(nn.Embedding):
    """The token's vector plus one for the pair (previous token, token)."""

    def __init__(self, config):
        super().__init__(config.vocab_size, config.n_embd)
        self.exact = config.vocab_size**2 <= config.bigram_rows
        rows = config.vocab_size**2 if self.exact else config.bigram_rows
        self.bigram = nn.Embedding(rows, config.n_embd)

    def forward(self, idx):
        previous = F.pad(idx[:, :-1], (1, 0))
        if self.exact:
            row = previous * self.num_embeddings + idx
        else:
            row = ((previous * 36313) ^ (idx * 27191)) % self.bigram.num_embeddings
        has_previous = (torch.arange(idx.size(1), device=idx.device) > 0)[:, None]
        return super().forward(idx) + self.bigram(row) * has_previous


def cos_sin(config, length, device):
    """Rotary tables, each (1, T, 1, D/2): computed in float32, kept in `rope_dtype`."""
    if config.position not in ("rope", "rope_reversed"):
        return None
    j = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=device)
    t = torch.arange(length, dtype=torch.float32, device=device)
    angle = torch.outer(t, config.rope_base ** -(j / config.head_dim))[None, :, None, :]
    sign = -1.0 if config.position == "rope" else 1.0
    dtype = getattr(torch, config.rope_dtype)
    return angle.cos().to(dtype), (sign * angle.sin()).to(dtype)


def rotate(x, cos, sin):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.config = config
        self.window = config.windows[layer % len(config.windows)]
        q_width, kv_width = config.n_head * config.head_dim, config.n_kv_head * config.head_dim
        self.c_q = nn.Linear(config.n_embd, q_width, bias=config.bias)
        self.c_k = nn.Linear(config.n_embd, kv_width, bias=config.bias)
        self.c_v = nn.Linear(config.n_embd, kv_width, bias=config.bias)
        self.c_proj = nn.Linear(q_width, config.n_embd, bias=config.bias)
        if config.qk_norm:
            self.q_norm = build_norm(config, config.head_dim)
            self.k_norm = build_norm(config, config.head_dim)
        if has_value_embedding(config, layer):
            self.value_gain = nn.Parameter(torch.ones(config.n_kv_head))

    def forward(self, x, tables, value):
        B, T, _ = x.shape
        D = self.config.head_dim
        q, k, v = (f(x).view(B, T, -1, D) for f in (self.c_q, self.c_k, self.c_v))
        if value is not None:
            v = v + self.value_gain[:, None] * value.view_as(v)
        if tables is not None:
            q, k = rotate(q, *tables), rotate(k, *tables)
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        groups = self.config.n_head // self.config.n_kv_head
        k, v = (t.repeat_interleave(groups, dim=2) for t in (k, v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask(T, x.device))
        return self.c_proj(y.transpose(1, 2).flatten(2))

    def mask(self, length, device):
        query = torch.arange(length, device=device)[:, None]
        key = torch.arange(length, device=device)[None, :]
        seen = key <= query
        return seen if self.window == -1 else seen & (key > query - self.window)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.kind = config.mlp
        if self.kind == "swiglu":
            self.c_gate = nn.Linear(config.n_embd, config.n_inner, bias=config.bias)
        self.c_fc = nn.Linear(config.n_embd, config.n_inner, bias=config.bias)
        self.c_proj = nn.Linear(config.n_inner, config.n_embd, bias=config.bias)

    def forward(self, x):
        h = self.c_fc(x)
        if self.kind == "swiglu":
            h = F.silu(self.c_gate(x)) * h
        elif self.kind == "relu2":
            h = F.relu(h).square()
        else:
            h = F.gelu(h, approximate="tanh" if self.kind == "gelu_tanh" else "none")
        return self.c_proj(h)


class Residual(nn.Module):
    """What is added of the embedding x0 before each block."""

    def __init__(self, config):
        super().__init__()
        self.kind = config.residual
        if self.kind == "mix":
            self.lambda_x = nn.Parameter(torch.ones(1))
            self.lambda_x0 = nn.Parameter(torch.zeros(1))
        if self.kind == "skip":
            self.gain = nn.Parameter(torch.zeros(config.n_embd))

    def forward(self, x, x0):
        if self.kind == "mix":
            return self.lambda_x * x + self.lambda_x0 * x0
        return x + self.gain * x0 if self.kind == "skip" else x


class Block(nn.Module):
    """With `block: shift` each channel first gets a share of what it held one position earlier."""

    def __init__(self, config, layer):
        super().__init__()
        if config.block == "shift":
            self.mix = nn.Parameter(torch.zeros(config.n_embd))
        self.ln_1 = build_norm(config, config.n_embd)
        self.attn = Attention(config, layer)
        self.ln_2 = build_norm(config, config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x, tables, value):
        if hasattr(self, "mix"):
            x = x + self.mix * F.pad(x[:, :-1], (0, 0, 1, 0))
        x = x + self.attn(self.ln_1(x), tables, value)
        return x + self.mlp(self.ln_2(x))


def has_value_embedding(config, layer):
    return config.value_embeddings and (config.n_layer - 1 - layer) % 2 == 0


class Trunk(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        layers = range(config.n_layer)
        bigram = config.embedding == "bigram"
        self.wte = (
            BigramEmbedding(config) if bigram else nn.Embedding(config.vocab_size, config.n_embd)
        )
        if config.position == "learned":
            self.wpe = nn.Embedding(config.block_size, config.n_embd)
        if config.embedding_norm:
            self.ln_e = build_norm(config, config.n_embd)
        self.h = nn.ModuleList(Block(config, i) for i in layers)
        self.residual = nn.ModuleList(Residual(config) for _ in layers)
        self.ln_f = build_norm(config, config.n_embd)
        width = config.n_kv_head * config.head_dim
        self.value_embeddings = nn.ModuleDict(
            {
                str(i): nn.Embedding(config.vocab_size, width)
                for i in layers
                if has_value_embedding(config, i)
            }
        )

    def forward(self, idx):
        x = self.wte(idx)
        if self.config.embedding_norm:
            x = self.ln_e(x)
        if self.config.position == "learned":
            x = x + self.wpe.weight[: idx.size(1)]
        tables = cos_sin(self.config, idx.size(1), idx.device)
        x0 = x
        for i, (block, residual) in enumerate(zip(self.h, self.residual, strict=True)):
            has_value = has_value_embedding(self.config, i)
            value = self.value_embeddings[str(i)](idx) if has_value else None
            x = block(residual(x, x0), tables, value)
        return self.ln_f(x)


class AltgradForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = AltgradConfig
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012
    _no_split_modules = ["Block"]  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.transformer = Trunk(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.transformer.wte

    def set_input_embeddings(self, value):
        self.transformer.wte = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def prepare_inputs_for_generation(self, input_ids, *_, attention_mask=None, **__):
        """The last `block_size` tokens: further ones are forgotten, as in training."""
        size = self.config.block_size
        mask = None if attention_mask is None else attention_mask[:, -size:]
        return {"input_ids": input_ids[:, -size:], "attention_mask": mask}

    def forward(self, input_ids, attention_mask=None, labels=None, **_):
        """Logits (B, T, V), and the mean loss of `labels`, which are shifted here."""
        if attention_mask is not None and not bool(attention_mask.all()):
            raise ValueError("padding is not supported: give texts of one length at a time")
        if input_ids.size(1) > self.config.block_size:
            raise ValueError(f"{input_ids.size(1)} tokens: at most {self.config.block_size}")
        logits = self.lm_head(self.transformer(input_ids)).float()
        cap = self.config.logit_softcap
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)


AltgradConfig.register_for_auto_class()
AltgradForCausalLM.register_for_auto_class("AutoModelForCausalLM")
