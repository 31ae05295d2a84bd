"""nanochat's GPT (as of 2025-11-03) in one file, to be read from top to bottom.

B batch, T time, C = n_embd, H = n_head, K = n_kv_head, D = C / H, L = n_layer, V = vocab_size,
S = sequence_len. Linear(a, b) has a weight of shape (b, a).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from altgrad.optim.muon import Muon


@dataclass
class GPTConfig:
    """The six sizes, all int: sequence_len 1024, vocab_size 50304, n_layer 12, n_head 6,
    n_kv_head 6, n_embd 768.
    """

    sequence_len: int = 1024
    vocab_size: int = 50304
    n_layer: int = 12
    n_head: int = 6  # query heads
    n_kv_head: int = 6  # key/value heads; fewer than n_head is grouped-query attention
    n_embd: int = 768


def norm(x):
    """RMS norm over the last dimension: x / sqrt(mean(x²) + eps), eps = 1e-6, nothing to learn.

    In and out: any shape (..., d).
    """
    return F.rms_norm(x, (x.size(-1),), eps=1e-6)


def apply_rotary_emb(x, cos, sin):
    """Rotate each pair (x1, x2) = (x[..., j], x[..., j + D/2]) by minus its angle.

    y1 = x1·cos + x2·sin,  y2 = -x1·sin + x2·cos;  out = (y1, y2) side by side, in x's dtype.
    x: (B, T, heads, D).  cos, sin: (1, T, 1, D/2).  Out: (B, T, heads, D).
    """
    half = x.size(-1) // 2
    x1, x2 = x[..., :half], x[..., half:]
    y1 = x1 * cos + x2 * sin
    y2 = x2 * cos - x1 * sin
    return torch.cat([y1, y2], dim=-1).to(x.dtype)


class CausalSelfAttention(nn.Module):
    """Each position gathers values from the positions up to itself."""

    def __init__(self, config, layer_idx):
        """Keep layer_idx, n_head, n_kv_head, n_embd and head_dim = C / H; make four Linears.

        c_q: C -> H·D.  c_k, c_v: C -> K·D.  c_proj: C -> C.  No biases.
        Refuse (assert) C not divisible by H, K > H, H not divisible by K.
        """
        super().__init__()
        self.layer_idx = layer_idx
        self.n_head = config.n_head
        self.n_kv_head = config.n_kv_head
        self.n_embd = config.n_embd
        self.head_dim = self.n_embd // self.n_head
        assert self.n_embd % self.n_head == 0
        assert self.n_kv_head <= self.n_head
        assert self.n_head % self.n_kv_head == 0
        self.c_q = nn.Linear(self.n_embd, self.n_head * self.head_dim, bias=False)
        self.c_k = nn.Linear(self.n_embd, self.n_kv_head * self.head_dim, bias=False)
        self.c_v = nn.Linear(self.n_embd, self.n_kv_head * self.head_dim, bias=False)
        self.c_proj = nn.Linear(self.n_embd, self.n_embd, bias=False)

    def forward(self, x, cos_sin, kv_cache):
        """Project, rotate q and k, normalise q and k over D, attend causally, project back.

        x: (B, T, C).  cos_sin: two tables (1, T, 1, D/2).  Out: (B, T, C).
        weights = softmax(q·k / sqrt(D)) over the positions s <= t; query head h uses key/value
        head floor(h / (H/K)). With a cache, `k, v = kv_cache.insert_kv(self.layer_idx, k, v)`
        ((B, K, T, D) in, all positions so far out), and the T queries are the last T positions.
        """
        B, T, C = x.size()
        q = self.c_q(x).view(B, T, self.n_head, self.head_dim)
        k = self.c_k(x).view(B, T, self.n_kv_head, self.head_dim)
        v = self.c_v(x).view(B, T, self.n_kv_head, self.head_dim)
        cos, sin = cos_sin
        q, k = apply_rotary_emb(q, cos, sin), apply_rotary_emb(k, cos, sin)
        q, k = norm(q), norm(k)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, heads, T, D)
        if kv_cache is not None:
            k, v = kv_cache.insert_kv(self.layer_idx, k, v)
        Tq, Tk = q.size(2), k.size(2)
        groups = self.n_head // self.n_kv_head
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        query = torch.arange(Tk - Tq, Tk, device=x.device)[:, None]
        key = torch.arange(Tk, device=x.device)[None, :]
        mask = key <= query  # (Tq, Tk): True where the query may look
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = y.transpose(1, 2).reshape(B, T, C)
        return self.c_proj(y)


class MLP(nn.Module):
    """Each position thinks by itself."""

    def __init__(self, config):
        """Two Linears without bias: c_fc: C -> 4C and c_proj: 4C -> C."""
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x):
        """c_proj(relu(c_fc(x))²).  In and out: (B, T, C)."""
        x = self.c_fc(x)
        x = F.relu(x).square()
        return self.c_proj(x)


class Block(nn.Module):
    """Attention, then MLP, each added to the stream."""

    def __init__(self, config, layer_idx):
        """attn: the attention of this layer_idx.  mlp: the MLP."""
        super().__init__()
        self.attn = CausalSelfAttention(config, layer_idx)
        self.mlp = MLP(config)

    def forward(self, x, cos_sin, kv_cache):
        """x = x + attn(norm(x), cos_sin, kv_cache);  x = x + mlp(norm(x)).  (B, T, C)."""
        x = x + self.attn(norm(x), cos_sin, kv_cache)
        x = x + self.mlp(norm(x))
        return x


class GPT(nn.Module):
    """Token ids in, logits or loss out."""

    def __init__(self, config):
        """Make the modules and the rotary tables.

        config is kept as self.config.
        transformer: ModuleDict with wte, Embedding(V, C), and h, a ModuleList of L distinct Blocks.
        lm_head: Linear(C, V) without bias, with a weight of its own.
        cos, sin: tables for 10·S positions, buffers that are not saved (persistent=False).
        """
        super().__init__()
        self.config = config
        blocks = [Block(config, layer_idx) for layer_idx in range(config.n_layer)]
        self.transformer = nn.ModuleDict(
            {"wte": nn.Embedding(config.vocab_size, config.n_embd), "h": nn.ModuleList(blocks)}
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        head_dim = config.n_embd // config.n_head
        cos, sin = self._precompute_rotary_embeddings(10 * config.sequence_len, head_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def init_weights(self):
        """Apply `_init_weights` to every module; then zero lm_head and every c_proj; then rebuild
        the rotary tables, which a model built on the meta device has never had.

        The first loss is then exactly ln V.
        """
        self.apply(self._init_weights)
        nn.init.zeros_(self.lm_head.weight)
        for block in self.transformer["h"]:
            nn.init.zeros_(block.attn.c_proj.weight)
            nn.init.zeros_(block.mlp.c_proj.weight)
        head_dim = self.config.n_embd // self.config.n_head
        cos, sin = self._precompute_rotary_embeddings(10 * self.config.sequence_len, head_dim)
        self.cos, self.sin = cos, sin

    def _init_weights(self, module):
        """Linear: N(0, std²), std = fan_in^-½ · min(1, (fan_out / fan_in)^½).  Embedding: N(0, 1).

        A bias, where there is one, starts at zero. Other modules are left alone.
        """
        if isinstance(module, nn.Linear):
            fan_out, fan_in = module.weight.shape
            std = fan_in**-0.5 * min(1.0, (fan_out / fan_in) ** 0.5)
            nn.init.normal_(module.weight, mean=0.0, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=1.0)

    def _precompute_rotary_embeddings(self, seq_len, head_dim, base=10000, device=None):
        """cos and sin of angle = t·base^(-2j/D) for t < seq_len and j < D/2.

        Computed in float32, kept in bfloat16, each of shape (1, seq_len, 1, D/2), on `device`
        (default: the model's).
        """
        device = self.get_device() if device is None else device
        j = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device)  # = 2j
        inverse_frequency = base ** -(j / head_dim)
        t = torch.arange(seq_len, dtype=torch.float32, device=device)
        angle = torch.outer(t, inverse_frequency)[None, :, None, :]
        return angle.cos().bfloat16(), angle.sin().bfloat16()

    def get_device(self):
        """The device of the embedding's weight."""
        return self.transformer["wte"].weight.device

    def estimate_flops(self):
        """Training FLOPs per token: 6·(N - V·C) + 12·L·H·D·S, N the number of parameters."""
        config = self.config
        n_params = sum(p.numel() for p in self.parameters())
        n_lookup = self.transformer["wte"].weight.numel()
        head_dim = config.n_embd // config.n_head
        attention = 12 * config.n_layer * config.n_head * head_dim * config.sequence_len
        return 6 * (n_params - n_lookup) + attention

    def setup_optimizers(
        self, unembedding_lr=0.004, embedding_lr=0.2, matrix_lr=0.02, weight_decay=0.0
    ):
        """Return [adamw, muon], which together hold every parameter exactly once.

        AdamW: lm_head at unembedding_lr and wte at embedding_lr, both × (C/768)^-½;
        betas (0.8, 0.95), eps 1e-10, the given weight_decay.
        Muon: all matrices of the blocks at matrix_lr (not scaled), momentum 0.95, no decay.
        Every group also gets "initial_lr", a copy of its lr.
        """
        matrices = list(self.transformer["h"].parameters())
        embedding = list(self.transformer["wte"].parameters())
        head = list(self.lm_head.parameters())
        assert len(list(self.parameters())) == len(matrices) + len(embedding) + len(head)
        scale = (self.config.n_embd / 768) ** -0.5
        groups = [
            {"params": head, "lr": unembedding_lr * scale},
            {"params": embedding, "lr": embedding_lr * scale},
        ]
        adamw = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=weight_decay)
        muon = Muon(matrices, lr=matrix_lr, momentum=0.95, nesterov=True, ns_steps=5)
        for optimizer in (adamw, muon):
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        return [adamw, muon]

    def forward(self, idx, targets=None, kv_cache=None, loss_reduction="mean"):
        """norm(wte(idx)) -> blocks -> norm -> lm_head -> 15·tanh(logits / 15).

        idx: (B, T) ids.  Without targets: logits (B, T, V).  With targets (B, T), which are already
        shifted by one: the cross-entropy over (B·T, V), ignoring -1, with the given reduction.
        With a cache the positions start at kv_cache.get_pos().
        """
        B, T = idx.size()
        start = 0 if kv_cache is None else kv_cache.get_pos()
        assert start + T <= self.cos.size(1), "the sequence is longer than the rotary tables"
        cos_sin = self.cos[:, start : start + T], self.sin[:, start : start + T]
        x = norm(self.transformer["wte"](idx))
        for block in self.transformer["h"]:
            x = block(x, cos_sin, kv_cache)
        x = norm(x)
        logits = self.lm_head(x)
        logits = 15 * torch.tanh(logits / 15)
        if targets is None:
            return logits
        return F.cross_entropy(
            logits.view(B * T, -1), targets.view(-1), ignore_index=-1, reduction=loss_reduction
        )

    @torch.inference_mode()
    def generate(self, tokens, max_tokens, temperature=1.0, top_k=None, seed=42) -> Iterator[int]:
        """Yield max_tokens further tokens, one int at a time.

        tokens: a list of ints, left as it is. temperature 0: the likeliest token. Else draw from
        softmax(logits / temperature) with a torch.Generator seeded by `seed`, after dropping all
        below the k-th best (ties with it stay).
        """
        device = self.get_device()
        generator = torch.Generator(device).manual_seed(seed)
        ids = torch.tensor([tokens], dtype=torch.long, device=device)
        for _ in range(max_tokens):
            logits = self.forward(ids)[:, -1, :]  # (1, V)
            if temperature == 0:
                token = logits.argmax(dim=-1, keepdim=True)
            else:
                logits = logits / temperature
                if top_k is not None:
                    kth = torch.topk(logits, min(top_k, logits.size(-1))).values[:, -1:]
                    logits = logits.masked_fill(logits < kth, float("-inf"))
                probs = F.softmax(logits, dim=-1)
                token = torch.multinomial(probs, num_samples=1, generator=generator)
            ids = torch.cat([ids, token], dim=1)
            yield token.item()
