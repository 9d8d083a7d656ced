"""The real `mlagents-learn` on our player: the command of the documents, at a small size."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from drivetrain.data.synthetic.sample import write_sample
from drivetrain.runs.mlagents.preflight import free_block
from drivetrain.runs.run_store import RunStore

pytestmark = [pytest.mark.needs_mlagents, pytest.mark.slow]
TRAINER_CONFIG = Path(__file__).resolve().parents[2] / "python" / "configs" / "planning" / "trainer_config.yaml"
BUILD = "path/to/unity/build"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a few scenes, a player with 16 agents and a short config."""
    root = tmp_path_factory.mktemp("project")
    (root / "datasets").mkdir()
    write_sample(root / "datasets" / "few", train=8, val=1, test=1, workers=1, progress=lambda done, total: None)
    export = ["-m", "drivetrain", "mlagents", "player-export", BUILD, "--data", "datasets/few", "--worlds", "16"]
    subprocess.run([sys.executable, *export], cwd=root, env=environment(root), check=True, capture_output=True)
    (root / "short.yaml").write_text(yaml.safe_dump(short_config()))
    return root


def short_config(**network):
    config = yaml.safe_load(TRAINER_CONFIG.read_text())
    behavior = config["behaviors"]["DrivingPlanner"]
    behavior |= {"max_steps": 2000, "summary_freq": 500, "checkpoint_interval": 1000}
    behavior["hyperparameters"] |= {"buffer_size": 512, "batch_size": 128}
    behavior["network_settings"] |= {"hidden_units": 32, **network}
    return config


def environment(root):
    return {**os.environ, "DRIVETRAIN_ROOT": str(root), "DRIVETRAIN_NO_MLFLOW": "1", "OMP_NUM_THREADS": "1"}


