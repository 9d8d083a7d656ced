"""What must hold for any scene: moving it, splitting the batch, threads, seeds, replay, endings."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
from tests.sim import worlds
from tests.sim.comparison import best_order, make_env
from tests.sim.log_contacts import first_contact, replay_contacts
from tests.sim.scenario_builder import RED, Mover, constant, line

from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.reward import RewardConfig
from drivetrain.sim.scene_arrays import PRESENT
from drivetrain.sim.scene_bank import build_bank
from drivetrain.sim.world import AT_FAULT, COLLISION, GOAL, OFFROAD, RED_LIGHT

STRAIGHT_ON, FULL_BRAKE = 45, 6
SELF_PLAY = {"control": "all", "agents_per_world": 4, "traffic": "idm"}


@functools.cache
def bank():
    return build_bank(worlds.all_worlds(), all_controllable=True)


def trace(env, steps, *, seed=0, rows=slice(None)):
    """Everything that steps with drawn actions yield; ``rows``: which of the batch's actions these rows take."""
    random = np.random.default_rng(seed)
    batch = env.num_rows if rows == slice(None) else rows.stop + 999
    record = [env.current_observation().copy()]
    for _ in range(steps):
        action = (STRAIGHT_ON + random.choice([0, 1, -1, 13, -13, 39, 3, -5], batch))[rows]
        result = env.step(action)
        record += [result.observation, result.reward, result.terminated, result.truncated, result.valid]
        record += [result.final_observation, result.final_rows]
        record = record[:-7] + [array.copy() for array in record[-7:]]
    return record


