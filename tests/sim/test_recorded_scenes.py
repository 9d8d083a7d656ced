"""Both simulators on generated, nuPlan-format and (where present) recorded scenes; replay meets what the log met."""

import os
from pathlib import Path

import numpy as np
import pytest
from tests.golden_sets import GOLDEN
from tests.sim.comparison import Tally, compare_step, make_env
from tests.sim.log_contacts import first_contact, replay_contacts

from drivetrain.data.convert import convert
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.sim.scene_bank import build_bank
from drivetrain.sim.world import ACTION_DISCRETE

ROOT = Path(__file__).resolve().parents[2]
WOMD = Path(os.environ.get("DRIVETRAIN_WOMD_DIR", ROOT.parent / "shared" / "data" / "womd"))
STRAIGHT_ON = 45


@pytest.fixture(scope="module", params=["sample", "nuplan", pytest.param("waymo", marks=pytest.mark.real_data)])
def scenarios(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "store"
    if request.param == "sample":
        write_sample(folder, train=8, val=0, test=0, seed=77, workers=1)
    elif request.param == "nuplan":
        convert("nuplan", [GOLDEN], folder)
    elif not WOMD.is_dir():
        pytest.skip("real scenes are not part of the project; set DRIVETRAIN_WOMD_DIR to their folder")
    else:
        convert("waymo-json", sorted(WOMD.glob("*.json")), folder)
    return ScenarioStore(folder).scenarios(limit=8)


def test_both_simulators_agree(scenarios):
    bank = build_bank(scenarios, all_controllable=True)
    options = {"control": "all", "agents_per_world": 3, "traffic": "idm", "compute_ttc": True}
    env = make_env(bank, seed=6, num_worlds=len(bank), **options)
    env.shaping_scale = 0.5
    random, tally = np.random.default_rng(2), Tally()
    for step in range(30):
        gentle = STRAIGHT_ON + random.choice([0, 0, 0, 1, -1, 13, -13], env.num_rows)
        action = np.zeros((env.num_rows, 2), np.float32)
        action[:, 0] = random.integers(0, 91, env.num_rows) if step % 10 == 9 else gentle
        compare_step(env, ACTION_DISCRETE, action, tally)
    assert tally.row_steps > 100
    assert tally.left_out.get("worlds", 0) <= 0.1 * 30 * len(bank)
    for group in ("ego", "stop", "route", "agents"):
        assert tally.share_left_out(group) <= 0.1, group
    assert tally.share_left_out("road") <= 0.35  # on a symmetric map the 64th and 65th are often equally far


def test_replay_collides_with_nothing_the_log_did_not(scenarios):
    bank = build_bank(scenarios)
    kept = [scenario for scenario in scenarios if scenario.scenario_id in bank.scenario_ids]
    collided, _ = replay_contacts(bank)
    for world, frame in collided.items():
        assert first_contact(kept[world], tolerance=1e-3) == frame
