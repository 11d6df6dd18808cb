"""Results folders → documents. `render_apart` does it in a process of its own, after measuring.

Reports load pandas and plotly; the process that measures must not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import log, registry, store
from harness.errors import TareError, UsageError
from harness.model import Results

STDOUT = "-"
_SUFFIX_OF = {".txt": "text", ".md": "markdown"}
"""Reports that are not called like the files they make."""


def render(folders: Sequence[Path], outputs: Sequence[str], form: str | None = None) -> None:
    """Writes a report to each output, in the form that was asked for, else by its suffix; `-` is stdout, as text."""
    _render([store.read(folder) for folder in folders], outputs, form)


def render_index(home: Path, outputs: Sequence[str]) -> None:
    """The page over all runs there are. One that cannot be read is named, and keeps nobody from seeing the others."""
    results = []
    for folder in store.run_folders(home):
        try:
            results.append(store.read(folder))
        except UsageError as error:
            log.warn(f"left out: {error.message}")
    if not results:
        raise UsageError("there are no runs to show", hint="make one: tare run quick")
    _render(results, outputs, "index")


def _render(results: Sequence[Results], outputs: Sequence[str], form: str | None) -> None:
    for output in outputs:
        name = form or ("text" if output == STDOUT else for_suffix(output))
        document = registry.report(name).render(results)
        if output != STDOUT:
            _write(Path(output), document)
        elif isinstance(document, str):
            print(document)
        else:
            _hand_over(document, name)


def _hand_over(document: bytes, name: str) -> None:
    """Bytes on stdout are for a pipe or a file: a terminal would only be upset by them."""
    if sys.stdout.isatty():
        raise UsageError(f"{name} is not text", hint="name a file with -o")
    sys.stdout.buffer.write(document)


def _write(path: Path, document: str | bytes) -> None:
    try:
        path.write_bytes(document.encode() if isinstance(document, str) else document)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="give another -o") from None


def render_apart(folders: Sequence[Path], outputs: Sequence[str]) -> None:
    """`tare report` in a child process; TareError when it fails (it has said why on stderr)."""
    wanted = [word for output in outputs for word in ("-o", output)]
    argv = [sys.executable, "-m", "harness", "report", *map(str, folders), *wanted]
    if subprocess.run(argv, check=False).returncode != 0:
        raise TareError("the results are kept, but the report could not be made", hint="tare report shows why")


def for_suffix(path: str) -> str:
    """The report whose files end like this one, by name alone: loading a report would load pandas where we measure."""
    suffix = Path(path).suffix
    name = _SUFFIX_OF.get(suffix, suffix.removeprefix("."))
    if name not in registry.names(registry.REPORTS):
        raise UsageError(f"no report makes {suffix or 'such'} files", hint="say which with --as")
    return name
