"""The page in a real Chromium without a network, used as a person would: seen, filtered, sorted, linked to, printed."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from harness.model import Results
from reports.analysis import analyse
from reports.csv import csv
from reports.html import html
from reports.index import index
from tests.reports.crowd import Size, crowd
from tests.reports.planted import Planting, plant
from tests.reports.test_escaping import hostile_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY, LOADED = "html[data-ready]", "html[data-loaded]"
DRAW_ALL = """async () => {
  for (const chart of document.querySelectorAll('.chart')) if (chart.offsetParent) await draw(chart, hidden);
}"""
BARE = (
    "[...document.querySelectorAll('.chart')].filter(c => c.offsetParent && !c.querySelector('.trace, .bars')).length"
)


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
    return _write(html.render([golden]), tmp_path_factory)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 cells: ten boxes, twenty questions."""
    return _write(html.render([crowd(Size(metrics=3, blocks=10))]), tmp_path_factory)


def _write(text: str, factory: pytest.TempPathFactory) -> Path:
    path = factory.mktemp("page") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, scheme: str = "light", hash_: str = "") -> Iterator[Page]:
    """The page, and at the end the certainty that nothing was printed to the console."""
    dark = scheme == "dark"
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
    )
    page, messages = context.new_page(), list[str]()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(file.as_uri() + hash_)
    page.wait_for_selector(READY, state="attached")
    yield page
    assert messages == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_it_draws_and_fits(browser: Browser, file: Path, width: int, scheme: str) -> None:
    with opened(browser, file, width, scheme) as page:
        page.evaluate(DRAW_ALL)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator(".chart").count() > 20
        assert page.locator(".chart .main-svg").count() > 20
        assert page.evaluate(BARE) == 0


