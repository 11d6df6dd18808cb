"""`tare compare` and `tare merge`: what was measured, against what was measured before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A run, RUN:RUNTIME, or a runtime of --run.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same; is it worse?")],
    run: Annotated[str, typer.Option(metavar="RUN", help="Where runtimes are looked up.")] = "latest",
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", metavar="METRIC:LIMIT", help="Exit 4 beyond it: boot.ready:10%, memory.*:1MiB."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 5 when anything gated stays undecided.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Compare what is not comparable, and say so.")] = False,
    form: Annotated[str, typer.Option("--as", help="text, markdown or json")] = "text",
) -> None:
    """Say what got worse between two runs, or two runtimes of a run, and fail when it may not.

    Exit codes: 0 nothing beyond its limit · 4 regression · 5 undecided (with --strict) · 6 not comparable.
    """
    from harness import comparing

    ruling = comparing.compare(comparing.Said(old, new, run, fail_on or [], strict, force, form))
    print(ruling.document)
    raise typer.Exit(ruling.code)


def merge(runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Runs of the same request.")]) -> None:
    """Make one run of several sittings; its intervals then hold what differs between sittings too."""
    from harness import merging, paths, store

    home = paths.home()
    folder: Path = merging.merge([store.read(store.locate(home, name)) for name in runs], home)
    print(folder.name)
