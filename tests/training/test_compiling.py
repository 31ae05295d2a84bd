"""What the compiler raises reaches a person as one line."""

import inspect

import pytest
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InductorError

from altgrad.settings import ConfigError
from altgrad.training.machine import readable_compile_errors


@pytest.mark.parametrize("kind", [InductorError, BackendCompilerFailed])
def test_half_a_library_in_torchs_cache_is_one_line_with_the_cure(kind, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    cause = ImportError("x.main.so: file too short\n\nfurther lines"), inspect.currentframe()
    failure = kind(*cause) if kind is InductorError else kind("inductor", *cause)
    wanted = rf"^torch could not compile .*file too short\); .* delete torch's cache {tmp_path},"
    with pytest.raises(ConfigError, match=wanted) as caught, readable_compile_errors():
        raise failure
    assert "\n" not in str(caught.value)


def test_any_other_failure_passes_through():
    with pytest.raises(ZeroDivisionError), readable_compile_errors():
        raise ZeroDivisionError
