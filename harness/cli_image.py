"""The image commands of the command line: parse, call, print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.imports import Imported

app = typer.Typer(no_args_is_help=True, help="Build, import, pull and look at images.")

Name = Annotated[str, typer.Option("--name", metavar="NAME", help="What it is called here; by default as there.")]
KernelPath = Annotated[str | None, typer.Option("--kernel", metavar="PATH", help="A guest kernel, or 'host'.")]
Modules = Annotated[str | None, typer.Option(metavar="DIR", help="The modules of that kernel.")]


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
) -> None:
    """Bring an image into the store: OCI layout, OCI archive, `docker save`, or a root file system (tar or folder)."""
    from harness import imports, paths

    _say(imports.import_image(paths.home(), source, name))


@app.command()
def pull(
    reference: Annotated[str, typer.Argument(metavar="REF", help="HOST/NAME:TAG or HOST/NAME@DIGEST")], name: Name = ""
) -> None:
    """Fetch an image from a registry into the store, through skopeo."""
    from harness import paths
    from harness import pull as pulling

    _say(pulling.pull(paths.home(), reference, name))


@app.command()
def show(name: Annotated[str, typer.Argument()]) -> None:
    """An image's digests, layers and sizes."""
    from harness import catalogue, images, paths

    print(catalogue.image(images.find(paths.home(), name)))


@app.command()
def rm(name: Annotated[str, typer.Argument()]) -> None:
    """Forget an image."""
    from harness import images, paths

    images.remove(paths.home(), name)


def _say(imported: Imported) -> None:
    from harness import log

    if imported.left_out:
        log.say(f"left out: {', '.join(imported.left_out)}")
    print(f"{imported.image.name}  {imported.image.digest}")
