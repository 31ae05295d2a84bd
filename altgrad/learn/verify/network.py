"""Proofs about the network: shapes, causality, independence, gradients, equivalences."""

import copy
import math
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from altgrad.learn.verify.result import Check, Failed, NotApplicable, require
from altgrad.learn.verify.subject import Subject, T, V
from altgrad.model import GPT, KVCache
from altgrad.model.backends import BACKENDS
from altgrad.model.config import known
from altgrad.model.parts import PARTS
from altgrad.model.whole import read_by

TINY = 1e-10  # float64: rounding of equal computations stays far below


def _largest(a: Tensor, b: Tensor) -> float:
    return (a.double() - b.double()).abs().max().item()


def _gradients(model: GPT) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _worst(a: dict[str, Tensor], b: dict[str, Tensor]) -> tuple[str, float]:
    """The name whose tensors differ most, and by how much; one that is missing differs most."""
    missing = a.keys() ^ b.keys()
    errors = {n: math.inf if n in missing else _largest(a[n], b[n]) for n in a.keys() | b.keys()}
    return max(errors.items(), key=lambda item: item[1])


def is_whole(config: Any) -> bool:
    """A whole class of one's own: what it is made of is not known."""
    return ":" in config.network


def logits_shape(s: Subject) -> str:
    model = s.awake()
    logits, loss = model(s.ids(3, 5))[0], model(s.ids(3, 5), s.ids(3, 5, seed=1))[1]
    require(list(logits.shape) == [3, 5, V], f"logits {list(logits.shape)}, expected [3, 5, {V}]")
    require(bool(logits.isfinite().all()), "some logits are not finite")
    require(loss.dim() == 0, f"the loss has shape {list(loss.shape)}, expected a scalar")
    return f"[B, T, V] = {list(logits.shape)}, finite"


def dtype_and_device(s: Subject) -> str:
    for dtype, wanted in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        got = s.awake(dtype=dtype)(s.ids())[0].dtype
        require(got == wanted, f"a {dtype} model gives {got} logits, expected {wanted}")
    with torch.device("meta"):
        meta = GPT(s.model_config).eval()(torch.zeros(1, 4, dtype=torch.long, device="meta"))[0]
    require(meta.device.type == "meta", f"a model on meta answers on {meta.device}")
    return "float64 stays float64, bfloat16 runs, the device is the model's"


def initial_loss(s: Subject) -> str:
    ids, targets = s.ids(16), s.ids(16, seed=1)
    loss = s.fresh()(ids, targets)[1].item()
    wanted = math.log(V)
    require(abs(loss - wanted) < 0.2, f"first loss {loss:.4f}, expected about ln V = {wanted:.4f}")
    return f"{loss:.4f}, ln V = {wanted:.4f}"


@torch.no_grad()
def causal_by_change(s: Subject) -> str:
    model, ids = s.awake(), s.ids()
    before = model(ids)[0]
    for t in range(T - 1):
        changed = ids.clone()
        changed[:, t + 1 :] = (ids[:, t + 1 :] + 1) % V
        moved = (model(changed)[0][:, : t + 1] - before[:, : t + 1]).abs().amax((0, 2))
        if moved.max() > TINY:
            seer = int((moved > TINY).nonzero()[0])
            raise Failed(
                f"changing the tokens after position {t} changes the logits of position {seer} by "
                f"{moved[seer].item():.3g}, expected 0: it sees the future"
            )
    return f"no logit moves when later tokens do, at each of {T - 1} positions"


def _embeds(model: GPT) -> torch.nn.Module:
    """The module that gives the stream of one vector for each token."""
    if not is_whole(model.config):
        return model.transformer.drop
    tables = (m for m in model.modules() if isinstance(m, torch.nn.Embedding))
    found = next((m for m in tables if m.num_embeddings == V), None)
    if found is None:
        raise NotApplicable("the class has no nn.Embedding of the vocabulary")
    return found


