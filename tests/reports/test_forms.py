"""The forms for other programs: each is read back, by the program it is for where that can be installed."""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pandas as pd
import pytest
from pytest_benchmark.stats import Stats

from harness import registry
from harness.model import Results, Run, Unit
from reports import document, schema, tidy
from reports.csv import csv
from reports.exports import bmf, hyperfine
from reports.markdown import markdown, plain
from reports.parquet import parquet
from reports.pytest_benchmark import VERSION, pytest_benchmark, stats
from reports.values import measured, times
from tests.reports.planted import Planting, plant

DOCS = Path(__file__).parents[2] / "docs"


def values(results: Results, metric: str, runtime: str) -> list[float]:
    """The measured values, read without the code under test."""
    return [
        sample.value
        for trial in results.trials
        if trial.outcome == "ok" and not trial.step.warmup and not trial.step.cell.twin
        if trial.step.cell.runtime == runtime
        for sample in trial.samples
        if sample.metric == metric
    ]


def test_every_form_is_registered_by_its_own_name() -> None:
    for name in registry.names(registry.REPORTS):
        assert registry.report(name).name == name


def test_a_series_is_named_once_and_has_its_values(golden: Results) -> None:
    found = list(measured(tidy.read([golden])))
    ready = next(one for one in found if (one.metric.name, one.series.runtime) == ("boot.ready", "tcg"))
    assert list(ready.values) == values(golden, "boot.ready", "tcg")
    assert ready.box == "tcg (emulation)"
    assert len({(one.group, one.box) for one in found}) == len(found)


# ---- json and its schema


def test_json_holds_the_runs_whole(golden: Results) -> None:
    made = msgspec.json.decode(document.json.render([golden]), type=document.Document)
    (run,) = made.runs
    assert (run.run, run.trials) == (golden.run, golden.trials)
    numbers = next(n for n in made.summaries if (n.metric, n.runtime) == ("boot.ready", "container"))
    assert numbers.median == statistics.median(values(golden, "boot.ready", "container"))
    assert made.schema == "tare-report/1.1"
    assert all("NaN" not in answer.text for answer in made.answers)


def test_json_fits_its_published_schema(golden: Results) -> None:
    published = json.loads((DOCS / "results.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(published)
    few = plant(Planting(ratios={"box": 2.0}, blocks=2))
    for results in ([golden], [few], [golden, few]):
        jsonschema.validate(json.loads(document.json.render(results)), published)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "one"), [("Run", "run.json"), ("Trial", "trials.jsonl")])
def test_a_results_folder_fits_the_published_schema(kind: str, one: str) -> None:
    published = json.loads((DOCS / "results.schema.json").read_text())
    part = {**published["$defs"][kind], "$defs": published["$defs"]}
    for folder in ("golden", "schema-1.0"):
        for file in sorted((Path(__file__).parents[1] / "data" / folder).rglob(one)):
            texts = [file.read_text()] if one.endswith(".json") else file.read_text().splitlines()
            for text in texts:
                jsonschema.validate(json.loads(text), part)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 1}, part)


def test_the_published_schema_is_what_the_types_say() -> None:
    hint = "python -m reports.schema > docs/results.schema.json"
    assert (DOCS / "results.schema.json").read_text() == schema.schema(), hint


def test_the_schema_names_its_versions() -> None:
    assert json.loads(schema.schema())["title"] == f"{document.SCHEMA}, with {Run.__struct_defaults__[0]} inside"
    assert {"Run", "Trial", "Document"} <= set(json.loads(schema.schema())["$defs"])


# ---- tables


def test_parquet_is_the_flat_table(golden: Results) -> None:
    found = pd.read_parquet(io.BytesIO(parquet.render([golden])))
    text = pd.read_csv(io.StringIO(csv.render([golden])))
    assert list(found.columns) == list(text.columns)
    assert len(found) == len(text)
    assert found["value"].tolist() == pytest.approx(text["value"].tolist(), nan_ok=True, rel=0, abs=0)
    assert found["block"].dtype == "int64" and found["warmup"].dtype == "bool"


def test_parquet_of_nothing_is_an_empty_table() -> None:
    nothing = Results(run=plant(Planting(ratios={})).run, trials=())
    assert len(pd.read_parquet(io.BytesIO(parquet.render([nothing])))) == 0


# ---- pytest-benchmark


