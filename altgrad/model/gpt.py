"""The network: tokens in, logits and loss out. All that varies lies in its parts (`parts.py`)."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig, known
from altgrad.model.future import IGNORE_INDEX, FutureHead, later_targets, mean_loss
from altgrad.model.generate import stream
from altgrad.model.init import draw_seed, initialise, own_random_stream, reset_other_modules
from altgrad.model.size import flops_per_token, parameters_by_group
from altgrad.model.trunk import Trunk
from altgrad.settings import check_name

REDUCTIONS = ("mean", "sum", "none")
FUSED_ADAMW_DEVICES = ("cpu", "cuda", "mps", "xpu")

network_of: dict[str, type["GPT"]] = {}
"""`own` -> what `GPT(config)` makes of a whole class of one's own; `own_gpt.py` puts it here."""


class GPT(nn.Module):
    """A decoder-only transformer assembled from the parts that `config` names.

    All initialisation comes from `generator` (one draw; see `init.py`): by default from the seed of
    the run that `config` belongs to (`TrainConfig.model`), else from torch's global one. `origin`
    is the number drawn. With `config.network=my_gpt:GPT` it is that class (`own_gpt.py`). Raises
    ValueError where the configuration leaves vocab_size open or outside code does not fit.
    """

    origin: int | None

    def __new__(cls, config: GPTConfig | None = None, generator: Any = None) -> "GPT":
        own = config is not None and ":" in config.network
        return super().__new__(network_of["own"] if own and cls is GPT else cls)

    def __init__(self, config: GPTConfig, generator: torch.Generator | None = None):
        super().__init__()
        self.config, seed = self._begin(config, generator)
        config = self.config
        with own_random_stream(seed):
            self.transformer = Trunk(config)
            self.lm_head = nn.Linear(config.n_embd, known(config.vocab_size), bias=False)
            self.mtp = nn.ModuleList(FutureHead(config) for _ in range(config.mtp_heads))
        self._initialise(seed)

    def _begin(self, config: GPTConfig, generator: torch.Generator | None) -> tuple[GPTConfig, int]:
        """The config in full, and the number that all random draws come from (`origin`)."""
        if config.vocab_size is None:
            raise ValueError("model.vocab_size=null: set it to the tokenizer's vocabulary size")
        if generator is None and config.run_seed is not None:
            generator = torch.Generator().manual_seed(config.run_seed)
        self.origin = seed = draw_seed(generator)
        return config.resolved(), seed

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Set every parameter and table anew, e.g. after `to_empty` on a model built on `meta`."""
        self.origin = seed = draw_seed(generator)
        with own_random_stream(seed):
            reset_other_modules(self)
        self._initialise(seed)

    def load_state_dict(self, *arguments: Any, **how: Any) -> Any:
        """As torch's; from here on the weights are not those that were drawn."""
        self.origin = None
        return super().load_state_dict(*arguments, **how)

    def _initialise(self, seed: int) -> None:
        if self.config.tie_head:  # here, because `to_empty` separates what was tied
            self.lm_head.weight = self.transformer.wte.weight  # type: ignore[assignment]
        c = self.config
        shrink = (c.n_embd / (c.init_width or c.n_embd)) ** -0.5
        n_layer = c.init_depth or c.n_layer
        initialise(self, scheme=c.init, n_layer=n_layer, seed=seed, shrink=shrink)

    def forward(
        self,
        idx: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"] | None = None,
        kv_cache: KVCache | None = None,
        *,
        loss_reduction: str = "mean",
    ) -> tuple[Float[Tensor, "B T V"], Tensor | None]:
        """Logits of every position, in float32 at least, and the loss where there are targets.

        `targets[b, t]` is the token that follows `idx[b, t]`; -1 is left out. The loss is in nats:
        a scalar for `mean` and `sum`, [B·T] for `none`. Raises ValueError for ids outside the
        vocabulary (in eager mode), a wrong dtype or shape, and T > block_size.
        """
        self.check_input(idx, targets, kv_cache, loss_reduction)
        return self.predicted(self.hidden(idx, kv_cache), targets, loss_reduction)

    def predicted(
        self, hidden: Float[Tensor, "B T C"], targets: Tensor | None, loss_reduction: str = "mean"
    ) -> tuple[Float[Tensor, "B T V"], Tensor | None]:
        """`forward` from what the trunk gave.

        In training, the mean loss has the gradient of `later_loss` too, and not its value: what is
        reported stays the next token's loss.
        """
        logits = self.head(hidden)
        if targets is None:
            return logits, None
        loss = F.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten().long(),
            ignore_index=IGNORE_INDEX,
            reduction=loss_reduction,
        )
        # The heads first: without them nothing may depend on the mode, or evaluation would compile
        # a graph of its own.
        if self.config.mtp_heads and self.training and loss_reduction == "mean":
            later = self.later_loss(hidden, targets)
            loss = loss + (later - later.detach())
        return logits, loss

    def later_loss(self, hidden: Float[Tensor, "B T C"], targets: Tensor) -> Tensor:
        """The losses of `model.mtp_heads`, each times `model.mtp_weight`, added; in nats."""
        total = hidden.new_zeros((), dtype=torch.float32)
        for k, head in enumerate(self.mtp, start=1):
            if k < targets.size(1):
                logits = self._capped(head(hidden[:, :-k]))
                later = later_targets(targets, k, self.config.document_token)
                total = total + mean_loss(logits, later)
        return self.config.mtp_weight * total

    def hidden(
        self, idx: Int[Tensor, "B T"], kv_cache: KVCache | None = None
    ) -> Float[Tensor, "B T C"]:
        """What the trunk gives, for `head`."""
        return self.transformer(idx, kv_cache)

    def head(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T V"]:
        """Logits of what the trunk gives, in float32 at least, scaled and capped where the config
        says so."""
        return self._capped(self.lm_head(x))

    def _capped(self, logits: Float[Tensor, "B T V"]) -> Float[Tensor, "B T V"]:
        if logits.dtype in (torch.bfloat16, torch.float16):
            logits = logits.float()
        if self.config.logit_scale != 1.0:
            logits = logits * self.config.logit_scale
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def check_input(
        self,
        idx: Tensor,
        targets: Tensor | None,
        kv_cache: KVCache | None = None,
        reduction: str = "mean",
    ) -> None:
        check_name("loss_reduction", reduction, REDUCTIONS)
        if idx.dim() != 2 or idx.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"idx must be int64 [B, T], got {str(idx.dtype)[6:]} {list(idx.shape)}"
            )
        length = idx.size(1) + (0 if kv_cache is None else kv_cache.get_pos())
        if length > self.config.block_size:
            raise ValueError(
                f"{length} tokens are more than model.block_size={self.config.block_size}"
            )
        if targets is not None and (targets.shape != idx.shape or targets.is_floating_point()):
            raise ValueError(
                f"targets must be integers of idx's shape {list(idx.shape)}, "
                f"got {str(targets.dtype)[6:]} {list(targets.shape)}"
            )
        # On a GPU looking at the ids would wait for it, and the embedding checks them there itself.
        if not torch.compiler.is_compiling() and idx.device.type == "cpu" and idx.numel():
            self._check_range("idx", idx, low=0)
            if targets is not None:
                self._check_range("targets", targets, low=IGNORE_INDEX)

    def _check_range(self, name: str, ids: Tensor, *, low: int) -> None:
        vocab_size = known(self.config.vocab_size)
        smallest, largest = (int(v) for v in ids.aminmax())
        if smallest < low or largest >= vocab_size:
            wrong = smallest if smallest < low else largest
            raise ValueError(
                f"{name} holds {wrong}, outside {low} … {vocab_size - 1} "
                f"(model.vocab_size={vocab_size})"
            )

    def generate(
        self, idx: Int[Tensor, "B T"], max_new_tokens: int, **settings: Any
    ) -> Int[Tensor, "B S"]:
        """`idx` continued by `max_new_tokens` tokens; settings are those of `generate.stream`."""
        tokens = stream(self, idx, max_new_tokens=max_new_tokens, **settings)
        return torch.cat((idx, *(token.to(idx.dtype) for token in tokens)), dim=1)

    def configure_optimizers(
        self,
        weight_decay: float,
        learning_rate: float,
        betas: tuple[float, float],
        device_type: str,
    ) -> torch.optim.AdamW:
        """AdamW in two groups: matrices and embeddings decay, biases and gains do not."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        fused = device_type in FUSED_ADAMW_DEVICES
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused)

    def num_parameters(self, *, exclude_positions: bool = False) -> int:
        """Distinct parameters; nanoGPT's own count leaves the position table out."""
        positions = sum(p.numel() for p in self.transformer.wpe.parameters())
        total = sum(p.numel() for p in self.parameters())
        return total - positions if exclude_positions else total

    def num_parameters_by_group(self) -> dict[str, int]:
        """Parameters of embedding, position, attention, mlp, norm, head and the rest."""
        return parameters_by_group(self)

    def estimate_flops(self) -> int:
        """Floating-point operations of a training step, per token (see `size.py`)."""
        return flops_per_token(self, self.config)
