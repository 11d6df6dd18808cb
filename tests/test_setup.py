"""The wrappers `tare` and `tare-test`, in a scratch project whose apt, pip and Python are stubs that keep a diary."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT_FILES = ("tare", "tare-test", "setup.sh", "pyproject.toml", "constraints.txt")
HOST_TOOLS = (
    *("sh", "cat", "chmod", "cksum", "env", "flock", "fmt", "head", "ln", "ls"),
    *("mkdir", "printf", "pwd", "readlink", "rm", "tail", "touch"),
)
FAST_PATH_TOOLS = ("sh", "readlink", "cksum")

STUBS = {
    "apt-get": '[ ! -e /proc/$$/fd/9 ] || note holds the lock; note "$@"',
    "dpkg-query": 'for package; do [ -z "${INSTALLED:-}" ] || echo "installed $package"; done',
    "getent": '[ -n "${INSTALLED:-}" ]',
    "useradd": 'note "$@"',
    "id": 'echo "${FAKE_UID:-0}"',
    "python3": """
note "$@"
case "$*" in
-c*) readlink -f "$0" ;;
"-m venv "*) mkdir -p "$3/bin" && ln -s "$(readlink -f "$0")" "$3/bin/python" ;;
*--editable*)
    [ ! -e "$STUBS/hold" ] || { touch "$STUBS/held" && cat "$STUBS/hold"; }
    [ ! -e "$STUBS/broken" ] || { echo "no such release" >&2 && exit 1; }
    for tool in tare ruff mypy pytest shellcheck; do
        printf '#!/bin/sh\\necho "%s:" "$@" in "$PWD"\\n[ "%s" != "${BAD:-}" ]\\n' $tool $tool >"${0%/*}/$tool"
        chmod +x "${0%/*}/$tool"
    done ;;
