"""Ctrl-C and SIGTERM during training: the step is finished and saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class PendingInterrupt:
    """A signal that arrived and is not handled yet."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.handlers: dict[int, Any] = {}

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; a second one does not wait."""
        if self.signal is not None:
            self.handle()
        self.signal = number

    def handle(self) -> None:
        """Do what the signal would have done."""
        number, self.signal = self.signal, None
        if number is None:
            return
        handler = self.handlers[number]
        if callable(handler):
            handler(number, None)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextmanager
def defer_interrupts() -> Iterator[PendingInterrupt]:
    """Signals wait until `handle` is called, or the block ends. Only a main thread receives signals."""
    pending = PendingInterrupt()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    for caught in SIGNALS:
        pending.handlers[caught] = signal.getsignal(caught)
        signal.signal(caught, pending.receive)
    try:
        yield pending
    finally:
        for number, handler in pending.handlers.items():
            signal.signal(number, handler)
        pending.handle()
