"""The thread that writes: in order, one write at a time, and no error is lost."""

from __future__ import annotations

import threading
import time

import pytest

from lthrun.storage.background import BackgroundWriter


def test_writes_are_in_order_and_one_at_a_time_and_reported_in_the_callers_thread():
    log: list[object] = []

    def write(number: int) -> None:
        log.append(("start", number))
        time.sleep(0.01)
        log.append(("end", number))

    with BackgroundWriter() as writer:
        for number in range(3):
            writer.submit(lambda number=number: write(number), lambda: log.append(threading.current_thread()))
    main = threading.current_thread()
    assert log == [entry for number in range(3) for entry in (("start", number), ("end", number), main)]


@pytest.mark.parametrize("call", ["submit", "poll", "wait", "leave"])
def test_a_failed_write_is_raised_at_the_next_call_and_not_reported(call: str):
    reported: list[int] = []

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), BackgroundWriter() as writer:
        writer.submit(fail, lambda: reported.append(1))
        while call == "poll":
            writer.poll()
        if call != "leave":
            writer.wait() if call == "wait" else writer.submit(lambda: reported.append(2))
    assert not reported


def test_an_interrupt_waits_for_the_write_and_is_not_replaced_by_its_error():
    finished: list[int] = []

    def fail() -> None:
        time.sleep(0.02)
        finished.append(1)
        raise OSError("disk full")

    with pytest.raises(KeyboardInterrupt), BackgroundWriter() as writer:
        writer.submit(fail)
        raise KeyboardInterrupt
    assert finished
