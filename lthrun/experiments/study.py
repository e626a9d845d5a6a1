"""Conduct a study: have an engine obtain its levels, compare, and write everything down."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from lthrun.config.loading import dump
from lthrun.experiments.arms import pieces
from lthrun.experiments.compare import compare, tasks
from lthrun.experiments.context import Emit, RunContext
from lthrun.experiments.disk_space import check_room
from lthrun.experiments.tasks import RunOptions
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.environment import environment
from lthrun.report.publish import publish
from lthrun.report.records import Records
from lthrun.storage.level_store import LevelStore
from lthrun.storage.run_dir import RunDir

EVENTS = {"study", "task", "task_failed", "damaged", "finished"}
# Of what happens within a level, the rest would be a run's story, and a study has hundreds.
SHOWN = EVENTS | {"step", "waiting", "busy", "uncaptured", "no_question"}


def conduct(
    context: RunContext, run_dir: RunDir, options: RunOptions, emit: Emit, engine: str, jobs: int | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The study's summary, and a line per epoch; both are in the run directory as well.

    What could not be trained is `missing` in the summary; the study is then not finished, and tried again next time.
    """
    study: Any = context.resolved
    made = pieces(study, context.conditions)
    todo = tasks(made, context.conditions)

    def record(kind: str, **facts: Any) -> None:
        if kind in EVENTS:
            run_dir.event({"event": kind, **facts, "time": time.time()})
        if kind in SHOWN:
            emit(kind, **facts)

    builder = LevelBuilder(
        replace(context, config=study.ticket(study.seed), levels=[]), LevelStore(options.out), record, options.fresh
    )
    check_room([task.level for task in todo], builder, run_dir)
    config, surroundings = dump(study), {**environment(context.device), "levels": [task.key for task in todo]}
    run_dir.start(config, surroundings, ["events.jsonl"] if options.fresh else [])
    record(
        "study",
        tasks=len(todo),
        arms=len(study.compare.arms),
        seeds=len(study.seeds),
        device=study.device,
        precision=study.precision,
        n_train=len(context.train),
        n_valid=len(context.valid),
    )
    if not {"ticket", "dense"} <= set(study.compare.arms):
        record("no_question")
    summary, lines = compare(context, run_dir, made, todo, options, record, engine, jobs)
    run_dir.metrics(lines)
    publish(Records(run_dir.path, summary, lines, config, surroundings))
    run_dir.finish(summary)
    record("finished", run=str(run_dir.path))
    return summary, lines
