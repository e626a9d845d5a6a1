"""A study that grows: more seeds in the same directory, nothing trained twice, every look recorded and paid for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

import lthrun as package
from lthrun.analysis.power import foresee_words
from lthrun.analysis.sequential import Look
from lthrun.errors import UserError
from lthrun.events import Event, ImagesFound, LevelFinished, NoVerdict, StudyStarted, ignore
from lthrun.experiments import read_config
from lthrun.experiments.dry_run import foresee_run
from lthrun.experiments.run import prepare_run
from lthrun.experiments.summaries import StudySummary
from tests.conftest import run, select

pytestmark = pytest.mark.usefixtures("tiny_model")
STUDY = {"compare.arms": ["dense", "ticket"], "compare.sparsities": [50.0], "training.evaluate_every": None}


@pytest.fixture
def study(small: Callable) -> Callable[..., Any]:
    settings = {**STUDY, "training.epochs": 1, "training.evaluate_images": None}
    return lambda **compare: small("compare", **settings | {f"compare.{key}": value for key, value in compare.items()})


def grow(config: Any, out: Path) -> StudySummary:
    summary = run(config, out).summary
    assert isinstance(summary, StudySummary)
    return summary


def warns_of_looks(summary: StudySummary) -> list[str]:
    """The warnings that the study has more seeds than it declared."""
    return [warning for warning in summary.verdict.warnings if warning.startswith("This study declared")]


def test_more_seeds_grow_the_study_in_its_directory_and_widen_its_interval(study: Callable, tmp_path: Path):
    first = grow(study(seeds=3, most_seeds=6), tmp_path)
    second = grow(study(seeds=6, most_seeds=6), tmp_path)
    assert first.run_dir == second.run_dir and (first.looks, second.looks) == ([3], [3, 6])
    assert (second.levels.trained, second.levels.reused) == (first.levels.trained, first.levels.trained)
    assert second.comparisons[0].differences[:3] == first.comparisons[0].differences
    assert first.comparisons[0].confidence == pytest.approx(1 - Look(3, 6, ()).level())
    assert second.comparisons[0].confidence == pytest.approx(1 - Look(6, 6, (3,)).level()) != pytest.approx(0.95)
    assert grow(study(seeds=3, most_seeds=6), tmp_path).looks == [3, 6], "a smaller study is part of it, and no look"
    assert not warns_of_looks(second)


def test_a_look_beyond_what_was_declared_is_named(study: Callable, tmp_path: Path):
    assert grow(study(seeds=3), tmp_path).comparisons[0].confidence == pytest.approx(0.95)
    grown = grow(study(seeds=4), tmp_path)
    with pytest.raises(UserError, match=r"^compare.most_seeds: found 9; the study in .* declared 3 when it began"):
        run(study(seeds=4, most_seeds=9), tmp_path)
    assert grown.most_seeds == 3 and "at most 3 seeds and has 4" in warns_of_looks(grown)[0]


def test_until_decided_adds_seeds_until_there_is_a_word_or_none_are_left(study: Callable, tmp_path: Path):
    config = study(seeds=2, most_seeds=5, until_decided=True, margin=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lthrun.analysis.verdict.choose_word", lambda interval, margin: "undecided")
        undecided = grow(config, tmp_path / "undecided")
    assert undecided.looks == [2, 4, 5] and undecided.verdict.word == "undecided"
    assert read_config(Path(undecided.run_dir)).compare.seeds == 5, "the config of a grown study is a config"
    assert config.largest().compare.seeds == 5
    decided = grow(study(seeds=3, most_seeds=9, until_decided=True, margin=100.0), tmp_path / "decided")
    assert decided.looks == [3] and decided.verdict.word in ("wins", "matches")


def test_a_dry_run_foresees_the_chance_of_a_verdict_from_what_is_known(study: Callable, tmp_path: Path):
    config = study(seeds=3, most_seeds=8, until_decided=True, margin=0.0)
    assert config.compare.looks == [3, 6, 8] and study(seeds=4, most_seeds=8).compare.looks == [4]
    run_of = prepare_run(config.largest(), ignore)
    dry_run = foresee_run(run_of, tmp_path, False, config)
    assert dry_run.chances == foresee_words([3, 6, 8], 8, (1.3, 3.0), 0.0) and dry_run.no_verdict is None
    assert dry_run.to_train == 8 * 5, "level 0 and four prunings, for each of the most seeds"
    summary = grow(study(seeds=3, most_seeds=8, margin=0.0), tmp_path)
    assert summary.primary
    deviation = max(stdev(summary.primary.differences), 100 / (summary.n_test or summary.n_valid) / 12**0.5)
    seen = foresee_run(run_of, tmp_path, False, config).chances
    assert [row.deviation for row in seen] == 4 * [pytest.approx(deviation)]


@pytest.mark.parametrize(("arms", "seeds", "reason"), [
    (["ticket"], 3, "compare.arms lacks dense"), (["prune"], 3, "compare.arms lacks ticket and dense"),
    (["dense", "ticket"], 2, "it needs 3 seeds, and compare.seeds is 2"),
])  # fmt: skip
def test_a_study_without_a_verdict_says_so_before_it_is_trained(
    study: Callable, tmp_path: Path, arms: list[str], seeds: int, reason: str
):
    config, heard = study(arms=arms, seeds=seeds), []
    dry_run = foresee_run(prepare_run(config, ignore), tmp_path, False)
    assert dry_run.chances == [] and dry_run.no_verdict and reason in dry_run.no_verdict
    run(config, tmp_path, heard.append)
    said = [type(event) for event in heard]
    assert said.index(NoVerdict) < said.index(LevelFinished)
    (event,) = select(heard, NoVerdict)
    assert event.reason == dry_run.no_verdict


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 5, "most_seeds": 4}, "compare.most_seeds: found 4; must be at least compare.seeds, which is 5"),
        ({"seeds": 5, "until_decided": True}, "compare.until_decided: found true; needs compare.most_seeds"),
    ],
)
def test_impossible_plans_are_refused(study: Callable, settings: dict[str, Any], message: str):
    with pytest.raises(UserError) as refused:
        study(**settings)
    assert str(refused.value).startswith(message)


def test_the_page_of_a_grown_study_shows_the_grown_study(study: Callable, tmp_path: Path):
    pages = []
    for seeds in (3, 4):
        result = package.run(study(seeds=seeds, most_seeds=4), tmp_path, emit=ignore)
        pages.append((result.run_dir / "report.html").read_text())
    assert "3 seeds (0, 1, 2)" in pages[0] and "4 seeds (0, 1, 2, 3)" in pages[1]
    package.run(study(seeds=4, most_seeds=4), tmp_path, emit=ignore)
    assert (result.run_dir / "report.html").read_text() == pages[1]


def test_the_images_are_named_once_however_often_the_study_grows(study: Callable, tmp_path: Path):
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lthrun.analysis.verdict.choose_word", lambda interval, margin: "undecided")
        run(study(seeds=1, most_seeds=3, until_decided=True), tmp_path, events.append)
    assert len(select(events, StudyStarted)) == 3 and len(select(events, ImagesFound)) == 1
