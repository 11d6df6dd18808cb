"""The page: how long it takes to build, how much it weighs, how soon it can be used in Chromium.

`usable` is what a person waits for: from the navigation until tables, filters and sorting work and the charts near the
window can be drawn. The machine's noise is in it, so each page is opened several times.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from playwright.sync_api import sync_playwright

from harness import store
from harness.errors import TareError
from harness.model import Results
from reports.html import html
from tests.benchmarks.frame import Row
from tests.reports.crowd import Size, crowd
from tests.reports.golden import GOLDEN
from tests.reports.test_browser import ARGUMENTS, READY

BUILDS, OPENINGS = 3, 5
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was built, and how long that took each time."""

    path: Path
    builds_s: tuple[float, ...]


@cache
def quick() -> Page:
    """The golden run: the cells of suite `quick` with more blocks."""
    return _build(store.read(GOLDEN), "quick")


@cache
def large() -> Page:
    """A hundred thousand samples in 200 cells."""
    size = Size()
    if size.samples < 100_000:
        raise TareError(f"only {size.samples} samples were planted")
    return _build(crowd(size), "large")


def _build(results: Results, name: str) -> Page:
    path = Path(mkdtemp(prefix="tare-bench-")) / f"{name}.html"
    builds_s = []
    for _ in range(BUILDS):
        began_s = time.monotonic()
        path.write_text(html.render([results]))
        builds_s.append(time.monotonic() - began_s)
    return Page(path, tuple(builds_s))


def _usable_s(page: Page) -> tuple[float, ...]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise TareError("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        found = []
        for _ in range(OPENINGS):
            context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
            tab = context.new_page()
            tab.goto(page.path.as_uri())
            tab.wait_for_selector(READY, state="attached")
            # The page's own clock: what it takes to look from outside is not part of it.
            found.append(float(tab.evaluate("performance.getEntriesByName('usable')[0].startTime")) / 1000)
            context.close()
        browser.close()
    return tuple(found)


def _build_row(name: str, page: Callable[[], Page], at_most: float) -> Callable[[], Row]:
    return _named(f"build_{name}", lambda: Row(f"{name}: build", "s", page().builds_s, at_most=at_most))


def _size_row(name: str, page: Callable[[], Page], at_most: float) -> Callable[[], Row]:
    def make() -> Row:
        return Row(f"{name}: size", "MB", (page().path.stat().st_size / MEGABYTE,), at_most=at_most)

    return _named(f"size_{name}", make)


def _named(name: str, make: Callable[[], Row]) -> Callable[[], Row]:
    """A row's function, under the name that `--only` looks at."""
    make.__name__ = name
    return make


def usable_large() -> Row:
    return Row("100,000 samples: usable after", "s", _usable_s(large()), at_most=2.5)


def usable_quick() -> Row:
    return Row("quick: usable after", "s", _usable_s(quick()))


ROWS = (
    _build_row("quick", quick, 2),
    _size_row("quick", quick, 5.5),
    usable_quick,
    _build_row("100,000 samples", large, 6),
    _size_row("100,000 samples", large, 8),
    usable_large,
)
