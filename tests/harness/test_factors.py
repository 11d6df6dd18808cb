"""Declared conditions are brought about before a trial, or named as impossible before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import factors, plan
from harness.errors import UsageError
from harness.model import Support
from tests import fakes


def test_a_value_nobody_knows_is_named() -> None:
    with pytest.raises(UsageError, match="cache cannot be 'lukewarm'"):
        factors.check({"cache": "lukewarm"})
    factors.check({"cache": "cold", "size": "anything"})


def test_only_what_is_asked_for_is_done(tmp_path: Path) -> None:
    done: list[str] = []
    file = tmp_path / "drop_caches"
    factors.bring_about({"size": "small"}, lambda: done.append("warm"), file)
    assert (done, file.exists()) == ([], False)
    factors.bring_about({"cache": "warm"}, lambda: done.append("warm"), file)
    assert (done, file.exists()) == (["warm"], False)
    factors.bring_about({"cache": "cold"}, lambda: done.append("warm"), file)
    assert (done, file.read_text()) == (["warm"], "1")


def test_cold_without_root_is_a_skip_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(factors, "DROP_CACHES", tmp_path / "missing")
    scenario = replace(fakes.scenario(), grid={"cache": ("cold", "warm")})
    supports = {"native": Support(available=True)}
    steps = plan.plan(fakes.config(runtimes=("native",), blocks=1), [scenario], supports, 1)
    assert {step.cell.params["cache"] for step in steps if not step.skip} == {"warm"}
    assert all("needs root" in step.skip for step in steps if step.cell.params["cache"] == "cold")
