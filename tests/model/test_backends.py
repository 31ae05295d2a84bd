import pytest
import torch

from altgrad.model import backends
from altgrad.model.backends import CHUNK, attend


@pytest.mark.parametrize(
    ("backend", "dropout_p", "reason"),
    [
        ("efficient", 0.0, "needs a CUDA device, this is cpu"),
        ("flash", 0.1, "has no dropout on the CPU"),
    ],
)
def test_a_backend_that_torch_does_not_have_here_is_refused(backend, dropout_p, reason):
    q, k, v = torch.randn(3, 1, 2, 4, 8)
    with pytest.raises(ValueError, match=f"model.attention_backend={backend} {reason}"):
        attend(q, k, v, backend=backend, dropout_p=dropout_p)


def test_auto_is_sdpa_in_eager_mode_and_chunked_when_compiled_for_a_cpu(monkeypatch):
    q, k, v = torch.randn(3, 1, 2, 70, 4)
    calls = []
    for name in ("chunked", "_sdpa"):
        monkeypatch.setattr(backends, name, lambda q, *_, n=name, **__: calls.append(n) or q)
    attend(q, k, v)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    attend(q, k, v)
    long = torch.empty(1, 1, backends.MAX_CHUNKED_QUERIES + 1, 4)
    attend(long, long, long)
    assert calls == ["_sdpa", "chunked", "_sdpa"]


def test_auto_trains_bf16_in_blocks_on_a_cpu_also_under_autocast(monkeypatch):
    calls = []
    for name in ("blocks", "_sdpa"):
        monkeypatch.setattr(backends, name, lambda q, *_, n=name, **__: calls.append(n) or q)
    trained = torch.randn(1, 2, 70, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        attend(trained, trained, trained)
        with torch.no_grad():
            attend(trained, trained, trained)
    half = trained.bfloat16()
    attend(half, half, half)
    attend(trained, trained, trained)  # float32
    assert calls == ["blocks", "_sdpa", "blocks", "_sdpa"]


def test_blocks_in_bf16_are_within_its_rounding_of_float32():
    inputs = [torch.randn(2, 2, 300, 8, requires_grad=True) for _ in range(3)]
    exact = attend(*inputs, backend="explicit")
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(*inputs, backend="blocks")
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0, atol=2e-2)


@pytest.mark.parametrize("backend", ["chunked", "blocks"])
@pytest.mark.parametrize("window", [1, 2, CHUNK, CHUNK + 1, CHUNK + 2, None])
@pytest.mark.parametrize("cached", [0, 5, CHUNK])
@pytest.mark.parametrize("length", [1, CHUNK, 2 * CHUNK + 7])
def test_blocks_of_queries_change_nothing(length, cached, window, backend):
    q, k, v = (torch.randn(2, 2, n, 4).double() for n in (length, cached + length, cached + length))
    expected = attend(q, k, v, backend="explicit", window=window)
    torch.testing.assert_close(attend(q, k, v, backend=backend, window=window), expected)


def test_blocks_have_the_gradients_of_the_definition():
    inputs = [torch.randn(1, 2, 300, 4, dtype=torch.double, requires_grad=True) for _ in range(3)]
    weights = torch.randn(1, 2, 300, 4, dtype=torch.double)
    found = [
        torch.autograd.grad((attend(*inputs, backend=name) * weights).sum(), inputs)
        for name in ("explicit", "blocks")
    ]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("window", [None, CHUNK + 1])
def test_chunks_never_read_a_block_that_the_mask_empties(window):
    length = 4 * CHUNK
    q, k, v = (torch.randn(1, 1, length, 4) for _ in range(3))
    k[:, :, 3 * CHUNK :] = float("nan")  # of the last chunk's own keys
    if window:
        k[:, :, :CHUNK] = float("nan")  # out of the third chunk's window
    out = attend(q, k, v, backend="chunked", window=window)
    assert out[:, :, 2 * CHUNK : 3 * CHUNK].isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("backend", "dtype", "window", "reason"),
    [
        ("flash", torch.float32, 4, "needs bfloat16 or float16"),
        ("flash", torch.bfloat16, 2, "takes no mask"),
        ("efficient", torch.float64, 4, "has no float64"),
    ],
)
def test_cuda_kernels_refuse_what_they_cannot_do(backend, dtype, window, reason):
    q, k, v = torch.randn(3, 1, 2, 4, 8, device="cuda", dtype=dtype)
    with pytest.raises(ValueError, match=reason):
        attend(q, k, v, backend=backend, window=window)
