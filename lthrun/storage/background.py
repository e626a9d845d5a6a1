"""Writes files in the background, while training continues.

Serializing, hashing and flushing a checkpoint takes longer than a short epoch, and none of it needs the training
thread. Writes happen in the order in which they were submitted, and one at a time: a second one waits for the first,
so that a slow disk cannot fill the memory. What went wrong is raised at the next call.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class BackgroundWriter:
    """One thread that writes. Use it as a context: leaving it waits for the last write."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "lthrun-writer")
        self._pending: Future[Any] | None = None
        self._after: Callable[[], None] = lambda: None

    def submit(self, write: Callable[[], Any], after: Callable[[], None] = lambda: None) -> None:
        """Write in the background, after the write before. `after` is called in this thread once it is durable: by
        the next call of `submit`, `poll` or `wait`."""
        self.wait()
        self._pending, self._after = self._pool.submit(write), after

    def poll(self) -> None:
        """Raise the error of a write that failed."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Until everything submitted is durable; raises the error of a write that failed."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
            self._after()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown(wait=True)
