"""The image commands of the command line: parse, call, print."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.imports import Imported
    from harness.packed import Limits

app = typer.Typer(no_args_is_help=True, help="Build, import, pull and look at images.")

Name = Annotated[str, typer.Option("--name", metavar="NAME", help="What it is called here; by default as there.")]
KernelPath = Annotated[str | None, typer.Option("--kernel", metavar="PATH", help="A guest kernel, or 'host'.")]
Modules = Annotated[str | None, typer.Option(metavar="DIR", help="The modules of that kernel.")]
MostBytes = Annotated[int, typer.Option(metavar="N", min=0, help="Unpacked; 64 GiB if not said.")]
MostEntries = Annotated[int, typer.Option(metavar="N", min=0, help="In all layers; 2,000,000 if not said.")]
MostRatio = Annotated[int, typer.Option(metavar="N", min=0, help="Unpacked to packed; 200 if not said.")]


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="tiny, or debian: with systemd and programs to measure with")],
    kernel: KernelPath = None,
    modules: Modules = None,
) -> None:
    """Build an image into the store; the same input gives the same digest."""
    from harness import debian, images, kernels, paths, registry

    if name == debian.NAME:
        _say(debian.build(paths.home()))
        return
    if name != "tiny":
        raise registry.unknown("image to build", name, ["tiny", debian.NAME])
    chosen = kernels.chosen(paths.home(), kernel, modules or "") if kernel else None
    image = images.build_tiny(paths.home(), chosen)
    print(f"{image.name}  {image.digest}")


@app.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE[:NAME]", help="An OCI layout or archive, docker save, a root.")
    ],
    name: Name = "",
    most_bytes: MostBytes = 0,
    most_entries: MostEntries = 0,
    most_ratio: MostRatio = 0,
) -> None:
    """Bring an image into the store: OCI layout, OCI archive, `docker save`, or a root file system (tar or folder)."""
    from harness import imports, paths

    _say(imports.import_image(paths.home(), source, name, limits=_limits(most_bytes, most_entries, most_ratio)))


@app.command()
def pull(
    reference: Annotated[str, typer.Argument(metavar="REF", help="HOST/NAME:TAG or HOST/NAME@DIGEST")],
    name: Name = "",
    most_bytes: MostBytes = 0,
    most_entries: MostEntries = 0,
    most_ratio: MostRatio = 0,
) -> None:
    """Fetch an image from a registry into the store, through skopeo."""
    from harness import paths
    from harness import pull as pulling

    _say(pulling.pull(paths.home(), reference, name, _limits(most_bytes, most_entries, most_ratio)))


@app.command()
def show(name: Annotated[str, typer.Argument()]) -> None:
    """An image's digests, layers and sizes."""
    from harness import catalogue, images, paths

    print(catalogue.image(images.find(paths.home(), name)))


@app.command()
def rm(name: Annotated[str, typer.Argument()]) -> None:
    """Remove an image, and everything of it that no other image shares."""
    from harness import log, paths, removal

    freed_bytes = removal.remove(paths.home(), name)
    log.say(f"{freed_bytes / (1 << 20):.1f} MiB freed")


def _limits(most_bytes: int, most_entries: int, most_ratio: int) -> Limits:
    from harness.packed import Limits

    usual = Limits()
    return replace(
        usual,
        total_bytes=most_bytes or usual.total_bytes,
        entries=most_entries or usual.entries,
        ratio=most_ratio or usual.ratio,
    )


def _say(imported: Imported) -> None:
    from harness import log

    if imported.left_out:
        log.say(f"left out: {', '.join(imported.left_out)}")
    print(f"{imported.image.name}  {imported.image.digest}")