def test_charts_are_drawn_as_they_come_near(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        last = page.locator(".q .chart").last
        assert last.locator(".main-svg").count() == 0
        last.scroll_into_view_if_needed()
        last.locator(".main-svg").first.wait_for(state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("what", ["report", "index"])
def test_axe_finds_nothing_serious(
    browser: Browser, file: Path, golden: Results, tmp_path_factory: pytest.TempPathFactory, what: str, scheme: str
) -> None:
    path = file if what == "report" else _write(index.render([golden]), tmp_path_factory)
    with opened(browser, path, scheme=scheme) as page:
        page.evaluate(DRAW_ALL)
        page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_chart_text_takes_the_colour_of_the_page(browser: Browser, file: Path) -> None:
    with opened(browser, file, scheme="dark") as page:
        page.evaluate(DRAW_ALL)
        fill = page.locator(".chart .ytick text").first.evaluate("element => getComputedStyle(element).fill")
        assert fill == page.evaluate("getComputedStyle(document.body).color")


def test_the_numbers_on_the_page_are_those_of_the_file(browser: Browser, file: Path, golden: Results) -> None:
    analysis = analyse([golden])
    with opened(browser, file) as page:
        shown = page.eval_on_selector_all(
            "table.numbers tbody",
            """groups => groups.flatMap(group => [...group.querySelectorAll('tr[data-key]')].map(row =>
                 [group.id, row.dataset.key.split('|')[0], row.cells[1].dataset.v, row.cells[4].dataset.v]))""",
        )
    found = {(where.split(".", 1)[1].removesuffix(".emulation"), box): (v, r) for where, box, v, r in shown}
    assert len(found) == len(analysis.summaries)
    ratios = {(c.series.metric, c.series.runtime): c.effect.estimate for c in analysis.comparisons.made}
    for summary in analysis.summaries:
        key = (summary.series.metric, summary.series.runtime)
        median, ratio = found[key]
        assert float(median) == summary.median
        assert math.isclose(float(ratio), ratios[key], rel_tol=0) if key in ratios else ratio == ""


def test_points_in_the_picture_are_those_of_the_file(browser: Browser, file: Path, golden: Results) -> None:
    wanted = sorted(
        sample.value
        for trial in golden.trials
        if trial.outcome == "ok" and not trial.step.warmup and not trial.step.cell.twin
        if trial.step.cell.runtime == "tcg"
        for sample in trial.samples
        if sample.metric == "boot.ready"
    )
    with opened(browser, file) as page:
        page.evaluate(DRAW_ALL)
        drawn = page.evaluate(
            """() => [...document.querySelectorAll('.chart')].flatMap(chart => chart.data || [])
                 .filter(trace => trace.meta && trace.meta.row === 0 && trace.meta.key === 'tcg|')[0].x"""
        )
    assert sorted(drawn) == pytest.approx(wanted, rel=1e-6)


def test_a_box_can_be_left_out_everywhere(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        page.evaluate(DRAW_ALL)
        page.locator(".filters summary").click()
        page.get_by_role("checkbox", name="container").uncheck()
        page.wait_for_timeout(300)
        assert page.locator('tr[data-key^="container|"]:visible').count() == 0
        assert page.locator('tr[data-key^="native|"]:visible').count() > 10
        words = page.eval_on_selector_all(".q .ytick text", "found => found.map(text => text.textContent)")
        assert words and not any(word.startswith("container") for word in words)
        assert page.evaluate("location.hash").endswith("?runtime=container")
        assert "container" in page.locator("#shown").inner_text()
        page.get_by_role("button", name="Show everything").click()
        assert page.locator('tr[data-key^="container|"]:visible').count() > 10


def test_a_question_can_be_left_out(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        page.locator(".filters summary").click()
        page.get_by_role("checkbox", name="disk").uncheck()
        assert page.locator("#disk").is_hidden() and page.locator("#boot").is_visible()
        assert page.locator('nav a[href="#disk"]').is_hidden()


def test_a_link_brings_back_what_was_chosen(browser: Browser, file: Path) -> None:
    with opened(browser, file, hash_="#memory.memory.pss?runtime=container&scenario=disk") as page:
        assert page.locator("#disk").is_hidden()
        assert page.locator('tr[data-key^="container|"]:visible').count() == 0
        top = page.locator('[id="memory.memory.pss"]').evaluate("element => element.getBoundingClientRect().top")
        assert -50 < top < 900


def test_tables_are_sorted_by_number_within_their_metric(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        table = page.locator("#memory table.numbers").first
        head = table.get_by_role("button", name="median")
        for direction, sign in (("ascending", 1), ("descending", -1)):
            head.click()
            assert head.locator("xpath=..").get_attribute("aria-sort") == direction
            groups = table.evaluate(
                """table => [...table.tBodies].map(body =>
                     [...body.querySelectorAll('tr[data-key]')].map(row => Number(row.cells[1].dataset.v)))"""
            )
            assert any(len(values) > 1 for values in groups)
            assert all(values == sorted(values, key=lambda value: sign * value) for values in groups)
            assert table.evaluate("table => [...table.tBodies].every(body => body.rows[0].matches('.metric'))")


def test_a_pair_is_chosen(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        assert page.locator(".pair:visible").count() == 1
        page.locator("#pair").select_option(label="tcg (emulation) over container")
        shown = page.locator(".pair:visible")
        assert shown.count() == 1 and "no statement about hardware" in shown.inner_text()
        shown.scroll_into_view_if_needed()
        shown.locator(".main-svg").first.wait_for(state="attached")


def test_links_of_the_contents_lead_to_their_section(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        for link in page.locator("nav a").all():
            link.click()
            place = (link.get_attribute("href") or "")[1:]
            assert page.locator(f'[id="{place}"]').evaluate("e => Math.abs(e.getBoundingClientRect().top)") < 900


def test_everything_is_reached_by_keyboard(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.locator("#memory .sort").first.focus()
        page.keyboard.press("Enter")
        assert page.locator('#memory th[aria-sort="ascending"]').count() == 1


def test_the_data_can_be_taken_out(browser: Browser, file: Path, golden: Results) -> None:
    with opened(browser, file) as page:
        with page.expect_download() as waiting:
            page.get_by_role("button", name="samples.csv").click()
        assert waiting.value.suggested_filename == "samples.csv"
        assert Path(waiting.value.path()).read_text() == csv.render([golden])


def test_it_prints_with_everything_open(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        page.wait_for_selector(LOADED, state="attached")
        page.emulate_media(media="print")
        assert page.locator("nav").is_hidden()
        assert page.get_by_text("blocks to decide").first.is_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert page.locator(".chart:not(:has(.main-svg))").count() == 0, "printing draws what was not seen yet"


@pytest.mark.parametrize("width", [390, 1280])
def test_two_hundred_cells_can_be_read(browser: Browser, large: Path, width: int) -> None:
    with opened(browser, large, width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator(".glance tbody td").count() == 200
        page.locator("#boot .chart").first.scroll_into_view_if_needed()
        page.locator("#boot .chart .ytick text").first.wait_for(state="attached")
        for chart in page.locator("#boot .chart:has(.ytick)").all():
            boxes = chart.locator(".ytick text").evaluate_all(
                "found => found.map(text => text.getBoundingClientRect()).map(box => [box.top, box.bottom])"
            )
            ordered = sorted(boxes)
            assert all(above[1] <= below[0] + 2 for above, below in itertools.pairwise(ordered))


def test_a_phone_shows_verdicts_as_symbols_and_ticks_apart(browser: Browser, file: Path) -> None:
    with opened(browser, file, 390) as page:
        page.evaluate(DRAW_ALL)
        chart = page.locator("#tradeoff .pair:visible .chart")
        words = chart.locator(".annotation-text").all_text_contents()
        assert words and all(len(word) == 1 for word in words)
        ticks = chart.locator(".xtick text").evaluate_all(
            "found => found.map(text => text.getBoundingClientRect()).map(box => [box.left, box.right])"
        )
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(sorted(ticks)))


def test_what_a_run_is_called_does_nothing(
    browser: Browser, golden: Results, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened(browser, _write(html.render([hostile_of(golden)]), tmp_path_factory)) as page:
        page.evaluate(DRAW_ALL)
        assert page.evaluate(BARE) == 0
        assert page.locator("img").count() == 0
        assert "<script>evil()</script>" in page.locator("#answers").inner_text()


@pytest.mark.parametrize(
    "results",
    [
        Results(run=plant(Planting(ratios={"box": 1.0})).run, trials=()),
        plant(Planting(ratios={}, blocks=1)),
        plant(Planting(ratios={"tcg": 9.0}, emulated=frozenset({"tcg"}))),
    ],
    ids=["nothing", "one sample", "emulation alone"],
)
def test_a_poor_run_is_an_honest_page(
    browser: Browser, results: Results, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened(browser, _write(html.render([results]), tmp_path_factory)) as page:
        page.evaluate(DRAW_ALL)
        assert page.evaluate(BARE) == 0
        assert page.locator("#answers").is_visible() and page.locator("#doubts li").count() > 0
