"""Studies and runs with their reports, and a reader of pages."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lthrun.report.publish import publish
from lthrun.report.records import read_records
from tests.studies import ABOUT, write_run, write_study


class PageReader(HTMLParser):
    """A page's text, the rows of its tables, and the attributes that could load something."""

    def __init__(self, html: str):
        super().__init__()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self._within: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._within.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "action", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._within:
            return
        self.texts.append(data.replace("\N{NO-BREAK SPACE}", " "))
        if self._within and self._within[-1] in ("th", "td"):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.texts)


def read_page(folder: Path) -> PageReader:
    return PageReader((folder / "report.html").read_text())


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def summary_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return facts


def published(folder: Path) -> Path:
    publish(read_records(folder))
    return folder


def minus(text: str) -> str:
    return text.replace("-", "−")


def make_console(width: int, terminal: bool = False) -> Console:
    """A console that writes into memory: `console.file.getvalue()`."""
    return Console(file=io.StringIO(), width=width, highlight=False, force_terminal=terminal or None)


def shown(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.fixture(scope="session")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of all ten arms, with its report."""
    return published(write_study(tmp_path_factory.mktemp("ten"), list(ABOUT), (50.0, 80.0, 90.0)))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(write_study(tmp_path_factory.mktemp("hostile"), hostile=True))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each experiment, with its report."""
    out = tmp_path_factory.mktemp("runs")
    return {
        name: published(write_run(out, name)) for name in ("baseline", "ticket", "prune", "supermask", "connectivity")
    }