esac
""",
}


@dataclass
class Scratch:
    """A copy of the project and a PATH that reaches nothing real but a few small tools."""

    project: Path
    stubs: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(
        self, *arguments: str, script: str = "tare", cwd: Path = Path("/"), **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.project / script, *arguments],
            env=self.env | env,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def background(self) -> subprocess.Popen[str]:
        """A start that writes its progress to a pipe and can be killed with all it started."""
        return subprocess.Popen(
            [self.project / "tare", "x"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def diary(self) -> list[str]:
        """What apt, pip and Python were asked since the last call."""
        path = self.stubs / "diary"
        entries = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [entry for entry in entries if not entry.startswith("python3 -c")]


def write_stub(path: Path, body: str) -> None:
    path.write_text(f'#!/bin/sh\nnote() {{ echo "{path.name} $*" | head -n 1 >>"$STUBS/diary"; }}\n{body}\n')
    path.chmod(0o755)


def link_tools(folder: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        found = shutil.which(name, path="/usr/bin:/bin")
        assert found, name
        (folder / name).symlink_to(found)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    project = tmp_path / "a project"
    project.mkdir()
    for name in PROJECT_FILES:
        shutil.copy2(ROOT / name, project / name)
    stubs = tmp_path / "stubs"
    link_tools(stubs, HOST_TOOLS)
    for name, body in STUBS.items():
        write_stub(stubs / name, body)
    return Scratch(project, stubs, {"PATH": str(stubs), "STUBS": str(stubs), "INSTALLED": "1"})


def test_first_start_installs_then_is_the_command_line(scratch: Scratch, tmp_path: Path) -> None:
    done = scratch.start("run", "a b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"tare: run a b in {tmp_path}\n"
    venv = scratch.project / ".venv"
    assert scratch.diary() == [
        f"python3 -m venv {venv}",
        "python3 -m pip install --disable-pip-version-check --no-input --constraint constraints.txt setuptools",
        "python3 -m pip install --disable-pip-version-check --no-input --constraint constraints.txt"
        " --no-build-isolation --config-settings editable_mode=compat --editable .",
    ]


def test_second_start_has_no_need_of_apt_pip_or_python(scratch: Scratch, tmp_path: Path) -> None:
    scratch.start()
    link_tools(tmp_path / "bare", FAST_PATH_TOOLS)
    done = scratch.start("again", PATH=str(tmp_path / "bare"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tare: again")


def test_starts_through_a_link_and_by_a_relative_name(scratch: Scratch, tmp_path: Path) -> None:
    scratch.start()
    (tmp_path / "link").symlink_to("a project/tare")
    for command in (["../link", "x"], ["sh", "tare", "x"]):
        done = subprocess.run(command, cwd=scratch.project, env=scratch.env, capture_output=True, text=True, check=True)
        assert done.stdout == f"tare: x in {scratch.project}\n"


def test_changed_pins_are_installed_into_the_same_environment(scratch: Scratch) -> None:
    scratch.start()
    scratch.diary()
    with (scratch.project / "constraints.txt").open("a") as pins:
        pins.write("one==1\n")
    scratch.start()
    assert [entry.split(" ")[2] for entry in scratch.diary()] == ["pip", "pip"]
    scratch.start()
    assert scratch.diary() == []


def test_moved_project_gets_a_new_environment(scratch: Scratch, tmp_path: Path) -> None:
    scratch.start()
    scratch.diary()
    scratch.project = scratch.project.rename(tmp_path / "moved")
    done = scratch.start("x")
    assert "anew" in done.stderr
    assert scratch.diary()[0] == f"python3 -m venv {tmp_path / 'moved' / '.venv'}"


def test_vanished_interpreter_gets_a_new_environment(scratch: Scratch) -> None:
    scratch.start()
    scratch.diary()
    python = scratch.project / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    assert scratch.start("x").returncode == 0
    assert scratch.diary()[0].startswith("python3 -m venv")


def test_failed_pip_shows_its_last_words_and_is_redone(scratch: Scratch) -> None:
    (scratch.stubs / "broken").touch()
    failed = scratch.start()
    assert failed.returncode == 1
    assert "no such release" in failed.stderr and "setup.log" in failed.stderr
    assert failed.stdout == ""
    (scratch.stubs / "broken").unlink()
    scratch.diary()
    assert scratch.start("x").returncode == 0
    assert scratch.diary()[0].startswith("python3 -m venv")


def wait_until_held(scratch: Scratch, process: subprocess.Popen[str]) -> None:
    while not (scratch.stubs / "held").exists():
        assert process.poll() is None, process.stderr
        os.sched_yield()


@pytest.mark.parametrize("updating", [False, True])
def test_killed_set_up_is_redone(scratch: Scratch, updating: bool) -> None:
    if updating:
        scratch.start()
        (scratch.project / "constraints.txt").write_text("one==1\n")
    os.mkfifo(scratch.stubs / "hold")
    process = scratch.background()
    wait_until_held(scratch, process)
    os.killpg(process.pid, 9)
    process.communicate()
    (scratch.stubs / "hold").unlink()
    scratch.diary()
    done = scratch.start("x")
    assert done.returncode == 0, done.stderr
    assert scratch.diary()[0].startswith("python3 -m venv")


def test_two_at_once_set_up_once(scratch: Scratch) -> None:
    os.mkfifo(scratch.stubs / "hold")
    first = scratch.background()
    wait_until_held(scratch, first)
    second = scratch.background()
    assert second.stderr is not None
    assert "waiting for another set-up" in second.stderr.readline()
    (scratch.stubs / "hold").open("w").close()
    for process in (first, second):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.startswith("tare: x")
    assert sum("-m venv" in entry for entry in scratch.diary()) == 1


def test_missing_packages_are_installed_by_root(scratch: Scratch) -> None:
    done = scratch.start(INSTALLED="")
    assert done.returncode == 0, done.stderr
    update, install, account = scratch.diary()[:3]
    assert update == "apt-get update"
    assert install.startswith("apt-get install -y --no-install-recommends ")
    assert {"qemu-system-x86", "libvirt-daemon-driver-qemu", "busybox-static"} <= set(install.split())
    assert not {"chromium", "python3-venv"} & set(install.split())
    assert account.startswith("useradd --system") and account.endswith("libvirt-qemu")


def test_tests_need_more_packages(scratch: Scratch) -> None:
    scratch.start(script="tare-test", INSTALLED="")
    assert {"chromium", "shellcheck"} <= set(scratch.diary()[1].split())


def test_machine_without_python_gets_one(scratch: Scratch) -> None:
    write_stub(scratch.stubs / "python3", "exit 1")
    for name in ("python3.11", "python3.12", "python3.13"):
        write_stub(scratch.stubs / name, "exit 1")
    # The host's own /usr/bin/python3 is the one candidate a stub cannot hide.
    script = scratch.project / "setup.sh"
    script.write_text(script.read_text().replace(" /usr/bin/python3 ", " "))
    done = scratch.start(INSTALLED="")
    assert {"python3", "python3-dev", "python3-venv"} <= set(scratch.diary()[1].split())
    assert done.returncode == 2 and "no Python 3.11" in done.stderr


def test_not_root_is_told_the_commands(scratch: Scratch) -> None:
    done = scratch.start(INSTALLED="", FAKE_UID="1000")
    assert done.returncode == 2
    assert "  apt-get install --no-install-recommends busybox-static " in done.stderr
    assert "  useradd --system " in done.stderr
    assert scratch.diary() == []
    assert scratch.start("x", FAKE_UID="1000").returncode == 0, "nothing is missing, so nobody has to be root"


def test_without_apt_the_list_is_printed(scratch: Scratch) -> None:
    (scratch.stubs / "apt-get").unlink()
    done = scratch.start(INSTALLED="")
    assert done.returncode == 2
    assert "not known here" in done.stderr and "qemu-system-x86" in done.stderr
    assert scratch.diary() == []
    ready = scratch.start("x", TARE_SYSTEM_READY="1")
    assert ready.returncode == 0, ready.stderr
    assert scratch.start("x").stderr == "", "what was said once need not be said again"


@pytest.mark.machine
@pytest.mark.skipif(os.geteuid() != 0, reason="binds another os-release over the host's: needs root")
@pytest.mark.parametrize(
    ("release", "known"),
    [("ID=fedora", False), ('ID=linuxmint\nID_LIKE="ubuntu debian"', True), ("ID=ubuntu\nID_LIKE=debian", True)],
)
def test_the_distribution_decides(scratch: Scratch, tmp_path: Path, release: str, known: bool) -> None:
    other = tmp_path / "os-release"
    other.write_text(release + "\n")
    bound = f'mount --bind "{other}" "$(readlink -f /etc/os-release)"; PATH={scratch.stubs}; exec "$0"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", bound, scratch.project / "tare"],
        env=scratch.env | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is known, done.stderr
    assert ("not known here" in done.stderr) is not known


def test_a_strangers_folder_is_left_alone(scratch: Scratch, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "bin").mkdir(parents=True)
    (mine / "bin" / "python").touch(mode=0o755)
    done = scratch.start(TARE_VENV=str(mine))
    assert done.returncode == 2 and "was not made by this script" in done.stderr
    assert [path.name for path in mine.rglob("*")] == ["bin", "python"]


def test_environment_may_lie_elsewhere(scratch: Scratch, tmp_path: Path) -> None:
    done = scratch.start("x", cwd=tmp_path, TARE_VENV="some where")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "some where" / "bin" / "tare").exists()
    assert not (scratch.project / ".venv").exists()


def test_all_parts_run_and_one_failure_decides(scratch: Scratch) -> None:
    good = scratch.start(script="tare-test")
    assert good.returncode == 0, good.stderr
    assert good.stdout.endswith("tare-test: format ok · lint ok · shell ok · types ok · tests ok\n")
    bad = scratch.start(script="tare-test", BAD="mypy")
    assert bad.returncode == 1
    assert bad.stdout.endswith("tare-test: format ok · lint ok · shell ok · types FAILED · tests ok\n")


def test_what_reaches_pytest(scratch: Scratch) -> None:
    place = f" in {scratch.project}\n"
    assert f"pytest: -k one{place}" in scratch.start("--", "-k", "one", script="tare-test").stdout
    assert f"pytest: -m not slow -x{place}" in scratch.start("fast", "--", "-x", script="tare-test").stdout


@pytest.mark.parametrize("arguments", [("quick",), ("fast", "-x"), ("-x",)])
def test_unknown_words_install_nothing(scratch: Scratch, arguments: tuple[str, ...]) -> None:
    done = scratch.start(*arguments, script="tare-test")
    assert done.returncode == 2 and "usage:" in done.stderr
    assert scratch.diary() == []


def test_a_second_tier_adds_to_the_first(scratch: Scratch) -> None:
    scratch.start()
    scratch.diary()
    scratch.start(script="tare-test")
    entries = scratch.diary()
    assert not any("-m venv" in entry for entry in entries)
    assert entries[-1].endswith("--editable .[dev]")
    scratch.start()
    assert scratch.diary() == []
