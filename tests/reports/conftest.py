"""The golden run, read and analysed once."""

from __future__ import annotations

import pytest

from harness import store
from harness.model import Results
from reports import analysis
from reports.analysis import Analysis
from tests.reports.golden import GOLDEN


@pytest.fixture(scope="session")
def golden() -> Results:
    return store.read(GOLDEN)


@pytest.fixture(scope="session")
def analysed(golden: Results) -> Analysis:
    return analysis.analyse([golden])