def _compare(*words: str | Path, cwd: Path) -> str:
    argv = [sys.executable, "-W", "error", "-m", "pytest_benchmark", "compare", *map(str, words)]
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=True)
    assert "warn" not in done.stderr.lower(), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(golden: Results, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pytest-benchmark")
    found = folder / "one.json", folder / "two.json"
    for path in found:
        path.write_text(pytest_benchmark.render([golden]))
    return found


def test_pytest_benchmark_compares_our_files(files: tuple[Path, Path]) -> None:
    said = _compare(files[0], "--group-by", "group", "--csv=table.csv", cwd=files[0].parent)
    assert "boot.ready[container]" in said and "tcg (emulation)" in said
    table = pd.read_csv(files[0].parent / "table.csv")
    assert len(table) == len(json.loads(files[0].read_text())["benchmarks"])


def test_pytest_benchmark_sets_our_files_beside_each_other(files: tuple[Path, Path]) -> None:
    said = _compare(*files, "--between", "median,mean", cwd=files[0].parent)
    assert "boot.ready[container]" in said and "ERROR" not in said


def test_pytest_benchmark_gets_times_alone_and_all_their_values(golden: Results) -> None:
    made = json.loads(pytest_benchmark.render([golden]))
    seconds = {m.name for s in golden.run.scenarios for m in s.metrics if m.unit is Unit.SECONDS}
    assert {one["name"].partition("[")[0] for one in made["benchmarks"]} == seconds
    for one in made["benchmarks"]:
        metric, runtime = one["name"].partition("[")[0], one["params"]["runtime"].split(" ")[0]
        assert one["stats"]["data"] == values(golden, metric, runtime)
    assert made["tare"]["runs"][0]["id"] == golden.run.id
    assert made["machine_info"]["cpu"]["brand_raw"] == golden.run.host["cpu_model"]


@pytest.mark.parametrize("count", range(1, 14))
def test_the_statistics_are_that_tools_to_the_last_bit(count: int) -> None:
    data = values(plant(Planting(ratios={}, blocks=count, sigma=0.5)), "made.up", "native")
    theirs: Any = Stats()  # type: ignore[no-untyped-call]
    for value in data:
        theirs.update(value)
    ours = stats(data)
    assert {name: ours[name] for name in Stats.fields} == theirs.as_dict()


def test_the_format_is_of_the_installed_release() -> None:
    from importlib.metadata import version

    assert version("pytest-benchmark") == VERSION


# ---- hyperfine and Bencher


def test_hyperfine_gets_every_time(golden: Results) -> None:
    made = json.loads(hyperfine.render([golden]))["results"]
    one = next(one for one in made if one["command"] == "boot.ready container")
    assert one["times"] == values(golden, "boot.ready", "container")
    assert one["median"] == statistics.median(one["times"])
    assert one["min"] <= one["mean"] <= one["max"] and one["user"] is None
    assert len(one["exit_codes"]) == len(one["times"])
    assert any("(emulation)" in one["command"] for one in made)
    assert len(list(times(tidy.read([golden])))) == len(made)


def test_bencher_gets_medians_in_its_units(golden: Results) -> None:
    made: dict[str, dict[str, Any]] = json.loads(bmf.render([golden]))
    ready = made["boot.ready/container"]["latency"]
    assert ready["value"] == statistics.median(values(golden, "boot.ready", "container")) * 1e9
    assert ready["lower_value"] <= ready["value"] <= ready["upper_value"]
    assert made["disk.transfer/tcg (emulation)"]["file-size"]["value"] == 9_900_000
    assert "memory" in made["memory.pss/native"]


def test_bencher_gets_no_interval_that_does_not_exist() -> None:
    made = json.loads(bmf.render([plant(Planting(ratios={}, blocks=3))]))
    assert set(made["made.up/native"]["latency"]) == {"value"}


# ---- markdown


def test_markdown_says_the_answers_first(golden: Results) -> None:
    text = markdown.render([golden])
    assert text.startswith("## What the box costs\n\n- container is ready after 14.0 ms, 4.6× as long as native")
    assert "| `boot.ready` | container | 12 |" in text
    assert text.count("<details>") == text.count("</details>") == 6


def test_markdown_cannot_be_escaped_from(golden: Results) -> None:
    text = markdown.render([golden])
    assert "<script" not in text and "</script" not in text
    assert plain("a|b <b> @someone #1 `x` [l](u)") == r"a\|b &lt;b&gt; \@someone \#1 \`x\` \[l\](u)"
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows and {line.replace(r"\|", "").count("|") for line in rows} == {9}


def test_markdown_of_nothing_says_so() -> None:
    assert "Nothing was measured" in markdown.render([Results(run=plant(Planting(ratios={})).run, trials=())])
