"""Whatever stands in the tables of altgrad.model keeps these promises, alone and in a preset."""

from typing import Any

import pytest
import torch
from torch import Tensor

from altgrad.model import GPT, GPTConfig, KVCache, preset, preset_names
from altgrad.model.backends import BACKENDS
from altgrad.model.init import SCHEMES
from altgrad.model.parts import PARTS
from tests.model.tiny import T, V, awake, tiny_config, tokens

ONE_PART = {f"{kind}={name}": {kind: name} for kind, table in PARTS.items() for name in table}
OPTIONS: dict[str, dict[str, Any]] = {
    "bias=false": {"bias": False},
    "untied": {"tie_head": False},
    "gqa": {"n_kv_head": 2},
    "mqa": {"n_kv_head": 1, "position": "rope"},
    "head_dim": {"head_dim": 6, "position": "rope"},
    "qk_norm": {"qk_norm": True, "norm": "rmsnorm", "position": "rope"},
    "embedding_norm": {"embedding_norm": True},
    "softcap": {"logit_softcap": 3.0},
    "scaled": {"logit_scale": 0.5, "attention_scale": 0.2, "branch_scale": 0.3, "init_width": 8},
    "windows": {"windows": [3, -1], "position": "rope"},
    "value_embeddings": {"value_embeddings": True, "n_kv_head": 2},
    "hashed_bigram": {"embedding": "bigram", "bigram_rows": 7},
    "documents": {"document_token": 3},
    "documents_in_windows": {"document_token": 3, "windows": [3, -1], "block": "shift"},
    "documents_looked_back": {"document_token": 3, "embedding": "trigram", "block": "conv"},
    "n_inner": {"n_inner": 24},
} | {f"init={name}": {"init": name, "tie_head": False} for name in SCHEMES}
PRESETS = {f"preset={name}": {"preset": name} for name in preset_names()}
# Tracing takes a second each: the presets, and what none of them contains.
COMPILED = {*PRESETS, "embedding=trigram", "block=conv", "residual=mix", "residual=skip"}
COMPILED |= {"value_embeddings", "documents_in_windows"}  # the latter shifts blocks too
VARIANTS = ONE_PART | OPTIONS | PRESETS


def config_of(variant: str, **changes: Any) -> GPTConfig:
    settings = VARIANTS[variant] | changes
    if "preset" not in settings:
        return tiny_config(**settings)
    sizes = {"n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 16, "block_size": T}
    name = settings.pop("preset")
    return preset(name, **sizes | {"vocab_size": V, "dropout": 0.0} | settings)


pytestmark = pytest.mark.parametrize("variant", VARIANTS)


@torch.no_grad()
def test_logits_have_shape_and_the_loss_is_their_cross_entropy(variant):
    model = awake(config_of(variant))
    idx, targets = tokens(3, 5), tokens(3, 5, seed=6)
    logits, loss = model(idx, targets)
    assert logits.shape == (3, 5, V)
    assert logits.dtype == torch.float64
    by_hand = -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()
    torch.testing.assert_close(loss, by_hand)
    assert model(idx)[1] is None


def test_a_future_token_changes_no_earlier_logit(variant):
    model = awake(config_of(variant))
    idx = tokens()
    changed = idx.clone()
    changed[:, 5:] = (idx[:, 5:] + 1) % V
    with torch.no_grad():
        before, after = model(idx)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :5], after[:, :5], atol=1e-12, rtol=0)
    assert (before[:, 5:] - after[:, 5:]).abs().amax(-1).min() > 1e-6


def test_no_gradient_flows_back_from_the_past_to_the_future(variant):
    model = awake(config_of(variant))
    streams = []
    model.transformer.drop.register_forward_hook(lambda *args: streams.append(args[2]))
    logits, _ = model(tokens())
    (grad,) = torch.autograd.grad(logits[:, 3].sum(), streams[0])
    assert grad[:, 4:].abs().max() == 0
    assert grad[:, 3].abs().min(-1).values.max() > 0


@torch.no_grad()
def test_rows_of_a_batch_do_not_see_each_other(variant):
    model = awake(config_of(variant))
    idx = tokens(3)
    together = model(idx)[0]
    alone = torch.cat([model(row[None])[0] for row in idx])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


def test_gradients_pass_gradcheck_in_double_on_three_tokens(variant):
    model = awake(config_of(variant))
    idx, targets = tokens(1, 3), tokens(1, 3, seed=6)
    names = [n for n, _ in model.named_parameters()]

    def loss_of(*weights: Tensor) -> Tensor:
        state = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(model, state, (idx, targets))[1]

    torch.autograd.gradcheck(loss_of, tuple(model.parameters()), fast_mode=True)


