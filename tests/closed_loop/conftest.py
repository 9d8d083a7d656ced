"""The golden rollouts, read once for all tests of the closed loop."""

import pytest
from tests.closed_loop.golden_rollouts import GoldenRollout, golden_rollouts
from tests.golden_sets import GOLDEN, GOLDEN2


@pytest.fixture(scope="session")
def rollouts() -> dict[str, GoldenRollout]:
    return {rollout.name: rollout for root in (GOLDEN, GOLDEN2) for rollout in golden_rollouts(root)}
