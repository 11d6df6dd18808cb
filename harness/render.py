"""Results folders → documents, in a process of its own after measuring: `python -m harness.render RUN… text=- html=F`.

Reports load pandas and plotly; the process that measures must not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import registry, store
from harness.errors import TareError, UsageError

_SUFFIX_OF = {".txt": "text", ".md": "markdown"}
"""Reports that are not called like the files they make."""


def render(folders: Sequence[Path], targets: Mapping[str, str]) -> None:
    """Writes each report to its file; `-` is standard output."""
    results = [store.read(folder) for folder in folders]
    for name, target in targets.items():
        document = registry.report(name).render(results)
        if target == "-":
            print(document)
            continue
        try:
            Path(target).write_text(document)
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}", hint="give another -o") from None


def render_apart(folders: Sequence[Path], targets: Mapping[str, str]) -> None:
    """The same, in a child process; TareError when it fails (it has said why on stderr)."""
    pairs = [f"{name}={target}" for name, target in targets.items()]
    argv = [sys.executable, "-m", "harness.render", *map(str, folders), *pairs]
    if subprocess.run(argv, check=False).returncode != 0:
        raise TareError("the results are kept, but the report could not be made", hint="tare report shows why")


def for_suffix(path: str) -> str:
    """The report whose files end like this one, by name alone: loading a report would load pandas where we measure."""
    suffix = Path(path).suffix
    name = _SUFFIX_OF.get(suffix, suffix.removeprefix("."))
    if name not in registry.names(registry.REPORTS):
        raise UsageError(f"no report makes {suffix or 'such'} files", hint="say which with --as")
    return name


def _main(arguments: Sequence[str]) -> None:
    targets = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    render([Path(argument) for argument in arguments if "=" not in argument], targets)


if __name__ == "__main__":
    _main(sys.argv[1:])
