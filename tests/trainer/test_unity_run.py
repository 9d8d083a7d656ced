"""Runs on an ML-Agents player: they learn, resume, evaluate, and refuse a player that sees something else."""

import numpy as np
import pytest

from drivetrain.run_record import read_jsonl_tail
from drivetrain.trainer.command import main
from drivetrain.trainer.evaluate import evaluate

pytestmark = pytest.mark.needs_unity
stand_in = pytest.importorskip("tests.mlagents.go_to_target")

PPO = """\
environment: {name: unity, path: build, num_players: 2, timeout_s: 30}
algorithm:
  {name: ppo, rollout_steps: 32, minibatch_size: 128, epochs: 8, minibatch_order: rows, learning_rate: 3.0e-3}
policy: {hidden: [32]}
evaluation: {episodes: 16, max_share: 0}
training: {total_steps: 8192, threads: 1, device: cpu, save_interval_s: 0}
"""
SAC = """\
environment: {name: unity, path: build, timeout_s: 30}
algorithm:
  {name: sac, steps: 16, capacity: 512, learning_starts: 64, minibatch_size: 32, updates_per_transition: 0.1,
   critic: {hidden: [8]}}
policy: {hidden: [8], gaussian: squashed}
evaluation: {episodes: 4, max_share: 0}
training: {total_steps: 256, threads: 1, device: cpu}
"""
BC = """\
environment: {name: unity, path: build, timeout_s: 30}
algorithm: {name: bc, minibatch_size: 64, learning_rate: 3.0e-3, iteration_steps: 50, held_out_share: 0.2}
demonstrations: {expert: demo, path: recorded.demo}
policy: {hidden: [32]}
evaluation: {episodes: 16, max_share: 0}
training: {total_steps: 300, threads: 1, device: cpu}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "unity.yaml"
    path.write_text(PPO)
    return path


def test_ppo_learns_resumes_and_is_evaluated(train, run_paths, tmp_path, capsys):
    stand_in.write_build(tmp_path / "build", "--agents", "16")
    assert train("go") == 0
    paths = run_paths("go")
    rows = [row for row in read_jsonl_tail(paths.metrics_jsonl, 10_000) if row.get("mean_reward") is not None]
    assert rows[0]["mean_reward"] < rows[-1]["mean_reward"] - 0.2
    assert rows[-1]["mean_reward"] > 0.85
    assert sorted(path.name for path in paths.player_logs.glob("*.log")) == ["player-0.log", "player-1.log"]
    assert train("go", "--resume", "--total-steps", "9216", with_config=False) == 0
    assert read_jsonl_tail(paths.metrics_jsonl, 1)[0]["step"] == 9216
    result = evaluate(paths.best, episodes=40)
    assert result.metrics["mean_reward"].mean > 0.85
    assert result.metrics["mean_reward"].num == 40
    # A build whose agents see more cannot go on with this policy.
    stand_in.write_build(tmp_path / "build", "--agents", "16", "--values", "5")
    capsys.readouterr()
    assert train("go", "--resume", "--total-steps", "10240", with_config=False) == 1
    assert "observation" in capsys.readouterr().err.strip().splitlines()[-1]


def test_sac_trains_on_a_player(train, run_paths, tmp_path, config):
    config.write_text(SAC)
    stand_in.write_build(tmp_path / "build", "--agents", "4")
    assert train("sac") == 0
    assert read_jsonl_tail(run_paths("sac").metrics_jsonl, 1)[0]["step"] >= 256


def record(build, path):
    """Write 40 steps of a driver that goes straight to the target, agent by agent, as Unity records."""
    from drivetrain.algorithms.unity_config import UnityConfig
    from drivetrain.algorithms.unity_environment import UnityEnvironment
    from drivetrain.mlagents.demo_file import DemoRecords, demo_bytes

    env = UnityEnvironment(UnityConfig(path=str(build)), seed=3, logs=path.parent / "logs")
    seen, taken, ends = [], [], []
    try:
        observation = env.reset(seed=0)
        for _ in range(40):
            seen.append(observation)
            taken.append(np.clip((observation[:, 1:2] - observation[:, :1]) / 0.2, -1, 1))
            result = env.step(taken[-1])
            observation = result.observation
            ends.append(dict(zip(result.final_rows.tolist(), result.final_observation, strict=True)))
        rows, actions, done = [], [], []
        for agent in range(env.num_rows):
            for step in range(40):
                rows.append(seen[step][agent])
                actions.append(taken[step][agent])
                done.append(False)
                if agent in ends[step]:
                    rows.append(ends[step][agent])
                    actions.append(taken[step][agent])
                    done.append(True)
            done[-1] = True
        records = DemoRecords(
            behavior=env.behavior,
            observation=np.array(rows, np.float32),
            continuous=np.array(actions, np.float32),
            discrete=np.zeros((len(rows), 0), np.int64),
            forbidden=np.zeros((len(rows), 0), bool),
            reward=np.zeros(len(rows), np.float32),
            done=np.array(done),
            cut_off=np.zeros(len(rows), bool),
        )
    finally:
        env.close()
    path.write_bytes(b"".join(demo_bytes(records, name="line", is_scaled=False)))


def test_recordings_are_cloned(run_paths, tmp_path, config, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.delenv("DRIVETRAIN_RUN_ID", raising=False)
    config.write_text(BC)
    build = stand_in.write_build(tmp_path / "build", "--agents", "16")
    record(build, tmp_path / "recorded.demo")
    assert main("bc", ["--config", str(config), "--run-id", "bc", "--no-mlflow"]) == 0
    evaluations = [row for row in read_jsonl_tail(run_paths("bc").metrics_jsonl, 100) if "eval/mean_reward" in row]
    assert evaluations[0]["eval/mean_reward"] < 0.5
    assert evaluations[-1]["eval/mean_reward"] > 0.8
