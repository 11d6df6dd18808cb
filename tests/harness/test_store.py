"""Results survive what happens to files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from harness import store
from harness.errors import TareError, UsageError
from harness.model import SCHEMA, Cell, Outcome, Run, Sample, Step, Trial
from tests import fakes


def a_run(schema: str = SCHEMA) -> Run:
    return Run(
        schema=schema, id="r", version="0", started_at="now", command=("tare",), seed=1, host={}, config=fakes.config(),
        supports={}, images={}, scenarios=(),
    )  # fmt: skip


def a_trial(block: int) -> Trial:
    step = Step(cell=Cell(scenario="boot", runtime="native"), block=block)
    return Trial(
        step=step, outcome=Outcome.OK, started_at="now", elapsed_s=1.0, samples=(Sample("boot.ready", 0.1 + block),)
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = store.RunFolder.create(tmp_path, "r")
    folder.write_run(a_run())
    for block in range(3):
        folder.append(a_trial(block))
    folder.close()
    return folder.path


def test_what_was_written_is_read_back_equal(written: Path) -> None:
    results = store.read(written)
    assert results.run == a_run()
    assert results.trials == tuple(a_trial(block) for block in range(3))
    assert results.notes == ()


def test_a_file_cut_at_any_byte_loses_at_most_the_last_line(written: Path) -> None:
    file = written / store.TRIALS_FILE
    data = file.read_bytes()
    for size in range(len(data)):
        file.write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        assert whole <= len(store.read(written).trials) <= whole + 1


def test_a_header_cut_at_any_byte_is_named(written: Path) -> None:
    file = written / store.RUN_FILE
    data = file.read_bytes()
    for size in range(0, len(data) - 2, 7):  # the last two are a brace and a line's end
        file.write_bytes(data[:size])
        with pytest.raises(UsageError, match=r"run\.json"):
            store.read(written)


def test_a_cut_line_is_noted_and_a_reopened_run_drops_it(written: Path) -> None:
    file = written / store.TRIALS_FILE
    os.truncate(file, file.stat().st_size - 5)
    assert "cut short" in store.read(written).notes[0]
    folder = store.RunFolder.reopen(written)
    folder.append(a_trial(7))
    folder.close()
    assert [trial.step.block for trial in store.read(written).trials] == [0, 1, 7]


def test_damage_in_the_middle_names_the_line(written: Path) -> None:
    file = written / store.TRIALS_FILE
    lines = file.read_bytes().split(b"\n")
    lines[1] = lines[1][:20]
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(UsageError, match="line 2"):
        store.read(written)


@pytest.mark.parametrize(
    ("schema", "says"), [("tare-result/2.0", "newer than this tare"), ("other/1.0", "not a result of tare")]
)
def test_a_foreign_or_newer_schema_is_refused_by_name(written: Path, schema: str, says: str) -> None:
    (written / store.RUN_FILE).write_bytes(msgspec.json.encode(a_run(schema)))
    with pytest.raises(UsageError, match=says):
        store.read(written)


def test_unknown_fields_of_a_newer_minor_version_are_ignored(written: Path) -> None:
    document = msgspec.json.decode((written / store.RUN_FILE).read_bytes())
    document |= {"schema": "tare-result/1.9", "added_later": 1}
    (written / store.RUN_FILE).write_bytes(msgspec.json.encode(document))
    assert store.read(written).run.id == "r"


def test_a_run_is_found_by_id_end_latest_and_path(written: Path, tmp_path: Path) -> None:
    assert store.locate(tmp_path, "r") == store.locate(tmp_path, "latest") == store.locate(tmp_path, str(written))
    with pytest.raises(UsageError, match="no run 'other'"):
        store.locate(tmp_path, "other")


def test_a_place_that_cannot_be_written_to_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(UsageError, match="cannot write results"):
        store.RunFolder.create(tmp_path, "r")


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    folder = store.RunFolder.create(tmp_path, "r")
    folder.close()
    assert not folder.path.exists()


def test_results_of_the_first_schema_are_still_read() -> None:
    results = store.read(Path(__file__).parents[1] / "data" / "schema-1.0")
    assert results.run.schema == "tare-result/1.0"
    assert len(results.trials) == 40
    assert (results.trials[0].step.attempt, results.run.config.adaptive, results.run.sessions) == (0, False, {})


def test_trials_of_a_file_are_had_like_those_of_a_tuple(written: Path) -> None:
    (written / store.TRIALS_FILE).write_bytes((written / store.TRIALS_FILE).read_bytes().replace(b"\n", b"\n\n\n"))
    trials, wanted = store.read(written).trials, tuple(a_trial(block) for block in range(3))
    assert len(trials) == 3
    assert (trials[0], trials[-1]) == (wanted[0], wanted[2])
    for part in (slice(None), slice(1, None), slice(None, -1), slice(5, 2), slice(None, None, -1), slice(0, 3, 2)):
        assert trials[part] == wanted[part]
    assert list(reversed(trials)) == list(reversed(wanted))
    assert trials != wanted[:2]
    with pytest.raises(IndexError):
        trials[3]


def test_a_file_that_changes_after_it_was_read_is_named(written: Path) -> None:
    trials = store.read(written).trials
    (written / store.TRIALS_FILE).write_bytes(b"")
    with pytest.raises(UsageError, match="changed since it was read"):
        list(trials)


def test_damage_far_down_names_the_line_and_stops_there(tmp_path: Path) -> None:
    folder = store.RunFolder.create(tmp_path, "r")
    folder.write_run(a_run())
    for block in range(20_000):
        folder.append(a_trial(block))
    folder.close()
    lines = (folder.path / store.TRIALS_FILE).read_bytes().split(b"\n")
    lines[3] = b""
    lines[17_000] = b"{"
    (folder.path / store.TRIALS_FILE).write_bytes(b"\n".join(lines))
    with pytest.raises(UsageError, match="line 17001 "):
        store.read(folder.path)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "null", '"fast"'])
def test_a_value_that_is_no_number_names_the_line(written: Path, value: str) -> None:
    """Somebody edited the file by hand."""
    file = written / store.TRIALS_FILE
    lines = file.read_text().split("\n")
    lines[1] = lines[1].replace("1.1", value)
    assert value in lines[1]
    file.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="line 2"):
        store.read(written)


@pytest.mark.machine
def test_a_full_disk_while_measuring_is_named_and_keeps_what_was_written(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        folder = store.RunFolder.create(small, "r")
        folder.write_run(a_run())
        with pytest.raises(TareError, match="no space left"):
            for block in range(10_000):
                folder.append(a_trial(block))
        folder.close()
        results = store.read(folder.path)
        assert [trial.step.block for trial in results.trials] == list(range(len(results.trials)))
        assert len(results.trials) > 10
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_missing_trials_are_noted(written: Path) -> None:
    (written / store.TRIALS_FILE).unlink()
    assert "is missing" in store.read(written).notes[0]
