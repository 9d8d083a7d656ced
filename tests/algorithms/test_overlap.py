"""The two halves of the worlds: stepped apart they are as together, and what is learnt is the same."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.sim.worlds import all_worlds

from drivetrain.algorithms import transfers
from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.algorithms.rollout import Rollout
from drivetrain.algorithms.transfers import Transfers
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.scene_bank import build_bank

NUM_WORLDS = 70
"""Enough for two threads, and no multiple of anything."""


@pytest.fixture(scope="module")
def bank():
    return build_bank(all_worlds(), all_controllable=True)


def environment(bank, *, threads=1, control="ego"):
    config = DrivingConfig(
        num_worlds=NUM_WORLDS, threads=threads, control=control, agents_per_world=3, observation_dtype="int8"
    )
    return DrivingEnv(bank, config)


@pytest.mark.parametrize(("threads", "control"), [(1, "all"), (2, "ego")])
def test_worlds_stepped_in_halves_are_as_stepped_together(bank, threads, control):
    together, apart = (environment(bank, threads=threads, control=control) for _ in range(2))
    out, halves = (np.empty((env.num_rows, env.observation_size), np.int8) for env in (together, apart))
    together.reset(seed=3, out=out)
    apart.reset(seed=3, out=halves)
    assert [rows.stop - rows.start for rows in apart.parts] == [together.num_rows // 2, together.num_rows // 2]
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(80):
        action = rng.integers(0, 91, together.num_rows)
        whole = together.step(action, out=out)
        parts = [apart.step_part(i, action[rows], out=halves) for i, rows in enumerate(apart.parts)]
        assert np.array_equal(out, halves)
        for name in ("observation", "reward", "terminated", "truncated", "valid", "final_observation"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            assert np.array_equal(getattr(whole, name), joined), name
        rows = np.concatenate([part.final_rows + of.start for part, of in zip(parts, apart.parts, strict=True)])
        assert np.array_equal(whole.final_rows, rows)
        for name, values in whole.episodes.items():
            assert np.array_equal(values, np.concatenate([p.episodes[name] for p in parts if name in p.episodes]))
        ended += len(rows)
    assert ended > 20
    for name, values in together.state_dict().items():
        assert np.array_equal(values, apart.state_dict()[name]), name
    for env in (together, apart):
        env.close()


def test_a_single_world_is_one_part(bank):
    env = DrivingEnv(bank, DrivingConfig(num_worlds=1))
    assert env.parts == (slice(0, 1),)


def learner(bank, *, overlap, apart=False):
    env = environment(bank)
    config = PPOConfig(rollout_steps=24, minibatch_size=256, epochs=1)
    network = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(hidden=(32,)), seed=1)
    ppo = PPO(env, network, config, seed=5, overlap=overlap)
    if apart:
        kept = ppo._rollout
        ppo._rollout = Rollout.allocate(
            24,
            env.num_rows,
            env.observation_size,
            env.action_space,
            torch.device("cpu"),
            observation_dtype="int8",
            apart=True,
        )
        ppo._rollout.host_observation[-1].copy_(kept.host_observation[-1])
    return ppo


@pytest.mark.parametrize("apart", [False, True], ids=["one memory", "two memories"])
def test_overlapped_is_not_overlapped(bank, apart):
    plain, halves = learner(bank, overlap=False), learner(bank, overlap=True, apart=apart)
    assert (len(plain._parts), len(halves._parts)) == (1, 2)
    for _ in range(3):
        ours, theirs = halves.iterate(), plain.iterate()
        assert (ours.agent_steps, ours.gradient_steps) == (theirs.agent_steps, theirs.gradient_steps)
        for name in ("action", "reward", "terminated", "truncated", "valid"):
            assert torch.equal(getattr(halves._rollout, name), getattr(plain._rollout, name)), name
        assert torch.equal(halves._rollout.observation, plain._rollout.observation)
        for name in ("value", "log_prob", "next_value"):  # sums of a layer may round by the number of rows
            torch.testing.assert_close(
                getattr(halves._rollout, name), getattr(plain._rollout, name), rtol=1e-5, atol=1e-6
            )
        for name, values in theirs.episodes.items():
            np.testing.assert_array_equal(np.sort(ours.episodes[name]), np.sort(values))
        assert float(ours.metrics["loss"]) == pytest.approx(float(theirs.metrics["loss"]), rel=1e-4, abs=1e-6)
    torch.testing.assert_close(halves._flat.theta, plain._flat.theta, rtol=1e-4, atol=1e-5)


def test_on_a_gpu_nothing_is_read_before_it_is_there(monkeypatch):
    log: list[str] = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            log.append(f"{self.name} waits for {other.name}")

    class Event:
        def record(self):
            log.append("event recorded")

        def synchronize(self):
            log.append("host waits for event")

    @contextmanager
    def stream(chosen):
        log.append(f"on {chosen.name}:")
        yield
        log.append("back")

    compute = Stream("compute")
    cuda = SimpleNamespace(
        Stream=lambda device: Stream("copy"), Event=Event, stream=stream, current_stream=lambda device: compute
    )
    empty = lambda shape, dtype, pin_memory: torch.zeros(shape, dtype=dtype)  # noqa: E731
    monkeypatch.setattr(transfers, "torch", SimpleNamespace(cuda=cuda, empty=empty))
    crossing = Transfers(torch.device("cuda"), 2)
    crossing.begin()
    source, target = torch.ones(3), torch.zeros(3)
    crossing.send(source, target)
    assert torch.equal(target, source)
    action = torch.tensor([4, 2])
    crossing.fetch_action(1, action)
    assert crossing.action(1).tolist() == [4, 2]
    assert log == [
        "copy waits for compute",  # before observations are overwritten that something still reads
        "on copy:",
        "back",
        "compute waits for copy",
        "event recorded",
        "host waits for event",
    ]
    action[0] = 9
    assert crossing.action(1).tolist() == [4, 2], "the host has memory of its own"