def causal_by_gradient(s: Subject) -> str:
    model = s.awake()
    streams: list[Tensor] = []
    hook = _embeds(model).register_forward_hook(lambda *a: streams.append(a[2]))
    logits = model(s.ids())[0]
    hook.remove()
    for t in range(T - 1):
        (grad,) = torch.autograd.grad(logits[:, t].sum(), streams[0], retain_graph=True)
        leak = grad[:, t + 1 :].abs().amax((0, 2))
        if leak.max() > TINY:
            later = t + 1 + int((leak > TINY).nonzero()[0])
            value = leak.max().item()
            raise Failed(
                f"the logits of position {t} have a gradient of {value:.3g} with respect to the "
                f"embedding at position {later}, expected 0"
            )
    return "no gradient from any position to a later one"


@torch.no_grad()
def rows_independent(s: Subject) -> str:
    model, ids = s.awake(), s.ids()
    together = model(ids)[0]
    for row in range(ids.size(0)):
        error = _largest(together[row : row + 1], model(ids[row : row + 1])[0])
        require(error < TINY, f"row {row} changes by {error:.3g} when it is alone in the batch")
    return "every row alone gives the same logits"


@torch.no_grad()
def positions_matter(s: Subject) -> str:
    model, ids = s.awake(), s.ids(1)
    swapped = ids.clone()
    swapped[0, 1], swapped[0, 2] = ids[0, 2], (ids[0, 1] + (ids[0, 1] == ids[0, 2]).long()) % V
    change = _largest(model(ids)[0][:, -1], model(swapped)[0][:, -1])
    if s.model_config.position == "none" and not is_whole(s.model_config):
        return f"no position scheme; swapping two tokens moves the last logits by {change:.3g}"
    require(change > 1e-6, "swapping two earlier tokens changes nothing: positions are not seen")
    return f"swapping two earlier tokens moves the last logits by {change:.3g}"


@torch.no_grad()
def shifts(s: Subject) -> str:
    if is_whole(s.model_config):
        raise NotApplicable("what a whole class promises of its positions is not known")
    promised = {"rope": True, "rope_reversed": True, "none": True, "learned": False}
    position = s.model_config.position
    if position not in promised:
        raise NotApplicable(f"what position={position} promises is not known")
    model = s.awake(block_size=2 * T, windows=[-1], rope_dtype="float32")
    trunk, outputs = model.transformer, []
    for start in (0, 5):
        x = trunk.wte(s.ids(1))
        x, cos_sin = trunk.wpe(x, start)
        extra = {"value_embedding": None} if s.model_config.value_embeddings else {}
        outputs.append(trunk.h[0](x, cos_sin, None, **extra))
    error = _largest(*outputs)
    relative = error < 1e-4 * outputs[0].abs().max().item()
    want = "relative" if promised[position] else "absolute"
    require(
        relative == promised[position], f"{position} is {want}, but a shift by 5 moves {error:.3g}"
    )
    return f"{position} is {want}: a shift by 5 moves the block's output by {error:.1e}"


def gradcheck(s: Subject) -> str:
    # Without the heads of later tokens, whose loss is in the gradient and not in the value.
    layers = 1 if len(s.model_config.windows) == 1 else s.model_config.n_layer
    model = s.awake(n_layer=layers, mtp_heads=0)
    ids, targets = s.ids(1, 3), s.ids(1, 3, seed=1)
    names = [name for name, _ in model.named_parameters()]

    def loss_of(*weights: Tensor) -> Tensor:
        state = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(model, state, (ids, targets))[1]

    try:
        torch.autograd.gradcheck(loss_of, tuple(model.parameters()), fast_mode=True)
    except GradcheckError as error:
        raise Failed(str(error).splitlines()[0]) from None
    return f"analytic = numeric for all {len(names)} tensors, in double, on 3 tokens"


