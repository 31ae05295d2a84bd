"""A failure of torch.compile in one line.

A run that is killed while it compiles can leave half a library in torch's cache; every later run of
the same network then fails as it loads that file, with pages of torch's own frames.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from altgrad.settings import ConfigError


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turns what the compiler raises into a ConfigError; everything else passes through."""
    try:
        yield
    except Exception as error:
        # By name: the class lives in a module that takes long to import and is not public.
        if "BackendCompilerFailed" not in {kind.__name__ for kind in type(error).__mro__}:
            raise
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ConfigError(
            f"torch could not compile the network ({reason}); if it fails again, delete torch's "
            f"cache {cache_dir()}, where a killed run may have left half a file, or use "
            "compile=false."
        ) from error
