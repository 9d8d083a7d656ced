"""Exported policies: every kind of policy in every format against torch, what is refused, the example that runs one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.devkit.random_policy import SPACE, write_policy

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.gymnasium_environment import GymnasiumEnvironment
from drivetrain.config import plain
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import CheckpointError, DataError, DrivetrainError, UsageError
from drivetrain.interfaces import cli
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.proposal_policy import ProposalConfig, ProposalPolicy, ProposalPolicyConfig
from drivetrain.models.q_network import CriticConfig
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS, category_values
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.observation_units import unit_of
from drivetrain.trainer import export_observations, export_parity, export_policy
from drivetrain.trainer.checkpoint import load_policy
from drivetrain.trainer.evaluation import load_scenes

GRID = ActionSpace(num_categories=NUM_ACTIONS, category_values=category_values())
ROOT = Path(__file__).parents[2]
NEEDS_EXPORT = pytest.mark.needs_export
CASES = [
    *(pytest.param(kind, "onnx", marks=NEEDS_EXPORT) for kind in ("ppo", "sac", "cimrl")),
    pytest.param("cimrl", "torchscript"),
    pytest.param("ppo", "safetensors", marks=NEEDS_EXPORT),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tiny"
    write_sample(folder, train=1, val=4, test=1, workers=1, progress=lambda done, total: None)
    return folder


@pytest.fixture(autouse=True)
def fewer_calls(monkeypatch, tmp_path):
    monkeypatch.setattr(export_parity, "_CALLS", 20)
    monkeypatch.setattr(export_observations, "STRIDE", 1)
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))


def checkpoint(kind: str, path: Path, store: Path) -> Path:
    """A policy with random weights, as an algorithm leaves it."""
    driving = {"environment": plain(DrivingConfig(observation_dtype="bfloat16"))}
    data = {"path": str(store), "fingerprint": "f"}
    network = PolicyConfig(precision="bfloat16")
    if kind == "sac":
        config = PolicyConfig(gaussian="squashed")
        driving = {"environment": plain(DrivingConfig(action="continuous"))}
        weights = ActorCritic(CANONICAL, SPACE, config, seed=1).state_dict()
        return write_policy(
            path, algorithm=kind, policy_config=plain(config), policy=weights, config=driving, data=data
        )
    if kind == "cimrl":
        composed = ProposalPolicyConfig(network=network, critic=CriticConfig(), proposals=ProposalConfig(epsilon=0.05))
        policy = ProposalPolicy(CANONICAL, GRID, network, composed.proposals, composed.critic)
        torch.nn.init.normal_(policy.prior.pi.weight, generator=torch.Generator().manual_seed(3))
        return write_policy(
            path, algorithm=kind, policy_config=plain(composed), policy=policy.state_dict(), config=driving, data=data,
            action_space=GRID,
        )  # fmt: skip
    weights = ActorCritic(CANONICAL, GRID, network, seed=2).state_dict()
    return write_policy(
        path, algorithm=kind, policy_config=plain(network), policy=weights, config=driving, data=data, action_space=GRID
    )


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_file_does_what_the_policy_does(tmp_path, store, kind, name):
    export = export_policy.export_policy(checkpoint(kind, tmp_path / "best.pt", store), name)
    assert export.file == tmp_path / f"best.{name}"
    assert export.bytes == export.file.stat().st_size
    assert export.parity.observations == 1000
    assert set(export.parity.largest) == set(export.document["outputs"])
    assert max(export.parity.largest.values()) < 1e-5
    assert (export.parity.training_precision["largest"] > 0) == (kind != "sac"), "bfloat16 rounds"
    assert 0 < export.latency.p50_ms <= export.latency.p99_ms
    assert {path.name for path in tmp_path.iterdir()} == {"best.pt", f"best.{name}"}


@pytest.mark.needs_export
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_policies_of_gymnasium_go_too(tmp_path, env_id, store):
    environment = GymnasiumConfig(name="gymnasium", id=env_id)
    env = GymnasiumEnvironment(replace(environment, num_worlds=2), seed=0)
    config = PolicyConfig(hidden=(8,), normalize_observation=True)
    policy = ActorCritic(env.observation_schema, env.action_space, config)
    env.close()
    path = write_policy(
        tmp_path / "last.pt", observation_schema=env.observation_schema, action_space=env.action_space,
        policy_config=plain(config), policy=policy.state_dict(), config={"environment": plain(environment)},
    )  # fmt: skip
    export = export_policy.export_policy(path, "onnx")
    assert export.observations == env_id
    assert max(export.parity.largest.values()) < 1e-5
    kind = export.document["action"]["kind"]
    assert kind == ("category" if env_id == "CartPole-v1" else "continuous")
    with pytest.raises(UsageError, match=f"drives in no scenes, but in {env_id}; leave it out"):
        export_policy.export_policy(path, "onnx", data=str(store), overwrite=True)


@pytest.mark.needs_export
@pytest.mark.needs_unity
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_policies_of_a_player_go_too(tmp_path, kind):
    """Also their mask: a category that an agent may not take has probability 0 in the file."""
    stand_in = pytest.importorskip("tests.mlagents.go_to_target")
    from drivetrain.algorithms.unity_config import UnityConfig
    from drivetrain.algorithms.unity_environment import UnityEnvironment

    stand_in.write_build(
        tmp_path / "build", "--agents", "8", *(["--discrete", "--masks"] if kind == "discrete" else [])
    )
    environment = UnityConfig(path="build", timeout_s=30)
    env = UnityEnvironment(environment, root=tmp_path, seed=0)
    config = PolicyConfig(hidden=(8,))
    policy = ActorCritic(env.observation_schema, env.action_space, config)
    env.close()
    path = write_policy(
        tmp_path / "last.pt", observation_schema=env.observation_schema, action_space=env.action_space,
        policy_config=plain(config), policy=policy.state_dict(), config={"environment": plain(environment)},
    )  # fmt: skip
    export = export_policy.export_policy(path, "onnx")
    assert export.observations == "build"
    assert max(export.parity.largest.values()) < 1e-5


@pytest.mark.needs_export
def test_any_batch_runs_and_the_example_explains_the_file(tmp_path, store):
    import onnxruntime

    export = export_policy.export_policy(checkpoint("ppo", tmp_path / "best.pt", store), "onnx")
    session = onnxruntime.InferenceSession(str(export.file))
    document = json.loads(session.get_modelmeta().custom_metadata_map["drivetrain"])
    assert document == json.loads(json.dumps(export.document))
    assert document["observation"]["hash"] == CANONICAL.hash
    shapes = {entry["name"]: entry["shape"][1:] for entry in document["observation"]["inputs"]}
    assert shapes == {"ego": [12], "stop": [8], "route": [4, 20], "agents": [13, 16], "road": [6, 64]}
    policy = load_policy(tmp_path / "best.pt")
    row = np.random.default_rng(0).uniform(-1, 1, (7, CANONICAL.size)).astype(np.float32)
    for batch in (1, 7):
        arrays = {}
        for group in CANONICAL.groups:
            start = CANONICAL.start(group.name)
            values = row[:batch, start : start + group.size]
            arrays[group.name] = values.reshape(batch, *shapes[group.name])
        action = session.run(["action"], arrays)[0]
        assert action.shape == (batch, 2)
        np.testing.assert_allclose(action, policy(row[:batch]), atol=2e-3)  # the policy computes in bfloat16
    np.savez(tmp_path / "seen.npz", **arrays)
    script = ROOT / "examples" / "run_onnx.py"
    assert len(script.read_text().splitlines()) <= 40
    for given, lines in (([], 3), ([tmp_path / "seen.npz"], 15)):
        command = [sys.executable, "-I", str(script), str(export.file), *map(str, given)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert len(done.stdout.splitlines()) == lines
        assert "acceleration" in done.stdout


def test_a_file_that_differs_is_refused_and_not_left(tmp_path, store, monkeypatch):
    name = "torchscript"
    path = checkpoint("ppo", tmp_path / "best.pt", store)
    genuine = export_policy.content_of

    def spoilt(name, form, arrays, document):
        with torch.no_grad():
            form.policy.pi.bias[0] += 0.01
        return genuine(name, form, arrays, document)

    monkeypatch.setattr(export_policy, "content_of", spoilt)
    (tmp_path / f"best.{name}").write_text("the old one")
    line = (
        rf"export: the {name} file differs from torch by up to 0\.0\d+ in 'action' \(observation \d+ of 1000; allowed"
    )
    with pytest.raises(DrivetrainError, match=line):
        export_policy.export_policy(path, name, overwrite=True)
    assert (tmp_path / f"best.{name}").read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 2


def test_bad_input_is_one_line(tmp_path, store):
    path = checkpoint("ppo", tmp_path / "best.pt", store)
    (tmp_path / "best.torchscript").write_text("mine")
    lost = write_policy(tmp_path / "lost.pt", config=plain_config(), data={"path": "datasets/gone"})
    for given, options, kind, line in (
        (path, {"out": tmp_path}, UsageError,
         f"export: --out: {tmp_path} is a folder; give a file, for example {tmp_path}/best.torchscript"),
        (path, {}, UsageError,
         f"export: --out: {tmp_path}/best.torchscript exists; give another file, or --overwrite"),
        (path, {"out": tmp_path / "no" / "x"}, UsageError,
         f"export: --out: the folder {tmp_path}/no does not exist; make it first"),
        (path, {"out": path, "overwrite": True}, UsageError,
         f"export: --out: {path} is the checkpoint itself; give another file"),
        (tmp_path / "no.pt", {}, CheckpointError,
         f"{tmp_path}/no.pt: no such checkpoint; there are bare.pt, best.pt, lost.pt"),
        (write_policy(tmp_path / "bare.pt", config={}), {"out": tmp_path / "x"}, CheckpointError,
         f"{tmp_path}/bare.pt: holds no config: what it drives in is unknown; use the best.pt or last.pt of a run"),
        (lost, {"out": tmp_path / "x"}, DataError,
         "data: datasets/gone does not exist; make a sample with 'drivetrain data sample', or convert logs with "
         "'drivetrain data convert', or use data: auto; or name other data with --data DIR"),
    ):  # fmt: skip
        with pytest.raises(kind) as error:
            export_policy.export_policy(given, "torchscript", **options)
        assert str(error.value) == line
    assert (tmp_path / "best.torchscript").read_text() == "mine"
    assert not (tmp_path / "x").exists()


def plain_config():
    return {"environment": plain(DrivingConfig(action="continuous"))}


def test_a_package_that_is_missing_is_named(tmp_path, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    line = "export: --format safetensors needs the package safetensors; install it with pip install 'drivetrain"
    with pytest.raises(UsageError, match=line):
        export_policy.export_policy(checkpoint("ppo", tmp_path / "best.pt", store), "safetensors")


def test_the_command_says_what_was_proven(tmp_path, store, capsys):
    path = checkpoint("ppo", tmp_path / "best.pt", store)
    words = ["export", str(path), "--format", "torchscript"]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: exported to {tmp_path}/best.torchscript (torchscript, ")
    assert [line.split()[0] for line in lines[1:]] == ["inputs", "parity", "numbers", "latency"]
    assert lines[2].startswith(f"  parity   1,000 observations of 4 scenes of {store} (val): within ")
    assert cli.main([*words, "--overwrite", "--json", "--data", str(store), "--split", "train"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parity"]["of"] == f"1 scenes of {store} (train)"
    assert document["latency"]["threads"] == document["latency"]["batch"] == 1
    assert cli.main(["export", "--planner", "idm", "--format", "onnx"]) == 2
    assert capsys.readouterr().err == (
        "drivetrain: export: --planner goes with --format devkit only; give a checkpoint\n"
    )


def test_units_turn_values_back_into_quantities(store):
    scenes = load_scenes(str(store), split="val")
    env = DrivingEnv(scenes.bank, DrivingConfig(num_worlds=4, threads=1), sequential=True, perturb=False)
    values = dict(zip(CANONICAL.groups[0].features, env.reset(seed=0).T, strict=False))
    quantity = {name: value * unit_of(CANONICAL, "ego", name)[1] for name, value in values.items()}
    env.close()
    first = [scenes.scenarios[name].ego for name in scenes.bank.scenario_ids]
    np.testing.assert_allclose(quantity["speed"], [np.hypot(*ego.velocity[0]) for ego in first], atol=0.05)
    np.testing.assert_allclose(quantity["yaw_rate"], quantity["speed"] * quantity["curvature"], atol=1e-5)
    assert ((quantity["length"] > 3) & (quantity["length"] < 7)).all()
    assert ((quantity["width"] > 1.5) & (quantity["width"] < 3)).all()
    for group in CANONICAL.groups:
        for feature in group.features:
            assert unit_of(CANONICAL, group.name, feature)[1] > 0
