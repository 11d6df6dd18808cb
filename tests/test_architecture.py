"""The rules that keep the parts apart, read from the source. Each rule is also shown a source that breaks it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "runtimes", "scenarios", "reports")
MODULE_LINES = 300
FUNCTION_LINES = 40

# A module of the harness imports only from rows above its own.
HARNESS_ROWS = (
    ("errors", "log"),
    ("cgroupfiles", "model", "packed", "packing", "paths", "proc", "tune"),
    ("cgroups", "columns", "differences", "marks", "oci", "tarstream"),
    ("attributes", "boxes", "contract", "gate", "within"),
    ("agent", "doubts", "host", "kernels", "layers", "registry", "shelf", "store"),
    ("adaptive", "factors", "images", "manifests", "suites", "taints"),
    ("plan", "removal", "rerun"),
    ("request", "session", "sources"),
    ("imports", "runner"),
    ("campaign", "catalogue", "checkup", "comparing", "debian", "estimate", "merging", "pull", "render"),
    ("cli_box", "cli_compare", "cli_image", "running"),
    ("cli", "pytest_plugin"),
    ("__main__",),
)
ROW = {name: number for number, names in enumerate(HARNESS_ROWS) for name in names}

# Where each heavy library may be imported.
HOMES = {
    "pandas": "reports/",
    "numpy": "reports/",
    "plotly": "reports/",
    "scipy": "reports/",
    "jinja2": "reports/",
    "libvirt": "runtimes/vm/",
    "libvirt_qemu": "runtimes/vm/",
    "pyroute2": "runtimes/",
    "typer": "harness/cli",
    "zstandard": "harness/packed",
}

Rule = Callable[[str, str], Iterator[str]]


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def star(path: str, source: str) -> Iterator[str]:
    """Runtimes, scenarios and reports know the harness and themselves; the harness knows none of them."""
    room = path.split("/")[0]
    if room not in PACKAGES:
        return
    for line, name in imports(source):
        other = name.split(".")[0]
        if other in (*PACKAGES, "tests") and other not in (room, "harness"):
            yield f"{path}:{line} imports {name}"


def rows(path: str, source: str) -> Iterator[str]:
    """Inside the harness, imports point upwards in HARNESS_ROWS."""
    room, _, name = path.removesuffix(".py").partition("/")
    if room != "harness" or name == "__init__":
        return
    if name not in ROW:
        yield f"{path} has no place in HARNESS_ROWS"
        return
    for line, imported in imports(source):
        head, *rest = imported.split(".")
        if head == "harness" and (not rest or ROW.get(rest[0], len(ROW)) >= ROW[name]):
            yield f"{path}:{line} imports {imported}, which is not in a row above"


def homes(path: str, source: str) -> Iterator[str]:
    """A heavy library is imported in one place."""
    if path.split("/")[0] not in PACKAGES:
        return
    for line, name in imports(source):
        home = HOMES.get(name.split(".")[0])
        if home and not path.startswith(home):
            yield f"{path}:{line} imports {name}, whose home is {home}"


def quiet_init(path: str, source: str) -> Iterator[str]:
    """A package's `__init__` holds a docstring and nothing else."""
    if not path.endswith("__init__.py"):
        return
    body = ast.parse(source).body
    if ast.get_docstring(ast.parse(source)) is None or len(body) > 1:
        yield f"{path} is not one docstring"


def absolute(path: str, source: str) -> Iterator[str]:
    """No relative imports."""
    yield from (f"{path}:{line} imports {name}" for line, name in imports(source) if name.startswith("."))


def short_modules(path: str, source: str) -> Iterator[str]:
    """A file is about one subject."""
    lines = len(source.splitlines())
    if path.split("/")[0] in PACKAGES and lines > MODULE_LINES:
        yield f"{path}: {lines} lines"


