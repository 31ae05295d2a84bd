"""A whole class of one's own as the network: both forms, and what is refused and how."""

import copy
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from altgrad.model import GPT, GPTConfig
from altgrad.model.own_gpt import OwnGPT
from altgrad.optim import OptimConfig, build_optimizer

SIZES = {"vocab_size": 11, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 16}
REFERENCES = {name: f"{name}_whole" for name in ("nanochat", "gpt2")}
SMALL = """
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class GPTConfig:
    block_size: int = 8
    vocab_size: int = 11
    n_layer: int = 1
    n_embd: int = 4

class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, idx, targets=None):
        logits = self.lm_head(self.wte(idx))
        if targets is None:
            return logits[:, [-1]], None
        return logits, nn.functional.cross_entropy(logits.view(-1, 11), targets.view(-1))

    def setup_optimizers(self, weight_decay=0.0):
        return [torch.optim.SGD(self.parameters(), lr=0.5)]
"""


@pytest.fixture(autouse=True)
def beside(tmp_path, monkeypatch):
    """Files of one's own are in the working directory; each test has names of its own."""
    monkeypatch.chdir(tmp_path)
    for track, name in REFERENCES.items():
        text = (files("altgrad.learn") / "reference" / f"{track}.py").read_text()
        Path(f"{name}.py").write_text(text)
    yield
    for name in [*REFERENCES.values(), "small_whole"]:
        sys.modules.pop(name, None)


def small(text: str = SMALL) -> GPTConfig:
    Path("small_whole.py").write_text(text)
    return GPTConfig(network="small_whole:GPT", **SIZES)


def drawn(config: GPTConfig, seed: int = 0) -> GPT:
    return GPT(config, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("track", REFERENCES)
def test_a_class_computes_what_it_computes_alone(track):
    model = drawn(GPTConfig(network=f"{REFERENCES[track]}:GPT", **SIZES))
    assert isinstance(model, OwnGPT)
    ids = torch.arange(10).view(2, 5)
    own = model.own(ids, ids)
    loss = own[1] if isinstance(own, tuple) else own
    assert torch.equal(model(ids, ids)[1], loss)
    assert model(ids)[0].shape == (2, 5, 11)
    assert list(model.state_dict()) == list(model.own.state_dict())


def test_the_start_follows_the_seed_alone():
    config = GPTConfig(network=f"{REFERENCES['gpt2']}:GPT", **SIZES)
    torch.manual_seed(1)
    first = drawn(config, 5).state_dict()
    torch.manual_seed(2)
    again = drawn(config, 5).state_dict()
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["transformer.wte.weight"],
                           drawn(config, 6).state_dict()["transformer.wte.weight"])  # fmt: skip


def test_logits_of_every_position_though_the_class_gives_the_last_alone():
    model = drawn(small())
    ids = torch.arange(6).view(2, 3)
    assert torch.equal(model(ids)[0], model.own(ids, ids)[0])


def test_the_sum_of_losses_is_summed_from_its_logits():
    model = drawn(small())
    ids, targets = torch.arange(6).view(2, 3), torch.tensor([[1, -1, 3], [4, 5, -1]])
    wanted = torch.nn.functional.cross_entropy(
        model(ids)[0].flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum"
    )
    assert torch.equal(model(ids, targets, loss_reduction="sum")[1], wanted)


def test_a_tied_matrix_is_one_parameter_that_multiplies():
    model = drawn(small())
    assert model.num_parameters() == 11 * 16
    attention = 12 * SIZES["n_embd"] * SIZES["n_layer"] * SIZES["block_size"]
    assert model.estimate_flops() == 6 * 11 * 16 + attention


def test_a_deep_copy_is_another_network():
    model = drawn(small())
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.own.wte.weight.zero_()
    assert not other(torch.zeros(1, 2, dtype=torch.long))[0].any()
    assert model(torch.zeros(1, 2, dtype=torch.long))[0].any()
    assert not other.train(False).own.training


def test_sampling_needs_no_cache_of_it():
    model = drawn(small())
    assert model.generate(torch.zeros(1, 1, dtype=torch.long), 12, seed=3).shape == (1, 13)


def test_its_own_optimisers_are_one_with_all_their_groups():
    model = drawn(GPTConfig(network=f"{REFERENCES['nanochat']}:GPT", **SIZES))
    made = build_optimizer(model, OptimConfig(name="own", weight_decay=0.0))
    wanted = [g["lr"] for o in model.own.setup_optimizers() for g in o.param_groups]
    assert [g["initial_lr"] for g in made.param_groups] == wanted


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("(self, idx, targets=None)", "(self, idx)"), "def forward(self, idx, targets=None"),
        (("(self, config)", "(self, config, depth)"), "def __init__(self, config)"),
        (("    block_size: int = 8\n", ""), "add `block_size: int = 1024`"),
        (("block_size: int = 8", "block_size = 8"), "a field without a type is none"),
        (("class GPTConfig", "class Sizes"), "its file has no GPTConfig"),
        (("return logits, nn", "return nn"), "forward(idx) gives ([1, 1, 11], NoneType)"),
        (("return logits, nn", "return logits.sum(), nn"), "let forward return (logits, loss)"),
        (("logits = self", "raise NotImplementedError('soon'); logits = self"), "small_whole.py"),
        (("self.wte = ", "self.wte = missing; self.wte = "), "name 'missing' is not defined"),
    ],
)
def test_a_class_that_does_not_fit_is_refused_with_the_lines_to_write(edit, said):
    text = SMALL.replace(*edit)
    assert text != SMALL
    with pytest.raises(ValueError) as refused:
        drawn(small(text))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("def setup_optimizers", "def other"), "has no setup_optimizers"),
        (("self.parameters(), lr", "[nn.Parameter(torch.ones(1))], lr"), "leaves out wte.weight"),
        (("return [torch.optim.SGD(self.parameters(), lr=0.5)]", "return []"), "an empty list"),
        (("return [torch.optim", "return [missing.optim"), "name 'missing' is not defined"),
    ],
)
def test_a_setup_that_does_not_fit_is_refused(edit, said):
    model = drawn(small(SMALL.replace(*edit)))
    with pytest.raises(ValueError, match=r"optim\.name=own") as refused:
        build_optimizer(model, OptimConfig(name="own"))
    assert said in str(refused.value)


def test_an_own_setup_needs_an_own_class():
    with pytest.raises(ValueError, match="choose optim=muon"):
        build_optimizer(GPT(GPTConfig(**SIZES)), OptimConfig(name="own"))
