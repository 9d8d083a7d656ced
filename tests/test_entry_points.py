"""The training commands as users type them, from the repo root, with budgets small enough for a test."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.golden_sets import GOLDEN2

from drivetrain.config import load_config
from drivetrain.data.convert import convert
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.run_record import RunPaths, read_run_info, read_run_state

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "--set environment.num_worlds=4 --set algorithm.rollout_steps=8 --set algorithm.minibatch_size=32 "
    "--set evaluation.episodes=2 --set training.threads=1"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Return a root with a tiny sample store."""
    folder = tmp_path_factory.mktemp("root")
    store = folder / "datasets" / "processed" / "sample"
    store.parent.mkdir(parents=True)
    write_sample(store, train=4, val=2, test=1, workers=1, progress=lambda done, total: None)
    return folder


def run(command: str, root: Path) -> subprocess.CompletedProcess[str]:
    python, *words = shlex.split(command)
    assert python == "python"
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(root), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.slow
def test_train_rl_on_converted_nuplan_logs(tmp_path):
    convert("nuplan", [GOLDEN2], tmp_path / "datasets/processed/nuplan")
    command = "python python/src/training/train_rl.py --config python/configs/planning/ppo.yaml --run-id on_logs"
    done = run(f"{command} --total-steps 32 {TINY}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "datasets/processed/nuplan (auto: nuplan)" in done.stderr
    state = read_run_state(RunPaths(root=tmp_path, run_id="on_logs"))
    assert state is not None
    assert (state.status, state.step) == ("completed", 32)


@pytest.mark.slow
def test_train_rl_on_the_default_config(root):
    command = "python python/src/training/train_rl.py --config python/configs/planning/ppo.yaml --run-id ppo_v1"
    done = run(f"{command} --total-steps 32 {TINY}", root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    paths = RunPaths(root=root, run_id="ppo_v1")
    state, info = read_run_state(paths), read_run_info(paths)
    assert state is not None
    assert info is not None
    assert (state.status, state.step) == ("completed", 32)
    assert info.argv[1:4] == ("python/src/training/train_rl.py", "--config", "python/configs/planning/ppo.yaml")
    for path in (paths.best, paths.last):
        torch.load(path, weights_only=True)
    again = run(command, root)
    assert again.returncode == 1
    (line,) = again.stderr.splitlines()
    assert line.startswith("train_rl.py: run 'ppo_v1' exists in ")


@pytest.mark.slow
def test_train_sac_as_promised(root):
    command = "python python/src/training/train_rl.py --config python/configs/planning/sac.yaml --run-id sac_v1"
    small = {"capacity": 64, "learning_starts": 16, "minibatch_size": 16, "updates_per_transition": 0.25}
    tiny = " ".join(f"--set algorithm.{key}={value}" for key, value in small.items())
    tiny += " --set environment.num_worlds=4 --set evaluation.episodes=2 --set training.threads=1"
    done = run(f"{command} --total-steps 64 {tiny}", root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    paths = RunPaths(root=root, run_id="sac_v1")
    state = read_run_state(paths)
    assert state is not None
    assert (state.status, state.step) == ("completed", 64)
    again = run(f"{command} --resume --total-steps 128 {tiny}", root)
    assert again.returncode == 0, again.stderr
    assert [path.name for path in paths.checkpoint_dir.glob(paths.REPLAYS)] == ["last.replay-128.npz"]


@pytest.mark.slow
def test_train_gail_as_promised(root):
    command = (
        "python python/src/training/train_gail.py --config python/configs/planning/gail.yaml "
        "--expert-data datasets/processed/nuplan/ --run-id gail_v1"
    )
    missing = run(command, root)
    assert missing.returncode == 1
    (line,) = missing.stderr.splitlines()
    assert line.startswith("train_gail.py: ")
    assert "datasets/processed/nuplan" in line
    assert not (root / "experiments" / "logs" / "gail_v1").exists()

    sample = root / "datasets" / "processed" / "sample"
    tiny = TINY.replace("algorithm.", "algorithm.ppo.") + " --set training.processes=2"
    done = run(f"{command} --total-steps 32 {tiny}".replace("datasets/processed/nuplan/", str(sample)), root)
    assert done.returncode == 0, done.stderr
    paths = RunPaths(root=root, run_id="gail_v1")
    state, info = read_run_state(paths), read_run_info(paths)
    assert state is not None
    assert info is not None
    assert (state.status, state.step, info.algorithm) == ("completed", 32, "gail")
    assert {"d_acc_expert", "eval/js_speed", "eval/mean_reward"} <= set(state.row)


@pytest.mark.slow
def test_train_bc_as_the_contract_has_it(root, tmp_path):
    """Paths on the command line are relative to the working folder, so the data and the output are given in full."""
    tiny = (
        "--set environment.num_worlds=4 --set evaluation.episodes=2 --set algorithm.minibatch_size=64 "
        "--set algorithm.dagger.steps=8 --set algorithm.dagger.rounds=2 --no-mlflow"
    )
    command = "python python/src/training/train_bc.py --config python/configs/planning/bc.yaml"
    place = root / "experiments" / "checkpoints"
    data = root / "datasets" / "processed" / "sample"
    done = run(f"{command} --data {data} --epochs 1 --output {place / 'bc_v1'}/ {tiny}", root)
    assert done.returncode == 0, done.stderr
    paths = RunPaths(root=root, run_id="bc_v1")
    state = read_run_state(paths)
    assert state is not None
    assert state.status == "completed"
    for path in (paths.best, paths.last):
        assert "traj" in torch.load(path, weights_only=True)["heads"]
    missing = run(f"{command} --data {tmp_path / 'nothing'} --output {place / 'bc_v2'}/", root)
    assert missing.returncode == 1
    (line,) = missing.stderr.splitlines()
    assert line.startswith(f"train_bc.py: data: {tmp_path / 'nothing'} does not exist; make a sample with")
    assert not (place / "bc_v2").exists()
    again = run(f"{command} --output {place / 'bc_v1'}/", root)
    assert again.returncode == 1
    (line,) = again.stderr.splitlines()
    assert line.startswith("train_bc.py: run 'bc_v1' exists in ")
    none = run(f"{command} --epochs 0 --output {place / 'bc_v3'}/", root)
    assert none.returncode == 2
    assert none.stderr == "train_bc.py: --epochs 0: training.epochs: 0 is too small; use 1 or more\n"


@pytest.mark.parametrize("name", ["train_rl", "train_bc", "train_gail"])
def test_help_shows_examples_and_loads_nothing_heavy(name):
    script = (
        f"import runpy, sys\nsys.argv = ['{name}.py', '--help']\n"
        f"try: runpy.run_path('python/src/training/{name}.py', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'torch', 'numpy', 'pydantic', 'yaml', 'gymnasium'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert f"python python/src/training/{name}.py --config python/configs/planning/" in done.stdout


def test_flags_are_the_ones_promised():
    command = [sys.executable, "python/src/training/train_rl.py", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    promised = "--config --run-id --data --output --total-steps --seed --device --resume --overwrite --init-from --set"
    for flag in [*promised.split(), "--no-mlflow"]:
        assert flag in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "train_rl.py: --config is missing; for example --config python/configs/planning/ppo.yaml"),
        ("--resume", "train_rl.py: --resume: which run? give --run-id; 'drivetrain list' shows all"),
        (
            "--config python/configs/planning/ppo.yaml --totl-steps 5",
            "train_rl.py: unrecognized arguments: --totl-steps 5; did you mean '--total-steps'?",
        ),
        ("--seed x", "train_rl.py: argument --seed: invalid int value: 'x'; --help shows all flags"),
        (
            "--config python/configs/planning/pppo.yaml",
            "train_rl.py: python/configs/planning/pppo.yaml: cannot read the config (No such file or directory); "
            "did you mean 'ppo.yaml'?",
        ),
        (
            "--config python/configs/planning/ppo.yaml --run-id a/b",
            "train_rl.py: run id 'a/b': use at most 100 letters, digits, '.', '_' and '-', starting with none of "
            "'.' and '-'; for example 'a-b'",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, expected, tmp_path):
    done = run(f"python python/src/training/train_rl.py {arguments}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (2, "", expected)
    assert not (tmp_path / "experiments").exists()


def test_every_planning_config_that_is_there_is_valid():
    from drivetrain.runs.pipeline import PipelineConfig, is_pipeline
    from drivetrain.trainer.experiment import ExperimentConfig

    configs = sorted((ROOT / "python" / "configs").glob("*/*.yaml"))
    configs = [path for path in configs if path.name != "trainer_config.yaml" and path.parent.name != "sweeps"]
    assert ROOT / "python" / "configs" / "planning" / "ppo.yaml" in configs
    for path in configs:
        load_config(path, PipelineConfig if is_pipeline(path) else ExperimentConfig)
