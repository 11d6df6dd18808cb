"""The plan is pure, complete and interleaved."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harness import plan
from harness.model import Support
from tests import fakes

SUPPORTS = {
    "native": Support(available=True),
    "fake": Support(available=True),
    "no": Support(available=False, reason="absent"),
}


@given(seed=st.integers(0, 2**31), blocks=st.integers(1, 6))
def test_every_block_holds_every_cell_once(seed: int, blocks: int) -> None:
    steps = plan.plan(fakes.config(blocks=blocks), [fakes.scenario()], SUPPORTS, seed)
    for block in range(blocks + 1):
        cells = Counter(str(step.cell) for step in steps if step.block == block)
        assert len(cells) == 3  # native, its twin, fake
        assert set(cells.values()) == {1}
    assert len(steps) == 3 * (blocks + 1)


def test_same_seed_same_plan_other_seed_other_order() -> None:
    wanted = fakes.config(blocks=8)
    first = plan.plan(wanted, [fakes.scenario()], SUPPORTS, 1)
    assert first == plan.plan(wanted, [fakes.scenario()], SUPPORTS, 1)
    assert first != plan.plan(wanted, [fakes.scenario()], SUPPORTS, 2)


def test_the_warm_up_block_is_marked() -> None:
    steps = plan.plan(fakes.config(), [fakes.scenario()], SUPPORTS, 1)
    assert {step.block for step in steps if step.warmup} == {0}


def test_what_cannot_run_is_in_the_plan_with_its_reason() -> None:
    steps = plan.plan(fakes.config(runtimes=("native", "no")), [fakes.scenario()], SUPPORTS, 1)
    assert [(step.cell.runtime, step.skip) for step in steps if step.skip] == [("no", "absent")]


def test_of_alternatives_the_first_that_works_is_taken_and_the_others_are_named() -> None:
    chosen = plan.choose_runtimes(["no|fake|native"], SUPPORTS)
    assert chosen["no"] == "absent"
    assert chosen["fake"] == ""
    assert "fake works here" in chosen["native"]


def test_a_lacking_feature_skips_the_cell() -> None:
    from dataclasses import replace

    from harness.model import Feature

    needy = replace(fakes.scenario(), needs=frozenset({Feature.PAUSE}))
    steps = plan.plan(fakes.config(), [needy], SUPPORTS, 1)
    assert all(step.skip.endswith("has no pause") for step in steps)
