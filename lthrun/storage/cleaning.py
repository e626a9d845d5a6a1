"""What may go of an output root: levels that no kept run needs, leftovers, what was found damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lthrun.errors import UserError
from lthrun.storage.files import lock_if_free, remove
from lthrun.storage.run_dir import level_keys

# Name in OUT/levels, why it may go, bytes.
Leftover = tuple[str, str, int]


def leftovers(out: Path, keep: Sequence[str] = ()) -> list[Leftover]:
    """What is needed by no kept run; all runs are kept unless `keep` names some. A run that is at work is kept too.

    Raises:
        UserError: `keep` names what is no run.
    """
    run_dirs = {path.parent.name: path.parent for path in out.glob("*/config.yaml")}
    kept = {Path(name).name for name in keep}
    for name in sorted(kept - run_dirs.keys()):
        raise UserError(f"--keep: found no run {name} in {out}; there are {', '.join(sorted(run_dirs)) or 'none'}")
    needed: set[str] = set()
    for name, path in run_dirs.items():
        if not kept or name in kept or at_work(path):
            needed |= level_keys(path)
    found = []
    for path in sorted(out.glob("levels/*")):
        key, _, suffix = path.name.partition(".")
        why = reason(suffix, key in needed, (path.parent / key).exists())
        if why:
            found.append((path.name, why, total(path)))
    return found


def reason(suffix: str, needed: bool, finished: bool) -> str | None:
    """Why something in `levels/` may go; None of what stays."""
    if suffix.endswith("damaged"):
        return "was found damaged"
    if suffix == "":
        return None if needed else "a level"
    if suffix in ("part", "old") and (finished or not needed):
        return "a level not finished" if suffix == "part" else "a level that was replaced"
    return None


def sweep(out: Path, found: Sequence[Leftover]) -> int:
    """Remove what was found, but for levels that a process is at work on; the bytes that were freed."""
    freed = 0
    for name, _, size in found:
        with lock_if_free(out / "levels" / f"{name.partition('.')[0]}.lock") as free:
            if free:
                remove(out / "levels" / name)
                freed += size
    return freed


def at_work(run_dir: Path) -> bool:
    """Whether a process holds the run's lock."""
    if not (run_dir / ".lock").exists():
        return False
    with lock_if_free(run_dir / ".lock") as free:
        return not free


def total(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
