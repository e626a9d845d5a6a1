"""What can be removed from an output root: levels that no kept run needs, leftovers, damaged files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lthrun.errors import UserError
from lthrun.storage.files import remove
from lthrun.storage.locks import lock_if_free
from lthrun.storage.run_dir import RunDir

Leftover = tuple[str, str, int]  # name in OUT/levels, reason, bytes


def list_leftovers(out: Path, keep: Sequence[str] = ()) -> list[Leftover]:
    """What no kept run needs; all runs are kept unless `keep` names some. A run in progress is always kept.

    Raises:
        UserError: `keep` names something that is not a run.
    """
    run_dirs = {path.parent.name: RunDir(path.parent) for path in out.glob("*/config.yaml")}
    kept = {Path(name).name for name in keep}
    for name in sorted(kept - run_dirs.keys()):
        raise UserError(f"--keep: found no run {name} in {out}; there are {', '.join(sorted(run_dirs)) or 'none'}")
    needed: set[str] = set()
    for name, run_dir in run_dirs.items():
        if not kept or name in kept or is_in_progress(run_dir):
            needed |= run_dir.level_keys()
    leftovers = []
    for path in sorted(out.glob("levels/*")):
        key, _, suffix = path.name.partition(".")
        reason = find_reason(suffix, key in needed, (path.parent / key).exists())
        if reason:
            leftovers.append((path.name, reason, count_bytes(path)))
    return leftovers


def find_reason(suffix: str, is_needed: bool, is_finished: bool) -> str | None:
    """Why something in `levels/` can be removed; None if it is kept."""
    if suffix.endswith("damaged"):
        return "damaged"
    if suffix == "":
        return None if is_needed else "a level"
    if suffix in ("part", "old") and (is_finished or not is_needed):
        return "an unfinished level" if suffix == "part" else "a level that was replaced"
    return None


def remove_leftovers(out: Path, leftovers: Sequence[Leftover]) -> int:
    """Remove them, except levels that a process is working on; the bytes that were freed."""
    freed = 0
    for name, _, size in leftovers:
        with lock_if_free(out / "levels" / f"{name.partition('.')[0]}.lock") as is_free:
            if is_free:
                remove(out / "levels" / name)
                freed += size
    return freed


def is_in_progress(run_dir: RunDir) -> bool:
    """Whether a process holds the run's lock."""
    path = run_dir.path / ".lock"
    if not path.exists():
        return False
    with lock_if_free(path) as is_free:
        return not is_free


def count_bytes(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
