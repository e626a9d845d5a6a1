"""Baseline: the dense network, which is level 0 of every ticket. Gradual pruning is one level as well."""

from __future__ import annotations

from typing import Any

from lthrun.levels.builder import Lab
from lthrun.levels.plan import Level
from lthrun.storage.run_dir import RunDir


def baseline(lab: Lab, levels: list[Level], run_dir: RunDir) -> dict[str, Any]:
    """Obtain the levels in order and write the trained weights."""
    records = [lab.obtain(level) for level in levels]
    run_dir.write("model", lab.end(levels[-1])[0], {"model": lab.config.model.name})
    return {"records": records}
