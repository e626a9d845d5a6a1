"""The screen: every event has its line, nothing is shown twice, and what an interrupt leaves is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lthrun import events
from lthrun.events import Event
from lthrun.experiments.dry_run import DryRun, DryRunRow
from lthrun.records import EpochRecord
from lthrun.report.epoch_table import EPOCH_COLUMNS, LEVEL_COLUMNS
from lthrun.report.messages import MESSAGES
from lthrun.report.records import read_records
from lthrun.report.screen import Screen
from tests.report.conftest import make_console, shown

RECORD = EpochRecord(
    level_epoch=1, sparsity=50.0, train_loss=0.4321, valid_loss=0.5, accuracy=0.75, balanced_accuracy=0.7, seconds=2.5,
    images_per_second=100.0, time=1.7e9, step=184, correct=[300, 800],
)  # fmt: skip
RUN = events.RunStarted("ticket", 4, 20, "cpu", "float32", 5912, 1478)
STUDY = events.StudyStarted(3, 5, 40, "cpu", "float32", 5912, 1478)
LEVEL = events.LevelFinished("ab" * 16, "ticket, seed 1, 50 %", 1, False, 12.3, 0.755, 50.0)
LINES: dict[Event, str] = {
    events.ImagesFound(7390, "/data/images"): "7,390 images in /data/images",
    events.Waiting("level 1"): "waiting for another process (lock held): level 1",
    RUN: "ticket: 4 levels, 20 epochs on cpu in float32; 5,912 images for training, 1,478 for validation",
    events.RunStarted("baseline", 1, 5, "cpu", "float32", 8, 4): "baseline: 5 epochs on cpu in float32; 8 images",
    STUDY: "compare: 3 arms, 5 seeds, 40 levels on cpu in float32; 5,912 images for training",
    events.SweepStarted("ticket", 4, 9, "cpu", "float32"): "4 runs of ticket, 9 levels on cpu in float32",
    events.NoVerdict("it needs 3 seeds"): "there will be no verdict, whatever is trained: it needs 3 seeds",
    events.AlreadyFinished("runs/x"): "already finished, showing saved results (--fresh retrains)",
    LEVEL: "1 of 0      ticket, seed 1, 50 %              1     50.00       75.50     12.3",
    events.LevelFailed("ab", "ticket, seed 1", 1, "became NaN"): "ticket, seed 1, level 1 failed: became NaN",
    events.CudaGraphFallback("validation", "no memory"): "CUDA graph capture disabled for validation: no memory",
    events.Damaged(2, "checkpoint", "x.damaged"): "the checkpoint of level 2 is damaged, moved to x.damaged: training resumes",
    events.Damaged(2, "result", "x.damaged"): "the result of level 2 is damaged, moved to x.damaged: the level is retrained",
    events.Evaluating("the mask on untrained weights", 23): "evaluating 23 networks: the mask on untrained weights",
    events.StateSaved(0, 92): "rewind point saved: initialization",
    events.StateSaved(184, 92): "rewind point saved: epoch 2",
    events.StateSaved(100, 92): "rewind point saved: step 100",
    events.Replaying(184): "replaying level 0 up to step 184 to reach the rewind point",
    events.Pruned(1, 16.667, 16.7, False, "local"): "pruned to 16.67 %",
    events.Pruned(1, 10.0, 10.0, True, "global"): "regrown to 10.00 %, all layers ranked together",
    events.Rewound(1, 0, 92, "weights"): "weights rewound to initialization: level 1 starts",
    events.Rewound(1, 92, 92, "lr"): "weights kept, learning rate rewound to epoch 1: level 1 starts",
    events.Rewound(1, 0, 92, "finetune"): "weights kept, training continues at the final learning rate",
    events.Reordered(1, 1): "level 1 uses another data order",
    events.LevelReused(1, "abcd", False): "level 1 is reused from the cache (levels/abcd)",
    events.LevelReused(1, "abcd", True, ("torch 2 (here 3)",)): "the training up to the rewind point is reused from the cache (levels/abcd); trained in another environment: torch 2 (here 3)",
    events.Resumed(1, 1, 0): "level 1 resumes from the last checkpoint, after 1 epoch",
    events.Resumed(1, 2, 5): "after 2 epochs and 5 steps",
}  # fmt: skip


def screen_of(width: int = 120, **how: Any) -> tuple[Screen, Console]:
    console = make_console(width)
    return Screen(console, **how), console


def all_events(kind: type[Event] = Event) -> Iterator[type[Event]]:
    for found in kind.__subclasses__():
        if found.__module__ == events.__name__:
            yield found
            yield from all_events(found)


@pytest.mark.parametrize("event", LINES, ids=lambda event: event.kind)
def test_an_event_has_its_line(event: Event):
    screen, console = screen_of()
    screen(event)
    assert LINES[event] in shown(console)


def test_every_event_has_a_line_or_a_place_on_the_screen():
    silent = {events.RecordedEvent, events.LevelEvent, events.RunFinished}
    dispatch = vars(Screen)["_show"].dispatcher.dispatch
    for kind in set(all_events()) - silent:
        has_place = dispatch(kind) is not dispatch(Event)
        assert has_place or kind in MESSAGES, kind
    assert {type(event) for event in LINES} >= set(MESSAGES)


def test_epochs_are_counted_over_the_whole_run():
    screen, console = screen_of()
    screen(RUN)
    for level in (0, 1):
        screen(events.EpochFinished(level, RECORD))
    header, first, second = shown(console).splitlines()[1:]
    assert header.split("  ")[0].strip() == "epoch" and len(header) <= 100
    assert first.split() == ["0", "0", "1", "50.00", "0.4321", "0.5000", "75.00", "70.00", "2.5"]
    assert second.split()[:2] == ["1", "1"] and [len(header)] * 2 == [len(first), len(second)]


def test_an_epoch_without_training_has_no_training_loss():
    screen, console = screen_of()
    screen(events.EpochFinished(0, EpochRecord(**{**RECORD.to_dict(), "train_loss": None})))
    assert " – " in shown(console)


def test_a_study_lists_its_levels_and_its_failures():
    screen, console = screen_of()
    for event in (STUDY, LEVEL, events.LevelFailed("cd", "dense, seed 1", 0, "out of memory"), LEVEL):
        screen(event)
    lines = shown(console).splitlines()
    assert lines[1].split("  ")[0] == "done" and "reused" not in lines[2]
    assert lines[2].startswith("1 of 40") and "dense, seed 1, level 0 failed: out of memory" in lines[3]
    assert lines[4].startswith("3 of 40")
    screen(events.LevelFinished("ab", "ticket", 1, True, 12.3, 0.7, 50.0))
    assert shown(console).splitlines()[-1].endswith(" reused")


def test_the_columns_of_live_tables_have_room_for_their_headings():
    assert all(len(column.heading) <= int(column.width[1:]) for column in (*EPOCH_COLUMNS, *LEVEL_COLUMNS))


def test_a_fallback_is_named_once():
    screen, console = screen_of()
    for _ in range(3):
        screen(events.CudaGraphFallback("training", "it draws random numbers"))
    screen(events.CudaGraphFallback("validation", "it draws random numbers"))
    assert shown(console).count("CUDA graph capture disabled") == 2


def test_lines_are_plain_and_whole_without_a_terminal():
    screen, console = screen_of(width=40)
    with screen:
        screen(RUN)
        screen(events.Step(0, 0, 1, 92, 64))
        screen(events.Step(0, 0, 50, 92, 64))
        screen(events.Decoding(1, 10))
        screen(events.Busy("loading PyTorch"))
        screen(events.ImagesFound(3, "/a\x1b[31m\nb/[red]c"))
    text = shown(console)
    assert "\x1b" not in text and "\r" not in text and "images/s" not in text and "loading" not in text
    assert r"/a\x1b[31m\nb/[red]c" in text and "decoding 10 images once, for this and all later runs" in text
    assert len(text.splitlines()) == 4, "a line is not broken to fit"


def test_a_terminal_shows_progress_and_the_time_left():
    console = make_console(120, terminal=True)
    with Screen(console) as screen:
        for event in (RUN, events.Step(0, 0, 1, 92, 64), events.Step(0, 0, 46, 92, 64)):
            screen(event)
        screen._progress.refresh()
        screen(events.Evaluating("paths", 22))
        screen(events.Evaluated("1ep, α = 0.5", 11))
        screen._progress.refresh()
        with screen.paused():
            assert not screen._progress.live.is_started
        assert screen._progress.live.is_started
    text = shown(console)
    assert "level 0, epoch 0" in text and "for the run" in text and "11 of 22: 1ep, α = 0.5" in text


def test_in_a_study_progress_counts_levels():
    console = make_console(120, terminal=True)
    with Screen(console) as screen:
        for event in (STUDY, LEVEL, events.Step(0, 3, 1, 92, 64), events.Step(0, 3, 2, 92, 64)):
            screen(event)
        screen._progress.refresh()
    assert "level 2 of 40, epoch 3" in shown(console)


@pytest.mark.parametrize(
    ("happened", "is_fresh", "words"),
    [
        ([RUN], False, "interrupted; saved: nothing, as no epoch was finished"),
        ([RUN, events.EpochFinished(2, RECORD)], False, "everything up to epoch 1 of level 2; the same command resumes"),
        ([RUN, events.EpochFinished(2, RECORD)], True, "up to epoch 1 of level 2; what --fresh had not finished starts over"),
        ([STUDY, LEVEL, LEVEL], False, "saved: 2 of 40 levels, and the checkpoints of the others; the same command"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("quiet", [False, True])
def test_an_interrupt_says_what_was_saved(happened: list[Event], is_fresh: bool, words: str, quiet: bool):
    screen, console = screen_of(quiet=quiet)
    for event in happened:
        screen(event)
    screen.show_interrupted(is_fresh)
    assert words in shown(console)


def test_quiet_shows_the_answer_only(runs: dict[str, Path]):
    screen, console = screen_of(quiet=True)
    with screen:
        for event in LINES:
            screen(event)
        assert shown(console) == ""
        screen.show_result(read_records(runs["ticket"]).summary)
    assert shown(console).count("\n") == 1 and shown(console).startswith("ticket: With 50 % of its weights pruned")


def test_the_result_ends_with_the_answer_and_the_directory(runs: dict[str, Path]):
    screen, console = screen_of()
    screen.show_result(read_records(runs["supermask"]).summary)
    panel = shown(console)[shown(console).rindex("╭") :]
    assert "better than chance" in panel and str(runs["supermask"]) in panel.replace("│\n│", "")


@pytest.mark.parametrize("group", ["level", "arm", "run"])
def test_a_dry_run_is_one_table_for_all_experiments(group: str):
    rows = [
        DryRunRow(name="first", levels=4, to_train=3, reused=1, seconds=3723.0, bytes=5_000_000),
        DryRunRow(name="second", levels=0, to_train=0, reused=0, seconds=0.0, bytes=0, is_finished=True),
    ]
    dry_run = DryRun(
        experiment="compare", run_dir="runs/compare-s0", is_finished=False, device="cpu", group=group, rows=rows,
        evaluated_networks=22, levels=4, to_train=3, reused=1, seconds=3723.0, bytes=5_000_000,
    )  # fmt: skip
    screen, console = screen_of(width=80)
    screen.show_dry_run(dry_run)
    text = " ".join(shown(console).split())
    assert f"{group} levels to train reused time disk" in text and "first 4 3 1 1:02:03 5 MB second finished" in text
    assert "all 4 3 1 1:02:03 5 MB" in text and "22 networks evaluated after the training" in text
    assert (f"A level is counted in the first {group} that needs it" in text) == (group != "level")
    assert text.endswith("would be written in runs/compare-s0; nothing was trained")
