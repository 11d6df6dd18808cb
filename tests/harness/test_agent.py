"""The agent and its protocol, spoken with the real script in the host's busybox."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import agent
from harness.errors import TrialFailed, TrialTimeout


@contextmanager
def talking_to(argv: list[str], tmp: Path) -> Iterator[agent.Channel]:
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": "/bin:/usr/bin", "TARE_TMP": str(tmp)}
    )
    assert process.stdin and process.stdout
    try:
        yield agent.Channel(process.stdout.fileno(), process.stdin.fileno(), name="box", log_tail=lambda: "its console")
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[agent.Channel]:
    script = tmp_path / "agent"
    script.write_text(agent.script())
    with talking_to(["busybox", "sh", str(script)], tmp_path) as channel:
        channel.wait_ready(5)
        yield channel


def test_a_command_comes_back_with_its_code_and_both_outputs(channel: agent.Channel) -> None:
    done = channel.run(["sh", "-c", "echo out; echo err >&2; exit 7"], 5)
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_an_agent_that_is_hailed_says_its_first_line_again() -> None:
    script = ["busybox", "sh", "-c", agent.script()]
    done = subprocess.run(script, input=b"hello\nhello\nquit\n", capture_output=True, check=True)
    assert done.stdout == b"R\nR\nR\n"


def test_a_box_that_was_brought_back_is_ready_when_it_answers(tmp_path: Path) -> None:
    argv = ["busybox", "sh", "-c", 'read -r word; [ "$word" = hello ] && echo R; sleep 60']
    with talking_to(argv, tmp_path) as channel:
        channel.hail(5)
        channel.wait_ready(5)
        assert channel.ready_at_s


def test_binary_output_of_any_size_arrives_whole(channel: agent.Channel) -> None:
    done = channel.run(["head", "-c", "300000", "/dev/urandom"], 5)
    assert len(done.stdout) == 300000
    assert channel.run(["echo", "still", "in", "step"], 5).stdout == b"still in step\n"


def test_a_command_that_does_not_exist_is_127_and_says_so(channel: agent.Channel) -> None:
    done = channel.run(["no-such-program"], 5)
    assert done.exit_code == 127
    assert b"not found" in done.stderr


@given(argument=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_argument_arrives_as_it_was(channel: agent.Channel, argument: str) -> None:
    assert channel.run(["printf", "%s", argument], 5).stdout == os.fsencode(argument)


def test_a_box_that_says_nothing_times_out(tmp_path: Path) -> None:
    with talking_to(["sleep", "60"], tmp_path) as channel, pytest.raises(TrialTimeout, match="become ready") as caught:
        channel.wait_ready(0.05)
    assert caught.value.log == "its console"


def test_a_box_that_ends_is_a_failure_not_a_time(tmp_path: Path) -> None:
    with talking_to(["true"], tmp_path) as channel, pytest.raises(TrialFailed, match="ended unexpectedly"):
        channel.wait_ready(5)
    assert channel.ready_at_s == 0.0


@pytest.mark.parametrize("rubbish", ["hello\\n", "\\377\\376\\n", "R2\\n"])
def test_rubbish_instead_of_ready_is_named(tmp_path: Path, rubbish: str) -> None:
    argv = ["busybox", "sh", "-c", f"printf '{rubbish}'; sleep 60"]
    with talking_to(argv, tmp_path) as channel, pytest.raises(TrialFailed, match="instead of being ready"):
        channel.wait_ready(5)


@pytest.mark.parametrize("answer", ["done 2 0 0 0", "done x y z w", "done 1 0 99999999999 0", "what?"])
def test_rubbish_instead_of_an_answer_is_named(tmp_path: Path, answer: str) -> None:
    argv = ["busybox", "sh", "-c", f"echo R; read x; echo '{answer}'; sleep 60"]
    with talking_to(argv, tmp_path) as channel:
        channel.wait_ready(5)
        with pytest.raises(TrialFailed, match="answered"):
            channel.run(["true"], 5)


def test_a_command_that_overruns_is_a_timeout(channel: agent.Channel) -> None:
    with pytest.raises(TrialTimeout, match="finish sleep"):
        channel.run(["sleep", "60"], 0.05)
