"""One colour and one symbol per runtime: the same in every chart and table, and for those we know in every report.

The colours lie as far apart as twelve can that keep a contrast of at least 3:1 on white and on near-black, for readers
of every kind of colour vision: the smallest distance between any two, as each kind sees them, was made as large as it
gets. Colour never stands alone: every mark is also labelled, and has its own symbol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.model import Run
from reports.tidy import runtimes


@dataclass(frozen=True, slots=True)
class Style:
    colour: str
    symbol: str


_COLOURS = (
    *("#7a7f87", "#0072b2", "#d55e00", "#3091f2", "#a65342", "#9130f2"),
    *("#a69063", "#d957d9", "#cc29b1", "#bf73b3", "#997a5c", "#f23091"),
)
_SYMBOLS = (
    *("circle", "square", "diamond", "triangle-up", "cross", "pentagon"),
    *("star", "hexagon", "hourglass", "triangle-down", "diamond-tall", "bowtie"),
)
_KNOWN = (
    "native",
    "container",
    "kvm",
    "docker",
    "kvm-full",
    "tcg",
    "kvm-micro",
    "tcg-micro",
    "tcg-full",
    "podman",
    "kvm-bios",
    "tcg-bios",
)
"""Each in its place: virtual machines are warm, emulated ones purple."""


def styles(runs: Sequence[Run]) -> Mapping[str, Style]:
    """Known runtimes have their own; others take the free ones in order, so that one more moves nobody's colour."""
    names = list(dict.fromkeys(name for run in runs for name in runtimes(run)))
    free = iter(
        [place for place in range(len(names) + len(_KNOWN)) if place >= len(_KNOWN) or _KNOWN[place] not in names]
    )
    return {name: _style(_KNOWN.index(name) if name in _KNOWN else next(free)) for name in names}


def _style(place: int) -> Style:
    """Beyond the last, colours begin anew with other symbols."""
    count = len(_COLOURS)
    return Style(_COLOURS[place % count], _SYMBOLS[(place + place // count) % count])
