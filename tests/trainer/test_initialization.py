"""``--init-from``: every algorithm goes on as the other's policy; the table, the precautions, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.trainer.test_checkpoint import SIZES, THREE_ACTIONS, VECTOR, checkpoint_of

from drivetrain.errors import CheckpointError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.trajectory_head import TrajectoryConfig, TrajectoryHead
from drivetrain.run_record import RunPaths, read_jsonl_tail
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.checkpoint import host_copy, load_checkpoint, load_policy, save_checkpoint
from drivetrain.trainer.command import main
from drivetrain.trainer.initialization import initialize_from

COMMON = """\
environment: {name: gymnasium, id: CartPole-v1, num_worlds: 4}
policy: {hidden: [8], normalize_observation: true}
evaluation: {episodes: 2, max_share: 0, at_start: false}
"""
PPO = "rollout_steps: 16, minibatch_size: 32, epochs: 2"
IMITATES = "demonstrations: {expert: scripted, episodes: 3}\n"
CONFIGS = {
    "ppo": f"algorithm: {{name: ppo, {PPO}}}\ntraining: {{total_steps: 64, threads: 1, device: cpu, snapshots: 1}}\n",
    "bc": IMITATES + "algorithm: {name: bc, minibatch_size: 64, iteration_steps: 5}\n"
    "training: {total_steps: 10, threads: 1, device: cpu, snapshots: 1}\n",
    "gail": IMITATES + f"algorithm: {{name: gail, discriminator: {{batch_size: 64}}, ppo: {{{PPO}}}}}\n"
    "training: {total_steps: 64, threads: 1, device: cpu, snapshots: 1}\n",
    "sac": "algorithm: {name: sac, learning_starts: 32, minibatch_size: 32, steps: 16, capacity: 1000}\n"
    "training: {total_steps: 128, threads: 1, device: cpu, snapshots: 1}\n",
}
LAUNCHER = {"ppo": "rl", "sac": "rl", "bc": "bc", "gail": "gail"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a root with one finished run of each algorithm, named after it."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as context:
        context.setenv("DRIVETRAIN_ROOT", str(root))
        context.setenv("DRIVETRAIN_CACHE_DIR", str(root / "cache"))
        for name, text in CONFIGS.items():
            (root / f"{name}.yaml").write_text(COMMON + text)
            assert start(root, name, name) == 0
        yield root


def start(root: Path, run_id: str, algorithm: str, *flags: str) -> int:
    config = ["--config", str(root / f"{algorithm}.yaml"), "--run-id", run_id, "--no-mlflow"]
    return main(LAUNCHER[algorithm], [*config, *flags])


def paths_of(root: Path, run_id: str) -> RunPaths:
    return RunPaths(root=root, run_id=run_id)


@pytest.mark.parametrize("learner", CONFIGS)
@pytest.mark.parametrize("source", CONFIGS)
def test_every_pair_begins_as_the_source(root, source, learner):
    run_id = f"{learner}_from_{source}"
    given = paths_of(root, source).last
    assert start(root, run_id, learner, "--init-from", str(given), "--seed", "7") == 0
    observation = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    expected = load_policy(given).module.distribution(observation).log_probs
    assert (expected.exp() - 0.5).abs().max() > 1e-3  # a source that has learnt something
    begun = load_policy(paths_of(root, run_id).snapshot(0)).module.distribution(observation).log_probs
    torch.testing.assert_close(begun, expected, atol=1e-6, rtol=0)


def test_the_table_is_told_everywhere(root, capfd):
    given = paths_of(root, "bc").best
    assert start(root, "told", "ppo", "--init-from", str(given)) == 0
    table = [
        f"init-from {given}: bc, step 10 -> ppo, step 0",
        "  module       state   parameters  why",
        "  encoder      loaded           9  decides actions",
        "  trunk        loaded          40  decides actions",
        "  pi           loaded          18  decides actions",
        "  value_trunk  fresh           40  bc never learnt state values",
        "  value        fresh            9  bc never learnt state values",
        "  precaution: only the value head learns for 8 iterations; the policy stays as it is",
    ]
    told = capfd.readouterr().err.splitlines()
    at = told.index(table[0])
    assert told[at : at + len(table)] == table
    log = paths_of(root, "told").train_log.read_text()
    assert all(line.rstrip() in log for line in table)
    (event,) = [e for e in read_jsonl_tail(paths_of(root, "told").events_jsonl, 20) if e["event"] == "initialized"]
    assert (event["loaded"], event["fresh"]) == (["encoder", "trunk", "pi"], ["value_trunk", "value"])
    assert (event["algorithm"], event["ignored"], len(event["precautions"])) == ("bc", [], 1)


def test_a_discriminator_goes_on_with_its_values(root):
    """Of the same rewards: nothing begins anew, and nothing has to be taught first."""
    assert start(root, "again", "gail", "--init-from", str(paths_of(root, "gail").best)) == 0
    (event,) = [e for e in read_jsonl_tail(paths_of(root, "again").events_jsonl, 20) if e["event"] == "initialized"]
    assert "disc" in event["loaded"]
    assert (event["fresh"], event["precautions"]) == ([], [])


def test_critics_go_on_with_their_own_kind(root):
    def said(run_id, source):
        assert start(root, run_id, "sac", "--init-from", str(paths_of(root, source).last)) == 0
        (event,) = [e for e in read_jsonl_tail(paths_of(root, run_id).events_jsonl, 20) if e["event"] == "initialized"]
        return event

    again, from_clone = said("critics", "sac"), said("no_critics", "bc")
    assert "q" in again["loaded"]
    assert "q" in from_clone["fresh"]
    assert any("only the critics learn" in text for text in from_clone["precautions"])
    assert not any("only the critics learn" in text for text in again["precautions"])


def states(done) -> dict[str, str]:
    return {module.name: module.state for module in done.modules}


@pytest.mark.parametrize(
    ("source", "learner", "values"),
    [
        ("ppo", "ppo", "loaded"),
        ("ppo", "gail", "fresh"),
        ("gail", "ppo", "fresh"),
        ("bc", "ppo", "fresh"),
        ("bc", "bc", "fresh"),
        ("ppo", "bc", "fresh"),
    ],
)
def test_values_are_kept_only_where_the_rewards_stay(tmp_path, source, learner, values):
    save_checkpoint(tmp_path / "best.pt", replace(checkpoint_of(), algorithm=source))
    policy = ActorCritic(VECTOR, THREE_ACTIONS, SIZES, seed=5)
    before = policy.value[0].weight.detach().clone()
    done = initialize_from(policy, tmp_path, learner=learner)
    assert states(done) == {"trunk": "loaded", "pi": "loaded", "value_trunk": values, "value": values}
    assert torch.equal(before, policy.value[0].weight) == (values == "fresh")


def test_a_trajectory_head_is_kept_by_who_has_one(tmp_path):
    ours = TrajectoryHead(8, TrajectoryConfig(modes=2), seed=1)
    theirs = TrajectoryHead(8, TrajectoryConfig(modes=2), seed=2)
    heads = {"traj": host_copy(theirs.state_dict())}
    save_checkpoint(tmp_path / "best.pt", replace(checkpoint_of(), algorithm="bc", heads=heads))
    policy = ActorCritic(VECTOR, THREE_ACTIONS, SIZES)
    assert states(initialize_from(policy, tmp_path, learner="ppo"))["traj"] == "ignored"
    assert states(initialize_from(policy, tmp_path, learner="bc", heads={"traj": ours}))["traj"] == "loaded"
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    other = {"traj": TrajectoryHead(8, TrajectoryConfig(modes=3))}
    (traj,) = [m for m in initialize_from(policy, tmp_path, learner="bc", heads=other).modules if m.name == "traj"]
    assert (traj.state, traj.reason) == ("fresh", "has other sizes in the checkpoint")


def test_a_continuous_policy_begins_as_the_source(tmp_path):
    space = ActionSpace(size=2, low=(-1.0, -2.0), high=(1.0, 2.0))
    made = checkpoint_of(CANONICAL, space, PolicyConfig(initial_log_std=-1.0))
    save_checkpoint(tmp_path / "best.pt", replace(made, algorithm="bc"))
    policy = ActorCritic(CANONICAL, space, PolicyConfig(), seed=5)
    done = initialize_from(policy, tmp_path, learner="ppo")
    assert (states(done)["log_std"], states(done)["encoder"], states(done)["value"]) == ("loaded", "loaded", "fresh")
    rows = torch.rand(20, CANONICAL.size)
    ours, theirs = policy.distribution(rows), load_policy(tmp_path).module.distribution(rows)
    actions = theirs.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions), atol=1e-6, rtol=0)


DRIVING = {"name": "kinematic_bicycle", "dt_s": 0.1, "acceleration_lag_s": 0.2}


@pytest.mark.parametrize(
    ("policy", "dynamics", "expected"),
    [
        ((VECTOR, THREE_ACTIONS, PolicyConfig(hidden=(5,))), DRIVING, "'trunk' does not fit (policy.hidden is [4] th"),
        (
            (VECTOR, THREE_ACTIONS, PolicyConfig(hidden=(4,), normalize_observation=True)),
            DRIVING,
            "'encoder' does not fit (policy.normalize_observation is False there and True here); use the same policy",
        ),
        ((CANONICAL, THREE_ACTIONS, SIZES), DRIVING, f"made for observation schema {VECTOR.hash}"),
        ((VECTOR, ActionSpace(num_categories=91), SIZES), DRIVING, "(3 categories), here it is"),
        (
            (VECTOR, THREE_ACTIONS, SIZES),
            DRIVING | {"acceleration_lag_s": 0.5},
            "made for vehicle dynamics with acceleration_lag_s 0.2, here it is 0.5; use the same environment settings",
        ),
        ((VECTOR, THREE_ACTIONS, SIZES), {}, "made for vehicle dynamics with name kinematic_bicycle, here it is None"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path, policy, dynamics, expected):
    save_checkpoint(tmp_path / "best.pt", replace(checkpoint_of(), dynamics=DRIVING))
    taker = ActorCritic(*policy, seed=5)
    before = host_copy(taker.state_dict())
    with pytest.raises(CheckpointError) as refused:
        initialize_from(taker, tmp_path, learner="ppo", dynamics=dynamics)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'best.pt'}: ")
    assert all(torch.equal(value, before[name]) for name, value in taker.state_dict().items())


def test_bad_paths_are_one_line_and_begin_nothing(root, tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    good = paths_of(root, "ppo").best.read_bytes()
    (tmp_path / "cut.pt").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.pt").write_text("no checkpoint")
    logs = paths_of(root, "ppo").folder
    wrong = {
        tmp_path / "empty": "holds no best.pt or last.pt; give a checkpoint or a checkpoint folder",
        tmp_path / "cut.pt": "it is damaged or no checkpoint",
        tmp_path / "text.pt": "it is damaged or no checkpoint",
        tmp_path / "none.pt": "no such checkpoint; there are cut.pt, text.pt",
        logs: "give a checkpoint or a checkpoint folder, such as experiments/checkpoints/ppo",
    }
    for path, message in wrong.items():
        assert start(root, "bad", "ppo", "--init-from", str(path)) == 1
        *_, line = capfd.readouterr().err.strip().splitlines()
        assert line.startswith(f"train_rl.py: {path}: ")
        assert line.endswith(message)
        assert not paths_of(root, "bad").folder.exists()


# Runs that an earlier version began


def test_a_state_that_lacks_something_is_told_in_one_line(root, capfd):
    assert start(root, "old", "ppo", "--total-steps", "64") == 0
    paths = paths_of(root, "old")
    checkpoint = load_checkpoint(paths.last)
    assert checkpoint.training is not None
    del checkpoint.training["algorithm"]["warmup_left"]
    save_checkpoint(paths.last, checkpoint)
    capfd.readouterr()
    assert start(root, "old", "ppo", "--resume", "--total-steps", "128") == 1
    *_, line = capfd.readouterr().err.strip().splitlines()
    assert line == (
        "train_rl.py: run 'old' was started by another version of this program (its state cannot be loaded, KeyError: "
        "'warmup_left'), which alone can resume it; start a new run with --init-from "
        "experiments/checkpoints/old/last.pt"
    )


def test_a_config_that_means_something_else_now_is_told_in_one_line(root, capfd):
    """No flag mends it: the remedy is another run."""
    assert start(root, "older", "ppo", "--total-steps", "64") == 0
    paths = paths_of(root, "older")
    text = paths.run_json.read_text()
    paths.run_json.write_text(text.replace('"config_hash": "', '"config_hash": "0'))
    assert "--init-from experiments/checkpoints/older/last.pt" in refusal(root, "older", capfd)
    paths.run_json.write_text(text)
    paths.config_yaml.write_text(paths.config_yaml.read_text() + "colour: red\n")
    line = refusal(root, "older", capfd)
    assert "another version" in line
    assert "colour: unknown key" in line
    assert "--init-from experiments/checkpoints/older/last.pt" in line


def refusal(root, run_id, capfd) -> str:
    capfd.readouterr()
    assert main("rl", ["--run-id", run_id, "--resume", "--no-mlflow"]) == 1
    *_, line = capfd.readouterr().err.strip().splitlines()
    return line


def test_a_changed_key_is_still_named(root, capfd):
    assert start(root, "changed", "ppo", "--total-steps", "64") == 0
    capfd.readouterr()
    assert start(root, "changed", "ppo", "--resume", "--set", "algorithm.gamma=0.5") == 1
    assert "algorithm.gamma 0.99 -> 0.5" in capfd.readouterr().err
