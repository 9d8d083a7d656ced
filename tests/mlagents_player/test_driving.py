"""The driving task as agents: what the messages say, against an environment that is stepped beside it."""

from dataclasses import replace

import numpy as np
import pytest
from tests.sim.worlds import roundabout, straight_road

from drivetrain.errors import DataError, SimulationError
from drivetrain.sim.env import DrivingEnv
from drivetrain.sim.scene_bank import build_bank

pytestmark = pytest.mark.needs_unity
WORLDS = 4


@pytest.fixture(scope="module")
def bank():
    return build_bank([straight_road(), straight_road(ego_speed=14.0), roundabout()])


@pytest.fixture
def config():
    from drivetrain.mlagents_player.scenes import player_config

    return replace(player_config(WORLDS), horizon_s=3.0)


@pytest.fixture
def made(bank, config):
    from drivetrain.mlagents_player.driving import DrivingAgents

    lines = []
    task = DrivingAgents(bank, config, seed=7, say=lines.append)
    task.lines = lines
    yield task
    task.close()


def read(data):
    from drivetrain.mlagents.messages import UnityMessage
    from drivetrain.mlagents_player.driving import WIRE_NAME

    output = UnityMessage.FromString(data).unity_output
    return output, list(output.rl_output.agentInfos[WIRE_NAME].value)


def set_to(**values):
    from drivetrain.mlagents.side_channels import (
        ENVIRONMENT_PARAMETERS,
        EnvironmentParameter,
        pack,
        parameter_content,
    )

    parameters = [EnvironmentParameter(key=key, value=value) for key, value in values.items()]
    return pack((ENVIRONMENT_PARAMETERS, parameter_content(parameter)) for parameter in parameters)


def seen(agent):
    return np.concatenate([list(part.float_data.data) for part in agent.observations]).astype(np.float32)


def test_the_first_message_introduces_the_behavior_and_no_later_one(made):
    output, agents = read(made.reset())
    (brain,) = output.rl_initialization_output.brain_parameters
    assert (brain.brain_name, brain.action_spec.num_continuous_actions) == ("DrivingPlanner?team=0", 2)
    assert [part.name for part in agents[0].observations] == ["ego", "stop", "route", "agents", "road"]
    output, _ = read(made.step(np.zeros((WORLDS, 2), dtype=np.float32)))
    assert not output.HasField("rl_initialization_output")


def test_agents_are_the_rows_of_the_environment_and_flags_mean_what_they_should(made, bank, config):
    from drivetrain.mlagents.side_channels import read_stats

    env = DrivingEnv(bank, config, compute_ttc=True)
    observation = env.reset(seed=7).copy()
    _, agents = read(made.reset())
    np.testing.assert_array_equal([seen(agent) for agent in agents], observation)
    assert [agent.reward for agent in agents] == [0.0] * WORLDS
    ids, used = [agent.id for agent in agents], {agent.id for agent in agents}
    random = np.random.default_rng(1)
    kinds = set()
    for _ in range(60):
        actions = random.uniform(-1, 1, (WORLDS, 2)).astype(np.float32)
        result = env.step(actions)
        output, agents = read(made.step(actions))
        ended, alive = agents[: len(result.final_rows)], agents[len(result.final_rows) :]
        for row, agent, last in zip(result.final_rows, ended, result.final_observation, strict=True):
            assert (agent.id, agent.done) == (ids[row], True)
            assert agent.max_step_reached == result.truncated[row] != result.terminated[row]
            assert agent.reward == result.reward[row]
            np.testing.assert_array_equal(seen(agent), last)
            kinds.add(bool(agent.max_step_reached))
        np.testing.assert_array_equal([seen(agent) for agent in alive], result.observation)
        for row, agent in enumerate(alive):
            is_new = row in result.final_rows
            assert not agent.done
            assert agent.reward == (0.0 if is_new else result.reward[row])
            assert (agent.id not in used) == is_new
        ids = [agent.id for agent in alive]
        used.update(ids)
        stats = read_stats(output.rl_output.side_channel)
        progress = [stat.value for stat in stats if stat.key == "Driving/Progress"]
        np.testing.assert_array_equal(progress, result.episodes.get("progress", []))
    env.close()
    assert kinds == {True, False}  # both crashes and the horizon were met


