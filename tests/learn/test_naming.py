"""Names: never a wrong one, two mistakes at once, errors in words, and right files left alone."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from altgrad.learn.checker import check_file, judge
from altgrad.learn.explain import describe
from altgrad.learn.failures import in_words
from altgrad.learn.observe import Failure, differences
from altgrad.learn.source import replace_bodies
from altgrad.learn.track import MODEL_TRACKS, Track

NANOCHAT, GPT2 = Track("nanochat"), Track("gpt2")
ATTENTION = "CausalSelfAttention.forward"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def outside():
    spec = importlib.util.spec_from_file_location("outside_set", BENCHMARKS / "outside_set.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["outside_set"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["outside_set"]


def edited(track: Track, *edits: tuple[str, str]) -> str:
    source = track.source
    for old, new in edits:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def ask(track: Track, unit: str, *edits: tuple[str, str]):
    return judge(track, track.path, edited(track, *edits), unit)


SDPA = "        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n"
BY_HAND = """        att = (q @ k.mT) / self.head_dim**0.5
        att = att.masked_fill(~mask, float("-inf"))
        y = F.softmax(att, dim=-1) @ v
"""


def test_two_failures_are_equal_only_if_their_messages_are():
    one, other = ({"x": Failure("RuntimeError", m)} for m in ("a (6) b (2)", "not contiguous"))
    assert differences(one, one) == []
    assert [d.what for d in differences(one, other)] == ["exception"]


def test_a_view_of_a_transposed_tensor_is_not_called_a_mistake_of_rope():
    view = ("y.transpose(1, 2).reshape(B", "y.transpose(1, 2).view(B")
    found = ask(NANOCHAT, ATTENTION, (SDPA, BY_HAND), view)
    assert [n.split(":")[0] for n in found.named] == ["view of a tensor that is not contiguous"]


RMS_NORM = "    return F.rms_norm(x, (x.size(-1),), eps=1e-6)\n"
FLOOR = "is only a floor"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("return F.normalize(x, dim=-1, eps=1e-6) * x.size(-1) ** 0.5", FLOOR),
        ("return F.normalize(x, dim=-1) * x.size(-1) ** 0.5", FLOOR),
        ("return x * x.square().mean(-1, True).clamp(min=1e-6).rsqrt()", FLOOR),
        ("return F.rms_norm(x, (x.size(-1),))", "left to torch's default"),
        ("return x * (x.square().mean(-1, True) + 1e-12).rsqrt()", ""),
    ],
)
def test_an_eps_is_named_by_what_it_does_to_tiny_numbers(body, named):
    """To five digits all of them are the same where numbers are near 1."""
    found = ask(NANOCHAT, "norm", (RMS_NORM, f"    {body}\n"))
    assert [named in text for text in found.named] == ([True] if named else [])


def test_two_texts_for_one_place_are_not_both_named():
    scale = ("self.head_dim**0.5", "(1 if B == 1 else self.n_head)**0.5")
    found = ask(NANOCHAT, ATTENTION, (SDPA, BY_HAND.replace(*scale)))
    assert sum("scores are" in text for text in found.named) == 1


def test_the_scale_by_the_number_of_key_value_heads_is_named_beside_tiled_heads():
    scale = ("self.head_dim**0.5", "self.n_kv_head**0.5")
    tiled = (
        "k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)",
        "k, v = k.repeat(1, groups, 1, 1), v.repeat(1, groups, 1, 1)",
    )
    found = ask(NANOCHAT, ATTENTION, (SDPA, BY_HAND.replace(*scale)), tiled)
    assert sorted(found.mistakes) == ["kv heads tiled", "scale 1/sqrt(K), by hand"]


def test_what_one_of_several_names_explains_is_said_of_that_one():
    body = "    y = x.float()\n    return y * y.square().mean(-1, True).clamp(min=1e-6).rsqrt()\n"
    found = ask(NANOCHAT, "norm", (RMS_NORM, body))
    assert len(found.named) == 2
    assert FLOOR in found.named[0]
    assert any(text.startswith("the first ➜ alone gives") for text in found.evidence)


WORDS = {
    "6 (H) and 2 (K) in dimension 1": (
        ATTENTION,
        "The size of tensor a (6) must match the size of tensor b (2) at non-singleton dimension 1",
    ),
    "48 (C) and 7 (T) in dimension 2": (
        "norm",
        (
            "The size of tensor a (48) must match the size of tensor b (7) at "
            "non-singleton dimension 2"
        ),
    ),
    "not contiguous": ("norm", "view size is not compatible with input tensor's size and stride"),
    "(14, 48) = (B·T, C)": (
        "MLP.forward",
        "mat1 and mat2 shapes cannot be multiplied (14x48 and 192x48)",
    ),
    "nn.ModuleList": ("GPT.__init__", "list is not a Module subclass"),
    "ignore_index=-1": ("GPT.forward", "Target -1 is out of bounds."),
    "changed in place": (
        "norm",
        "a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    "MLP has no .c_prj": ("MLP.forward", "'MLP' object has no attribute 'c_prj'"),
}


@pytest.mark.parametrize("words", WORDS)
def test_torchs_errors_become_sentences(words):
    unit, message = WORDS[words]
    assert words in (in_words(Failure("RuntimeError", message), unit) or "")


def test_torchs_own_messages_are_the_ones_we_know():
    """The patterns, against the torch that is installed."""
    q, k = torch.zeros(2, 6, 7, 8), torch.zeros(2, 2, 7, 8)
    raising = {
        "repeat_interleave": lambda: q * k,
        "contiguous": lambda: q.transpose(1, 2).view(2, 7, 48),
        "inner two": lambda: torch.zeros(14, 48) @ torch.zeros(192, 48),
        "ModuleList": lambda: torch.nn.ModuleDict({"h": []}),
        "ignore_index": lambda: torch.nn.functional.cross_entropy(
            torch.zeros(2, 3), torch.tensor([0, -1])
        ),
        "min(top_k, V)": lambda: torch.topk(torch.zeros(3), 5),
    }
    for words, call in raising.items():
        with pytest.raises(Exception) as caught:
            call()
        failure = Failure(type(caught.value).__name__, " ".join(str(caught.value).split()))
        assert words in (in_words(failure, ATTENTION) or ""), failure


def test_small_sizes_are_no_letters_where_a_cache_cuts_the_sequence():
    message = (
        "The size of tensor a (6) must match the size of tensor b (2) at non-singleton dimension 3"
    )
    text = in_words(Failure("RuntimeError", message), ATTENTION, cached=True)
    assert text == "with a cache, two tensors that are combined have 6 and 2 in dimension 3"


PAIRS = {
    "two lines of attention": (
        NANOCHAT,
        ATTENTION,
        [(SDPA, BY_HAND.replace(" / self.head_dim**0.5", "")), ("q, k = norm(q), norm(k)", "pass")],
        ["scores are not divided by sqrt(D)", "q and k are not normalised"],
    ),
    "one hides the other in NaN": (
        NANOCHAT,
        ATTENTION,
        [(SDPA, BY_HAND.replace(" / self.head_dim**0.5", "")), ("key <= query", "key < query")],
        ["position t does not see itself", "scores are not divided by sqrt(D)"],
    ),
    "an error and a number": (
        NANOCHAT,
        "GPT.forward",
        [("logits = 15 * torch.tanh(logits / 15)", "pass"), ("ignore_index=-1, ", "")],
        ["softcap is missing", "ignore_index=-1"],
    ),
    "optimisers, one setting at a time": (
        NANOCHAT,
        "GPT.setup_optimizers",
        [("betas=(0.8, 0.95), ", ""), ('group["initial_lr"] = group["lr"]', "pass")],
        ["initial_lr", "betas"],
    ),
    "names and shapes, one at a time": (
        NANOCHAT,
        "MLP.__init__",
        [
            (
                "nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)",
                "nn.Linear(config.n_embd, 192)",
            ),
            ("self.c_proj = nn.Linear(4 *", "self.proj = nn.Linear(4 *"),
        ],
        ["c_fc has a bias", "c_proj is called proj"],
    ),
    "gpt2": (
        GPT2,
        "Block.forward",
        [
            ("self.mlp(self.ln_2(x))", "self.mlp(self.ln_1(x))"),
            ("x = x + self.mlp", "x = self.mlp"),
        ],
        ["ln_1 is used before the MLP", "residual around the MLP is missing"],
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_two_mistakes_in_one_unit_are_both_named(case):
    track, unit, edits, words = PAIRS[case]
    named = ask(track, unit, *edits).named
    assert all(sum(w in n for n in named) == 1 for w in words), named
    assert len(named) == 2


def test_what_one_mistake_explains_is_said_and_what_is_left():
    found = ask(NANOCHAT, ATTENTION, ("return self.c_proj(y)", "return x + self.c_proj(y).flip(1)"))
    assert found.named == ["x is added inside attention: the block does that"]
    text = "\n".join(found.evidence)
    assert "this alone gives your output for a single position, digit by digit" in text
    assert "something else is wrong as well" in text


def test_where_nothing_fits_the_smallest_case_is_shown_and_no_name():
    found = ask(
        NANOCHAT, ATTENTION, ("return self.c_proj(y)", "return self.c_proj(y) * 1.01 + 0.001")
    )
    assert found.named == []
    assert any(
        line.startswith("output for a single position: at [0, 0, 0]") for line in found.evidence
    )


# -- what passed and must not ------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        (", dtype=torch.float32, device=device", ", dtype=torch.float32"),
        ("device = self.get_device() if device is None else device", 'device = device or "cpu"'),
        (
            "t = torch.arange(seq_len, dtype=torch.float32, device=device)",
            "t = torch.arange(seq_len, dtype=torch.float32)",
        ),
    ],
)
def test_tables_on_the_wrong_device_are_noticed(edit):
    source = NANOCHAT.source.replace(*edit)
    found = judge(NANOCHAT, NANOCHAT.path, source, "GPT._precompute_rotary_embeddings")
    assert "device" in found.named[0]


@pytest.mark.parametrize(
    "edit",
    [
        (", device=device)[:, None]", ")[:, None].to(device)"),
        ("angle.cos()", "torch.cat([angle.cos()[:, :1], angle.cos()[:, 1:]], dim=1)"),
        ("angle.sin().bfloat16()", "angle.sin().to(device=device, dtype=torch.bfloat16)"),
    ],
)
def test_tables_that_reach_their_device_in_another_way_pass(edit):
    line = "t = torch.arange(seq_len, dtype=torch.float32, device=device)"
    source = NANOCHAT.source.replace(line, f"{line}[:, None].flatten()")
    assert edit[0] in source
    source = source.replace(*edit)
    assert judge(NANOCHAT, NANOCHAT.path, source, "GPT._precompute_rotary_embeddings").passed


def test_a_global_seed_in_generate_is_noticed():
    body = """        torch.manual_seed(seed)
        ids = torch.tensor([tokens])
        for _ in range(max_tokens):
            logits = self.forward(ids)[:, -1, :]
            if temperature == 0:
                token = logits.argmax(dim=-1, keepdim=True)
            else:
                logits = logits / temperature
                if top_k is not None:
                    kth = torch.topk(logits, min(top_k, logits.size(-1))).values[:, -1:]
                    logits = logits.masked_fill(logits < kth, float("-inf"))
                token = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)
            ids = torch.cat([ids, token], dim=1)
            yield token.item()
