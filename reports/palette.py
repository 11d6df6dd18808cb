"""One colour and one symbol per runtime, the same in every chart and table of a report.

The hues follow Okabe & Ito's set for colour-blind readers, darkened or lightened until each keeps a contrast of at
least 3:1 on white and on near-black. Colour never stands alone: every mark is also labelled, and has its own symbol.
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


_STYLES = (
    Style("#7a7f87", "circle"),
    Style("#0072b2", "square"),
    Style("#d55e00", "diamond"),
    Style("#009e73", "triangle-up"),
    Style("#c06c9c", "cross"),
    Style("#9b7700", "star"),
    Style("#2f8fc9", "hexagon"),
    Style("#7a5cc0", "pentagon"),
    Style("#a8623a", "triangle-down"),
    Style("#5f8a1f", "hourglass"),
    Style("#d14b72", "bowtie"),
    Style("#3f8f96", "diamond-tall"),
)


def styles(runs: Sequence[Run]) -> Mapping[str, Style]:
    """By order of appearance, so that the reference is always grey and adding a runtime moves nobody's colour."""
    names = dict.fromkeys(name for run in runs for name in runtimes(run))
    return {name: _STYLES[place % len(_STYLES)] for place, name in enumerate(names)}