def test_a_reset_at_any_time_begins_everybody_anew_and_the_same_seed_the_same(made, bank, config):
    from drivetrain.mlagents_player.driving import DrivingAgents

    twin = DrivingAgents(bank, config, seed=7, say=print)
    first = made.reset()
    assert first == twin.reset()
    still = np.zeros((WORLDS, 2), dtype=np.float32)
    made.step(still)
    _, again = read(made.reset())
    assert {agent.id for agent in again}.isdisjoint({agent.id for agent in read(first)[1]})
    assert any((seen(a) != seen(b)).any() for a, b in zip(again, read(first)[1], strict=True))  # other episodes
    twin.step(still)
    assert [seen(agent).tolist() for agent in read(twin.reset())[1]] == [seen(agent).tolist() for agent in again]
    twin.close()


def test_a_knob_turned_without_a_reset_cuts_off_what_runs(made):
    _, before = read(made.reset())
    _, agents = read(made.step(np.zeros((WORLDS, 2), dtype=np.float32), set_to(traffic=2.0, horizon_s=1.0)))
    cut, new = agents[:WORLDS], agents[WORLDS:]
    assert sorted(agent.id for agent in cut) == [agent.id for agent in before]
    assert all(agent.done for agent in cut)
    assert [agent.max_step_reached for agent in cut] == [False, True, True, True]  # one crashed in this very step
    assert not any(agent.done for agent in new)
    assert (made._env.config.traffic, made._env.config.horizon_s) == ("idm", 1.0)
    _, agents = read(made.step(np.zeros((WORLDS, 2), dtype=np.float32), set_to(traffic=2.0)))
    assert len(agents) == WORLDS  # said again: nothing changes


def test_an_unknown_parameter_is_told_once_and_one_out_of_range_is_refused(made):
    made.reset(set_to(horizon=5.0))
    made.step(np.zeros((WORLDS, 2), dtype=np.float32), set_to(horizon=6.0))
    (line,) = made.lines
    assert line.startswith("environment parameter 'horizon' is none of traffic, horizon_s,")
    assert line.endswith("did you mean 'horizon_s'?; it changes nothing")
    with pytest.raises(DataError) as caught:
        made.reset(set_to(traffic=9.0))
    assert str(caught.value) == (
        "environment parameter 'traffic': 9 is not within 0 to 4 "
        "(what others do: replay, both, idm, idm_aggressive, idm_timid by number)"
    )


def test_missing_actions_are_refused(made):
    made.reset()
    with pytest.raises(SimulationError) as caught:
        made.step(np.zeros((WORLDS - 1, 2), dtype=np.float32))
    assert str(caught.value) == "the trainer sent actions of shape (3, 2); 4 agents need 2 numbers each"


def test_sampled_knobs_are_drawn_within_their_ranges_and_by_their_seed(config):
    from drivetrain.mlagents.side_channels import EnvironmentParameter
    from drivetrain.mlagents_player.knobs import Settings

    def drawn(seed):
        settings = Settings(config)
        ranges = (1.0, 2.0, 8.0, 11.0)
        settings.turn(
            EnvironmentParameter(
                key="penalty_offroad", sampler="multirangeuniform", sampler_parameters=ranges, seed=seed
            )
        )
        return [settings.config().reward.penalty_offroad for _ in range(400)]

    values = np.array(drawn(3))
    assert drawn(3) == values.tolist() != drawn(4)
    low, high = (values >= 1) & (values <= 2), (values >= 8) & (values <= 11)
    assert (low | high).all()
    assert 60 <= low.sum() <= 140  # a quarter of 400 by width: 100, within 4.6 standard deviations
