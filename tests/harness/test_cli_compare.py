"""`tare compare`, `tare merge` and `--rerun-base` from their words to their exit code: each bad input has its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness import cli, store
from harness.model import Results
from tests.reports.planted import Planting, files, plant

Tare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tare:
    """The command line in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("TARE_HOME", str(tmp_path))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tare", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, said.err

    return run


def keep(home: Path, results: Results) -> str:
    """Writes a run; its name."""
    folder = home / "runs" / results.run.id
    folder.mkdir(parents=True)
    for name, data in files(results).items():
        (folder / name).write_bytes(data)
    return results.run.id


def planted(home: Path, seed: int, ratio: float = 1.0, *, blocks: int = 20, **changes: Any) -> str:
    results = plant(Planting(ratios={"box": ratio}, seed=seed, blocks=blocks, sigma=0.01))
    return keep(home, msgspec.structs.replace(results, run=msgspec.structs.replace(results.run, **changes)))


def test_a_regression_is_4_an_open_question_5_and_neither_0(tmp_path: Path, tare: Tare) -> None:
    old, new, few = planted(tmp_path, 1), planted(tmp_path, 2, 1.2), planted(tmp_path, 3, blocks=4)
    assert tare("compare", f"{old}:box", f"{new}:box", "--fail-on", "made.up:10%")[0] == 4
    assert tare("compare", f"{old}:box", f"{new}:box", "--fail-on", "made.up:300ms")[0] == 0
    assert tare("compare", f"{old}:box", f"{few}:box", "--fail-on", "made.up:10%", "--strict")[0] == 5
    assert tare("compare", f"{old}:box", f"{few}:box", "--fail-on", "made.up:10%")[0] == 0
    assert tare("compare", f"{new}:box", f"{old}:box", "--fail-on", "*:0%")[0] == 0  # better is no regression


def test_runtimes_of_the_latest_run(tmp_path: Path, tare: Tare) -> None:
    planted(tmp_path, 1, 1.2)
    code, out, _ = tare("compare", "native", "box", "--fail-on", "made.up:5%")
    assert (code, "WORSE" in out) == (4, True)


def test_the_table_is_text_markdown_or_json(tmp_path: Path, tare: Tare) -> None:
    old, new = planted(tmp_path, 1), planted(tmp_path, 2, host={"governor": "powersave"})
    text, markdown, as_json = (tare("compare", old, new, "--as", form)[1] for form in ("text", "markdown", "json"))
    assert text.index("host governor: None → powersave") < text.index("made.up")
    assert markdown.startswith("### ") and "| host governor | None | powersave |" in markdown
    document = json.loads(as_json)
    assert document["comparable"] is True
    assert {row["verdict"] for row in document["rows"]} == {"SAME"}
    assert tare("compare", old, new, "--as", "xml")[0] == 2


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"host": {"kernel": "9"}}, "host kernel"),
        ({"host": {"cgroup_mode": "v2"}}, "host cgroup_mode"),
        ({"documents": {"box": {"domain.xml": '<type machine="pc">hvm</type>'}}}, "box machine"),
    ],
)
def test_what_is_not_comparable_is_6_and_has_no_verdict(
    tmp_path: Path, tare: Tare, changes: dict[str, Any], what: str
) -> None:
    old, new = planted(tmp_path, 1), planted(tmp_path, 2, 1.2, **changes)
    code, out, _ = tare("compare", old, new, "--fail-on", "made.up:10%")
    assert code == 6
    assert f"! {what}" in out
    assert "WORSE" not in out
    code, out, _ = tare("compare", old, new, "--fail-on", "made.up:10%", "--force")
    assert code == 4
    assert f"Compared although these differ: {what}" in out


