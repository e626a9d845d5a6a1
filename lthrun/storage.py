"""The one module that writes. What is read back is written aside, flushed, and renamed.

The output root holds run directories and `levels/`, the trained levels that runs share:

    OUT/ticket-s0-1a2b3c4d/    one run: config, environment, metrics, events, summary, tensors
    OUT/levels/KEY/            one finished level; level.json is its record
    OUT/levels/KEY.part/       one being trained, with its checkpoint
    OUT/levels/KEY.lock        held while a level is trained or read

The keep rule: a finished level keeps its end state. Level 0 also keeps the states after its first
`KEPT_EPOCHS` epochs, any of which can become a rewind point. Level 0 and the levels of the fasterai
protocol, which goes on with it, keep the optimizer's state at their end. A checkpoint goes when its
level is finished.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import filelock
import platformdirs

from lthrun.errors import UserError, cut

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
KEPT_EPOCHS = 10


def cache_dir() -> Path:
    """Where data, drawn images and stores live: `LTHRUN_CACHE`, or the user's cache directory."""
    return Path(os.environ.get("LTHRUN_CACHE") or platformdirs.user_cache_dir("lthrun")).expanduser()


@contextmanager
def lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`; a lock whose process has died does not block.

    Calls `waiting` once if another process holds it. A folder that holds nothing but its lock in the end, because
    what it was made for was refused, goes away again.
    """
    make_dir(path.parent)
    held = filelock.FileLock(path)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        waiting()
        held.acquire()
    try:
        yield
    finally:
        held.release()
        with suppress(OSError):
            if list(path.parent.iterdir()) == [path]:
                shutil.rmtree(path.parent)


def make_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a directory: {error.strerror}") from None


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at `path`, whole, when the block ends well; else nothing is left."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    make_dir(path.parent)
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path | None]:
    """A folder to fill that appears at `path`, whole, when the block ends well; None where `path` exists."""
    if path.exists():
        yield None
        return
    with lock(path.parent / ".lock"):
        if path.exists():
            yield None
            return
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        make_dir(aside)
        try:
            yield aside
            aside.rename(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with written_aside(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None where there is no (whole) one."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def append_json_line(path: Path, value: Any) -> None:
    """A line at the end of a file; what a cut-off write has left there stays a line of its own."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(value, allow_nan=False).encode() + b"\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file of contiguous CPU tensors; equal contents give equal bytes."""
    from safetensors.torch import save

    data = save(dict(tensors), dict(metadata))
    # The library writes metadata in random order: sort the header (8 bytes of length, JSON padded to 8).
    length = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    with written_aside(path) as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        file.write(memoryview(data)[length:])


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("a directory, a pipe or a device")
        path.open("rb").close()  # says why, where the library says that there is no such file
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {cut(str(error))}") from None


class LevelStore:
    """The trained levels under one output root, each found by its key."""

    def __init__(self, out: Path):
        self.root = out / "levels"

    def record(self, key: str) -> dict[str, Any] | None:
        """level.json of a finished level, or None; a level with a file missing or cut short is not finished."""
        self._recover(key)
        record = read_json(self.root / key / "level.json")
        if not isinstance(record, dict) or "files" not in record:
            return None
        return record if record["files"].items() <= sizes(self.root / key).items() else None

    def lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> Any:
        return lock(self.root / f"{key}.lock", waiting)

    def read(self, key: str, name: str) -> dict[str, Tensor]:
        """The tensors of one file of a finished level: `end`, `optimizer` or `epoch-K`."""
        return read_tensors(self.root / key / f"{name}.safetensors")[0]

    def write(self, key: str, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] = {}) -> None:
        """One file of a level being trained."""
        write_tensors(self.root / f"{key}.part" / f"{name}.safetensors", tensors, metadata)

    def checkpoint(
        self, key: str, damaged: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """Where the training of a level can go on, or None; calls `damaged` if that cannot be read."""
        path = self.root / f"{key}.part" / "checkpoint.safetensors"
        if not path.exists():
            return None
        try:
            return read_tensors(path)
        except UserError:
            damaged()
            return None

    def discard(self, key: str) -> None:
        """Forget the unfinished training of a level."""
        shutil.rmtree(self.root / f"{key}.part", ignore_errors=True)

    def finish(self, key: str, record: Mapping[str, Any]) -> None:
        """Turn the level being trained into the finished one, replacing an earlier one."""
        part, final, old = (self.root / f"{key}{suffix}" for suffix in (".part", "", ".old"))
        files = {name: size for name, size in sizes(part).items() if name != "checkpoint.safetensors"}
        write_json(part / "level.json", {**record, "files": files})
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        part.rename(final)
        # Only now, so that at no moment there is neither a checkpoint nor a finished level.
        for leftover in (final / "checkpoint.safetensors", *final.glob(".*")):
            leftover.unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)

    def _recover(self, key: str) -> None:
        """Undo a replacement that was cut short between its two renames."""
        final, old = self.root / key, self.root / f"{key}.old"
        if old.exists() and not final.exists():
            old.rename(final)


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of each tensor file in a folder."""
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.safetensors"))}


class RunDir:
    """One run's directory. Made when the run starts, locked while it runs."""

    def __init__(self, path: Path):
        self.path = path

    def lock(self, waiting: Callable[[], None]) -> Any:
        return lock(self.path / ".lock", waiting)

    def start(self, config: str, environment: Mapping[str, Any], fresh: bool) -> None:
        """Begin to write the run down; what was judged before is kept unless the run starts `fresh`."""
        for name in ("metrics.jsonl", "events.jsonl", *(["judgements.jsonl"] if fresh else [])):
            (self.path / name).unlink(missing_ok=True)
        write_text(self.path / "config.yaml", config)
        write_json(self.path / "environment.json", environment)

    def metric(self, record: Mapping[str, Any]) -> None:
        append_json_line(self.path / "metrics.jsonl", record)

    def event(self, record: Mapping[str, Any]) -> None:
        append_json_line(self.path / "events.jsonl", record)

    def judgement(self, name: str, correct: list[int]) -> None:
        append_json_line(self.path / "judgements.jsonl", {"name": name, "correct": correct})

    def judgements(self) -> dict[str, list[int]]:
        """Right answers per class of the masks judged so far, by name; a torn line is passed over."""
        found = {}
        with suppress(OSError):
            for line in (self.path / "judgements.jsonl").read_text("utf-8").splitlines():
                with suppress(ValueError):
                    judgement = json.loads(line)
                    found[judgement["name"]] = judgement["correct"]
        return found

    def write(self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """`model` or `ticket`, as safetensors."""
        write_tensors(self.path / f"{name}.safetensors", tensors, metadata)

    def finish(self, summary: Mapping[str, Any]) -> None:
        write_json(self.path / "summary.json", summary)

    def finished(self) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Summary and metrics of a finished run, or None if anything of it is missing or damaged."""
        summary = read_summary(self.path)
        try:
            metrics = [json.loads(line) for line in (self.path / "metrics.jsonl").read_text("utf-8").splitlines()]
        except (OSError, ValueError):
            return None
        if summary is None or len(metrics) != summary["epochs"] or summary["files"] != sizes(self.path):
            return None
        return summary, metrics


def read_summary(run_dir: Path) -> dict[str, Any] | None:
    """The summary in a run directory, wherever it lies now; None where there is no (whole) one."""
    summary = read_json(run_dir / "summary.json")
    if not isinstance(summary, dict) or summary.get("format") != FORMAT or "files" not in summary:
        return None
    return {**summary, "run_dir": str(run_dir)}


def finished_runs(out: Path) -> list[dict[str, Any]]:
    """The summaries under an output root, oldest first, each with `finished` (seconds since 1970)."""
    found = [(path.stat().st_mtime, read_summary(path.parent)) for path in out.glob("*/summary.json")]
    summaries = [{**summary, "finished": when} for when, summary in found if summary is not None]
    return sorted(summaries, key=lambda summary: float(summary["finished"]))
