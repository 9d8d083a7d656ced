"""The golden rollouts, read once for all tests of the closed loop."""

import pytest
from tests.golden_sets import GOLDEN, GOLDEN2

from drivetrain.trainer.golden_rollouts import GoldenRollout, golden_rollouts


@pytest.fixture(scope="session")
def rollouts() -> dict[str, GoldenRollout]:
    return {rollout.name: rollout for root in (GOLDEN, GOLDEN2) for rollout in golden_rollouts(root)}
