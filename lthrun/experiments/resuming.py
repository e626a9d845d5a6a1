"""Resumes a run by its directory: where it was started, or with its images and its directory at other places.

What determines numbers cannot change, since the levels would be others (lthrun.levels.keys): images, settings, type of
device, precision. Where the images lie, which of several GPUs trains, and how often it is saved can.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lthrun.config.base import ExperimentConfig
from lthrun.errors import UserError
from lthrun.events import Emit, ignore
from lthrun.executors.tasks import RunOptions
from lthrun.experiments.driver import Result, execute_rounds
from lthrun.experiments.run import prepare_run
from lthrun.levels.context import find_device
from lthrun.storage.run_dir import RunDir


def resume_run(
    path: Path, saved: ExperimentConfig, config: ExperimentConfig, options: RunOptions, emit: Emit = ignore
) -> Result:
    """Resume the run in a directory.

    Args:
        saved: the config that it was started with.
        config: the same, with what is different on this machine.

    Raises:
        UserError: they mean another run; the message says what can be done.
    """
    check_device(path, saved, config.device)
    folder = config.data.dir
    if folder is not None and not Path(folder).expanduser().is_dir():
        raise UserError(
            f"{path}: data.dir: found {folder}, which is no directory of this machine; if the images have moved, name "
            "their place with --data-dir"
        )
    run, place = prepare_run(config, emit), path.resolve()
    if run.name != place.name:
        if {task.key for task in run.tasks} <= RunDir(path).level_keys():
            raise UserError(f"{path}: the directory of this run was named {run.name}: rename it back")
        raise UserError(
            f"{path}: found other images, or other settings, than the run was started with, so that its levels would "
            f"be others: name the same images with --data-dir, or start a new run with --config {path}/config.yaml"
        )
    return execute_rounds(run, replace(options, out=place.parent), emit)


def check_device(path: Path, saved: ExperimentConfig, device: str) -> None:
    """Refuse a device that the run's levels cannot be trained on: their keys hold its type, and the precision."""
    kind = saved.device.partition(":")[0]
    try:
        found = find_device(device).type
    except UserError:
        found = "none"
    if kind in ("auto", found):
        return
    reason = "not on this machine" if found == "none" else f"not {kind}, on which the run was started"
    raise UserError(
        f"{path}: device: found {device}, which is {reason}; the levels of a run are of one type of device and one "
        f"precision, here {kind} and {saved.precision}: resume it on a machine with {kind}, or train it again as a new "
        f"run: lthrun {saved.experiment} --config {path}/config.yaml --device auto --set precision=auto"
    )
