import numpy as np
import pytest
from tests.rendering.driving_policies import plain_policy, proposal_policy, write_policy
from tests.sim.scenario_builder import Mover, constant, line
from tests.sim.worlds import signalled_crossing, straight_road

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import CheckpointError, DataError, UsageError
from drivetrain.rendering.drivers import drive_all, named_driver, uses_tracker
from drivetrain.rendering.recording import logged_ego_pose
from drivetrain.sim.scenario import LightState
from drivetrain.trainer.evaluate import evaluate


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drives") / "few"
    return ScenarioStore(write_sample(folder, train=0, val=4, test=0, progress=lambda *_: None))


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    return {
        "plain": write_policy(folder / "plain" / "best.pt", plain_policy()),
        "proposals": write_policy(folder / "proposals" / "best.pt", proposal_policy()),
    }


@pytest.mark.parametrize("tracker", [False, True])
@pytest.mark.parametrize("who", ["idm", "plain"])
def test_what_is_drawn_is_what_is_scored(store, policies, who, tracker):
    driver = named_driver(policies.get(who, who))
    scenarios = store.scenarios("val")
    drives = drive_all(driver, scenarios, tracker=tracker, store=store)
    result = evaluate(driver.name, store, dynamics="tracker" if tracker else "direct", processes=1)
    name = "score" if tracker else "score_basic"
    assert {r.score_name for r in drives.recordings.values()} == {name}
    scores = [drives.recordings[scenario].score for scenario in result.scenario_ids]
    assert scores == pytest.approx(result.values[name].tolist(), abs=1e-9)
    if not tracker:
        progress = [drives.recordings[scenario].progress[-1] for scenario in result.scenario_ids]
        assert progress == pytest.approx(result.values["progress"].tolist(), abs=1e-6)
    faults = ["collision_at_fault" in {e.kind for e in drives.recordings[s].events} for s in result.scenario_ids]
    assert faults == (result.values["collision_at_fault_rate"] > 0).tolist()


def test_side_by_side_is_as_alone(store, policies):
    driver = named_driver(policies["proposals"])
    scenarios = store.scenarios("val")
    together = drive_all(driver, scenarios)
    for scenario in scenarios[1:3]:
        alone, among = drive_all(driver, [scenario]).of(scenario), together.of(scenario)
        # A network rounds sums over many rows a little differently.
        assert np.allclose(alone.ego_pose, among.ego_pose, atol=1e-3)
        assert np.array_equal(alone.agent_present, among.agent_present)
        assert alone.events == among.events
        assert np.allclose(alone.insight.observation, among.insight.observation, atol=1e-3)


@pytest.mark.parametrize("tracker", [False, True])
def test_a_filter_forbids_what_it_finds_too_risky(policies, tracker):
    scenarios = [straight_road(frames=31), signalled_crossing(ego_state=int(LightState.RED), frames=31)]
    for scenario in scenarios:
        drive = drive_all(named_driver(policies["proposals"]), scenarios, tracker=tracker).of(scenario)
        insight = drive.insight
        # A drive in nuPlan's loop plans in its last state too; one that ended by itself does not act any more.
        assert len(insight.action) == drive.num_frames - (not tracker)
        assert insight.category.shape == insight.risk.shape == (len(insight.action), 6)
        assert insight.epsilon == 0.05
        too_risky = insight.risk > insight.epsilon
        assert too_risky.any()
        some_safe = (~too_risky).any(axis=1)
        assert np.array_equal(insight.allowed[some_safe], ~too_risky[some_safe])
        assert (insight.allowed[~some_safe].sum(axis=1) == 1).all()  # the least risky one
        assert (insight.probability[~insight.allowed] == 0).all()
        assert insight.probability.sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_policy_without_a_filter_shows_its_likeliest_actions(store, policies):
    scenario = store.scenarios("val")[0]
    insight = drive_all(named_driver(policies["plain"]), [scenario]).of(scenario).insight
    assert insight.category.shape[1] == 24
    assert np.isnan(insight.risk).all()
    assert insight.epsilon is None
    assert insight.allowed.all()
    assert (np.diff(insight.probability, axis=1) <= 0).all()


def test_events_in_nuplans_loop_have_their_frames(store):
    parked = Mover(path=line((45, 0), (46, 0)), arc_length=constant(0, 0))
    scenario = straight_road(lead=False, agents=[parked])
    drive = drive_all(named_driver("constant_velocity"), [scenario], tracker=True).of(scenario)
    contact = next(event for event in drive.events if event.kind == "collision_at_fault")
    gap = 45.0 - drive.ego_pose[:, 0] - drive.ego_size[0] / 2 - drive.agent_size[0, 0] / 2
    assert gap[contact.frame] <= 0 < gap[contact.frame - 1]
    assert contact.agent == 0
    assert drive.outcome == "collision_at_fault"
    # 10 m/s straight on: within 0.95 s of the contact the ego is warned.
    warned = next(event.frame for event in drive.events if event.kind == "ttc")
    assert 8 <= contact.frame - warned <= 11
    red = signalled_crossing(ego_state=int(LightState.RED))
    drive = drive_all(named_driver("constant_velocity"), [red], tracker=True).of(red)
    run = next(event.frame for event in drive.events if event.kind == "red_light")
    front = drive.ego_pose[:, 0] + drive.ego_size[0] / 2
    assert front[run] >= -8.0 > front[run - 1]


def test_drivers_of_one_picture_drive_in_one_simulation(store, policies):
    idm, learnt, expert, nuplans = (named_driver(name) for name in ("idm", policies["plain"], "expert", "nuplan_idm"))
    # On generated scenes a planner is scored in nuPlan's loop and a policy in its training simulator.
    assert uses_tracker("auto", [idm], store, 0)
    assert not uses_tracker("auto", [learnt], store, 0)
    assert not uses_tracker("auto", [idm, learnt], store, 0)
    assert uses_tracker("auto", [learnt, nuplans], store, 0)
    assert uses_tracker("tracker", [idm, learnt], store, 0)
    with pytest.raises(UsageError, match="'expert' drives the vehicle model directly"):
        uses_tracker("auto", [expert, nuplans], store, 0)


def test_a_scene_that_cannot_be_driven_spares_the_others(store):
    scenarios = [store.scenarios("val")[0], straight_road(frames=5)]
    drives = drive_all(named_driver("idm"), scenarios)
    assert list(drives.recordings) == [scenarios[0].scenario_id]
    with pytest.raises(DataError, match=rf"^scenario {scenarios[1].scenario_id} cannot be driven: .*--scenario$"):
        drives.of(scenarios[1])


def test_a_checkpoint_without_its_config_is_refused(tmp_path):
    path = write_policy(tmp_path / "best.pt", plain_policy(), config={})
    with pytest.raises(CheckpointError, match="has no config of its environment"):
        named_driver(path)


def test_the_log_is_judged_like_anybody():
    scenario = straight_road()
    for tracker in (False, True):
        drive = drive_all(named_driver("log_replay"), [scenario], tracker=tracker).of(scenario)
        assert np.allclose(drive.ego_pose, logged_ego_pose(scenario)[: drive.num_frames], atol=1e-3)
        assert drive.metrics["score" if tracker else "score_basic"] == drive.score
        assert not any(event.kind.startswith("collision") for event in drive.events)
