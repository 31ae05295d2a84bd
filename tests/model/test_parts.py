import sys

import pytest
import torch

from altgrad.model import GPT
from altgrad.model.contract import check_contract
from altgrad.model.parts import PARTS, resolve
from tests.model.outside import NoCacheAttention
from tests.model.tiny import awake, tiny_config, tokens


def test_every_name_in_the_tables_is_a_class():
    for kind, table in PARTS.items():
        for name in table:
            assert issubclass(resolve(kind, name), torch.nn.Module)


def test_outside_code_comes_in_by_module_and_class():
    assert resolve("attention", "tests.model.outside:NoCacheAttention") is NoCacheAttention
    model = GPT(tiny_config(attention="tests.model.outside:NoCacheAttention", n_kv_head=2))
    assert isinstance(model.transformer.h[0].attn, NoCacheAttention)


def test_outside_matrices_are_initialised_like_ours():
    config = tiny_config(
        attention="tests.model.outside:NoCacheAttention", init="nanochat", tie_head=False
    )
    attention = GPT(config).transformer.h[0].attn
    assert attention.c_proj.weight.abs().max() == 0
    assert attention.c_v.weight.std() > 0.1


def test_a_file_in_the_current_directory_is_importable(tmp_path, monkeypatch):
    (tmp_path / "my_part_of_this_test.py").write_text(
        "from altgrad.model.mlp import GELU\nclass Mine(GELU):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = awake(tiny_config(mlp="my_part_of_this_test:Mine"))
    assert type(model.transformer.h[0].mlp).__name__ == "Mine"
    model(tokens())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:Attention", "no module 'no_such_module'"),
        ("tests.no_such.module:Attention", "no module 'tests.no_such.module'"),
        ("tests.model.outside:NoCacheAtention", "did you mean 'NoCacheAttention'"),
        ("tests.model.outside:NotAModule", "is not a subclass of torch.nn.Module"),
        ("tests.model.tiny:T", "is not a subclass"),
    ],
)
def test_what_cannot_be_found_is_one_clear_line(name, words):
    with pytest.raises(ValueError, match=words) as caught:
        GPT(tiny_config(attention=name))
    assert f"model.attention={name.split(':')[0]}" in str(caught.value)
    assert "\n" not in str(caught.value)


NANOGPT = """
import torch
from torch import nn
class FromNanoGPT(nn.Module):
    def __init__(self, config):
        super().__init__()
    def forward(self, x):
        return x
class OfAnotherKind(nn.Module):
    def __init__(self, a, b, c):
        super().__init__()
    def forward(self, x, mask):
        return x
class NoForward(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
class Anything(nn.Module):
    def __init__(self, *how):
        super().__init__()
        self.c_proj = nn.Linear(how[0].n_embd, how[0].n_embd)
    def forward(self, *a, **k):
        return self.c_proj(a[0])
"""


@pytest.fixture
def from_nanogpt(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "from_nanogpt_of_this_test", raising=False)
    (tmp_path / "from_nanogpt_of_this_test.py").write_text(NANOGPT)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "from_nanogpt_of_this_test"


@pytest.mark.parametrize(
    ("kind", "part", "lines"),
    [
        (
            "attention",
            "OfAnotherKind",
            [
                "__init__(self, a, b, c) must be `def __init__(self, config, layer_idx)`",
                "forward(self, x, mask) must be "
                "`def forward(self, x, cos_sin=None, kv_cache=None)`",
            ],
        ),
        ("attention", "NoForward", ["`def forward(self, x, cos_sin=None, kv_cache=None)`"]),
        ("norm", "FromNanoGPT", ["`def __init__(self, width, config)`"]),
        ("residual", "FromNanoGPT", ["`def forward(self, x, x0)`"]),
    ],
)
def test_a_part_of_another_shape_is_told_what_to_write(from_nanogpt, kind, part, lines):
    with pytest.raises(ValueError, match="wrong signature") as caught:
        resolve(kind, f"{from_nanogpt}:{part}")
    assert "\n" not in str(caught.value)
    for line in lines:
        assert line in str(caught.value)


def test_a_part_that_takes_what_it_is_given_is_taken(from_nanogpt):
    for kind in PARTS:
        resolve(kind, f"{from_nanogpt}:Anything")
    GPT(tiny_config(attention=f"{from_nanogpt}:Anything"))(tokens())
    resolve("mlp", f"{from_nanogpt}:FromNanoGPT")  # x in, x out: nanoGPT's MLP fits as it is


def test_the_contract_is_what_our_own_parts_look_like():
    for kind, table in PARTS.items():
        for name in table.values():
            check_contract(kind, name, resolve(kind, name))


def test_an_error_inside_the_outside_module_is_told_with_its_place(tmp_path, monkeypatch):
    (tmp_path / "broken_of_this_test.py").write_text("import a_missing_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = r"model\.mlp=broken.*cannot be imported.*a_missing_dependency.*\(broken.*line 1\)"
    with pytest.raises(ValueError, match=words):
        resolve("mlp", "broken_of_this_test:MLP")


def test_value_embeddings_need_an_attention_that_takes_them():
    with pytest.raises(ValueError, match="forward takes value_embedding"):
        GPT(tiny_config(attention="tests.model.outside:NoCacheAttention", value_embeddings=True))
