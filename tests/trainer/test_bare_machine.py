"""A machine with torch, Numba, NumPy and rich alone trains; extras cost nothing where they are not asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.trainer.outcomes import rows_of

from drivetrain.config import load_config, plain
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.run_record import RunPaths
from drivetrain.trainer import data_choice
from drivetrain.trainer.command import main
from drivetrain.trainer.experiment import ExperimentConfig

SOURCES = Path(__file__).resolve().parents[2] / "python" / "src"
CORE = ("gymnasium", "yaml", "pydantic", "psutil", "pynvml", "shapely", "pyproj", "matplotlib", "PIL", "tensorboard")
TRACKING = ("mlflow", "sqlalchemy", "alembic")
EXTRAS = ("ray", "optuna", "submitit", "onnx", "onnxruntime", "safetensors", "grpc", "textual", "mcp", "pyarrow")
MISSING = (*CORE, *TRACKING, *EXTRAS, "stable_baselines3", "imageio_ffmpeg")
"""What pyproject.toml names besides torch, Numba, NumPy and rich, by the name of the module."""
BLOCKED = f"""
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {MISSING!r}:
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
CONFIG = """\
environment: {name: driving, num_worlds: 6, threads: 1, traffic: both}
algorithm: {name: ppo, rollout_steps: 16, minibatch_size: 48, epochs: 1, learning_rate: 3e-4}
policy: {hidden: [16], agents_width: 32, road_width: 32, value_width: 8}
evaluation: {episodes: 2, max_share: 0}
training: {total_steps: 300, threads: 1, device: cpu, save_interval_s: 0}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A root with a tiny sample store, and the same config as YAML and as JSON."""
    root = tmp_path_factory.mktemp("bare")
    folder = root / data_choice.SAMPLE
    folder.parent.mkdir(parents=True)
    write_sample(folder, train=4, val=2, test=1, workers=1, progress=lambda done, total: None)
    (root / "run.yaml").write_text(CONFIG)
    (root / "run.json").write_text(json.dumps(plain(load_config(root / "run.yaml", ExperimentConfig))))
    return root


def bare(root: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Train where only the four packages can be imported."""
    program = f"{BLOCKED}\nfrom drivetrain.trainer.command import main\nsys.exit(main('rl', {list(flags)!r}))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "DRIVETRAIN_ROOT": str(root)}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)


def test_a_bare_machine_trains_to_the_same_numbers(root, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(root))
    assert main("rl", ["--config", str(root / "run.yaml"), "--run-id", "whole", "--no-mlflow"]) == 0
    # The scenes are compiled by now, as those are that a bare machine gets with DRIVETRAIN_CACHE_DIR.
    flags = ("--run-id", "bare", "--set", "training.device=cpu", "--set", "policy.hidden=[16]")
    done = bare(root, "--config", str(root / "run.json"), *flags)
    assert done.returncode == 0, done.stderr
    whole, found = (rows_of(RunPaths(root=root, run_id=name)) for name in ("whole", "bare"))
    for name in ("step", "loss", "entropy", "mean_reward", "eval/score_basic"):
        assert [row.get(name) for row in found] == [row.get(name) for row in whole], name
    again = bare(root, "--run-id", "bare", "--resume", "--total-steps", "600")
    assert again.returncode == 0, again.stderr
    assert rows_of(RunPaths(root=root, run_id="bare"))[-1]["step"] >= 600
    log = RunPaths(root=root, run_id="bare").train_log.read_text()
    assert "no TensorBoard curves: the package tensorboard is not installed; metrics.jsonl has all numbers" in log


def test_what_is_really_needed_is_named_in_one_line(root):
    # Other scenes than those that are compiled already.
    done = bare(root, "--config", str(root / "run.json"), "--run-id", "uncompiled", "--set", "max_scenes=2")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last == "train_rl.py: this run needs the package shapely, which is not installed: pip install shapely"


@pytest.mark.parametrize(
    ("statement", "also"),
    [
        # Numba and torch look for PyYAML and NVML themselves, and take them where they are.
        ("import drivetrain.trainer.session", {"yaml", "pynvml"}),
        ("from drivetrain.interfaces.cli import build_parser; build_parser()", set()),
        ("import drivetrain.runs.status, drivetrain.runs.resources", set()),
    ],
    ids=["training", "help", "status"],
)
def test_nothing_else_is_loaded_unasked(statement, also):
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & set(MISSING) <= also
