"""The life of a box by hand, through the command line as a person has it: real processes, terminals and signals."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import images, marks
from harness.boxes import Attached
from harness.cgroups import leftovers
from harness.errors import UsageError
from runtimes.container import attaching

pytestmark = pytest.mark.machine

TARE = str(Path(sys.executable).with_name("tare"))
WAITING = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"
DEADLINE_S = 20.0


class Terminal:
    """A person at a terminal of 33 rows and 77 columns, running one command."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], argv, environment)
        self.resize(33, 77)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def types(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, wanted: str) -> str:
        """What was shown up to then."""
        shown, give_up = "", time.monotonic() + DEADLINE_S
        while wanted not in shown:
            assert time.monotonic() < give_up, shown
            if select.select([self._master], [], [], 0.2)[0]:
                shown += os.read(self._master, 4096).decode(errors="replace")
        return shown

    def leaves(self) -> None:
        """Hangs up, if it has not ended."""
        if self._master >= 0:
            os.kill(self.pid, signal.SIGHUP)
            self.ends()

    def ends(self) -> int:
        with contextlib.suppress(OSError):
            while os.read(self._master, 4096):
                pass
        os.close(self._master)
        self._master = -1
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class CommandLine:
    """`tare box …` with a store of its own; the names it makes are removed in the end."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "TARE_HOME": str(home), "TERM": "xterm"}
        self.names: list[str] = []
        self.people: list[Terminal] = []

    def argv(self, *words: str) -> list[str]:
        return [TARE, "box", *words]

    def __call__(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def out(self, *words: str, given: str | None = None) -> str:
        done = self(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def new_name(self) -> str:
        self.names.append(f"t{secrets.token_hex(4)}")
        return self.names[-1]

    def detached(self, *words: str) -> str:
        """The name of a box that runs."""
        name = self.new_name()
        assert self.out("run", "-d", "--name", name, *words) == name
        return name

    def terminal(self, *words: str) -> Terminal:
        self.people.append(Terminal(self.argv(*words), self.environment))
        return self.people[-1]

    def known(self, name: str) -> dict[str, object]:
        facts: dict[str, object] = json.loads(self.out("inspect", name))
        return facts


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    images.build_tiny(home)
    return home


@pytest.fixture
def box(home: Path) -> Iterator[CommandLine]:
    box = CommandLine(home)
    yield box
    for person in box.people:
        person.leaves()
    for name in box.names:
        box("rm", "--force", name)
    await_true(lambda: not list((home / "scratch").glob("*")))


def await_true(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_from_create_to_remove(box: CommandLine) -> None:
    name = box.detached("tiny", "sh", "-c", WAITING)
    await_true(lambda: box.out("logs", name) == "up")
    row = next(line for line in box.out("ps").splitlines() if line.startswith(name))
    assert row.split()[1:3] == ["tiny", "running"]
    assert box.out("exec", name, "hostname") == name
    box.out("pause", name)
    assert "paused" in next(line for line in box.out("ps").splitlines() if line.startswith(name))
    assert box.known(name)["paused"] is True
    assert "is paused" in box("exec", name, "true").stderr
    box.out("unpause", name)
    assert box.out("stats", name).splitlines()[1].split()[0] == name
    box.out("stop", name)
    facts = box.known(name)
    assert (facts["status"], facts["exit_code"]) == ("exited", 3)
    assert box.out("logs", name) == "up\nbye"
    assert name not in box.out("ps")
    assert "exited (3)" in next(line for line in box.out("ps", "-a").splitlines() if line.startswith(name))
    assert leftovers(str(facts["mark"])) == {}
    box.out("rm", name)
    assert box("inspect", name).returncode == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("tiny", "true"), 0),
        (("tiny", "sh", "-c", "exit 42"), 42),
        (("tiny", "no-such-program"), 127),
        (("tiny", "/no/such/program"), 127),
        (("tiny", "/etc/passwd"), 126),
        (("tiny", "/etc"), 126),
        (("no-such-image", "true"), 125),
        (("tiny", "sh", "-c", "sleep 9 & kill -KILL $!; wait $!"), 137),
    ],
)
def test_it_ends_as_its_program_did(box: CommandLine, words: tuple[str, ...], code: int) -> None:
    assert box("run", "--rm", *words).returncode == code


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--user", "nobody", "tiny", "true"), "no user named 'nobody'"),
        (("--user", "0:staff", "tiny", "true"), "no group named 'staff'"),
        (("--user", "-1", "tiny", "true"), "no user named '-1'"),
        (("--user", "4294967295", "tiny", "true"), "not the number"),
        (("--memory", "1m", "tiny", "true"), "too little"),
        (("--memory", "much", "tiny", "true"), "not a size"),
        (("--cpus", "0.001", "tiny", "true"), "out of range"),
        (("--pids", "0", "tiny", "true"), "out of range"),
        (("--cpuset", "4096", "tiny", "true"), "not all of these are here"),
        (("--network", "vlan", "tiny", "true"), "no network 'vlan'"),
        (("--network", "none", "-p", "1:1", "tiny", "true"), "no ports to publish"),
        (("-p", "80", "tiny", "true"), "not [IP:]HOST:BOX"),
        (("-p", "70000:1", "tiny", "true"), "not [IP:]HOST:BOX"),
        (("--mount", "/no/such:/x", "tiny", "true"), "there is no /no/such"),
        (("--mount", "/etc:/../x", "tiny", "true"), "not an absolute path"),
        (("--name", "../up", "tiny", "true"), "cannot be the name"),
        (("--env", "=x", "tiny", "true"), "not a variable"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_line_and_a_hint(box: CommandLine, words: tuple[str, ...], says: str) -> None:
    done = box("run", "--rm", *words)
    assert done.returncode == 125
    wrong, hint = done.stderr.splitlines()
    assert wrong.startswith("tare: ") and says in wrong
    assert hint.startswith("      ") and done.stdout == ""


def test_errors_of_the_other_commands(box: CommandLine) -> None:
    name = box.detached("tiny", "sh", "-c", WAITING)
    for words, says in (
        (("stop", "no-such-box"), "no box named"),
        (("rm", name), f"box {name} runs"),
        (("kill", "-s", "NOPE", name), "no signal 'NOPE'"),
        (("exec", "no-such-box", "true"), "no box named"),
        (("exec", name, "no-such-program"), "could not execute no-such-program"),
        (("run", "--name", name, "tiny", "true"), f"a box named '{name}' already"),
    ):
        done = box(*words)
        assert done.returncode in (2, 125, 127), words
        assert says in done.stderr.splitlines()[0]
    box.out("stop", "-t", "0", name)
    assert "does not run: it is exited" in box("exec", name, "true").stderr
    assert box.known(name)["exit_code"] == -signal.SIGKILL
    box.out("stop", name)  # as wished already


def test_streams_are_the_callers_own(box: CommandLine) -> None:
    assert box.out("run", "--rm", "-i", "tiny", "cat", given="given") == "given"
    assert box.out("run", "--rm", "tiny", "cat", given="not for it") == ""
    assert "not a terminal" in box("run", "--rm", "-it", "tiny", "cat", given="no person").stderr
    done = box("run", "--rm", "tiny", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    name = box.detached("tiny", "sh", "-c", WAITING)
    assert box.out("exec", "-i", name, "cat", given="given") == "given"
    assert box("exec", name, "sh", "-c", "exit 6").returncode == 6
    assert box("exec", name, "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_a_folder_of_the_host_does_not_get_in_as_a_stream(tmp_path: Path) -> None:
    """`/proc/self/fd/0/..` would be a way out. Python itself does not start like that, so it is done in here."""
    own, folder = os.dup(0), os.open(tmp_path, os.O_RDONLY)
    os.dup2(folder, 0)
    try:
        with pytest.raises(UsageError, match="a folder of the host"), attaching.attached(Attached(interactive=True)):
            pass
    finally:
        os.dup2(own, 0)
        os.close(own)
        os.close(folder)


def test_what_was_said_is_what_it_gets(box: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("from the host")
    script = "id -u; id -g; echo $WORD $OURS; pwd; cat /given/note; touch /given/x || touch /x || touch /kept/y; nproc"
    name = box.new_name()
    words = ["run", "--name", name, "--user", "1000:2000", "--env", "WORD=said", "--env", "OURS", "--workdir", "/tmp"]
    words += ["--mount", f"{tmp_path}:/given:ro", "--mount", f"{tmp_path}:/kept", "--read-only", "--cpuset", "0"]
    words += ["--memory", "32m", "--pids", "20", "--cpus", "0.5", "tiny", "sh", "-c", script]
    tmp_path.chmod(0o777)
    box.environment["OURS"] = "ours"
    assert box.out(*words).splitlines() == ["1000", "2000", "said ours", "/tmp", "from the host1"]
    assert {path.name for path in tmp_path.iterdir()} == {"note", "y"}
    limits = box.known(name)["limits"]
    assert limits == {"memory_bytes": 32 << 20, "cpus": 0.5, "pids": 20, "cpuset": [0], "read_only": True}


def test_our_own_umask_is_not_the_boxs(box: CommandLine) -> None:
    words = box.argv("run", "--rm", "--user", "1000", "tiny", "sh", "-c", "umask; cat /etc/hostname >&2; ls /bin/sh")
    strict = ["sh", "-c", 'umask 077; exec "$@"', "sh", *words]
    done = subprocess.run(strict, env=box.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0022\n/bin/sh\n"), done.stderr


def test_a_mount_through_a_link_of_the_image_stays_inside(home: Path, box: CommandLine, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    image = images.build_tiny(home, name="linked", script=f": {secrets.token_hex(4)}\n")
    (Path(image.root) / "way").symlink_to("../../../../../.." + str(outside))
    done = box("run", "--rm", "--mount", f"{tmp_path}:/way/in", "linked", "true")
    assert list(outside.iterdir()) == []
    assert done.returncode == 125


def test_a_program_that_joins_is_as_confined_as_the_first(box: CommandLine) -> None:
    name = box.detached("--network", "loopback", "tiny", "sh", "-c", WAITING)
    ask = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/{0}/status; cat /proc/{0}/cgroup"
    assert box.out("exec", name, "sh", "-c", ask.format("self")) == box.out("exec", name, "sh", "-c", ask.format(1))
    pid = int(str(box.known(name)["pid"]))
    joined = subprocess.Popen(box.argv("exec", name, "sleep", "1000"), env=box.environment)
    try:
        facts = box.known(name)
        groups = facts["cgroups"]
        assert isinstance(groups, dict)
        members = Path(groups["unified"] if "unified" in groups else groups["pids"], "cgroup.procs")
        await_true(lambda: any(_command(int(one)) == "sleep\x001000" for one in members.read_text().split()))
        (sleeper,) = (int(one) for one in members.read_text().split() if _command(int(one)) == "sleep\x001000")
        for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
            assert Path(f"/proc/{sleeper}/ns/{kind}").readlink() == Path(f"/proc/{pid}/ns/{kind}").readlink(), kind
    finally:
        box.out("stop", "-t", "0", name)
    assert joined.wait(DEADLINE_S) == 128 + signal.SIGKILL


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")
    return ""


def test_signals_to_the_command_are_the_programs(box: CommandLine) -> None:
    argv = box.argv("run", "--rm", "tiny", "sh", "-c", WAITING)
    with subprocess.Popen(argv, env=box.environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.read() == "bye\n"
    assert running.returncode == 3


@pytest.mark.slow
def test_the_first_process_is_the_payload_and_nothing_it_leaves_stays(box: CommandLine) -> None:
    name = box.detached("tiny", "sh", "-c", WAITING)
    assert box.out("exec", name, "cat", "/proc/1/comm") == "sh"
    box.out("kill", "-s", "USR1", name)  # it has no handler for that, and a first process then does not get it
    assert box.known(name)["status"] == "running"
    owner = int(str(box.known(name)["owner"]))
    for _ in range(5):
        box.out("exec", name, "sh", "-c", "(true &) ; true")
    (zygote,) = _children(owner)
    await_true(lambda: len(_children(zygote)) == 1)
    descriptors = len(list(Path(f"/proc/{owner}/fd").iterdir()))
    for _ in range(5):
        box.out("exec", name, "true")
    await_true(lambda: len(list(Path(f"/proc/{owner}/fd").iterdir())) == descriptors)
    box.out("kill", name)
    await_true(lambda: box.known(name)["status"] == "exited")


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("way", ["run", "exec"])
def test_a_terminal_is_one(box: CommandLine, way: str) -> None:
    words = (
        ["run", "--rm", "-it", "tiny"] if way == "run" else ["exec", "-it", box.detached("tiny", "sh", "-c", WAITING)]
    )
    person = box.terminal(*words, "sh")
    person.until("# ")
    person.types("stty size; tty; echo $TERM-$((20 + 1))\r")
    shown = person.until("xterm-21")
    assert "33 77" in shown and "/dev/pts/0" in shown
    person.resize(44, 88)
    person.types("until stty size | grep 44; do :; done; echo seen-$((20 + 2))\r")
    assert "44 88" in person.until("seen-22")
    person.types("sh -c 'echo asleep-$((20 + 3)); exec sleep 1000'\r")
    person.until("asleep-23")
    person.types("\x03")
    person.until("# ")
    person.types("exit 5\r")
    assert person.ends() == 5


def test_a_log_is_followed_until_the_end(box: CommandLine) -> None:
    name = box.detached("tiny", "sh", "-c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two; exit 5")
    with subprocess.Popen(box.argv("logs", "-f", name), env=box.environment, stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"one\n"
        box.out("exec", name, "touch", "/tmp/go")
        assert following.stdout.read() == b"two\n"
        assert following.wait(10) == 0
    assert box.out("logs", "-f", name) == "one\ntwo"


def test_a_terminal_without_a_person_goes_to_the_log(box: CommandLine) -> None:
    name = box.detached("-t", "tiny", "sh", "-c", "tty; trap 'exit 0' TERM; while :; do sleep 0.05; done")
    await_true(lambda: "/dev/pts/0" in box.out("logs", name))
    box.out("stop", name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


SERVING = (
    "mkdir /tmp/www; head -c {size} /dev/zero | tr '\\0' x >/tmp/www/index.html; exec httpd -f -p {where} -h /tmp/www"
)


@pytest.mark.parametrize("network", ["loopback", "bridge"])
def test_a_published_port_leads_into_the_box(box: CommandLine, network: str) -> None:
    port = free_port()
    script = SERVING.format(size=300_000, where="127.0.0.1:80" if network == "loopback" else "$(hostname -i):80")
    name = box.detached("-p", f"127.0.0.1:{port}:80", "--network", network, "tiny", "sh", "-c", script)
    assert f"127.0.0.1:{port}->80" in box.out("ps")
    await_true(lambda: "200 OK" in fetch(port))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(fetch, [port] * 16))
    assert all(answer.endswith("x" * 300_000) for answer in answers)
    taken = box("run", "--rm", "-p", f"127.0.0.1:{port}:80", "tiny", "true")
    assert taken.returncode == 125
    assert f"cannot publish port {port}" in taken.stderr and "already in use" in taken.stderr
    box.out("stop", "-t", "0", name)
    with pytest.raises(ConnectionRefusedError):
        fetch(port)


def test_boxes_by_hand_reach_each_other_over_one_bridge(box: CommandLine) -> None:
    script = SERVING.format(size=9, where=80)
    server = box.detached("--network", "bridge", "tiny", "sh", "-c", script)
    address = str(box.known(server)["address"])
    ask = f"until wget -qO- http://{address}/; do sleep 0.1; done"
    assert box.out("run", "--rm", "--network", "bridge", "tiny", "sh", "-c", ask) == "x" * 9


def test_one_name_is_one_box_however_many_ask_at_once(box: CommandLine) -> None:
    name = box.new_name()
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: box("run", "-d", "--name", name, "tiny", "sh", "-c", WAITING), range(6)))
    assert sorted(one.returncode for one in done) == [0, 125, 125, 125, 125, 125]
    assert box.known(name)["status"] == "running"


def test_a_killed_owner_takes_its_box_along_and_sweep_forgets_it(box: CommandLine, home: Path) -> None:
    living = box.detached("tiny", "sh", "-c", WAITING)
    name = box.detached("--network", "bridge", "-p", f"{free_port()}:80", "tiny", "sh", "-c", WAITING)
    facts = box.known(name)
    pidfd = os.pidfd_open(int(str(facts["pid"])))
    os.kill(int(str(facts["owner"])), signal.SIGKILL)
    assert select.select([pidfd], [], [], DEADLINE_S)[0]
    os.close(pidfd)
    await_true(lambda: box.known(name)["status"] == "dead")
    said = subprocess.run([TARE, "sweep"], env=box.environment, capture_output=True, text=True, check=True).stdout
    assert f"removed box {name}" in said
    assert living not in said
    assert box("inspect", name).returncode == 2
    assert leftovers(str(facts["mark"])) == {}
    assert not (home / "scratch" / str(facts["mark"])).exists()
    assert not marks.live(f"{facts['mark']}-1")
    assert box.known(living)["status"] == "running"
    assert box.out("exec", living, "echo", "here") == "here"


def test_rm_option_forgets_a_detached_box_by_itself(box: CommandLine) -> None:
    name = box.new_name()
    box.out("run", "-d", "--rm", "--name", name, "tiny", "true")
    await_true(lambda: name not in box.out("ps", "-a"))


def test_without_a_command_it_is_the_images_own(box: CommandLine) -> None:
    person = box.terminal("run", "--rm", "-it", "tiny")  # whose own command is a shell
    person.until("# ")
    person.types("exit 4\r")
    assert person.ends() == 4