def test_emulation_beside_hardware_is_6(tmp_path: Path, tare: Tare) -> None:
    name = keep(tmp_path, plant(Planting(ratios={"kvm": 2.0, "tcg": 40.0}, emulated=frozenset({"tcg"}))))
    code, out, _ = tare("compare", f"{name}:kvm", f"{name}:tcg")
    assert (code, "emulation on one side only: kvm → tcg" in out) == (6, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ONE", "TWO", "--fail-on", "made.up"], "is not METRIC:LIMIT"),
        (["ONE", "TWO", "--fail-on", "made.up:10 parsec"], "is not METRIC:LIMIT"),
        (["ONE", "TWO", "--fail-on", "made.up:1MiB"], "is in B, but made.up is in s"),
        (["ONE", "TWO", "--fail-on", "boot.raedy:10%"], "no metric is called 'boot.raedy'"),
        (["ONE", "ONE"], "both sides are planted-1"),
        (["ONE", "TWO:box"], "one side is a run and the other a runtime"),
        (["ONE:bxo", "TWO:box"], "did you mean 'box'?"),
        (["ONE", "three"], "no run 'three'"),
    ],
)
def test_words_that_mean_nothing_are_two_lines_and_2(tmp_path: Path, tare: Tare, words: list[str], says: str) -> None:
    names = {"ONE": planted(tmp_path, 1), "TWO": planted(tmp_path, 2)}
    for word, name in names.items():
        words = [one.replace(word, name) for one in words]
    code, out, errors = tare("compare", *words)
    assert (code, out) == (2, "")
    assert says in errors


def test_a_number_edited_into_none_is_named(tmp_path: Path, tare: Tare) -> None:
    old, new = planted(tmp_path, 1), planted(tmp_path, 2)
    file = tmp_path / "runs" / new / store.TRIALS_FILE
    lines = file.read_bytes().split(b"\n")
    value = msgspec.json.decode(lines[4])["samples"][0]["value"]
    lines[4] = lines[4].replace(str(value).encode(), b"NaN")
    file.write_bytes(b"\n".join(lines))
    code, _, errors = tare("compare", old, new)
    assert code == 2
    assert "line 5 cannot be read" in errors


def test_sittings_are_merged_and_strangers_are_not(tmp_path: Path, tare: Tare) -> None:
    one, two, other = planted(tmp_path, 1), planted(tmp_path, 2), planted(tmp_path, 3, host={"kernel": "9"})
    code, out, _ = tare("merge", one, two)
    assert code == 0
    merged = store.read(tmp_path / "runs" / out.strip())
    assert len({trial.step.block for trial in merged.trials}) == 40
    code, _, errors = tare("merge", one, other)
    assert (code, "are not sittings of one experiment: host kernel" in errors) == (2, True)


@pytest.mark.slow
@pytest.mark.machine
def test_the_old_side_runs_again_beside_the_new(tmp_path: Path) -> None:
    suite = 'scenarios = ["boot"]\nruntimes = ["native"]\nblocks = 2\nsettle_s = 0.1\nmemory_bytes = {}\n'
    for name, mib in (("old", 256), ("new", 128)):
        (tmp_path / f"{name}.toml").write_text(suite.format(mib << 20))

    def run(*words: str) -> str:
        argv = [sys.executable, "-m", "harness", *words]
        env = {**os.environ, "TARE_HOME": str(tmp_path / "home")}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("run", str(tmp_path / "old.toml"))
    (old,) = (tmp_path / "home" / "runs").iterdir()
    run("run", str(tmp_path / "new.toml"), "--rerun-base", old.name)
    (new,) = set((tmp_path / "home" / "runs").iterdir()) - {old}
    blocks: dict[int, set[str]] = {}
    for trial in store.read(new).trials:
        blocks.setdefault(trial.step.block, set()).add(trial.step.cell.runtime)
    assert blocks == {block: {"native", "native@base"} for block in range(3)}
    document = json.loads(run("compare", f"{new.name}:@base", f"{new.name}:@new", "--as", "json"))
    assert document["comparable"] is True
    assert document["rows"]
