"""Native, eager torch and compiled torch give the same bits and the same counts."""

import pytest
import torch

from altgrad import quantization as q
from altgrad.quantization.rounding import choose, native

SCALINGS = {
    "none": None,
    "tensor": q.PerTensor(),
    "tensor_power_of_two": q.PerTensor("power_of_two"),
    "row": q.PerRow(),
    "block": q.PerBlock(64),
    "mx": q.MX(),
    "nvfp4": q.NVFP4(),
}
ROUNDINGS = {"nearest_even": "nearest_even", "stochastic": q.Stochastic(seed=3)}
NAMES = [name for name in q.CATALOGUE if q.CATALOGUE[name].signed]
HELD = {
    torch.float32: (-148, 128, 22),
    torch.bfloat16: (-133, 128, 7),
    torch.float16: (-24, 16, 10),
}


@pytest.fixture
def native_tier():
    if native.library() is None:
        pytest.skip("no C++ compiler")


def held(f: q.Format, dtype: torch.dtype) -> bool:
    low, high, mantissa = HELD[dtype]
    fits = f.bottom_spacing >= 2.0**low and f.max < 2.0**high
    return fits and f.mantissa_bits <= mantissa


def wild_numbers() -> torch.Tensor:
    """Ten decades, both infinities, NaN with and without a payload (all ones: adding to its bits
    carries into the sign), a row of zeros; long enough to be cut into pieces."""
    x = torch.randn(300, 512, generator=torch.Generator().manual_seed(0))
    x = x * torch.logspace(-6, 4, 512)
    x[0, :4] = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0])
    x[0, 4:6] = torch.tensor([0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32)
    x[5] = 0
    return x


def assert_same_values(values, others):
    assert torch.equal(values.nan_to_num(7.0), others.nan_to_num(7.0))
    assert torch.equal(values.isnan(), others.isnan())
    assert torch.equal(values.signbit()[~values.isnan()], others.signbit()[~others.isnan()])


def assert_same(a, b):
    (values, stats), (others, other_stats) = a, b
    assert_same_values(values, others)
    assert torch.equal(stats.table[..., :6], other_stats.table[..., :6])
    torch.testing.assert_close(stats.table, other_stats.table, rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", list(HELD), ids=str)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_native_equals_torch(native_tier, monkeypatch, dtype, rounding, scaling):
    x = wild_numbers().to(dtype)
    for name in NAMES:
        f = q.CATALOGUE[name]
        if scaling == "none" and not held(f, dtype):
            continue
        settings = {"scaling": SCALINGS[scaling], "rounding": ROUNDINGS[rounding]}
        fast = q.fake_quantize(x, f, return_stats=True, **settings)
        own = x.clone()
        in_place = q.fake_quantize(own, f, out=own, return_stats=True, **settings)
        not_counted = q.fake_quantize(x, f, **settings)
        with monkeypatch.context() as m:
            m.setattr(choose, "_native_can", lambda job: False)
            plain = q.fake_quantize(x, f, return_stats=True, **settings)
            uncounted = q.fake_quantize(x, f, **settings)  # long tensors have a shorter way then
        assert_same(fast, plain)
        assert_same(in_place, plain)
        assert_same_values(not_counted, uncounted)


@pytest.mark.parametrize("scaling", ["none", "tensor", "row", "mx"])
@pytest.mark.parametrize("name", ["e4m3", "e7m0", "e0m7", "int8"])
def test_counts_by_row_agree_and_add_up(native_tier, monkeypatch, scaling, name):
    x, settings = wild_numbers(), {"scaling": SCALINGS[scaling]}
    fast = q.fake_quantize(x, name, return_stats="row", **settings)
    with monkeypatch.context() as m:
        m.setattr(choose, "_native_can", lambda job: False)
        assert_same(fast, q.fake_quantize(x, name, return_stats="row", **settings))
    _, total = q.fake_quantize(x, name, return_stats=True, **settings)
    assert torch.equal(fast[1].table[:, 1:6].sum(0), total.table[1:6])


def assert_compiling_changes_nothing(names, scalings, x):
    seed = torch.tensor(11)

    def work(x, seed):
        return [
            q.fake_quantize(x, name, scaling=SCALINGS[scaling], rounding=r, return_stats=True)
            for name in names
            for scaling in scalings
            for r in ("nearest_even", q.Stochastic(seed=seed))
        ]

    torch.compiler.reset()
    for compiled, eager in zip(torch.compile(work)(x, seed), work(x, seed), strict=True):
        assert_same(compiled, eager)


def short() -> torch.Tensor:
    return wild_numbers()[:40, :64].contiguous()


def test_compiled_equals_eager():
    assert_compiling_changes_nothing(["e4m3"], ["tensor"], short())


def test_long_tensors_are_rounded_natively_inside_a_compiled_function(native_tier):
    """One graph, the operator in it, the same bits; a new seed does not compile again."""
    graphs = []

    def see(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def work(x, seed, out):
        q.fake_quantize(x, "e4m3", rounding=q.Stochastic(seed=seed), out=out)
        return q.fake_quantize(x, "e5m2", scaling=q.PerRow(), return_stats="row")

    x, out, expected = wild_numbers(), *torch.empty(2, 300, 512)
    compiled = torch.compile(work, backend=see, fullgraph=True)
    for seed in (torch.tensor(11), torch.tensor(12)):
        found, wanted = compiled(x, seed, out), work(x, seed, expected)
        assert_same(found, wanted)
        assert torch.equal(out.nan_to_num(7.0), expected.nan_to_num(7.0))
    assert len(graphs) == 1
    assert str(graphs[0].graph).count("altgrad.round_into") == 2


@pytest.mark.parametrize("rows", [3, 300], ids=["traced", "operator"])
def test_the_gradient_passes_through_a_compiled_function(rows):
    x = wild_numbers()[:rows].nan_to_num(0.0, 1.0, -1.0).requires_grad_()
    weight = torch.randn(rows, 512, generator=torch.Generator().manual_seed(1))

    def work(x):
        return q.fake_quantize(x, "e4m3", scaling=q.MX())

    torch.compiler.reset()
    (torch.compile(work, backend="aot_eager")(x) * weight).sum().backward()
    assert torch.equal(x.grad, weight)


@pytest.mark.slow
@pytest.mark.parametrize("scaling", SCALINGS)
def test_compiled_equals_eager_for_every_kind_of_format(scaling):
    for x in (short(), wild_numbers()):
        assert_compiling_changes_nothing(["e4m3", "e7m0", "e0m7", "int8", "bf16"], [scaling], x)


def test_two_threads_equal_one():
    x, before = wild_numbers(), torch.get_num_threads()
    settings = {"scaling": q.PerTensor(), "rounding": q.Stochastic(seed=5), "return_stats": True}
    try:
        torch.set_num_threads(1)
        one, counts_of_one = q.fake_quantize(x, "e4m3", **settings)
        torch.set_num_threads(2)
        two, counts_of_two = q.fake_quantize(x, "e4m3", **settings)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.nan_to_num(7.0), two.nan_to_num(7.0))
    assert torch.equal(counts_of_one.table, counts_of_two.table)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("scaling", ["none", "tensor"])
def test_two_threads_equal_one_without_the_native_version(monkeypatch, rounding, scaling):
    """Pieces are longer where there are more threads, and the last one is short."""
    x, before = wild_numbers(), torch.get_num_threads()
    settings = {"scaling": SCALINGS[scaling], "rounding": ROUNDINGS[rounding]}
    monkeypatch.setattr(choose, "_native_can", lambda job: False)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(q.fake_quantize(x, "e4m3", **settings).view(torch.int32))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_without_a_compiler_the_bits_are_the_same_and_one_warning_says_so(monkeypatch, tmp_path):
    x = wild_numbers()[10:]
    expected = q.fake_quantize(x, "e5m2")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    native.library.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match=r"no C\+\+ compiler was found") as seen:
            plain = [q.fake_quantize(x, "e5m2") for _ in range(3)]
        assert len(seen) == 1
    finally:
        native.library.cache_clear()
    assert all(torch.equal(p, expected) for p in plain)
