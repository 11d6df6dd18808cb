"""Results folders → documents. `render_apart` does it in a process of its own, after measuring.

Reports load pandas and plotly; the process that measures must not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import registry, store
from harness.errors import TareError, UsageError

STDOUT = "-"
_SUFFIX_OF = {".txt": "text", ".md": "markdown"}
"""Reports that are not called like the files they make."""


def render(folders: Sequence[Path], outputs: Sequence[str], form: str | None = None) -> None:
    """Writes a report to each output, in the form that was asked for, else by its suffix; `-` is stdout, as text."""
    results = [store.read(folder) for folder in folders]
    for output in outputs:
        name = form or ("text" if output == STDOUT else for_suffix(output))
        document = registry.report(name).render(results)
        if output == STDOUT:
            print(document)
        else:
            _write(Path(output), document)


def _write(path: Path, document: str) -> None:
    try:
        path.write_text(document)
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