def finite_gradients(s: Subject) -> str:
    model = s.awake()
    if s.model_config.mtp_heads:  # learn in training alone
        model.train()
    model(s.ids(), s.ids(seed=1))[1].backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            raise Failed(f"{name} gets no gradient")
        require(bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite")
        require(bool(parameter.grad.any()), f"the gradient of {name} is zero everywhere")
    return f"all {sum(1 for _ in model.parameters())} tensors get one"


@torch.no_grad()
def dropout_in_training_only(s: Subject) -> str:
    if is_whole(s.model_config) and "dropout" not in read_by(s.model_config).values():
        raise NotApplicable("its GPTConfig has no dropout")
    model, ids = s.awake(dropout=0.5), s.ids()
    require(torch.equal(model(ids)[0], model(ids)[0]), "evaluation is random")
    error = _largest(model(ids)[0], s.awake(dropout=0.0)(ids)[0])
    require(error < TINY, f"dropout=0.5 changes evaluation by {error:.3g}")
    model.train()
    require(not torch.equal(model(ids)[0], model(ids)[0]), "dropout=0.5 does nothing in training")
    return "random in training, absent in evaluation"


def counts(s: Subject) -> str:
    c = s.config.model
    if is_whole(c):
        model = s.fresh()
        size = f"{model.num_parameters():,} parameters, {model.estimate_flops():,} FLOPs per token"
        raise NotApplicable(f"{size}: counted as they are, a whole class has no closed form")
    outside = [k for k in PARTS if ":" in getattr(c, k)]
    with torch.device("meta"):
        model = GPT(s.model_config if outside else replace(c, vocab_size=c.vocab_size or V))
    c, total = model.config, model.num_parameters()
    head = model.lm_head.weight
    tables = {m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)} - {head}
    keys = sum(c.window_of(i) for i in range(c.n_layer))
    multiplied = total - sum(w.numel() for w in tables)
    flops = 6 * multiplied + 12 * c.n_head * known(c.head_dim) * keys
    require(model.estimate_flops() == flops, f"{model.estimate_flops()} FLOPs, expected {flops}")
    if outside:  # a part of one's own may call its layers what it likes
        return f"{total:,} parameters, {flops:,} FLOPs per token (outside part: counted as it is)"
    wanted = _expected_parameters(model)
    require(total == wanted, f"{total:,} parameters, the closed form gives {wanted:,}")
    size = f"{total:,} parameters, {flops:,} FLOPs per token"
    return f"{size} (vocabulary {c.vocab_size}): the closed forms"


def _expected_parameters(model: GPT) -> int:
    """From the sizes alone, for matrices, norms and embeddings; novelties' own as they are."""
    c = model.config
    C, D = c.n_embd, known(c.head_dim)
    q, kv = c.n_head * D, known(c.n_kv_head) * D
    norm = {"layernorm": C * (2 if c.bias else 1), "rmsnorm": C}.get(c.norm, 0)
    inner: int = cast(Any, model.transformer.h[0]).mlp.c_fc.out_features
    mlp = C * inner * (3 if c.mlp == "swiglu" else 2)
    biases = (q + 2 * kv + C) + (inner * (2 if c.mlp == "swiglu" else 1) + C) if c.bias else 0
    per_layer = C * (q + 2 * kv) + q * C + mlp + biases + 2 * norm
    embeddings = known(c.vocab_size) * C * ((1 if c.tie_head else 2) + c.mtp_heads)
    basic = (".wte.weight", "lm_head.weight", ".ln_1.", ".ln_2.", ".ln_f.", ".attn.c_", ".mlp.c_")
    named = sum(p.numel() for n, p in model.named_parameters() if not any(b in n for b in basic))
    return embeddings + c.n_layer * per_layer + norm + named


@torch.no_grad()
def copies(s: Subject) -> str:
    model, ids = s.awake(), s.ids()
    wanted = model(ids)[0]
    require(torch.equal(copy.deepcopy(model)(ids)[0], wanted), "a deep copy answers differently")
    other = s.fresh(seed=9).double()
    other.load_state_dict(model.state_dict())
    require(torch.equal(other(ids)[0], wanted), "a model with the same state_dict differs")
    return "a deep copy and a state_dict round trip answer alike"


