"""The command line: parse, call, print. Results go to stdout, everything else to stderr.

Exit codes: 0 ok · 1 our own bug · 2 usage, or this host cannot do it · 3 some trials failed, results written ·
4 regression · 5 undecided · 6 not comparable (all three: compare) ·
130 interrupted, partial results kept.

What a command needs is imported when it runs: `tare --help` must not wait for what it does not use.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import cli_box, cli_compare, cli_image
from harness.cli_image import KernelPath, Modules
from harness.errors import TareError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # drawing boxes would cost twice the time of everything else --help does
    pretty_exceptions_enable=False,
    help="Weighs the boxes software runs in: processes, containers and virtual machines, with intervals.",
)
app.add_typer(cli_image.app, name="image")
app.add_typer(cli_box.app, name="box")
app.command("compare")(cli_compare.compare)
app.command("merge")(cli_compare.merge)

EXIT_USAGE, EXIT_FAILED_TRIALS, EXIT_INTERRUPTED = 2, 3, 130

SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A built-in suite, or a TOML file.")]
Runtimes = Annotated[list[str] | None, typer.Option("--runtime", help="Only these runtimes; repeatable, or a,b.")]
Scenarios = Annotated[list[str] | None, typer.Option("--scenario", help="Only these scenarios; repeatable, or a,b.")]
ImageName = Annotated[str | None, typer.Option("--image", help="The image every box runs.")]
Blocks = Annotated[int | None, typer.Option(min=1, help="How many blocks to measure.")]
Precision = Annotated[
    float | None, typer.Option(metavar="PERCENT", help="Measure until every median is within this, 10 to 60 blocks.")
]
Seed = Annotated[int | None, typer.Option(help="Order of trials; by default a new one, always recorded.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", metavar="RUNTIME.NAME=VALUE", help="A runtime's own option.")
]


def main() -> None:
    """The entry point: errors for people become two lines, an interrupt exits 130, the rest is our own bug."""
    try:
        app()
    except TareError as error:
        print(f"tare: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"      {error.hint}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except BrokenPipeError:  # whoever read our output has enough of it: `tare report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("tare: interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


@app.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Print a script that quietens this host, and restores what it found.")
    ] = False,
) -> None:
    """What this host can run and why not, what makes it noisy, and the command that mends it. Changes nothing."""
    from harness import checkup
    from harness import tune as tuning

    if tune:
        print(tuning.script(list(tuning.changes())))
        return
    findings = checkup.examine()
    print(checkup.as_json(findings) if as_json else checkup.as_text(findings))


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="runtimes, scenarios, reports, suites, images or runs")] = "",
) -> None:
    """What there is."""
    from harness import catalogue

    print(catalogue.describe(what))


@app.command("plan")
def plan_(
    suite: SuiteName,
    runtime: Runtimes = None,
    scenario: Scenarios = None,
    image: ImageName = None,
    blocks: Blocks = None,
    precision: Precision = None,
    seed: Seed = None,
    kernel: KernelPath = None,
    modules: Modules = None,
    option: Options = None,
) -> None:
    """The flat list of what would run, in order, and what would not, with the reason."""
    from harness import campaign, catalogue, estimate, paths, request

    said = request.Said(suite, runtime, scenario, image, blocks, None, kernel, modules, option, precision)
    config = request.resolve(said)
    steps = campaign.planned(config, paths.home(), request.seed_or_new(seed))
    print(catalogue.steps(steps))
    print(estimate.sentence(config, steps, paths.home()))


@app.command()
def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A built-in suite, or a TOML file.")] = "",
    runtime: Runtimes = None,
    scenario: Scenarios = None,
    image: ImageName = None,
    blocks: Blocks = None,
    precision: Precision = None,
    budget: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="No new block after this long.")
    ] = None,
    seed: Seed = None,
    kernel: KernelPath = None,
    modules: Modules = None,
    option: Options = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write this report.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")] = None,
    rerun_base: Annotated[
        str | None, typer.Option("--rerun-base", metavar="RUN", help="Measure what that run boxed again, interleaved.")
    ] = None,
) -> None:
    """Measure a suite on this host, print the verdicts, write the report."""
    from harness import request, running

    said = request.Said(suite, runtime, scenario, image, blocks, budget, kernel, modules, option, precision)
    if resume and (request.anything(said) or seed is not None or rerun_base):
        raise UsageError("--resume goes on with the run's own request", hint="leave out everything but --report")
    failed = running.resume(resume, report) if resume else running.run(said, seed, report, rerun_base)
    raise typer.Exit(EXIT_FAILED_TRIALS if failed else 0)


@app.command("report")
def report_(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]…", help="Run names or folders.")] = None,
    form: Annotated[str | None, typer.Option("--as", help="text, html, markdown, csv, … (tare list reports)")] = None,
    output: Annotated[
        list[str] | None, typer.Option("-o", "--output", metavar="FILE", help="Where to; - is stdout. Repeatable.")
    ] = None,
    index: Annotated[bool, typer.Option("--index", help="A page over all runs there are, with their history.")] = False,
) -> None:
    """Render one run, or several on one page, in any of the forms there are."""
    from harness import paths, render, store

    if index:
        render.render_index(paths.home(), output or [render.STDOUT])
        return
    folders = [store.locate(paths.home(), one) for one in runs or ["latest"]]
    render.render(folders, output or [render.STDOUT], form)


@app.command()
def sweep() -> None:
    """Remove what dead runs left: boxes, cgroups, domains, folders. Never touches what others made."""
    from harness import campaign, paths

    swept = list(campaign.sweep(paths.home()))
    print("\n".join(swept) if swept else "nothing was left behind")
