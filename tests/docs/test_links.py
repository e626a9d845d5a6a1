"""Every link, path and command in the documentation leads somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lthrun.bench
import lthrun.cli.data
import lthrun.cli.experiments
import lthrun.experiments.sweep
from lthrun.bench import overhead
from lthrun.reproductions.reproduce import PlannedReproduction
from lthrun.version import __version__
from tests.docs.use_recipes import ADDED

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
NAMES = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in sorted(PAGES)}
NOT_HELD = {"docs/reference.md", "CHANGELOG.md"}  # made from the code; about other versions
HAND_WRITTEN = {name: text for name, text in NAMES.items() if name not in NOT_HELD}
# What stands for a value in a command, and one that could stand there.
PLACEHOLDERS = {"NAME": "agp", "SEED": "0", "PRECISION": "float32"}
ELSEWHERE = {"reinit", *ADDED}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(NAMES[name])):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), target


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_paths_in_the_repository_exist(name: str):
    for path in re.findall(r"`((?:lthrun|tests|docs|configs|examples)/[\w./-]*)`", HAND_WRITTEN[name]):
        assert (ROOT / path).exists(), path


def test_tests_that_are_named_exist():
    tests = "".join(file.read_text("utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    for text in HAND_WRITTEN.values():
        for name, rest in re.findall(r"`(test_\w+)(…?)`", text):
            assert f"def {name}" + ("" if rest else "(") in tests, name


def commands_of(text: str) -> Iterator[str]:
    """The commands `lthrun …` in code blocks and in sentences."""
    for block in re.findall(r"^```(?:sh|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|\s)(lthrun .*)$", line)
            if found and not line.startswith("#"):
                yield found[1]
    yield from re.findall(r"`(lthrun [^`]*)`", without_code(text))


COMMANDS = [
    pytest.param(command, id=f"{name}: {command}")
    for name, text in HAND_WRITTEN.items()
    for command in dict.fromkeys(commands_of(text))
    if not (name == "CONTRIBUTING.md" and ELSEWHERE & set(re.split(r"[ =,]", command)))  # test_recipes.py runs these
]


# Files that a line above such a command writes.
WRITTEN = {
    found for text in HAND_WRITTEN.values() for found in re.findall(r'^echo "(.*)" > (\S+)$', text, flags=re.MULTILINE)
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_accepted(
    command: str, lthrun: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Options and config are checked as by the command itself, which then stops before its work."""
    for content, file in WRITTEN:
        (tmp_path / file).write_text(content)

    def stop(*arguments: Any, **options: Any) -> None:
        raise SystemExit(0)

    for module, function in (
        (lthrun_modules["experiments"], "run_and_report"), (lthrun_modules["experiments"], "show_dry_run"),
        (lthrun_modules["data"], "open_images"), (lthrun_modules["sweep"], "prepare_sweep"),
        (lthrun_modules["bench"], "bench"), (lthrun_modules["bench"], "profile"), (overhead, "measure_overhead"),
        (PlannedReproduction, "prepare"),
    ):  # fmt: skip
        monkeypatch.setattr(module, function, stop)
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command, comments=True)[1:]]
    words = [re.sub(r"=(SEED|PRECISION)$", lambda found: f"={PLACEHOLDERS[found[1]]}", word) for word in words]
    if words[0] in ("report", "resume", "runs") or words == ["sweep"]:  # not complete: only the options are checked
        words.append("--help")
    outcome = lthrun(*words)
    assert outcome.status == 0, outcome.err


lthrun_modules: dict[str, Any] = {
    "experiments": lthrun.cli.experiments, "data": lthrun.cli.data, "sweep": lthrun.experiments.sweep,
    "bench": lthrun.bench,
}  # fmt: skip


def test_the_python_in_scaling_computes_what_it_says(capsys: pytest.CaptureFixture[str]):
    (code,) = re.findall(r"^```python\n(.*?)^```$", NAMES["docs/scaling.md"], re.MULTILINE | re.DOTALL)
    exec(code, {})
    levels, trainings = capsys.readouterr().out.split()
    assert f"# {levels} levels, {float(trainings):.1f} trainings" in code


def test_the_citation_is_of_this_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"{__version__}\n" in NAMES["CHANGELOG.md"].partition("## ")[2].partition("\n")[0] + "\n"
