"""GPT-2 in one file, in nanoGPT's manner, to be read from top to bottom.

B batch, T time, C = n_embd, H = n_head, D = C / H, L = n_layer, V = vocab_size, S = block_size.
Linear(a, b) has a weight of shape (b, a).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class GPTConfig:
    """The sizes: block_size 1024, vocab_size 50304, n_layer 12, n_head 12, n_embd 768 (int),
    dropout 0.0 (float), bias True (bool).
    """

    block_size: int = 1024
    vocab_size: int = 50304
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True  # in Linears and LayerNorms


class CausalSelfAttention(nn.Module):
    """Each position gathers values from the positions up to itself."""

    def __init__(self, config, layer_idx):
        """Keep layer_idx, n_head, head_dim = C / H and dropout (the number); make four Linears.

        c_q, c_k, c_v, c_proj: C -> C, each with a bias if config.bias.
        resid_dropout: a Dropout. Refuse (assert) C not divisible by H.
        """
        super().__init__()
        assert config.n_embd % config.n_head == 0
        self.layer_idx = layer_idx
        self.n_head = config.n_head
        self.head_dim = config.n_embd // config.n_head
        self.dropout = config.dropout
        self.c_q = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.c_k = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.c_v = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x, cos_sin=None, kv_cache=None):
        """Project, split into heads, attend causally, join, project back, drop.

        x and out: (B, T, C).  cos_sin is not used: GPT-2's positions are learned.
        weights = softmax(q·k / sqrt(D)) over the positions s <= t, dropped in training only.
        With a cache, `k, v = kv_cache.insert_kv(self.layer_idx, k, v)` ((B, H, T, D) in, all
        positions so far out), and the T queries are the last T positions.
        """
        B, T, C = x.size()
        q = self.c_q(x).view(B, T, self.n_head, self.head_dim).transpose(1, 2)
        k = self.c_k(x).view(B, T, self.n_head, self.head_dim).transpose(1, 2)
        v = self.c_v(x).view(B, T, self.n_head, self.head_dim).transpose(1, 2)
        if kv_cache is not None:
            k, v = kv_cache.insert_kv(self.layer_idx, k, v)
        Tk = k.size(2)
        query = torch.arange(Tk - T, Tk, device=x.device)[:, None]
        key = torch.arange(Tk, device=x.device)[None, :]
        mask = key <= query  # (T, Tk): True where the query may look
        dropout_p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p)
        y = y.transpose(1, 2).reshape(B, T, C)
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):
    """Each position thinks by itself."""

    def __init__(self, config):
        """c_fc: C -> 4C and c_proj: 4C -> C, with a bias if config.bias; dropout: a Dropout."""
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        """dropout(c_proj(gelu(c_fc(x)))), GELU by the tanh formula.  In and out: (B, T, C)."""
        x = F.gelu(self.c_fc(x), approximate="tanh")
        return self.dropout(self.c_proj(x))


class Block(nn.Module):
    """Attention, then MLP, each added to the stream."""

    def __init__(self, config, layer_idx):
        """ln_1, ln_2: LayerNorms over C (eps 1e-5, a bias if config.bias).  attn: the attention of
        this layer_idx.  mlp: the MLP.
        """
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config, layer_idx)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x, cos_sin=None, kv_cache=None):
        """x = x + attn(ln_1(x), cos_sin, kv_cache);  x = x + mlp(ln_2(x)).  (B, T, C)."""
        x = x + self.attn(self.ln_1(x), cos_sin, kv_cache)
        x = x + self.mlp(self.ln_2(x))
        return x


class GPT(nn.Module):
    """Token ids in, logits and loss out."""

    def __init__(self, config):
        """Make the modules, tie the head, initialise.

        config is kept as self.config.
        transformer: ModuleDict with wte, Embedding(V, C); wpe, Embedding(S, C); drop, a Dropout;
        h, a ModuleList of L distinct Blocks; ln_f, a LayerNorm (a bias if config.bias).
        lm_head: Linear(C, V) without bias, whose weight is wte's.  Last, call init_weights().
        """
        super().__init__()
        self.config = config
        blocks = [Block(config, layer_idx) for layer_idx in range(config.n_layer)]
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "drop": nn.Dropout(config.dropout),
                "h": nn.ModuleList(blocks),
                "ln_f": nn.LayerNorm(config.n_embd, bias=config.bias),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight
        self.init_weights()

    def init_weights(self):
        """Apply `_init_weights` to every module; then every c_proj.weight ~ N(0, 0.02² / (2L))."""
        self.apply(self._init_weights)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                std = 0.02 / math.sqrt(2 * self.config.n_layer)
                nn.init.normal_(parameter, mean=0.0, std=std)

    def _init_weights(self, module):
        """Linear and Embedding: N(0, 0.02²).  Biases of Linears: 0.  Other modules: left alone."""
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, idx, targets=None, kv_cache=None):
        """drop(wte(idx) + wpe(positions)) -> blocks -> ln_f -> lm_head.

        idx: (B, T) ids, T <= S.  Returns (logits, loss): logits (B, T, V); the loss is the mean
        cross-entropy over (B·T, V) ignoring targets of -1, or None without targets, which are
        already shifted by one. With a cache the positions start at kv_cache.get_pos().
        """
        B, T = idx.size()
        start = 0 if kv_cache is None else kv_cache.get_pos()
        assert start + T <= self.config.block_size, "the sequence is longer than block_size"
        position = torch.arange(start, start + T, device=idx.device)
        x = self.transformer["wte"](idx) + self.transformer["wpe"](position)
        x = self.transformer["drop"](x)
        for block in self.transformer["h"]:
            x = block(x, None, kv_cache)
        logits = self.lm_head(self.transformer["ln_f"](x))
        if targets is None:
            return logits, None
        loss = F.cross_entropy(logits.view(B * T, -1), targets.view(-1), ignore_index=-1)
        return logits, loss

    def configure_optimizers(self, weight_decay, learning_rate, betas):
        """AdamW in two groups, in this order: parameters of two or more dimensions, which decay;
        the others (biases, LayerNorms), which do not. A tied matrix is in one group, once.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        decay = [p for p in parameters if p.dim() >= 2]
        plain = [p for p in parameters if p.dim() < 2]
        groups = [
            {"params": decay, "weight_decay": weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)

    def estimate_flops(self):
        """Training FLOPs per token: 6·(N - S·C) + 12·L·H·D·S, N the number of distinct parameters
        (the tied matrix once: as the head it multiplies).
        """
        config = self.config
        n_params = sum(p.numel() for p in self.parameters())
        n_positions = self.transformer["wpe"].weight.numel()
        head_dim = config.n_embd // config.n_head
        attention = 12 * config.n_layer * config.n_head * head_dim * config.block_size
        return 6 * (n_params - n_positions) + attention

    @torch.no_grad()
    def generate(self, idx, max_new_tokens, temperature=1.0, top_k=None, generator=None):
        """idx (B, T) continued to (B, T + max_new_tokens).

        Each token is drawn from softmax(logits / temperature) given the last S tokens, with all
        below the k-th best dropped (ties with it stay). temperature 0: the likeliest token.
        """
        for _ in range(max_new_tokens):
            logits, _ = self(idx[:, -self.config.block_size :])
            logits = logits[:, -1, :]  # (B, V)
            if temperature == 0:
                token = logits.argmax(dim=-1, keepdim=True)
            else:
                logits = logits / temperature
                if top_k is not None:
                    kth = torch.topk(logits, min(top_k, logits.size(-1))).values[:, -1:]
                    logits = logits.masked_fill(logits < kth, float("-inf"))
                probs = F.softmax(logits, dim=-1)
                token = torch.multinomial(probs, num_samples=1, generator=generator)
            idx = torch.cat([idx, token], dim=1)
        return idx