def learn(root, *words, config="short.yaml", env=BUILD):
    learner = str(Path(sys.executable).with_name("mlagents-learn"))
    command = [learner, config, "--run-id", "planning_ppo_v1", "--env", env, "--base-port", str(free_block(1)), *words]
    return subprocess.Popen(
        command, cwd=root, env=environment(root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_command_trains_saves_and_exports_and_its_run_is_one_of_ours(project):
    learner = learn(project)
    console, said = learner.communicate(timeout=240)
    assert learner.returncode == 0, said
    summaries = re.findall(r"DrivingPlanner\. Step: (\d+)\. .*Mean Reward: (-?[\d.]+)\.", console)
    assert [int(step) for step, _ in summaries][:3] == [500, 1000, 1500]
    folder = project / "experiments" / "logs" / "planning_ppo_v1"
    status = json.loads((folder / "run_logs" / "training_status.json").read_text())
    assert status["DrivingPlanner"]["final_checkpoint"]["steps"] >= 2000
    assert list((folder / "DrivingPlanner").glob("events.out.tfevents.*"))
    assert (folder / "DrivingPlanner.onnx").is_file()
    run = RunStore(project).get("planning_ppo_v1")
    assert (run.algorithm, run.health.status, run.total_steps) == ("mlagents_ppo", "completed", 2000)
    by_step = {row["step"]: row["mean_reward"] for row in run.rows if row.get("mean_reward") is not None}
    for step, reward in summaries:
        assert by_step[int(step)] == pytest.approx(float(reward), abs=6e-4)
    assert 0.0 <= run.metric("collision") <= 1.0
    assert 0.0 <= run.metric("progress") <= 1.0


def test_the_exported_network_computes_what_the_checkpoint_holds(project):
    import onnx
    import torch
    from onnx.reference import ReferenceEvaluator

    kept = project / "experiments" / "checkpoints" / "planning_ppo_v1"
    weights = {name: value.numpy() for name, value in torch.load(kept / "last.pt", weights_only=True)["Policy"].items()}
    model = onnx.load(kept / "last.onnx")
    sizes = [
        value.type.tensor_type.shape.dim[1].dim_value for value in model.graph.input if value.name.startswith("obs_")
    ]
    assert sizes == [12, 8, 80, 208, 384]
    observation = np.random.default_rng(0).normal(size=(5, sum(sizes))).astype(np.float32)
    hidden = observation
    for layer in (0, 2):
        name = f"network_body._body_endoder.seq_layers.{layer}"
        hidden = hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        hidden = hidden / (1 + np.exp(-hidden))
    name = "action_model._continuous_distribution.mu"
    mean = hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    parts = np.split(observation, np.cumsum(sizes)[:-1], axis=1)
    fed = {f"obs_{number}": part for number, part in enumerate(parts)}
    (found,) = ReferenceEvaluator(model).run(["deterministic_continuous_actions"], fed)
    np.testing.assert_allclose(found, np.clip(mean, -3, 3) / 3, atol=1e-5)


def test_a_stop_saves_leaves_nobody_and_a_resume_counts_on(project):
    begun = state_of(project)["step"]
    learner = learn(project, "--resume", "--num-envs", "2", config=with_steps(project, 100_000))
    wait_for_steps(project, begun + 500)
    learner.send_signal(signal.SIGTERM)
    _, said = learner.communicate(timeout=60)
    assert learner.returncode == 0, said
    run = RunStore(project).get("planning_ppo_v1")
    assert (run.health.status, run.state.life) == ("stopped", 2)
    assert run.step >= begun + 500
    assert players(project) == []


def test_whoever_is_killed_nobody_stays_and_the_run_goes_on(project):
    begun = state_of(project)["step"]
    learner = learn(project, "--resume", config=with_steps(project, 100_000))
    wait_for_steps(project, begun + 500)
    (player,) = players(project, patience_s=0.0)
    os.kill(parent_of(player), signal.SIGKILL)  # the worker: ML-Agents would wait for it for ever
    _, said = learner.communicate(timeout=60)
    assert learner.returncode == 1
    assert "drivetrain: a worker process was killed (signal 9): saving, then stopping\n" in said
    run = RunStore(project).get("planning_ppo_v1")
    assert (run.health.status, run.health.detail) == ("failed", "a worker process was killed (signal 9)")
    assert players(project) == []
    saved = run.step
    assert saved >= begun + 500
    learner = learn(project, "--resume", config=with_steps(project, 100_000))
    wait_for_steps(project, saved + 500)
    learner.kill()
    learner.communicate()
    assert players(project) == []
    assert RunStore(project).get("planning_ppo_v1").health.status == "lost"


def test_a_checkpoint_of_another_network_is_refused_on_a_resume(project):
    (project / "wide.yaml").write_text(yaml.safe_dump(short_config(hidden_units=48)))
    kept = (project / "experiments" / "logs" / "planning_ppo_v1" / "DrivingPlanner" / "checkpoint.pt").read_bytes()
    learner = learn(project, "--resume", config="wide.yaml")
    _, said = learner.communicate(timeout=120)
    assert learner.returncode == 1
    assert (
        "drivetrain: run 'planning_ppo_v1': its checkpoint does not fit this player (other observations or actions) or "
        "these network settings; resume with those it was started with, or choose another --run-id\n"
    ) in said
    after = project / "experiments" / "logs" / "planning_ppo_v1" / "DrivingPlanner" / "checkpoint.pt"
    assert after.read_bytes() == kept
    assert RunStore(project).get("planning_ppo_v1").health.status == "failed"
    assert players(project) == []


def test_a_missing_player_is_told_and_the_name_stays_free(project):
    learner = learn(project, "--run-id", "other", env="no/such/build")
    _, said = learner.communicate(timeout=120)
    assert learner.returncode == 2
    assert said.splitlines()[-1] == (
        "drivetrain: --env no/such/build: there is no such file; put a Unity build there, or our simulator: "
        "drivetrain mlagents player-export no/such/build"
    )
    assert not (project / "experiments" / "logs" / "other").exists()


def with_steps(project, count):
    config = short_config()
    config["behaviors"]["DrivingPlanner"]["max_steps"] = count
    (project / "long.yaml").write_text(yaml.safe_dump(config))
    return "long.yaml"


def state_of(project):
    return json.loads((project / "experiments" / "logs" / "planning_ppo_v1" / "state.json").read_text())


def wait_for_steps(project, step):
    deadline = time.monotonic() + 120
    while state_of(project)["step"] < step and time.monotonic() < deadline:
        time.sleep(0.2)
    assert state_of(project)["step"] >= step


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def players(project, *, patience_s=10.0):
    """Process ids of players of this project; they are given a moment to notice that their trainer is gone."""
    store = str(project / "datasets" / "few").encode()
    deadline = time.monotonic() + patience_s
    while True:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if store in words:
                found.append(int(entry.parent.name))
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.1)