def test_every_parameter_gets_a_finite_gradient(variant):
    model = awake(config_of(variant)).train()  # the heads of later tokens learn there alone
    model(tokens(4), tokens(4, seed=6))[1].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_dropout_acts_in_training_only(variant):
    model = awake(config_of(variant, dropout=0.5))
    without = awake(config_of(variant, dropout=0.0))
    idx = tokens()
    torch.testing.assert_close(model(idx)[0], without(idx)[0])
    model.train()
    assert (model(idx)[0] - model(idx)[0]).abs().max() > 1e-3


@torch.no_grad()
def test_state_dict_round_trip_restores_the_function(variant):
    model = awake(config_of(variant))
    other = GPT(config_of(variant), torch.Generator().manual_seed(9)).double().eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(tokens())[0], other(tokens())[0])


@pytest.mark.parametrize("chunks", [[6, 1, 1], [3, 4, 1], [1, 7]], ids=str)
@torch.no_grad()
def test_a_cache_filled_in_chunks_gives_the_same_logits(variant, chunks):
    model = awake(config_of(variant))
    idx, cache = tokens(), KVCache(model.config)
    pieces = [model(piece, kv_cache=cache)[0] for piece in idx.split(chunks, dim=1)]
    assert cache.get_pos() == T
    torch.testing.assert_close(torch.cat(pieces, 1), model(idx)[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@torch.no_grad()
def test_backends_equal_the_explicit_path(variant, backend):
    if backend == "efficient":
        pytest.skip("torch has it on CUDA only; its refusal is tested in tests/model")
    plain = awake(config_of(variant, attention_backend="explicit"))
    other = awake(config_of(variant, attention_backend=backend))
    torch.testing.assert_close(other(tokens())[0], plain(tokens())[0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_generation_with_and_without_cache_draws_the_same_tokens(variant):
    model = awake(config_of(variant))
    idx, how = tokens(2, 3), {"temperature": 0.8, "top_k": 5, "top_p": 0.9, "seed": 4}
    cached = model.generate(idx, 12, **how)
    assert cached.shape == (2, 15)
    assert cached.tolist() == model.generate(idx, 12, use_cache=False, **how).tolist()


def test_non_contiguous_input_is_as_good(variant):
    model = awake(config_of(variant))
    idx = tokens(T, 2).T
    targets = tokens(T, 2, seed=6).T
    assert not idx.is_contiguous()
    torch.testing.assert_close(
        model(idx, targets)[1], model(idx.contiguous(), targets.contiguous())[1]
    )


def test_bfloat16_stays_near_float32(variant):
    exact = awake(config_of(variant), dtype=torch.float32)
    rounded = awake(config_of(variant), dtype=torch.bfloat16).train()
    wanted, _ = exact(tokens(), tokens(seed=6))
    logits, rounded_loss = rounded(tokens(), tokens(seed=6))
    assert logits.dtype == torch.float32
    assert (logits - wanted).abs().mean() < 0.05 * wanted.abs().mean() + 0.02
    rounded_loss.backward()
    assert all(p.grad.isfinite().all() for p in rounded.parameters())


def test_a_model_built_on_meta_starts_as_one_built_directly(variant):
    direct = GPT(config_of(variant), torch.Generator().manual_seed(3))
    with torch.device("meta"):
        late = GPT(config_of(variant))
    late.to_empty(device="cpu")
    for tensor in (*late.parameters(), *late.buffers()):
        tensor.data.fill_(float("nan"))
    late.init_weights(torch.Generator().manual_seed(3))
    assert torch.equal(direct.eval()(tokens())[0], late.eval()(tokens())[0])
    for (name, a), b in zip(direct.state_dict().items(), late.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_compiles_into_one_graph_with_the_same_gradients(variant):
    if variant not in COMPILED:
        pytest.skip("the presets contain it")
    model = awake(config_of(variant)).train()
    idx, targets = tokens(), tokens(seed=6)
    model(idx, targets)[1].backward()
    eager = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(idx, targets)[1].backward()
    for wanted, parameter in zip(eager, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, wanted)
    torch._dynamo.reset()


def test_flops_follow_the_closed_form(variant):
    config = config_of(variant).resolved()
    model = GPT(config)
    tables = [m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    lookups = {id(w): w.numel() for w in tables if w is not model.lm_head.weight}
    multiplied = sum(p.numel() for p in model.parameters()) - sum(lookups.values())
    keys = sum(min(config.window_of(i), T) for i in range(config.n_layer))
    heads = config.n_head * config.head_dim
    assert model.estimate_flops() == 6 * multiplied + 12 * heads * keys
    assert sum(model.num_parameters_by_group().values()) == model.num_parameters()
