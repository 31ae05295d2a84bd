"""A process of its own for what needs torch: the page's own process stays small and alive."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Lock
from typing import Any

PATIENCE_S = 120.0


class Workshop:
    """Started by the first job. One job at a time.

    trusted: names of outside code that the person has typed.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self.trusted = tuple(trusted)
        self._pool: ProcessPoolExecutor | None = None
        self._lock = Lock()

    def do(self, job: Callable[..., Any], *words: Any) -> Any:
        """The result of `job(*words)`, a function of `heavy`.

        Raises:
            ValueError: what the job refuses, or that it took too long or died.
        """
        try:
            return self._submit(job, words).result(timeout=PATIENCE_S)
        except BrokenProcessPool:
            self.close()
            raise ValueError(f"{job.__name__} ended without an answer: no memory?") from None
        except TimeoutError:
            self.close()
            raise ValueError(f"{job.__name__} took more than {PATIENCE_S:.0f} s") from None

    def _submit(self, job: Callable[..., Any], words: tuple[Any, ...]) -> Future[Any]:
        with self._lock:
            if self._pool is None:
                from altgrad.trust import allow

                context = multiprocessing.get_context("spawn")
                how: dict[str, Any] = {"initializer": allow, "initargs": (self.trusted,)}
                self._pool = ProcessPoolExecutor(1, mp_context=context, **how)
            return self._pool.submit(job, *words)

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                for process in list(self._pool._processes.values()):
                    process.terminate()
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None
