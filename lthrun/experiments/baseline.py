"""Baseline: the dense network, which is level 0 of every ticket. Gradual pruning is one level as well."""

from __future__ import annotations

from typing import Any

from lthrun.levels.builder import LevelBuilder
from lthrun.levels.plan import Level
from lthrun.storage.run_dir import RunDir


def baseline(builder: LevelBuilder, levels: list[Level], run_dir: RunDir) -> dict[str, Any]:
    """Obtain the levels in order and write the trained weights."""
    records = [builder.get_or_train(level) for level in levels]
    run_dir.write("model", builder.end(levels[-1])[0], {"model": builder.config.model.name})
    return {"records": records}
