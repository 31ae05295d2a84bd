"""A small GPT made of named parts, for `transformers`, without the library it was trained with.

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

Letters: B batch, T new tokens, S tokens so far, C width, H heads, D = head width, V vocabulary.
The cache holds keys and values of every layer, and after those, as layers of its own, what parts
need that look a few positions back: the token ids, and what enters the first part of each block.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

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
    "logit_scale": 1.0,
    "attention_scale": None,
    "branch_scale": 1.0,
    "rope_base": 10000.0,
    "rope_dtype": "float32",
    "windows": [-1],
    "value_embeddings": False,
    "bigram_rows": 65536,
    "trigram_rows": 16384,
    "document_token": None,
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
        super().__init__(**values)


def with_past(cache, layer, x):
    """What the cache holds as this layer, then x: (B, S, W). It keeps both."""
    if cache is None:
        return x
    while len(cache.layers) <= layer:
        cache.layers.append(DynamicLayer())
    return cache.update(x[:, None], x[:, None, :, :0], layer)[0][:, 0]


def back(x, length, k):
    """Of x (B, S, W) the `length` last positions, each replaced by the one k before it."""
    return F.pad(x, (0, 0, k, 0))[:, x.size(1) - length : x.size(1)]


class Places:
    """Where the T new tokens stand.

    place (1 or B, T): distance to the start of the document. previous, before (B, T): ids one and
    two positions back. seen (1 or B, 1, T, S): which keys a query may look at, before any window.
    """

    def __init__(self, config, idx, cache):
        length = idx.size(1)
        past = 0 if cache is None else cache.get_seq_length()
        at = torch.arange(past + length, device=idx.device)
        self.query, self.key = at[past:, None], at[None, :]
        self.place = at[None, past:]
        self.seen = (self.key <= self.query)[None, None]
        if config.embedding != "token" or config.document_token is not None:
            ids = with_past(cache, config.n_layer, idx[..., None])
            self.previous, self.before = (back(ids, length, k)[..., 0] for k in (1, 2))
        if config.document_token is not None:
            opens = ids[..., 0] == config.document_token
            start = torch.where(opens, at, 0).cummax(dim=1).values
            self.place = (at - start)[:, past:]
            number = opens.cumsum(dim=1)
            self.seen = self.seen & (number[:, None, past:, None] == number[:, None, None, :])

    def mask(self, window):
        return self.seen if window == -1 else self.seen & (self.key > self.query - window)


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

    def forward(self, idx, places):
        if self.exact:
            row = places.previous * self.num_embeddings + idx
        else:
            row = ((places.previous * 36313) ^ (idx * 27191)) % self.bigram.num_embeddings
        return super().forward(idx) + self.bigram(row) * (places.place > 0)[..., None]


class TrigramEmbedding(BigramEmbedding):
    """And one for three tokens in a row, which share rows by a hash."""

    def __init__(self, config):
        super().__init__(config)
        self.trigram = nn.Embedding(config.trigram_rows, config.n_embd)

    def forward(self, idx, places):
        mixed = (places.before * 40503) ^ (places.previous * 36313) ^ (idx * 27191)
        triple = self.trigram(mixed % self.trigram.num_embeddings)
        return super().forward(idx, places) + triple * (places.place > 1)[..., None]


def cos_sin(config, place):
    """Rotary tables, each (1 or B, T, 1, D/2): computed in float32, kept in `rope_dtype`."""
    if config.position not in ("rope", "rope_reversed"):
        return None
    j = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=place.device)
    angle = (place[..., None].float() * config.rope_base ** -(j / config.head_dim))[:, :, None]
    sign = -1.0 if config.position == "rope" else 1.0
    dtype = getattr(torch, config.rope_dtype)
    return angle.cos().to(dtype), (sign * angle.sin()).to(dtype)


def rotate(x, cos, sin):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.config, self.layer = config, layer
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

    def forward(self, x, places, tables, value, cache):
        B, T, _ = x.shape
        D = self.config.head_dim
        q, k, v = (f(x).view(B, T, -1, D) for f in (self.c_q, self.c_k, self.c_v))
        if value is not None:
            v = v + self.value_gain[:, None] * value.view_as(v)
        # A norm with gains comes before the rotation: after it they would turn with the position.
        plain = self.config.norm == "rmsnorm_plain"
        if self.config.qk_norm and not plain:
            q, k = self.q_norm(q), self.k_norm(k)
        if tables is not None:
            q, k = rotate(q, *tables), rotate(k, *tables)
        if self.config.qk_norm and plain:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, heads, T, D)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        groups = self.config.n_head // self.config.n_kv_head
        k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
        scale, mask = self.config.attention_scale, places.mask(self.window)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        return self.c_proj(y.transpose(1, 2).flatten(2))


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
    """Each channel first gets a share of what it held one position earlier (`block: shift`), or
    of its last four normalised values (`block: conv`)."""

    def __init__(self, config, layer):
        super().__init__()
        self.stream = config.n_layer + 1 + layer  # its place in the cache
        self.scale = config.branch_scale
        if config.block == "shift":
            self.mix = nn.Parameter(torch.zeros(config.n_embd))
        if config.block == "conv":
            self.ln_conv = build_norm(config, config.n_embd)
            self.conv = nn.ParameterList([torch.zeros(config.n_embd) for _ in range(4)])
        self.ln_1 = build_norm(config, config.n_embd)
        self.attn = Attention(config, layer)
        self.ln_2 = build_norm(config, config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x, places, tables, value, cache):
        if hasattr(self, "mix"):
            x = x + self.mix * self.earlier(with_past(cache, self.stream, x), places, 1)
        if hasattr(self, "conv"):
            normalised = with_past(cache, self.stream, self.ln_conv(x))
            for k, weight in enumerate(self.conv):
                x = x + weight * self.earlier(normalised, places, k)
        x = x + self.scale * self.attn(self.ln_1(x), places, tables, value, cache)
        return x + self.scale * self.mlp(self.ln_2(x))

    def earlier(self, x, places, k):
        """What stood k positions before each new token in x (B, S, C); nothing before a start."""
        places_of_new = places.place[..., None]
        return back(x, places_of_new.size(1), k).masked_fill(places_of_new < k, 0.0)


EMBEDDINGS = {"bigram": BigramEmbedding, "trigram": TrigramEmbedding}


def has_value_embedding(config, layer):
    return config.value_embeddings and (config.n_layer - 1 - layer) % 2 == 0


class Trunk(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        layers = range(config.n_layer)
        if config.embedding == "token":
            self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        else:
            self.wte = EMBEDDINGS[config.embedding](config)
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

    def forward(self, idx, cache):
        places = Places(self.config, idx, cache)
        x = self.wte(idx) if self.config.embedding == "token" else self.wte(idx, places)
        if self.config.embedding_norm:
            x = self.ln_e(x)
        if self.config.position == "learned":
            x = x + self.wpe(places.place)
        tables = cos_sin(self.config, places.place)
        x0 = x
        for i, (block, residual) in enumerate(zip(self.h, self.residual, strict=True)):
            has_value = has_value_embedding(self.config, i)
            value = self.value_embeddings[str(i)](idx) if has_value else None
            x = block(residual(x, x0), places, tables, value, cache)
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

    def prepare_inputs_for_generation(
        self, input_ids, *_, past_key_values=None, attention_mask=None, use_cache=False, **__
    ):
        """The tokens that the cache has not read; without one the last `block_size`, since those
        before them are forgotten, as in training."""
        size = self.config.block_size
        inputs = {"attention_mask": attention_mask}
        if past_key_values is None or input_ids.size(1) > size:
            return {**inputs, "input_ids": input_ids[:, -size:], "use_cache": False}
        new = input_ids[:, past_key_values.get_seq_length() :]
        cache = {"past_key_values": past_key_values, "use_cache": use_cache}
        return {**inputs, **cache, "input_ids": new}

    def forward(
        self,
        input_ids,
        attention_mask=None,
        labels=None,
        past_key_values=None,
        use_cache=False,
        **_,
    ):
        """Logits (B, T, V), and the mean loss of `labels`, which are shifted here."""
        if attention_mask is not None and not bool(attention_mask.all()):
            raise ValueError("padding is not supported: give texts of one length at a time")
        cache = past_key_values
        if cache is None and use_cache:
            cache = DynamicCache()
        length = input_ids.size(1) + (0 if cache is None else cache.get_seq_length())
        if length > self.config.block_size:
            raise ValueError(f"{length} tokens: at most {self.config.block_size}")
        logits = self.lm_head(self.transformer(input_ids, cache)).float()
        logits = logits * self.config.logit_scale
        cap = self.config.logit_softcap
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache)


AltgradConfig.register_for_auto_class()
AltgradForCausalLM.register_for_auto_class("AutoModelForCausalLM")
