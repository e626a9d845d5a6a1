"""Every write, rename and flush fails in turn, by doubles under the module that writes.

A run that fails reports one error; nothing half-written is ever read as whole; the next run comes to the same end.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import lthrun
from lthrun.experiments import Result
from tests.conftest import SMALL_SETS, digest, run, timeless

pytestmark = pytest.mark.usefixtures("tiny_model")


class Disk:
    """Counts the calls that change what lies under `root`; the one numbered `fails` fails with `code`.

    A write that fails has written half. With `for_good` all later calls fail as well, as on a full disk.
    """

    def __init__(self, root: Path, fails: int | None, code: int, for_good: bool = False):
        self.root, self.fails, self.code, self.for_good, self.calls = str(root), fails, code, for_good, 0

    def failing(self) -> bool:
        self.calls += 1
        return self.fails is not None and (self.calls == self.fails or (self.for_good and self.calls > self.fails))

    def fail(self, *paths: Any) -> None:
        if any(str(path).startswith(self.root) for path in paths) and self.failing():
            raise OSError(self.code, os.strerror(self.code), str(paths[0]))

    @contextmanager
    def inserted(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "rename", "mkdir", "unlink"):
                patch.setattr(os, name, self.before(getattr(os, name)))
            fsync, opened = os.fsync, io.open
            patch.setattr(
                os, "fsync", lambda number: (self.fail(Path(f"/proc/self/fd/{number}").readlink()), fsync(number))
            )

            def open_file(path: Any, mode: str = "r", *more: Any, **how: Any) -> Any:
                if mode[0] not in "wa" or not str(path).startswith(self.root):
                    return opened(path, mode, *more, **how)
                self.fail(path)
                return Torn(self, opened(path, mode, 0))

            patch.setattr(io, "open", open_file)
            yield

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def double(*paths: Any, **more: Any) -> Any:
            self.fail(*paths)
            return call(*paths, **more)

        return double


class Torn:
    """A file whose failing write leaves half behind."""

    def __init__(self, disk: Disk, file: Any):
        self.disk, self.file = disk, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        if self.disk.failing():
            self.file.write(data[: len(data) // 2])
            raise OSError(self.disk.code, os.strerror(self.disk.code))
        return int(self.file.write(data))


def outcome(result: Result) -> tuple[Any, dict[str, str]]:
    return timeless(result), {path.name: digest(path) for path in result.run_dir.glob("*.safetensors")}


@pytest.mark.parametrize(
    ("code", "for_good"),
    [(errno.ENOSPC, True), (errno.EIO, False), (errno.EACCES, False)],
    ids=["disk full from then on", "fault of the disk", "access refused"],
)
def test_whatever_call_fails_nothing_torn_is_read_as_whole(small: Callable, tmp_path: Path, code: int, for_good: bool):
    """Two levels of two steps, with a checkpoint after each step."""
    config = small("ticket", **{"training.epochs": 1, "training.batch_size": 24, "pruning.steps": 1})
    whole = outcome(run(config, tmp_path / "whole"))
    count = Disk(tmp_path / "counted", None, code)
    with count.inserted():
        assert outcome(run(config, tmp_path / "counted", checkpoint_every="1it")) == whole
    assert count.calls > 60
    for number in range(1, count.calls + 1):
        out = tmp_path / f"{number}"
        with Disk(out, number, code, for_good).inserted():
            try:
                assert outcome(run(config, out, checkpoint_every="1it")) == whole
            except OSError as error:
                assert error.errno == code and str(error.filename).startswith(str(out)), number
            except lthrun.UserError as error:
                assert str(out) in str(error), number
        assert outcome(run(config, out)) == whole, number
        left = [p for p in out.rglob("*") if p.suffix in (".part", ".damaged", ".old") or p.name.startswith("..")]
        assert not left, number


def test_a_full_disk_is_one_line_that_names_the_file_and_what_is_there_stays(
    lthrun: Callable, images: Path, tmp_path: Path, small: Callable
):
    run(small("baseline"), tmp_path / "out")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.safetensors")}
    disk = Disk(tmp_path / "out" / "levels", 4, errno.ENOSPC, True)
    with disk.inserted():
        refused = lthrun("ticket", "--data-dir", images, "--out", tmp_path / "out", *SMALL_SETS)
    assert refused.status == 2 and refused.err.count("\n") == 1
    assert str(tmp_path / "out" / "levels") in refused.err and "No space left on device" in refused.err
    assert {p: p.read_bytes() for p in before} == before
