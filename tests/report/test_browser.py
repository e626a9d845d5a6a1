"""report.html in a real browser, offline: it renders, fits, says nothing on the console, asks for nothing outside.

`make test-browser` runs these, with the machine's Chromium, or the one that CHROMIUM names.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lthrun.report.publish import publish
from lthrun.report.records import read_records
from tests.cli.test_cli import TINY
from tests.studies import ABOUT, HOSTILE, write_study

pytestmark = pytest.mark.browser
SIZES = {"desktop": (1280, 900), "phone": (390, 844), "small phone": (360, 740)}


@dataclass
class Seen:
    """A page that is open, and what it said and asked for while it opened."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def pixels(self, element: Any = None) -> np.ndarray:
        """Of the window, or of an element: height × width × 3, 0 to 255."""
        return np.asarray(Image.open(io.BytesIO((element or self.page).screenshot())).convert("RGB"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("there is no chromium: Debian's package `chromium` has one, or CHROMIUM=PATH names one")
    with sync_playwright() as playwright:
        # The sandbox of Chromium cannot be had by root, nor in most containers.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Seen]]:
    """Open a file at a size, with a scheme of colours, without network."""
    contexts = []

    def look(path: Path, size: str = "desktop", scheme: str = "light") -> Seen:
        width, height = SIZES[size]
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, offline=True, accept_downloads=True
        )
        contexts.append(context)
        seen = Seen(context.new_page())
        seen.page.on("console", lambda message: seen.said.append(message.text))
        seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        seen.page.goto(path.as_uri(), wait_until="load")
        return seen

    yield look
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plain study, one of all arms, and one full of hostile names, each with its report."""
    root = tmp_path_factory.mktemp("reports")
    folders = {
        "plain": write_study(root / "plain"),
        "all arms": write_study(root / "all", list(ABOUT), (50.0, 80.0, 90.0, 95.0, 98.0)),
        "hostile": write_study(root / "hostile", hostile=True),
    }
    return {name: publish(read_records(folder)) for name, folder in folders.items()}


def outside(seen: Seen, path: Path) -> list[str]:
    return [url for url in seen.asked if url != path.as_uri() and not url.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("which", ["plain", "all arms", "hostile"])
def test_it_renders_fits_and_keeps_to_itself(
    which: str, size: str, scheme: str, pages: dict[str, Path], look: Callable[..., Seen]
):
    seen = look(pages[which], size, scheme)
    page = seen.page
    verdict = page.locator(".verdict")
    assert verdict.is_visible() and "At 50 % sparsity" in verdict.inner_text().replace("\N{NO-BREAK SPACE}", " ")
    box = verdict.bounding_box()
    assert box["y"] + box["height"] < SIZES[size][1], "the verdict is seen without scrolling"
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0], "nothing sticks out"
    assert all(page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
    assert page.locator("figure img").count() == 5 and page.locator("table").count() >= 6
    for shown in (seen.pixels(), seen.pixels(page.locator("figure img").nth(1))):
        conditions = shown[2, -3].mean()
        assert conditions > 240 if scheme == "light" else conditions < 40
        assert abs(shown.mean(axis=2) - conditions).max() > 140, "there is something on the ground, and it can be seen"
        assert 0.005 < (abs(shown.mean(axis=2) - conditions) > 60).mean() < 0.6
    assert seen.said == [] and outside(seen, pages[which]) == []


def test_on_a_phone_figures_are_drawn_for_it_and_tables_scroll_by_themselves(
    pages: dict[str, Path], look: Callable[..., Seen]
):
    for size, narrow in (("desktop", False), ("phone", True)):
        page = look(pages["all arms"], size).page
        shapes = page.evaluate("[...document.images].map(i => i.naturalWidth / i.naturalHeight)")
        assert (shapes[2] < 1) == narrow, "panels stand below each other"
        wide = page.evaluate("[...document.querySelectorAll('.scroll')].some(s => s.scrollWidth > s.clientWidth + 5)")
        assert wide == narrow


def test_hostile_names_are_text(pages: dict[str, Path], look: Callable[..., Seen]):
    seen = look(pages["hostile"])
    assert seen.page.locator("script").count() == 0 and seen.said == []
    assert HOSTILE[:30] in seen.page.locator(".missing").inner_text()


def test_the_numbers_can_be_downloaded(pages: dict[str, Path], look: Callable[..., Seen]):
    page = look(pages["plain"]).page
    links = page.locator("figcaption a")
    assert links.count() == 5
    for k in range(5):
        with page.expect_download() as found:
            links.nth(k).click()
        beside = pages["plain"].parent / "figures" / found.value.suggested_filename
        assert Path(found.value.path()).read_bytes() == beside.read_bytes()


def test_everything_has_a_name_for_those_who_do_not_see_it(pages: dict[str, Path], look: Callable[..., Seen]):
    page = look(pages["plain"]).page
    assert page.evaluate("document.documentElement.lang") == "en" and page.locator("h1").count() == 1
    assert all(page.evaluate("[...document.images].map(i => i.alt.length > 20)"))
    assert page.evaluate("[...document.querySelectorAll('th')].every(h => h.scope)")
    assert page.evaluate("[...document.querySelectorAll('[aria-labelledby]')].every(e => document.getElementById(e.getAttribute('aria-labelledby')))")  # fmt: skip


@pytest.mark.parametrize("command", ["ticket", "supermask"])
def test_the_page_of_a_run(
    command: str, lthrun: Callable, images: Path, tiny_model: None, tmp_path: Path, look: Callable[..., Seen]
):
    assert lthrun(command, "--data-dir", images, "--out", "out", "--steps", 1, "--quiet", *TINY).status == 0
    folder = next(tmp_path.glob(f"out/{command}-*"))
    assert lthrun("report", folder).status == 0
    for size in SIZES:
        seen = look(folder / "report.html", size, "dark")
        assert "majority rate" in seen.page.locator("main").inner_text()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        assert all(seen.page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
        assert seen.said == [] and outside(seen, folder / "report.html") == []


def test_these_tests_would_see_a_page_that_asks_for_something_or_complains(tmp_path: Path, look: Callable[..., Seen]):
    page = tmp_path / "bad.html"
    page.write_text("<body style='width: 3000px'><img src='http://192.0.2.1/x.png'><script>nothing()</script>")
    seen = look(page)
    assert outside(seen, page) == ["http://192.0.2.1/x.png"]
    assert any("nothing is not defined" in said for said in seen.said)
    assert seen.page.evaluate("document.documentElement.scrollWidth") > 1280
