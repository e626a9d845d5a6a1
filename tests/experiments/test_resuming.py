"""A run resumed by its directory, on a machine where its images, or its devices, are not what they were."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import lthrun as package
from lthrun.events import Event, ImagesFound, LevelReused, ignore
from lthrun.experiments import Result
from tests.conftest import assert_same, run, select

pytestmark = pytest.mark.usefixtures("tiny_model")


@pytest.fixture
def moved(small: Callable, images: Path, tmp_path: Path) -> tuple[Result, Path]:
    """A run whose summary is lost, and the place that its images were moved to."""
    place = Path(shutil.copytree(images, tmp_path / "pictures"))
    result = run(small("ticket", **{"data.dir": str(place), "pruning.steps": 1}), tmp_path / "out")
    (result.run_dir / "summary.json").unlink()
    return result, place.rename(tmp_path / "photographs")


def test_a_run_whose_images_have_moved_resumes_where_they_are_now(moved: tuple):
    result, place = moved
    with pytest.raises(package.UserError, match=r"pictures, which is no directory .* name their place with --data-dir"):
        package.resume(result.run_dir, emit=ignore)
    events: list[Event] = []
    resumed = package.resume(result.run_dir, emit=events.append, **{"data.dir": str(place)})
    assert_same(resumed, result)
    assert len(select(events, LevelReused)) == 2 and select(events, ImagesFound)[0].folder.startswith(str(place))
    assert yaml.safe_load((result.run_dir / "config.yaml").read_text())["data"]["dir"] == str(place)
    assert package.resume(result.run_dir, emit=ignore).summary == resumed.summary, "the new place is kept"


def test_the_command_takes_the_new_place_of_the_images(moved: tuple, lthrun: Callable):
    result, place = moved
    outcome = lthrun("resume", result.run_dir, "--data-dir", place, "--device", "cpu", "--quiet")
    assert outcome.status == 0 and outcome.out.startswith("ticket: ") and (result.run_dir / "summary.json").exists()


def test_other_images_are_refused(moved: tuple):
    result, place = moved
    next((place / "images").iterdir()).unlink()
    with pytest.raises(package.UserError, match="found other images, or other settings, than the run was started with"):
        package.resume(result.run_dir, emit=ignore, **{"data.dir": str(place)})
    assert not (result.run_dir / "summary.json").exists()


@pytest.mark.parametrize(
    ("saved", "device", "reason"),
    [
        ("cuda:0", "cpu", "found cpu, which is not cuda, on which the run was started"),
        ("cuda:0", None, "found cuda:0, which is not on this machine"),
        ("cpu", "cuda:99", "found cuda:99, which is not on this machine"),
    ],
)
def test_another_type_of_device_is_refused_with_what_can_be_done(
    moved: tuple, lthrun: Callable, saved: str, device: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    result, place = moved
    path = result.run_dir / "config.yaml"
    path.write_text(path.read_text().replace("device: cpu", f"device: {saved}"))
    arguments = ["--data-dir", place, *(["--device", device] if device else [])]
    outcome = lthrun("resume", result.run_dir, *arguments)
    kind = saved.partition(":")[0]
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and reason in outcome.err
    assert f"here {kind} and float32: resume it on a machine with {kind}, or train it again" in outcome.err
    assert f"lthrun ticket --config {path} --device auto --set precision=auto" in outcome.err
    again = lthrun("ticket", "--config", path, "--device", "auto", "--data-dir", place, "--out", "out", "--dry-run")
    assert again.status == 0, "what is proposed works"
