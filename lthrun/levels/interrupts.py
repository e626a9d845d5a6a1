"""Ctrl-C and SIGTERM during training: the step is finished and saved first.

Only a main thread receives signals. Levels that train in other threads are told to stop by an event that they share.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class PendingInterrupt:
    """A signal that arrived and is not handled yet, or `stop` that was set by another thread."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.signal: int | None = None
        self.handlers: dict[int, Any] = {}

    @property
    def is_pending(self) -> bool:
        return self.signal is not None or self.stop.is_set()

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal. A second Ctrl-C does not wait; a second SIGTERM does: a pool of processes sends it to
        the others when one of them has ended."""
        if self.signal is None:
            self.signal = number
        elif number == signal.SIGINT:
            self.handle()

    def handle(self) -> None:
        """Do what the signal would have done."""
        number, self.signal = self.signal, None
        if number is None:
            if self.stop.is_set():
                raise KeyboardInterrupt
            return
        handler = self.handlers[number]
        if callable(handler):
            handler(number, None)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextmanager
def defer_interrupts(stop: threading.Event) -> Iterator[PendingInterrupt]:
    """Signals wait until `handle` is called, or the block ends; those that are ignored stay so."""
    pending = PendingInterrupt(stop)
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    for caught in SIGNALS:
        if signal.getsignal(caught) != signal.SIG_IGN:
            pending.handlers[caught] = signal.signal(caught, pending.receive)
    try:
        yield pending
    finally:
        for number, handler in pending.handlers.items():
            signal.signal(number, handler)
        pending.handle()
