"""What the documents show is run as it stands there."""

from __future__ import annotations

import re
import tomllib
import types
from pathlib import Path

import pytest

from harness import images, marks, suites
from harness.contract import Runtime, Workspace
from harness.model import Spec

DOCS = Path(__file__).resolve().parent.parent / "docs"


def block(document: str, language: str) -> str:
    """The one block of code in that language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", (DOCS / document).read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def example(tmp_path: Path) -> types.ModuleType:
    """The module of the worked runtime, by the name its entry point gives it."""
    project = tomllib.loads(block("adding-a-runtime.md", "toml"))["project"]
    name, _, _ = project["entry-points"]["tare.runtimes"]["bubblewrap"].partition(":")
    module = types.ModuleType(name)
    exec(compile(block("adding-a-runtime.md", "python"), f"{name}.py", "exec"), module.__dict__)
    return module


@pytest.mark.machine
def test_the_worked_runtime_works(example: types.ModuleType, tmp_path: Path) -> None:
    with marks.claimed(marks.new_id()) as mark:
        runtime: Runtime = example.BubblewrapRuntime(Workspace(store=tmp_path, scratch=tmp_path, mark=mark))
        support = runtime.probe()
        if not support.available:
            pytest.skip(support.reason)
        spec = Spec(name=f"{mark}-1", prepared=runtime.prepare(images.build_tiny(tmp_path)))
        with runtime.start(spec) as box:
            box.wait_ready(20)
            done = box.run(["sh", "-c", "echo inside; exit 3"], 20)
            assert (done.exit_code, done.stdout) == (3, b"inside\n")
            assert len(box.pids()) >= 2 and box.cgroup is not None
            folders = box.cgroup.paths.values()
            assert all(folder.exists() for folder in folders)
            assert runtime.sweep(lambda _: True) == []
        assert not any(folder.exists() for folder in folders), "the kernel lets none go that has a living member"
        with runtime.start(spec) as box:
            box.wait_ready(20)
            assert runtime.sweep(lambda name: name != spec.name) == [f"removed cgroup {spec.name}"]


def test_the_worked_suite_is_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(block("suites.md", "toml"))
    suite = suites.load(str(file))
    assert suite.blocks == 30 and suite.grid == {"cpu": {"size": ["small", "standard"]}}


def test_every_word_of_a_suite_is_documented() -> None:
    documented = set(re.findall(r"^\| `(\w+)`", (DOCS / "suites.md").read_text(), re.MULTILINE))
    assert documented == set(suites.Suite.__struct_fields__)


def test_every_package_is_explained() -> None:
    script = (DOCS.parent / "setup.sh").read_text()
    body = script[script.index("packages() {") : script.index("\n}\n", script.index("packages() {"))]
    wanted = {name for names in re.findall(r"echo (.*)", body) for name in names.split()}
    explained = set(re.findall(r"`([a-z0-9-]+)`", (DOCS / "host.md").read_text()))
    assert "qemu-system-x86" in wanted and wanted <= explained
