"""Conduct a study: have an engine obtain its levels, compare, and write everything down."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from lthrun.config.loading import dump
from lthrun.experiments.arms import pieces
from lthrun.experiments.compare import compare, tasks
from lthrun.experiments.context import Emit, Setting
from lthrun.experiments.disk_space import check_room
from lthrun.experiments.tasks import Job
from lthrun.levels.builder import Lab
from lthrun.levels.environment import environment
from lthrun.report.publish import publish
from lthrun.report.records import Records
from lthrun.storage.level_store import LevelStore
from lthrun.storage.run_dir import RunDir

EVENTS = {"study", "task", "task_failed", "damaged", "finished"}
# Of what happens within a level, the rest would be a run's story, and a study has hundreds.
SHOWN = EVENTS | {"step", "waiting", "busy", "uncaptured", "no_question"}


def conduct(
    setting: Setting, run_dir: RunDir, job: Job, emit: Emit, engine: str, jobs: int | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The study's summary, and a line per epoch; both are in the run directory as well.

    What could not be trained is `missing` in the summary; the study is then not finished, and tried again next time.
    """
    study: Any = setting.resolved
    made = pieces(study, setting.ground)
    todo = tasks(made, setting.ground)

    def record(kind: str, **facts: Any) -> None:
        if kind in EVENTS:
            run_dir.event({"event": kind, **facts, "time": time.time()})
        if kind in SHOWN:
            emit(kind, **facts)

    lab = Lab(replace(setting, config=study.ticket(study.seed), levels=[]), LevelStore(job.out), record, job.fresh)
    check_room([task.level for task in todo], lab, run_dir)
    config, surroundings = dump(study), {**environment(setting.device), "levels": [task.key for task in todo]}
    run_dir.start(config, surroundings, ["events.jsonl"] if job.fresh else [])
    record(
        "study",
        tasks=len(todo),
        arms=len(study.compare.arms),
        seeds=len(study.seeds),
        device=study.device,
        precision=study.precision,
        n_train=len(setting.train),
        n_valid=len(setting.valid),
    )
    if not {"ticket", "dense"} <= set(study.compare.arms):
        record("no_question")
    summary, lines = compare(setting, run_dir, made, todo, job, record, engine, jobs)
    run_dir.metrics(lines)
    publish(Records(run_dir.path, summary, lines, config, surroundings))
    run_dir.finish(summary)
    record("finished", run=str(run_dir.path))
    return summary, lines
