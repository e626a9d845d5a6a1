"""The trained levels that runs share.

    OUT/levels/KEY/            one finished level; level.json is its record
    OUT/levels/KEY.part/       one being trained, with its checkpoints
    OUT/levels/KEY.lock        held while a level is trained or taken over
    OUT/levels/*.damaged       what was found damaged, set aside until `lthrun runs clean`

The keep rule: a finished level keeps its end state. Level 0 also keeps the states after its first
`KEPT_EPOCHS` epochs, any of which can become a rewind point. Level 0 and the levels of the fasterai
protocol, which goes on with it, keep the optimizer's state at their end. A level in training keeps its
last two checkpoints, the second in case the first is damaged; both go when it is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import UserError
from lthrun.storage.files import (
    clear_asides,
    is_intact,
    lock,
    move,
    read_json,
    read_tensors,
    remove,
    sizes,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

KEPT_EPOCHS = 10
# The newest first. One is written whole as -next before the others move on, so there is always one to go on from.
CHECKPOINTS = ("checkpoint-next", "checkpoint", "checkpoint-previous")


class LevelStore:
    """The trained levels under one output root, each found by its key."""

    def __init__(self, out: Path):
        self.root = out / "levels"
        self._checked: set[Path] = set()

    def record(self, key: str) -> dict[str, Any] | None:
        """level.json of a finished level, or None; a level with a file missing or cut short is not finished."""
        self._recover(key)
        record = read_json(self.root / key / "level.json")
        if record is None or not isinstance(record.get("files"), dict) or not record.get("epochs"):
            return None
        return record if record["files"].items() <= sizes(self.root / key).items() else None

    def lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> Any:
        return lock(self.root / f"{key}.lock", waiting)

    def take_over(self, key: str, damaged: Callable[[Path], None]) -> dict[str, Any] | None:
        """The record of a finished level that is whole, or None; calls `damaged` with where one that is not was put.

        Its lock must be held. What a kill has left beside a finished level goes.
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
        """The tensors of one file of a finished level: `end`, `optimizer` or `epoch-K`; checked once."""
        path = self.root / key / f"{name}.safetensors"
        tensors, _ = read_tensors(path, path not in self._checked)
        self._checked.add(path)
        return tensors

    def write(self, key: str, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] = {}) -> None:
        """One file of a level being trained."""
        write_tensors(self.root / f"{key}.part" / f"{name}.safetensors", tensors, metadata)

    def save(self, key: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """A checkpoint; the one before it stays, until the next."""
        coming, latest, previous = (self.root / f"{key}.part" / f"{name}.safetensors" for name in CHECKPOINTS)
        write_tensors(coming, tensors, metadata)
        if latest.exists():
            move(latest, previous)
        move(coming, latest)

    def checkpoint(
        self, key: str, damaged: Callable[[Path], None] = lambda aside: None
    ) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """Where the training of a level can go on, or None; calls `damaged` with where a bad one was put."""
        part = self.root / f"{key}.part"
        clear_asides(part)
        for name in CHECKPOINTS:
            path = part / f"{name}.safetensors"
            if path.exists():
                try:
                    return read_tensors(path)
                except UserError:
                    damaged(self._set_aside(path, f"{key}.{name}"))
        return None

    def last_good(self, key: str) -> Path | None:
        """The newest checkpoint of a level in training that is whole and holds finite numbers only."""
        for name in CHECKPOINTS:
            path = self.root / f"{key}.part" / f"{name}.safetensors"
            with suppress(UserError):
                if path.exists() and all(bool(tensor.isfinite().all()) for tensor in read_tensors(path)[0].values()):
                    return path
        return None

    def discard(self, key: str) -> None:
        """Forget the unfinished training of a level."""
        remove(self.root / f"{key}.part")

    def finish(self, key: str, record: Mapping[str, Any]) -> None:
        """Turn the level being trained into the finished one, replacing an earlier one."""
        part, final, old = (self.root / f"{key}{suffix}" for suffix in (".part", "", ".old"))
        files = {name: size for name, size in sizes(part).items() if not name.startswith("checkpoint")}
        write_json(part / "level.json", {**record, "files": files})
        remove(old)
        if final.exists():
            move(final, old)
        move(part, final)
        # Only now, so that at no moment there is neither a checkpoint nor a finished level.
        self._tidy(key)

    def _tidy(self, key: str) -> None:
        """Remove what a finished level has no more use for."""
        for leftover in (self.root / f"{key}.old", *(self.root / key).glob("checkpoint*")):
            remove(leftover)
        clear_asides(self.root / key)

    def _set_aside(self, path: Path, name: str) -> Path:
        """Take something damaged out of the way, without losing it."""
        aside = self.root / f"{name}.damaged"
        remove(aside)
        move(path, aside)
        return aside

    def _recover(self, key: str) -> None:
        """Undo a replacement that was cut short between its two renames."""
        final, old = self.root / key, self.root / f"{key}.old"
        if old.exists() and not final.exists():
            move(old, final)
