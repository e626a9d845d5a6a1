"""The cached levels, which all runs of an output root share.

    OUT/levels/KEY/            a finished level; level.json is its record
    OUT/levels/KEY.part/       a level in training, with its checkpoints
    OUT/levels/KEY.lock        held while a level is trained or reused
    OUT/levels/*.damaged       damaged files, set aside until `lthrun runs clean`

What is kept: a finished level keeps its end state. Level 0 also keeps the states after its first `KEPT_EPOCHS` epochs,
any of which can become a rewind point. Level 0 and the levels of the fasterai protocol, which continues with it, keep
the optimizer's state at their end. A level in training keeps its last two checkpoints, the second in case the first is
damaged; both are removed when it is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import UserError
from lthrun.storage.files import FORMAT, remove, remove_temporaries, rename
from lthrun.storage.json_files import read_json, write_json
from lthrun.storage.locks import lock
from lthrun.storage.tensor_files import is_intact, read_tensors, tensor_file_sizes, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

KEPT_EPOCHS = 10
# The newest first. One is written whole as -next before the others are renamed, so there is always one to resume from.
CHECKPOINTS = ("checkpoint-next", "checkpoint", "checkpoint-previous")


class LevelStore:
    """The cached levels under one output root, by key."""

    def __init__(self, out: Path):
        self.root = out / "levels"
        self._checked: set[Path] = set()
        self._last_end: tuple[str, Mapping[str, Tensor]] | None = None

    def record(self, key: str) -> dict[str, Any] | None:
        """level.json of a finished level, or None; a level with a missing or truncated file is not finished."""
        self._undo_replacement(key)
        record = read_json(self.root / key / "level.json")
        if record is None or not isinstance(record.get("files"), dict) or not record.get("epochs"):
            return None
        return record if record["files"].items() <= tensor_file_sizes(self.root / key).items() else None

    def lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> Any:
        return lock(self.root / f"{key}.lock", waiting)

    def reuse(self, key: str, damaged: Callable[[Path], None]) -> dict[str, Any] | None:
        """The record of a finished level that is whole, or None; a damaged level is set aside, and `damaged` is called
        with its place.

        Its lock must be held. What a kill left beside a finished level is removed.
        """
        record, folder = self.record(key), self.root / key
        if not folder.exists():
            return None
        if record is None or not all(is_intact(folder / name) for name in record["files"]):
            damaged(self._set_aside(folder, key))
            return None
        self._checked |= {folder / name for name in record["files"]}
        self._tidy(key)
        self.discard(key)
        return record

    def read(self, key: str, name: str) -> dict[str, Tensor]:
        """The tensors in a file of a finished level: `end`, `optimizer` or `epoch-K`; its digest is checked once."""
        if name == "end" and self._last_end is not None and self._last_end[0] == key:
            return {name: tensor.clone() for name, tensor in self._last_end[1].items()}
        path = self.root / key / f"{name}.safetensors"
        tensors, _ = read_tensors(path, path not in self._checked)
        self._checked.add(path)
        return tensors

    def write(self, key: str, name: str, tensors: Mapping[str, Tensor]) -> None:
        """A file of a level in training; the end of the last level is also kept in memory, for the next one."""
        if name == "end":
            self._last_end = key, tensors
        write_tensors(self.root / f"{key}.part" / f"{name}.safetensors", tensors, {})

    def write_files(self, key: str, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        for name, tensors in files.items():
            self.write(key, name, tensors)

    def write_checkpoint(self, key: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """A checkpoint; the previous one stays until the next."""
        coming, latest, previous = (self.root / f"{key}.part" / f"{name}.safetensors" for name in CHECKPOINTS)
        write_tensors(coming, tensors, metadata)
        if latest.exists():
            rename(latest, previous)
        rename(coming, latest)

    def read_checkpoint(
        self, key: str, damaged: Callable[[Path], None] = lambda aside: None
    ) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """The newest whole checkpoint of a level in training, or None; damaged ones are set aside."""
        part = self.root / f"{key}.part"
        remove_temporaries(part)
        for name in CHECKPOINTS:
            path = part / f"{name}.safetensors"
            if path.exists():
                try:
                    return read_tensors(path)
                except UserError:
                    damaged(self._set_aside(path, f"{key}.{name}"))
        return None

    def last_good_checkpoint(self, key: str) -> Path | None:
        """The newest checkpoint of a level in training that is whole and holds finite numbers only."""
        for name in CHECKPOINTS:
            path = self.root / f"{key}.part" / f"{name}.safetensors"
            with suppress(UserError):
                if path.exists() and all(bool(tensor.isfinite().all()) for tensor in read_tensors(path)[0].values()):
                    return path
        return None

    def discard(self, key: str) -> None:
        """Remove the unfinished training of a level."""
        remove(self.root / f"{key}.part")

    def finish(self, key: str, record: Mapping[str, Any]) -> None:
        """Turn the level in training into the finished one, replacing an earlier one."""
        part, final, old = (self.root / f"{key}{suffix}" for suffix in (".part", "", ".old"))
        files = {name: size for name, size in tensor_file_sizes(part).items() if not name.startswith("checkpoint")}
        write_json(part / "level.json", {"format": FORMAT, **record, "files": files})
        remove(old)
        if final.exists():
            rename(final, old)
        rename(part, final)
        # Only now, so that there is always either a checkpoint or a finished level.
        self._tidy(key)

    def _tidy(self, key: str) -> None:
        """Remove what a finished level no longer needs."""
        for leftover in (self.root / f"{key}.old", *(self.root / key).glob("checkpoint*")):
            remove(leftover)
        remove_temporaries(self.root / key)

    def _set_aside(self, path: Path, name: str) -> Path:
        """Rename a damaged file, so that it is neither used nor lost."""
        aside = self.root / f"{name}.damaged"
        remove(aside)
        rename(path, aside)
        return aside

    def _undo_replacement(self, key: str) -> None:
        """Undo a replacement that was interrupted between its two renames."""
        final, old = self.root / key, self.root / f"{key}.old"
        if old.exists() and not final.exists():
            rename(old, final)
