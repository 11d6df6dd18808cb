"""The picture of the documentation is the top of a page, whatever the page holds."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from harness import store
from reports.html import html
from tests.example import MOST_PX, WIDTH_PX, photograph
from tests.reports.golden import GOLDEN


@pytest.mark.browser
@pytest.mark.slow
def test_the_picture_is_the_top_of_the_page(tmp_path: Path) -> None:
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no Chromium is installed")
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(html.render([store.read(GOLDEN)]), encoding="utf-8")
    photograph(page, picture)
    head = picture.read_bytes()[:24]
    width, height = struct.unpack(">II", head[16:])
    assert head.startswith(b"\x89PNG") and width == WIDTH_PX and 600 < height <= MOST_PX