"""
    source = replace_bodies(NANOCHAT.source, {"GPT.generate": body})
    found = judge(NANOCHAT, NANOCHAT.path, source, "GPT.generate")
    assert found.named[0].startswith("torch's global generator is used or seeded")


@pytest.mark.parametrize("track", [NANOCHAT, GPT2], ids=MODEL_TRACKS)
def test_softmax_in_float32_must_be_cast_back(track):
    sdpa = next(line for line in track.source.splitlines() if "y = F.scaled_dot" in line)
    body = BY_HAND.replace("F.softmax(att, dim=-1)", "F.softmax(att.float(), dim=-1)")
    if track is GPT2:
        body += "        y = F.dropout(att.softmax(-1), dropout_p) @ v if dropout_p else y\n"
    found = ask(track, ATTENTION, (sdpa + "\n", body))
    assert found.named == [
        "tensors of two dtypes meet: what is made inside takes x's (dtype=x.dtype, .to(x.dtype))"
    ]
    cast = body.replace("dim=-1)", "dim=-1).to(x.dtype)")
    assert ask(track, ATTENTION, (sdpa + "\n", cast)).passed


def test_a_file_that_cannot_be_imported_is_the_first_verdict(tmp_path):
    path = tmp_path / "my_gpt.py"
    path.write_text(NANOCHAT.source + "\nprint(undefined_name)\n")
    first, *others = check_file(NANOCHAT, path)
    assert (first.unit, first.state) == ("(file)", "error")
    assert "undefined_name" in first.evidence[0]
    assert path.read_text().splitlines()[first.line - 1] == "print(undefined_name)"
    assert all(v.passed for v in others)


UNTOUCHED = {  # what the catalogue does not reach, made to fail once
    ("nanochat", "norm"): ["    return F.rms_norm(x.double(), (x.size(-1),), eps=1e-6)\n"],
    ("nanochat", "MLP.forward"): [
        (
            "        x.mul_(1.0)\n        x.add_(1.0)\n        return "
            "self.c_proj(F.relu(self.c_fc(x)).square())\n"
        ),
        "        return self.c_proj(F.relu(self.c_fc(x)).square()).double()\n",
        "        return F.dropout(self.c_proj(F.relu(self.c_fc(x)).square()), 0.1)\n",
    ],
    ("nanochat", "GPT.get_device"): ['        return torch.device("meta")\n'],
    ("nanochat", "GPT.forward"): ["        idx.zero_()\n        return idx\n"],
    ("nanochat", "Block.forward"): ["        return x.mul_(2.0)\n"],
    ("gpt2", "CausalSelfAttention.forward"): ["        return x.mul_(2.0)\n"],
    ("gpt2", "MLP.forward"): ["        return x.mul_(2.0)\n"],
    ("gpt2", "Block.forward"): ["        return x.mul_(2.0)\n"],
    ("gpt2", "GPT.forward"): ["        idx.zero_()\n        return idx\n"],
    ("gpt2", "GPT._init_weights"): ["        nn.init.zeros_(module.weight)\n"],
}


@pytest.mark.slow
@pytest.mark.parametrize("track", [NANOCHAT, GPT2], ids=MODEL_TRACKS)
def test_every_check_can_fail(track):
    """A label that no mistake of its unit ever moves would be a check that cannot fail."""
    from altgrad.learn.observe import observe
    from altgrad.learn.transplant import load_reference, transplant

    idle = {}
    for unit, probe in track.probes.items():
        expected = observe(probe, load_reference(track.path))
        sources = [m.apply(track.source) for m in track.mistakes if m.unit == unit]
        bodies = [*UNTOUCHED.get((track.name, unit), []), "        return None\n" * ("." in unit)]
        sources += [replace_bodies(track.source, {unit: b}) for b in bodies if b]
        moved = set()
        for source in sources:
            got = observe(probe, transplant(track.path, source, track.path, unit))
            moved |= {d.label for d in differences(expected, got)}
        idle[unit] = sorted(set(expected) - moved)
    assert {u: labels for u, labels in idle.items() if labels} == {}


# -- what failed and must not ------------------------------------------------------------------


def test_right_files_of_strangers_pass(outside):
    """Masks of one's own __init__, blocks at the top, compiled functions: all of them."""
    for track in (NANOCHAT, GPT2):
        for case in outside.load(track)["right"]:
            if not case.unit:
                assert outside.alarms(track, case, track.path) == [], case.name