def short_functions(path: str, source: str) -> Iterator[str]:
    """A function is one thought."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{path}:{node.lineno} {node.name}: {lines} lines"


RULES: tuple[Rule, ...] = (star, rows, homes, quiet_init, absolute, short_modules, short_functions)


def modules() -> list[Path]:
    return [path for name in (*PACKAGES, "tests") for path in sorted((ROOT / name).rglob("*.py"))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: Rule) -> None:
    broken = [word for path in modules() for word in rule(path.relative_to(ROOT).as_posix(), path.read_text())]
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


LONG_FUNCTION = "def f():\n" + "    pass\n" * FUNCTION_LINES


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (star, "harness/x.py", "import reports.tidy"),
        (star, "scenarios/boot.py", "def f():\n    from runtimes import native"),
        (star, "reports/x.py", "if TYPE_CHECKING:\n    import runtimes"),
        (star, "runtimes/x.py", "from tests import fakes"),
        (rows, "harness/model.py", "from harness import cli"),
        (rows, "harness/store.py", "from harness.kernels import provide"),
        (rows, "harness/store.py", "import harness.runner"),
        (rows, "harness/store.py", "import harness"),
        (rows, "harness/store.py", "from harness import unheard_of"),
        (rows, "harness/unheard_of.py", ""),
        (homes, "harness/runner.py", "def f():\n    import pandas as pd"),
        (homes, "runtimes/native.py", "from libvirt import open"),
        (homes, "harness/render.py", "import typer"),
        (quiet_init, "reports/__init__.py", '"""Reports."""\nfrom reports import tidy'),
        (quiet_init, "reports/__init__.py", ""),
        (absolute, "tests/x.py", "from . import fakes"),
        (short_modules, "reports/x.py", "\n" * (MODULE_LINES + 1)),
        (short_functions, "tests/x.py", LONG_FUNCTION),
        (short_functions, "tests/x.py", "class C:\n" + LONG_FUNCTION.replace("def", " def").replace("    p", "     p")),
    ],
)
def test_the_rule_sees_what_breaks_it(rule: Rule, path: str, source: str) -> None:
    assert list(rule(path, source))


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (star, "runtimes/vm/driver.py", "from harness import proc\nfrom runtimes.vm import domain\nimport os"),
        (rows, "harness/runner.py", "from harness import host\nfrom harness.model import Step"),
        (homes, "reports/tidy.py", "import pandas as pd"),
        (homes, "harness/cli_run.py", "import typer"),
        (quiet_init, "reports/__init__.py", '"""Reports."""'),
        (short_functions, "tests/x.py", LONG_FUNCTION.removesuffix("    pass\n")),
    ],
)
def test_the_rule_leaves_good_source_alone(rule: Rule, path: str, source: str) -> None:
    assert not list(rule(path, source))


def heavy_modules_after(statement: str) -> list[str]:
    """The heavy libraries a fresh interpreter holds once it has run the statement."""
    code = f"import sys; {statement}; print(*sorted({set(HOMES)!r} & set(sys.modules)))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.parametrize(
    "statement", ["import harness.runner", "import runtimes.native, scenarios.boot, scenarios.cpu, scenarios.memory"]
)
def test_the_measuring_process_stays_thin(statement: str) -> None:
    assert heavy_modules_after(statement) == []


def test_a_heavy_import_would_be_seen() -> None:
    assert "jinja2" in heavy_modules_after("import jinja2")


NO_ADDRESS = re.compile(
    r"pypi\.(org|io)|python[h]osted|(deb|security|ftp|snapshot)\.debian|(archive|ports)\.ubuntu|registry\.npm[j]s"
    r"|proxy\.golang|(?<![\w.])/wor[k]/|/opt/pyp[i]|/roo[t]/\.pyenv|--(extra-)?index-ur[l]"
)
PASSED_OVER = re.compile(r"(^|/)(\.(?!ci/|gitignore)|build/|dist/|__pycache__/|\w+\.egg-info/)")


def texts() -> Iterator[tuple[str, str]]:
    """Every file of the project that is text, without what .gitignore names."""
    for folder, _, names in os.walk(ROOT):
        for name in names:
            file = Path(folder, name)
            path = file.relative_to(ROOT).as_posix()
            if not PASSED_OVER.search(path) and path != "report.html":
                data = file.read_bytes()
                if b"\0" not in data[:8000]:
                    yield path, data.decode(errors="replace")


def test_no_file_names_a_registry_or_one_machine() -> None:
    found = [f"{path}: {hit.group()}" for path, text in texts() for hit in NO_ADDRESS.finditer(text)]
    assert not found


@pytest.mark.parametrize(
    "address", ["https://py" + "pi.org/simple", "http://deb." + "debian.org", "at /wor" + "k/main"]
)
def test_an_address_would_be_seen(address: str) -> None:
    assert NO_ADDRESS.search(address)


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    matches = [re.fullmatch(r"([\w.-]+)==([\w.!+]+)", line) for line in lines]
    assert all(matches), "a line is not NAME==VERSION"
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def closure(requirements: list[str]) -> set[str]:
    """The names of all that these requirements bring in here."""
    seen: set[str] = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        todo += map(Requirement, metadata.requires(name) or [])
    return seen


def test_everything_that_is_installed_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"], "setuptools"]
    assert closure(wanted) <= set(pins())


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
        for target in re.findall(r"(?<!!)\[[^]]*\]\(([^)#:]+)[^)]*\)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert not broken
