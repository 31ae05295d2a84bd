import pytest
import torch

from altgrad.model.backends import attend


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