@torch.no_grad()
def cache_equals_no_cache(s: Subject) -> str:
    model, ids = s.awake(), s.ids()
    for chunks in ([5, 1, 1, 1], [3, 4, 1]):
        cache = KVCache(model.config)
        pieces = []
        for piece in ids.split(chunks, dim=1):
            pieces.append(model(piece, kv_cache=cache)[0])
            if cache.get_pos() == 0:
                raise NotApplicable(
                    "the attention fills no KV cache; generate with use_cache=False"
                )
        errors = (torch.cat(pieces, 1) - model(ids)[0]).abs().amax((0, 2))
        t = int(errors.argmax())
        require(
            errors.max() < TINY, f"fed {chunks}: position {t} differs by {errors[t].item():.3g}"
        )
    return "fed in chunks of 5+1+1+1 and 3+4+1 tokens: the same logits"


@torch.no_grad()
def backends_agree(s: Subject) -> str:
    if is_whole(s.model_config):
        raise NotApplicable("a whole class computes in its own way")
    if s.model_config.attention != "causal":
        raise NotApplicable("an outside attention computes in its own way")
    wanted = s.awake(attention_backend="explicit")(s.ids())[0]
    names = [n for n in BACKENDS if n != "efficient"]
    for name in names:
        error = _largest(s.awake(attention_backend=name)(s.ids())[0], wanted)
        require(error < 1e-6, f"{name} differs from the explicit path by {error:.3g}")
    return f"{', '.join(names)} within 1e-6 of the explicit path in double"


def compiled_equals_eager(s: Subject) -> str:
    model, ids, targets = s.awake(), s.ids(), s.ids(seed=1)
    model(ids, targets)[1].backward()
    eager = _gradients(model)
    model.zero_grad()
    torch.compile(model, backend="aot_eager")(ids, targets)[1].backward()
    torch._dynamo.reset()
    worst, error = _worst(eager, _gradients(model))
    require(error < TINY, f"the gradient of {worst} differs by {error:.3g}")
    return "traced by torch.compile (aot_eager), loss and gradients are the same"


def accumulation(s: Subject) -> str:
    model, ids, targets = s.awake(), s.ids(4), s.ids(4, seed=1)
    model(ids, targets)[1].backward()
    whole = _gradients(model)
    model.zero_grad()
    for half in (slice(0, 2), slice(2, 4)):
        (model(ids[half], targets[half])[1] / 2).backward()
    worst, error = _worst(whole, _gradients(model))
    require(error < TINY, f"two half batches: the gradient of {worst} differs by {error:.3g}")
    return "two half batches give the gradient of the whole one"


CHECKS = [
    Check("logits", "the output is [B, T, V]", "GPT.forward", logits_shape),
    Check("dtype and device", "both are the model's", "casts in your part", dtype_and_device),
    Check("first loss", "training starts from no opinion", "model.init, c_proj", initial_loss),
    Check("causal, by changing the future", "no answer leaks", "the mask", causal_by_change),
    Check("causal, by gradients", "no answer leaks", "the mask", causal_by_gradient),
    Check(
        "batch rows independent", "no leak between rows", "dimensions of norms", rows_independent
    ),
    Check("positions matter", "order is seen", "model.position", positions_matter),
    Check("shifts", "positions are relative or absolute as promised", "model.position", shifts),
    Check(
        "gradcheck in double", "the backward pass is the forward's", "custom autograd", gradcheck
    ),
    Check("gradients", "every parameter can learn", "detach, unused parameters", finite_gradients),
    Check(
        "dropout", "on in training, off in evaluation", "self.training", dropout_in_training_only
    ),
    Check("parameters and FLOPs", "costs are what is reported", "size.py", counts),
    Check("copies", "deepcopy and state_dict keep the function", "buffers, ties", copies),
    Check("KV cache", "generation computes what training does", "insert_kv", cache_equals_no_cache),
    Check("attention backends", "speed changes nothing", "model.attention_backend", backends_agree),
    Check("torch.compile", "compiling changes nothing", "control flow", compiled_equals_eager),
    Check("accumulation", "micro-batches add up", "batch-dependent layers", accumulation),
]
