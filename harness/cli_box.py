"""The box commands of the command line: parse, call, print. Exit codes of `run` and `exec` are docker's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import TareError

if TYPE_CHECKING:
    from harness.boxes import Boxes

app = typer.Typer(no_args_is_help=True, help="The built-in container by hand: run, look, stop, remove.")

_PASS_ON = {"allow_interspersed_args": False}
"""What follows the image is the box's own command, options and all."""

Name = Annotated[str, typer.Argument(metavar="BOX")]
Names = Annotated[list[str], typer.Argument(metavar="BOX…")]
Interactive = Annotated[bool, typer.Option("-i", "--interactive", help="It reads our standard input.")]
Tty = Annotated[bool, typer.Option("-t", "--tty", help="It gets a terminal.")]
User = Annotated[str, typer.Option("-u", "--user", metavar="USER[:GROUP]", help="Names of the image, or numbers.")]
Env = Annotated[list[str] | None, typer.Option("-e", "--env", metavar="NAME[=VALUE]", help="Repeatable.")]
Publish = Annotated[
    list[str] | None, typer.Option("-p", "--publish", metavar="[IP:]HOST:BOX", help="A TCP port; repeatable.")
]
Mount = Annotated[
    list[str] | None, typer.Option("--mount", metavar="HOST:BOX[:ro]", help="A path of the host; repeatable.")
]
Workdir = Annotated[str, typer.Option("-w", "--workdir", metavar="DIR", help="The folder it starts in.")]


def _boxes() -> Boxes:
    from harness import registry

    return registry.boxes()


@contextmanager
def _as_docker() -> Iterator[None]:
    """An error of ours is 125 here: 2 could be the program's own."""
    from harness.boxes import EXIT_OURS

    try:
        yield
    except TareError as error:
        print(f"tare: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"      {error.hint}", file=sys.stderr)
        raise typer.Exit(EXIT_OURS) from None


@app.command(context_settings=_PASS_ON)
def run(
    image: Annotated[str, typer.Argument(metavar="IMAGE")],
    command: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND…]", help="Else the image's own.")] = None,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Print its name and let it be.")] = False,
    interactive: Interactive = False,
    tty: Tty = False,
    publish: Publish = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="As 64m or 1g.")] = "",
    cpus: Annotated[float | None, typer.Option(metavar="N", help="A quota: 0.5 is half a CPU.")] = None,
    pids: Annotated[int | None, typer.Option(metavar="N", help="Processes and threads at most.")] = None,
    cpuset: Annotated[str, typer.Option(metavar="LIST", help="CPUs it may use: 0-1,3.")] = "",
    network: Annotated[str, typer.Option(metavar="KIND", help="none, loopback, bridge, nat or host.")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="Its root cannot be written to.")] = False,
    user: User = "",
    env: Env = None,
    mount: Mount = None,
    workdir: Workdir = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Else one is made up.")] = "",
    remove: Annotated[bool, typer.Option("--rm", help="Forget it when it has ended.")] = False,
) -> None:
    """Start a box. Ends as its program does: 125 our error, 126 cannot be executed, 127 not there, 128+n a signal."""
    from harness.boxes import Attached, Limits, Wish

    attached = Attached(interactive=interactive, tty=tty, user=user, env=env or (), folder=workdir)
    wish = Wish(
        image=image,
        command=command or (),
        attached=attached,
        limits=Limits(memory=memory, cpus=cpus, pids=pids, cpuset=cpuset),
        name=name,
        detach=detach,
        remove=remove,
        publish=publish or (),
        mounts=mount or (),
        network=network,
        read_only=read_only,
    )
    with _as_docker():
        raise typer.Exit(_boxes().run(wish))


@app.command("exec", context_settings=_PASS_ON)
def exec_(
    box: Name,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND…")],
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Do not wait for it.")] = False,
    interactive: Interactive = False,
    tty: Tty = False,
    user: User = "",
    env: Env = None,
    workdir: Workdir = "",
) -> None:
    """Run another program in a box that runs, as confined as the box is."""
    from harness.boxes import Attached

    attached = Attached(interactive=interactive, tty=tty, user=user, env=env or (), folder=workdir)
    with _as_docker():
        raise typer.Exit(_boxes().exec(box, command, attached, detach))


@app.command()
def ps(every: Annotated[bool, typer.Option("-a", "--all", help="Those that have ended, too.")] = False) -> None:
    """The boxes there are."""
    print(_boxes().ps(every))


@app.command()
def logs(
    box: Name, follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until it ends.")] = False
) -> None:
    """What a detached box has printed."""
    for piece in _boxes().logs(box, follow):
        sys.stdout.buffer.write(piece)
        sys.stdout.flush()


@app.command()
def inspect(box: Name) -> None:
    """All that is known of a box, as JSON."""
    print(_boxes().inspect(box))


@app.command()
def stats(boxes: Annotated[list[str] | None, typer.Argument(metavar="[BOX…]")] = None) -> None:
    """Memory, CPU time and processes of boxes that run, once."""
    print(_boxes().stats(boxes or ()))


@app.command()
def pause(boxes: Names) -> None:
    """Hold every process where it stands."""
    for box in boxes:
        _boxes().pause(box)


@app.command()
def unpause(boxes: Names) -> None:
    """Let a paused box go on."""
    for box in boxes:
        _boxes().unpause(box)


@app.command()
def stop(
    boxes: Names,
    grace: Annotated[float, typer.Option("-t", "--time", metavar="SECONDS", help="Then it is killed.")] = 10.0,
) -> None:
    """Ask a box to end, then make it."""
    for box in boxes:
        _boxes().stop(box, grace)


@app.command()
def kill(
    boxes: Names,
    signal: Annotated[str, typer.Option("-s", "--signal", metavar="SIGNAL", help="A name or a number.")] = "KILL",
) -> None:
    """Send a box's first process a signal."""
    for box in boxes:
        _boxes().kill(box, signal)


@app.command()
def rm(
    boxes: Names, force: Annotated[bool, typer.Option("-f", "--force", help="One that runs is killed first.")] = False
) -> None:
    """Forget a box that has ended."""
    for box in boxes:
        _boxes().remove(box, force)
