"""A string may come from anybody: each that a run can hold bears a tag here, and no page or figure lets one through."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

import msgspec
import pytest
from markupsafe import escape

from harness.model import Results, Run, Trial
from reports.html import html
from reports.index import index
from reports.markdown import markdown

EVIL = "\"'<script>evil()</script><img src=x onerror=evil()>"
FIXED = {
    *("ok", "failed", "timeout", "skipped", "lower", "higher", "neither", "exact", "sampled", "s", "B", "1"),
    *("kernel", "initrd", "root", "layer", "", "canary_s"),
}
"""Words of the schema itself; times are not words either."""
TIMES = ("schema", "started_at")


def planted(value: Any, within: str = "") -> Any:
    """The same with a tag at the end of every string; equal strings stay equal, so that names still refer."""
    if isinstance(value, str):
        fixed = value in FIXED or within in TIMES or within == "features"
        return value if fixed else f"{value}{EVIL}"
    if isinstance(value, list | tuple):
        return [planted(one, within) for one in value]
    if isinstance(value, dict):
        free = within in ("params", "labels", "host", "supports", "images", "prepared", "documents", "facts", "options",
                          "digests_inside", "absent")  # fmt: skip
        deeper = within == "documents"
        return {
            planted(key) if free else key: planted(
                one, "params" if deeper else "" if free and isinstance(one, dict) else key
            )
            for key, one in value.items()
        }
    return value


def hostile_of(golden: Results) -> Results:
    run = msgspec.convert(planted(msgspec.to_builtins(golden.run)), Run)
    trials = tuple(msgspec.convert(planted(msgspec.to_builtins(trial)), Trial) for trial in golden.trials)
    return Results(run=run, trials=trials, notes=(f"a note{EVIL}",))


@pytest.fixture(scope="module")
def hostile(golden: Results) -> Results:
    return hostile_of(golden)


def _unpacked(page: str) -> list[str]:
    return [
        gzip.decompress(base64.b64decode(text)).decode()
        for text in re.findall(r'<script type="application/gzip;base64" data-chart="[^"]*">([^<]*)</script>', page)
    ]


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for name, one in value.items() if name != "meta" for text in _texts(one)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


def test_no_page_lets_a_tag_through(hostile: Results) -> None:
    for page in (html.render([hostile]), html.render([hostile, hostile]), index.render([hostile])):
        assert "<script>evil" not in page and "<img" not in page
        assert str(escape(EVIL)) in page
        figures = _unpacked(page)
        assert figures
        assert not [text for one in figures for text in _texts(json.loads(one)) if "<script" in text or "<img" in text]


def test_markdown_lets_no_tag_through(hostile: Results) -> None:
    text = re.sub(r"`[^`\n]*`", "", markdown.render([hostile]))  # between backticks a tag is text
    assert "<script" not in text and "<img" not in text and "evil" in text