def assert_same_bits(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


class TestMovingTheScene:
    @pytest.mark.parametrize(
        ("turn", "shift", "with_road"),
        [(0.0, (510.0, -260.0), True), (2.4, (0.0, 0.0), False), (-1.1, (90.0, 700.0), False)],
    )
    def test_nothing_but_the_road_grid_depends_on_the_frame(self, turn, shift, with_road):
        """Cells lie along the axes, so a turn may choose other road segments; a shift by whole cells moves all."""
        scenes = [worlds.signalled_crossing(), worlds.pedestrian_road(), worlds.roundabout(), worlds.straight_road()]
        moved = [worlds.moved(scene, turn=turn, shift=shift) for scene in scenes]
        options = {"num_worlds": 4, "sequential": True, "perturb": False, "compute_ttc": True, **SELF_PLAY}
        first = make_env(build_bank(scenes, all_controllable=True), **options)
        second = make_env(build_bank(moved, all_controllable=True), **options)
        road = CANONICAL.start("road")
        random = np.random.default_rng(1)
        for _ in range(50):
            action = STRAIGHT_ON + random.choice([0, 0, 1, -1, 13, -13], first.num_rows)
            a, b = first.step(action), second.step(action)
            np.testing.assert_allclose(a.observation[:, :road], b.observation[:, :road], atol=2e-3)
            if with_road:
                for mine, theirs in zip(a.observation[:, road:], b.observation[:, road:], strict=True):
                    mine, theirs = mine.reshape(6, 64), theirs.reshape(6, 64)
                    mine = mine[:, best_order(mine, theirs, np.ones(6))]  # equally distant ones may swap
                    np.testing.assert_allclose(mine, theirs, atol=2e-3)
            np.testing.assert_allclose(a.reward, b.reward, atol=1e-3)
            np.testing.assert_array_equal(first.state.events, second.state.events)
            np.testing.assert_array_equal(a.terminated, b.terminated)


class TestDeterminism:
    @pytest.mark.parametrize("world", [0, 5, 11])
    def test_one_world_alone_is_the_same_world_in_a_batch(self, world):
        batch = make_env(bank(), seed=3, num_worlds=12, **SELF_PLAY)
        alone = make_env(bank(), seed=3, num_worlds=1, first_world=world, num_worlds_global=12, **SELF_PLAY)
        rows = slice(4 * world, 4 * world + 4)
        random = np.random.default_rng(0)
        for _ in range(70):
            action = STRAIGHT_ON + random.choice([0, 1, -1, 13, -13, 39, 3, -5], batch.num_rows)
            a, b = batch.step(action), alone.step(action[rows])
            for name in ("observation", "reward", "terminated", "truncated", "valid"):
                np.testing.assert_array_equal(getattr(a, name)[rows], getattr(b, name), err_msg=name)
            mine = (a.final_rows >= rows.start) & (a.final_rows < rows.stop)
            np.testing.assert_array_equal(a.final_observation[mine], b.final_observation)

    def test_threads_do_not_change_a_bit(self):
        options = {"seed": 9, "num_worlds": 96, **SELF_PLAY}
        one, three = make_env(bank(), threads=1, **options), make_env(bank(), threads=3, **options)
        assert_same_bits(trace(one, 40), trace(three, 40))
        three.close()

    def test_the_seed_decides_everything(self):
        options = {"num_worlds": 14, **SELF_PLAY}
        first = trace(make_env(bank(), seed=21, **options), 30)
        assert_same_bits(first, trace(make_env(bank(), seed=21, **options), 30))
        other = trace(make_env(bank(), seed=22, **options), 30)
        assert any(a.shape != b.shape or (a != b).any() for a, b in zip(first, other, strict=True))

    def test_a_restored_state_continues_with_the_same_bits(self):
        env = make_env(bank(), seed=4, num_worlds=14, **SELF_PLAY)
        trace(env, 15)
        saved = env.state_dict()
        expected = trace(env, 25, seed=8)
        restored = make_env(bank(), seed=999, num_worlds=14, **SELF_PLAY)
        restored.load_state_dict(saved)
        assert_same_bits(expected, trace(restored, 25, seed=8))

    def test_without_compilation_the_results_are_the_same(self, tmp_path):
        program = (
            "import sys, numpy as np\n"
            "from drivetrain.sim.scene_bank import build_bank\n"
            "from tests.sim import worlds\n"
            "from tests.sim.comparison import best_order, make_env\n"
            "scenes = [worlds.pedestrian_road(), worlds.straight_road()]\n"
            "env = make_env(build_bank(scenes, all_controllable=True), seed=2, num_worlds=3, control='all',\n"
            "               agents_per_world=2, traffic='idm', compute_ttc=True)\n"
            "kept = [env.current_observation().copy()]\n"
            "for t in range(4):\n"
            "    result = env.step(np.arange(env.num_rows) * 7 + t)\n"
            "    kept += [result.observation.copy(), result.reward.copy(), env.state.events.copy()]\n"
            "np.savez(sys.argv[1], *kept)\n"
        )
        for name, disabled in (("compiled", "0"), ("plain", "1")):
            environment = os.environ | {"NUMBA_DISABLE_JIT": disabled}
            command = [sys.executable, "-c", program, str(tmp_path / f"{name}.npz")]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        compiled, plain = np.load(tmp_path / "compiled.npz"), np.load(tmp_path / "plain.npz")
        assert len(compiled.files) == 13
        for name in compiled.files:
            np.testing.assert_allclose(compiled[name], plain[name], rtol=0, atol=1e-5)


class TestLogReplay:
    def test_replay_collides_exactly_where_the_log_does(self):
        rear_end = Mover(path=line((-40, 0), (300, 0)), arc_length=constant(0, 15.0))
        crossing = Mover(path=line((60, -52), (60, 200)), arc_length=constant(0, 9.0))
        scenes = [
            *worlds.all_worlds(),
            worlds.straight_road(agents=[rear_end], lead=False),
            worlds.straight_road(agents=[rear_end, crossing], lead=False),
        ]
        collided, steps = replay_contacts(build_bank(scenes))
        expected = {world: first_contact(scene) for world, scene in enumerate(scenes)}
        # an episode that ended for another reason sees no later contact
        expected = {world: f for world, f in expected.items() if f is not None and f <= steps[world]}
        assert collided == expected
        assert len(collided) >= 2


@pytest.mark.parametrize("backend", ["oracle", "kernels"])
class TestTerminationTable:
    def play(self, scenario, backend, **options):
        options = {"num_worlds": 1, "sequential": True, "perturb": False, "automatic_reset": False, **options}
        return make_env(build_bank([scenario]), backend=backend, **options)

    def outcome(self, env, result):
        return int(env.state.events[0]), bool(result.terminated[0]), bool(result.truncated[0])

    @pytest.mark.parametrize(
        ("scenario", "pose", "events", "reward"),
        [
            (worlds.parked_car_road, (42.0, -0.5, 0.0, 5.0, 0.0), COLLISION | AT_FAULT, -4.0),
            (worlds.parked_car_road, (42.0, -0.5, 0.0, 0.31, 0.0), COLLISION | AT_FAULT, -4.0),
            (worlds.parked_car_road, (42.0, -0.5, 0.0, 0.29, 0.0), COLLISION, -1.0),
            (worlds.parked_car_road, (48.5, -0.5, 0.0, 5.0, 0.0), COLLISION, -1.0),
            (worlds.straight_road, (4.0, -2.5, 0.0, 5.0, 0.0), OFFROAD, -5.0),
            (worlds.parked_car_road, (43.0, -2.0, 0.0, 5.0, 0.0), COLLISION | AT_FAULT | OFFROAD, -5.0),
            (worlds.parked_car_road, (43.0, -2.0, 0.0, 0.0, 0.0), COLLISION | OFFROAD, -5.0),
        ],
    )
    def test_penalised_events_end_the_episode_with_one_penalty_and_no_progress(
        self, backend, scenario, pose, events, reward
    ):
        env = self.play(scenario(), backend, reward=RewardConfig(penalty_offroad=5.0))
        result = env.step_pose(np.array([pose]))
        assert self.outcome(env, result) == (events, True, False)
        assert result.reward[0] == reward
        assert env.state.agents[0, PRESENT, 0] == 0.0, "the agent should have been removed"
        again = env.step_pose(np.array([pose]))
        assert not again.valid[0]
        assert again.reward[0] == 0.0

    def test_a_red_light_ends_the_episode(self, backend):
        env = self.play(worlds.signalled_crossing(ego_state=RED), backend)
        for _ in range(60):
            result = env.step_log()
            if result.terminated[0]:
                break
        assert env.state.steps[0] == 54  # the front stands 47.7 m before the line and moves 0.89 m a step
        assert self.outcome(env, result) == (RED_LIGHT, True, False)
        assert result.reward[0] == -4.0

    def test_the_goal_ends_the_episode_without_penalty_and_the_return_is_ten(self, backend):
        env = self.play(worlds.straight_road(), backend, action="continuous", horizon_s=30.0)
        total = 0.0
        while not (result := env.step_log()).terminated[0]:
            total += float(result.reward[0])
        total += float(result.reward[0])
        assert self.outcome(env, result) == (GOAL, True, False)  # in the log's last frame: not truncated
        assert env.state.steps[0] == 90
        assert total == pytest.approx(10.0, abs=1e-4)
        assert result.episodes["mean_reward"][0] == pytest.approx(10.0, abs=1e-4)
        assert result.episodes["progress"][0] == 1.0

    def test_the_horizon_truncates(self, backend):
        env = self.play(worlds.straight_road(), backend, horizon_s=1.0)
        results = [self.outcome(env, env.step(np.array([STRAIGHT_ON]))) for _ in range(10)]
        assert results == [(0, False, False)] * 9 + [(0, False, True)]

    def test_the_end_of_the_log_truncates(self, backend):
        env = self.play(worlds.straight_road(frames=31), backend)
        results = [self.outcome(env, env.step(np.array([FULL_BRAKE]))) for _ in range(30)]
        assert results == [(0, False, False)] * 29 + [(0, False, True)]

    def test_standing_still_pays_nothing_and_shaping_costs_only_changes(self, backend):
        env = self.play(worlds.straight_road(), backend)
        env.shaping_scale = 1.0
        for _ in range(40):
            env.step(np.array([FULL_BRAKE]))
        assert env.state.agents[0, 4, 0] == 0.0
        assert abs(env.step(np.array([FULL_BRAKE])).reward[0]) < 1e-6
        changed = env.step(np.array([FULL_BRAKE + 13 * 3 + 3])).reward[0]  # by 4 m/s^2 and 3 of 6 levels
        assert changed == pytest.approx(-(0.012 + 0.010 / 2), abs=1e-6)

    def test_the_first_action_of_an_episode_changes_nothing(self, backend):
        free = self.play(worlds.straight_road(), backend)
        shaped = self.play(worlds.straight_road(), backend)
        shaped.shaping_scale = 1.0
        hard = np.array([90])
        assert free.step(hard).reward[0] == shaped.step(hard).reward[0] > 0


class TestEndings:
    def test_the_final_observation_is_the_one_before_the_reset(self):
        """A batch cut off after 1 s must end with what an uncut batch sees at 1 s."""
        options = {"seed": 5, "num_worlds": 14, "control": "all", "agents_per_world": 3}
        short, long = make_env(bank(), horizon_s=1.0, **options), make_env(bank(), horizon_s=9.0, **options)
        action = np.full(short.num_rows, STRAIGHT_ON)
        for _ in range(9):
            a, b = short.step(action), long.step(action)
            np.testing.assert_array_equal(a.observation, b.observation)
        running = long.state.running.copy()
        a, b = short.step(action), long.step(action)
        cut = np.flatnonzero(a.truncated & (running > 0) & (long.state.running > 0) & ~b.truncated & ~b.terminated)
        assert len(cut) > 10
        finals = {int(row): k for k, row in enumerate(a.final_rows)}
        for row in cut:
            np.testing.assert_array_equal(a.final_observation[finals[int(row)]], b.observation[row])
        assert (a.observation[cut] != b.observation[cut]).any(axis=1).all(), "those rows should have been reset"
        np.testing.assert_array_equal(a.observation, short.current_observation(out=np.zeros_like(a.observation)))

    def test_a_world_goes_on_until_none_of_its_agents_runs(self):
        env = make_env(bank(), seed=1, num_worlds=7, sequential=True, perturb=False, **SELF_PLAY)
        random = np.random.default_rng(0)
        waited = False
        for _ in range(60):
            before, episode = env.state.running.copy(), env.state.episode.copy()
            result = env.step(random.integers(0, 91, env.num_rows))
            np.testing.assert_array_equal(result.valid, before > 0)
            ended = (result.terminated | result.truncated).reshape(7, 4)
            alive = (before > 0).reshape(7, 4) & ~ended
            np.testing.assert_array_equal(env.state.episode > episode, ~alive.any(axis=1))
            waited |= bool((ended.any(axis=1) & alive.any(axis=1)).any())
            for row in np.flatnonzero(ended.ravel() & (np.repeat(env.state.episode == episode, 4))):
                assert env.state.agents[row // 4, PRESENT, env.state.slot[row]] == 0.0
                assert not result.observation[row].any()
        assert waited, "no world went on after one of its agents ended"

    def test_rows_without_a_vehicle_are_never_transitions(self):
        env = make_env(build_bank([worlds.empty_world()], all_controllable=True), num_worlds=2, **SELF_PLAY)
        result = env.step(np.full(8, STRAIGHT_ON))
        assert result.valid.tolist() == [True, False, False, False] * 2
        assert np.isfinite(result.observation).all()
        assert not result.observation[1:4].any()
