"""What every page of ours is made of: templates, style, scripts, and plotly.js in a third of its size.

The library is inside each page once, as the Python package brings it, compressed: a browser unpacks it in a few dozen
milliseconds, and a page that is mailed weighs three megabytes less. The page forbids itself any request (a content
policy): it can be archived, and opened on a machine without a network. (plotly.js's own cartesian bundle would be a
third of that and loads in half the time; but it would be a copy of ours, to be kept up by hand.)
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

LEVEL = 6
"""Of compression: a higher one takes twice the time for a hundredth of the size."""


def render(template: str, values: Mapping[str, Any]) -> str:
    """A whole document from its template."""
    assets = {
        "plotly": packed(get_plotlyjs().encode()),
        "css": Markup(_resource("page.css")),
        "draw": Markup(_resource("draw.js")),
        "script": Markup(_resource("page.js")),
    }
    return _environment().get_template(template).render(**assets, **values)


def packed(data: bytes) -> str:
    """Bytes as text a page can carry. No time stamp: the same results give the same page."""
    return base64.b64encode(gzip.compress(data, LEVEL, mtime=0)).decode()


def anchor(name: str) -> str:
    """A name as the end of an address: stable, so that a link to it keeps working."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def heading(name: str) -> str:
    """A scenario's name for people: `boot-service` → `Boot service`, `cpu` → `CPU`."""
    words = name.replace("-", " ")
    return words.upper() if len(words) <= 3 else words[:1].upper() + words[1:]


def coded(text: str) -> Markup:
    """Text in which what stands between backticks is a command; the rest stays text."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    environment.filters["packed"] = lambda text: packed(text.encode())
    return environment


def _resource(name: str) -> str:
    return (resources.files("reports.templates") / name).read_text(encoding="utf-8")
