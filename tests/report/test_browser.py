"""report.html in a real browser, offline: it renders, fits, logs nothing to the console, requests nothing outside.

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

from tests.report.conftest import published
from tests.studies import ABOUT, HOSTILE, write_study

pytestmark = pytest.mark.browser
SIZES = {"desktop": (1280, 900), "phone": (390, 844), "small phone": (360, 740)}


@dataclass
class OpenPage:
    """A page in the browser, with its console messages and its requests."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def pixels(self, element: Any = None) -> np.ndarray:
        """Of the window, or of an element: height × width × 3, 0 to 255."""
        return np.asarray(Image.open(io.BytesIO((element or self.page).screenshot())).convert("RGB"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("no chromium on this machine: install Debian's package `chromium`, or name one with CHROMIUM=PATH")
    with sync_playwright() as playwright:
        # Chromium's sandbox is not available to root, nor in most containers.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., OpenPage]]:
    """Opens a file at a size, in a color scheme, without network."""
    contexts = []

    def open_page(path: Path, size: str = "desktop", scheme: str = "light") -> OpenPage:
        width, height = SIZES[size]
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, offline=True, accept_downloads=True
        )
        contexts.append(context)
        opened = OpenPage(context.new_page())
        opened.page.on("console", lambda message: opened.messages.append(message.text))
        opened.page.on("pageerror", lambda error: opened.messages.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.as_uri(), wait_until="load")
        return opened

    yield open_page
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
    return {name: published(folder) / "report.html" for name, folder in folders.items()}


def outside(opened: OpenPage, path: Path) -> list[str]:
    return [url for url in opened.requests if url != path.as_uri() and not url.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("which", ["plain", "all arms", "hostile"])
def test_a_page_renders_fits_and_requests_nothing(
    which: str, size: str, scheme: str, pages: dict[str, Path], open_page: Callable[..., OpenPage]
):
    opened = open_page(pages[which], size, scheme)
    page = opened.page
    verdict = page.locator(".verdict")
    assert verdict.is_visible() and "At 50 % sparsity" in verdict.inner_text().replace("\N{NO-BREAK SPACE}", " ")
    box = verdict.bounding_box()
    assert box["y"] + box["height"] < SIZES[size][1], "the verdict is visible without scrolling"
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0], "nothing is wider than the window"
    assert all(page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
    assert page.locator("figure img").count() == 6 and page.locator("table").count() >= 6
    for shown in (opened.pixels(), opened.pixels(page.locator("figure img").nth(1))):
        background = shown[2, -3].mean()
        assert background > 240 if scheme == "light" else background < 40
        assert abs(shown.mean(axis=2) - background).max() > 140, "something is drawn on the background, and visible"
        assert 0.005 < (abs(shown.mean(axis=2) - background) > 60).mean() < 0.6
    assert opened.messages == [] and outside(opened, pages[which]) == []


def test_on_a_phone_figures_are_drawn_for_it_and_tables_scroll_by_themselves(
    pages: dict[str, Path], open_page: Callable[..., OpenPage]
):
    for size, narrow in (("desktop", False), ("phone", True)):
        page = open_page(pages["all arms"], size).page
        shapes = page.evaluate("[...document.images].map(i => i.naturalWidth / i.naturalHeight)")
        assert (shapes[2] < 1) == narrow, "panels stand below each other"
        wide = page.evaluate("[...document.querySelectorAll('.scroll')].some(s => s.scrollWidth > s.clientWidth + 5)")
        assert wide == narrow


def test_hostile_names_are_text(pages: dict[str, Path], open_page: Callable[..., OpenPage]):
    opened = open_page(pages["hostile"])
    assert opened.page.locator("script").count() == 0 and opened.messages == []
    assert HOSTILE[:30] in opened.page.locator(".missing").inner_text()


def test_the_numbers_can_be_downloaded(pages: dict[str, Path], open_page: Callable[..., OpenPage]):
    page = open_page(pages["plain"]).page
    links = page.locator("figcaption a")
    assert links.count() == 6
    for k in range(6):
        with page.expect_download() as download:
            links.nth(k).click()
        beside = pages["plain"].parent / "figures" / download.value.suggested_filename
        assert Path(download.value.path()).read_bytes() == beside.read_bytes()


def test_everything_has_a_name_for_a_screen_reader(pages: dict[str, Path], open_page: Callable[..., OpenPage]):
    page = open_page(pages["plain"]).page
    assert page.evaluate("document.documentElement.lang") == "en" and page.locator("h1").count() == 1
    assert all(page.evaluate("[...document.images].map(i => i.alt.length > 20)"))
    assert page.evaluate("[...document.querySelectorAll('th')].every(h => h.scope)")
    assert page.evaluate("[...document.querySelectorAll('[aria-labelledby]')].every(e => document.getElementById(e.getAttribute('aria-labelledby')))")  # fmt: skip


@pytest.mark.parametrize("experiment", ["baseline", "ticket", "supermask", "connectivity"])
def test_the_page_of_a_run(experiment: str, runs: dict[str, Path], open_page: Callable[..., OpenPage]):
    path = runs[experiment] / "report.html"
    for size in SIZES:
        opened = open_page(path, size, "dark")
        assert "majority rate" in opened.page.locator("main").inner_text().lower()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        assert all(opened.page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
        assert opened.messages == [] and outside(opened, path) == []


def test_these_tests_notice_requests_messages_and_wide_pages(tmp_path: Path, open_page: Callable[..., OpenPage]):
    page = tmp_path / "bad.html"
    page.write_text("<body style='width: 3000px'><img src='http://192.0.2.1/x.png'><script>nothing()</script>")
    opened = open_page(page)
    assert outside(opened, page) == ["http://192.0.2.1/x.png"]
    assert any("nothing is not defined" in text for text in opened.messages)
    assert opened.page.evaluate("document.documentElement.scrollWidth") > 1280
