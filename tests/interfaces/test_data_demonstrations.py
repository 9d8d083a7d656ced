"""`drivetrain data demonstrations`: made beforehand, by any workers, and found by the training."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from drivetrain.data import log_demonstrations
from drivetrain.data.demonstration_cache import read_demonstrations
from drivetrain.data.demonstrations import ARRAYS
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.interfaces import cli
from drivetrain.sim.kernel_cache import cache_root
from drivetrain.trainer import demonstration_choice
from drivetrain.trainer.command import main as train

CONFIG = """\
data: store
max_scenes: 5
environment: {name: driving, num_worlds: 4, threads: 1, observation_dtype: int8}
demonstrations: {displaced_passes: 1, displacement_interval_s: 2.0}
algorithm: {name: bc, minibatch_size: 64, iteration_steps: 5, dagger: {rounds: 0}}
policy: {hidden: [8], agents_width: 32, road_width: 32, value_width: 8}
evaluation: {episodes: 2, max_share: 0}
training: {epochs: 1, threads: 1, device: cpu, processes: 1}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "store"
    return ScenarioStore(write_sample(path, train=5, val=2, test=0, progress=lambda *_: None))


@pytest.fixture
def root(tmp_path, monkeypatch, store):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.setitem(log_demonstrations.SCENES_AT_ONCE, "ego", 2)
    (tmp_path / "bc.yaml").write_text(CONFIG)
    (tmp_path / "store").symlink_to(store.path)
    return tmp_path


KERNELS = cache_root()


def new_cache(monkeypatch, path):
    """Keep demonstrations in a folder of one's own, but not the compiled kernels."""
    path.mkdir()
    (path / KERNELS.name).symlink_to(KERNELS)
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(path))


@pytest.fixture
def make(root, monkeypatch, capsys):
    """Return a function that runs the command with a cache of its own and returns (its document, the arrays)."""

    def run(name, *flags):
        new_cache(monkeypatch, root / name)
        assert cli.main(["data", "demonstrations", str(root / "bc.yaml"), "--json", *flags]) == 0
        document = json.loads(capsys.readouterr().out)
        return document, read_demonstrations(root / name / "demonstrations" / document["demonstrations"]["path"])

    return run


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS) and a.skipped == b.skipped


def test_several_processes_change_nothing_and_the_training_finds_them(root, make, monkeypatch, capsys):
    alone, made_alone = make("one", "--workers", "1")
    together, made_together = make("two", "--workers", "2")
    assert same(made_alone, made_together)
    assert list(alone) == ["demonstrations", "held_out"]
    figures = ("transitions", "episodes", "displaced_episodes", "skipped")
    assert all(alone[part][name] == together[part][name] for part in alone for name in figures)
    assert alone["demonstrations"]["displaced_episodes"] > 0
    assert alone["held_out"]["displaced_episodes"] == 0
    assert len(np.unique(made_alone.group)) == 5

    monkeypatch.setattr(demonstration_choice, "drive_logs", lambda *args, **more: pytest.fail("made again"))
    assert train("bc", ["--config", str(root / "bc.yaml"), "--run-id", "clone", "--no-mlflow"]) == 0
    assert f"{alone['demonstrations']['transitions']:,} transitions" in capsys.readouterr().err


@pytest.mark.needs_ray
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_workers_of_a_cluster_change_nothing(make, monkeypatch, ray_cluster):
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    _, here = make("here", "--workers", "1")
    _, there = make("there", "--workers", "2", "--backend", "ray")
    assert same(here, there)


def test_people_are_told_where_they_are(root, monkeypatch, capsys):
    new_cache(monkeypatch, root / "cache")
    assert (
        cli.main(["data", "demonstrations", str(root / "bc.yaml"), "--set", "demonstrations.displaced_passes=0"]) == 0
    )
    said = capsys.readouterr()
    assert [line.split(": ")[0] for line in said.out.splitlines()] == ["demonstrations", "held out"]
    assert f"kept in {root / 'cache' / 'demonstrations'}" in said.out
    assert "transitions in 5 episodes" in said.err


def one_line(capsys, *flags):
    code = cli.main(["data", "demonstrations", *flags])
    (line,) = capsys.readouterr().err.splitlines()
    return code, line


def test_wrong_use_is_one_line(root, capsys):
    (root / "ppo.yaml").write_text("data: store\nalgorithm: {name: ppo}\n")
    code, line = one_line(capsys, str(root / "ppo.yaml"))
    assert code != 0
    assert line.startswith("drivetrain: algorithm.name: 'ppo' learns from no demonstrations; name the config of")
    code, line = one_line(capsys, str(root / "bc.yaml"), "--workers", "0")
    assert (code, line) == (2, "drivetrain: data demonstrations: --workers 0 is too small; use 1 or more")
    code, line = one_line(capsys, str(root / "bc.yaml"), "--address", "head:6379")
    assert (code, line) == (2, "drivetrain: data demonstrations: --address is for clusters; add --backend ray")


def test_damaged_scenes_are_one_line_from_other_processes_too(root, monkeypatch, capsys, store):
    new_cache(monkeypatch, root / "cache")
    shutil.copytree(store.path, root / "damaged")
    for shard in (root / "damaged").rglob("*"):
        if shard.is_file() and "log" in shard.parent.name:
            shard.write_bytes(shard.read_bytes()[:200])
    messages = []
    for workers in ("1", "2"):
        words = ["data", "demonstrations", str(root / "bc.yaml"), "--data", str(root / "damaged"), "--workers", workers]
        assert cli.main(words) == 1
        messages.append(capsys.readouterr().err.splitlines()[-1])
    assert messages[0] == messages[1]
    assert str(root / "damaged") in messages[0]
