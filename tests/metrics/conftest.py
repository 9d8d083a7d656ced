"""The golden cases, read once for all tests of metrics."""

import pytest
from tests.golden_sets import GOLDEN, GOLDEN2
from tests.metrics.golden_cases import GoldenCase, golden_cases


@pytest.fixture(scope="session", params=[GOLDEN, GOLDEN2], ids=["set1", "set2"])
def golden(request: pytest.FixtureRequest) -> list[GoldenCase]:
    return golden_cases(request.param)
