"""Tasks by hand, a task that fails, and what trained tasks leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lthrun.executors.tasks import LevelTask
from lthrun.executors.worker import LevelResult
from lthrun.experiments import load_config
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import Level
from tests.conftest import digest

CONFIG = load_config(None, "baseline")
CONDITIONS = Conditions({}, 1, "cpu", "float32")
RESULT = LevelResult(False, 1.0, 0.5, 0.0)


def task(key: str, parent: LevelTask | None = None, origin: LevelTask | None = None) -> LevelTask:
    level = Level(0, 0.0, 0, 1, 1, key, parent and parent.level, origin and origin.level)
    return LevelTask(CONFIG, level, key, CONDITIONS)


def failing(one: LevelTask) -> LevelTask:
    """The same task, which its worker refuses, since it was planned under other conditions."""
    return replace(one, conditions=replace(one.conditions, epoch_steps=1))


def trained(out: Path) -> dict[str, str]:
    """Digests of the end states of the finished levels, by key."""
    return {path.parent.name: digest(path) for path in (out / "levels").glob("*/end.safetensors")}
