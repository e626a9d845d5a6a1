"""What the screen says about an event: one line, and its style."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lthrun import events
from lthrun.events import Event
from lthrun.report.wording import plural


def message(event: Event) -> tuple[str, str]:
    """Text and style; empty for an event without an entry in `MESSAGES`."""
    style, text = MESSAGES.get(type(event), ("", ""))
    return text.format(**vars(event)) if isinstance(text, str) else text(event), style


def run_started(event: events.RunStarted) -> str:
    levels = f"{plural(event.levels, 'level')}, " if event.levels > 1 else ""
    return f"{event.experiment}: {levels}{plural(event.epochs, 'epoch')} {where(event)}; {images(event)}"


def study_started(event: events.StudyStarted) -> str:
    size = ", ".join([plural(event.arms, "arm"), plural(event.seeds, "seed"), plural(event.levels, "level")])
    return f"compare: {size} {where(event)}; {images(event)}"


def sweep_started(event: events.SweepStarted) -> str:
    return f"{plural(event.runs, 'run')} of {event.experiment}, {plural(event.levels, 'level')} {where(event)}"


def where(event: Any) -> str:
    return f"on {event.device} in {event.precision}"


def images(event: Any) -> str:
    return f"{event.n_train:,} images for training, {event.n_valid:,} for validation"


def damaged(event: events.Damaged) -> str:
    then = {"checkpoint": "training resumes from an earlier one, or starts over", "result": "the level is retrained"}
    return f"  the {event.what} of level {event.level} is damaged, moved to {event.aside}: {then[event.what]}"


def pruned(event: events.Pruned) -> str:
    together = ", all layers ranked together" if event.context == "global" else ""
    return f"  {'regrown' if event.is_regrown else 'pruned'} to {event.sparsity:.2f} %{together}"


def rewound(event: events.Rewound) -> str:
    point = rewind_point(event.step, event.epoch_steps)
    change = {
        "weights": f"weights rewound to {point}",
        "lr": f"weights kept, learning rate rewound to {point}",
        "finetune": "weights kept, training continues at the final learning rate",
    }
    return f"  {change[event.retrain]}: level {event.level} starts"


def rewind_point(step: int, epoch_steps: int) -> str:
    """`initialization`, `epoch 1` or `step 200`."""
    epoch, within = divmod(step, epoch_steps)
    return "initialization" if step == 0 else f"step {step}" if within else f"epoch {epoch}"


def level_reused(event: events.LevelReused) -> str:
    which = "the training up to the rewind point" if event.is_replay else f"level {event.level}"
    other = f"; trained in another environment: {', '.join(event.differences)}" if event.differences else ""
    return f"  {which} is reused from the cache (levels/{event.key}){other}"


def resumed(event: events.Resumed) -> str:
    steps = f" and {plural(event.steps, 'step')}" if event.steps else ""
    return f"  level {event.level} resumes from the last checkpoint, after {plural(event.level_epoch, 'epoch')}{steps}"


MESSAGES: dict[type[Event], tuple[str, str | Callable[[Any], str]]] = {
    events.ImagesFound: ("dim", "{count:,} images in {folder}"),
    events.Waiting: ("yellow", "  waiting for another process (lock held): {what}"),
    events.RunStarted: ("", run_started),
    events.StudyStarted: ("", study_started),
    events.SweepStarted: ("", sweep_started),
    events.NoVerdict: ("bold yellow", "WARNING: there will be no verdict, whatever is trained: {reason}"),
    events.AlreadyFinished: ("green", "already finished, showing saved results (--fresh retrains)"),
    events.LevelFailed: ("yellow", "  {about}, level {level} failed: {reason}"),
    events.CudaGraphFallback: ("yellow", "  CUDA graph capture disabled for {what}: {reason}"),
    events.Damaged: ("yellow", damaged),
    events.Evaluating: ("magenta", lambda event: f"  evaluating {plural(event.networks, 'network')}: {event.what}"),
    events.StateSaved: ("cyan", lambda event: f"  rewind point saved: {rewind_point(event.step, event.epoch_steps)}"),
    events.Replaying: ("cyan", "  replaying level 0 up to step {step} to reach the rewind point"),
    events.Pruned: ("magenta", pruned),
    events.Rewound: ("magenta", rewound),
    events.Reordered: ("magenta", "  level {level} uses another data order"),
    events.LevelReused: ("green", level_reused),
    events.Resumed: ("green", resumed),
}
