"""Where a policy computes: what is not there is said in one line, and so is a lack of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from drivetrain.algorithms.ppo import PPO
from drivetrain.config import load_config
from drivetrain.errors import ConfigError
from drivetrain.run_record import read_run_state
from drivetrain.trainer.experiment import ExperimentConfig, resolve_device, training_hash

CONFIGS = Path(__file__).resolve().parents[2] / "python" / "configs" / "planning"


def config_of(name="ppo", **training):
    config = load_config(CONFIGS / f"{name}.yaml", ExperimentConfig)
    return replace(config, training=replace(config.training, **training))


@pytest.mark.parametrize(("name", "overlaps"), [("ppo", True), ("gail", False), ("sac", False)])
def test_halves_overlap_on_a_gpu_alone(monkeypatch, name, overlaps):
    assert resolve_device(config_of(name, device="cpu")).training.overlap is False
    assert resolve_device(config_of("ppo", device="cpu", overlap=True)).training.overlap is True
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    resolved = resolve_device(config_of(name, device="auto")).training
    assert (resolved.device, resolved.processes, resolved.overlap) == ("cuda", 1, overlaps)


def test_runs_from_before_the_key_keep_their_hash():
    on_cpu = resolve_device(config_of(device="cpu"))
    assert training_hash(on_cpu) == training_hash(config_of(device="cpu"))
    assert training_hash(on_cpu) != training_hash(config_of(device="cpu", overlap=True))


def test_only_ppo_overlaps():
    config = config_of("sac")
    with pytest.raises(ConfigError, match=r"^training\.overlap: only ppo in driving worlds overlaps; use false$"):
        replace(config, training=replace(config.training, overlap=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is asked for")
def test_cuda_where_there_is_none(train, capfd):
    assert train("gpu", "--device", "cuda") == 2
    assert capfd.readouterr().err == (
        "train_rl.py: device: 'cuda' is not there on this machine or for this build of torch; use cpu\n"
    )


@pytest.mark.parametrize("late", [False, True], ids=["while it is built", "while it trains"])
def test_no_memory_on_the_gpu(train, run_paths, monkeypatch, capfd, late):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(PPO, "update" if late else "__init__", fail)
    assert train("full") == 1
    words = (
        "the GPU is out of memory; lower algorithm.minibatch_size or environment.num_worlds, "
        "stop what else uses the GPU, or use --device cpu"
    )
    assert capfd.readouterr().err.splitlines()[-1] == f"train_rl.py: {words}"
    state = read_run_state(run_paths("full"))
    assert (state is not None and state.message == words) if late else state is None
