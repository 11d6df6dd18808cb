"""`python -m tests.example [RUN]`: the example report of the documentation and its picture, from a run of this host.

`./tare-test example` calls it. It writes `docs/report-example.html`, the page as `tare report` makes it, and
`docs/report.png`, the top of that page in Chromium: header, answers and the table of headlines.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import FloatRect, sync_playwright

from harness import paths, render, store
from harness.errors import UsageError
from tests.reports.test_browser import ARGUMENTS, READY

DOCS = Path(__file__).parent.parent / "docs"
PAGE, PICTURE = DOCS / "report-example.html", DOCS / "report.png"
WIDTH_PX, MOST_PX = 1200, 1600
BELOW_PX = 24


def make(run: str) -> None:
    render.render([store.locate(paths.home(), run)], [str(PAGE)])
    photograph(PAGE, PICTURE)


def photograph(page: Path, picture: Path) -> None:
    """Down to the end of the headlines, or as much of them as a picture in a README may hold."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise UsageError("no Chromium is installed", hint="apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": WIDTH_PX, "height": 900}, color_scheme="light")
        tab.goto(page.as_uri())
        tab.wait_for_selector(READY, state="attached")
        end = tab.locator("#answers").evaluate("element => element.getBoundingClientRect().bottom + scrollY")
        clip = FloatRect(x=0, y=0, width=WIDTH_PX, height=min(end + BELOW_PX, MOST_PX))
        tab.screenshot(path=picture, full_page=True, clip=clip)
        browser.close()


if __name__ == "__main__":
    try:
        make(sys.argv[1] if len(sys.argv) > 1 else "latest")
    except UsageError as error:
        sys.exit(f"{error.message}\n{error.hint}".rstrip())
    print(f"written to {PAGE} and {PICTURE}")