@pytest.mark.slow
@pytest.mark.parametrize("track", [NANOCHAT, GPT2], ids=MODEL_TRACKS)
@pytest.mark.timeout(1800)  # some 230 files, each asked for a second and more
def test_no_stranger_is_told_a_wrong_name(outside, track):
    cases = outside.load(track)
    for kind in ("mistake", "pair"):
        for case in cases[kind]:
            found = outside.ask(track, case, track.path)
            assert found["caught"], case.name
            assert found["wrong"] == [], case.name


def test_gpt2_need_not_refuse_long_sequences():
    line = (
        '        assert start + T <= self.config.block_size, "the sequence is '
        'longer than block_size"\n'
    )
    assert ask(GPT2, "GPT.forward", (line, "")).passed


def test_adding_in_place_is_named_as_that_and_not_as_wrong_numbers():
    found = ask(NANOCHAT, "Block.forward", ("x = x + self.attn", "x += self.attn"))
    assert all("in place" in name for name in found.named)
    assert not any(line.startswith("output") for line in found.evidence)


# -- reading a difference ----------------------------------------------------------------------


def line_of(expected, got) -> str:
    return describe(differences({"x": expected}, {"x": got}))[0]


def test_numbers_are_shown_with_the_digits_that_differ():
    a = torch.tensor([1.0, 0.329842111], dtype=torch.float64)
    b = torch.tensor([1.0, 0.329842119], dtype=torch.float64)
    assert (
        line_of(a, b)
        == "x: at [1] expected 0.32984211, yours 0.32984212 (50% of the numbers differ)"
    )
    assert line_of(0.25, 0.25000001) == "x: expected 0.25, yours 0.25000001"


def test_lists_are_shown_from_where_they_part():
    same = list(range(40))
    assert line_of(same, [*same[:30], 7, *same[31:]]) == "x: [30]: expected 30, yours 7"
    assert line_of(same, same[:39]) == (
        "x: the first difference is at [39]: expected 39, yours the end (40 expected, 39 in yours)"
    )


def test_no_tensor_is_printed_whole():
    text = line_of(torch.zeros(3, 4), [torch.zeros(3, 4), None])
    assert text == (
        "x: expected a tensor float32[3, 4], yours 2 values: a tensor float32[3, 4], nothing (None)"
    )
