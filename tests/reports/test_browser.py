"""The page in a real Chromium without a network: it draws, it fits, it prints, it hands out its data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from harness.model import Results
from reports.csv import csv
from reports.html import html

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(golden: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html.render([golden]), encoding="utf-8")
    return path


def _open(browser: Browser, file: Path, width: int, scheme: str) -> tuple[Page, list[str]]:
    dark = scheme == "dark"
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
    )
    page, messages = context.new_page(), list[str]()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_function("document.querySelectorAll('.chart .main-svg').length > 0")
    return page, messages


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_it_draws_and_fits(browser: Browser, file: Path, width: int, scheme: str) -> None:
    page, messages = _open(browser, file, width, scheme)
    assert messages == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    charts = page.locator(".chart")
    assert charts.count() > 20
    assert page.locator(".chart:not(:has(.main-svg))").count() == 0
    assert page.locator(".chart:not(:has(.trace))").count() == 0
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: Browser, file: Path, scheme: str) -> None:
    """WCAG AA: 4.5:1 between text and ground, for the kinds of text there are."""
    page, _ = _open(browser, file, 1280, scheme)
    selectors = [
        "h1",
        ".lead",
        ".question",
        ".banner",
        ".quiet",
        "thead th",
        ".worse",
        ".same",
        ".holds",
        ".fails",
        "a",
    ]
    for selector in selectors:
        ink, ground = page.locator(selector).first.evaluate(
            """element => {
                 let under = element;
                 while (getComputedStyle(under).backgroundColor === 'rgba(0, 0, 0, 0)') under = under.parentElement;
                 return [getComputedStyle(element).color, getComputedStyle(under).backgroundColor];
               }"""
        )
        assert _contrast(ink, ground) >= 4.5, (selector, ink, ground)
    page.context.close()


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_chart_text_takes_the_colour_of_the_page(browser: Browser, file: Path) -> None:
    page, _ = _open(browser, file, 1280, "dark")
    fill = page.locator(".chart .ytick text").first.evaluate("element => getComputedStyle(element).fill")
    assert fill == page.evaluate("getComputedStyle(document.body).color")
    page.context.close()


def test_the_data_can_be_taken_out(browser: Browser, file: Path, golden: Results) -> None:
    page, messages = _open(browser, file, 1280, "light")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="samples.csv").click()
    assert waiting.value.suggested_filename == "samples.csv"
    assert Path(waiting.value.path()).read_text() == csv.render([golden])
    assert messages == []
    page.context.close()


def test_it_prints_with_everything_open(browser: Browser, file: Path) -> None:
    page, _ = _open(browser, file, 1280, "light")
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.get_by_text("blocks to decide").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.context.close()
