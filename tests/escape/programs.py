"""The programs in C that attempts are made with: compiled here, or brought along to where there is no compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
BROUGHT = "TARE_ESCAPE_PROGRAMS"
"""Names the folder that `build` has filled on another machine."""

_COMPILE = ("gcc", "-O1", "-Wall", "-Wextra", "-Werror")
_NO_LIBRARY = ("-static-pie", "-nostdlib", "-ffreestanding", "-fno-stack-protector")


def attempts(target: Path) -> None:
    """The attempts, linked statically: an image needs nothing for them."""
    _provide("attempts", target, "-static")


def loader(target: Path) -> None:
    """What stands where a program's loader is expected, and uses none."""
    _provide("loader", target, *_NO_LIBRARY)


def build(folder: Path) -> None:
    """Both, for a machine without a compiler."""
    attempts(folder / "attempts")
    loader(folder / "loader")


def _provide(name: str, target: Path, *options: str) -> None:
    if BROUGHT in os.environ:
        shutil.copy2(Path(os.environ[BROUGHT], name), target)
    else:
        subprocess.run([*_COMPILE, *options, "-o", target, SOURCES / f"{name}.c"], check=True)
