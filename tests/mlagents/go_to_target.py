"""A stand-in for a Unity build: agents on a line go to a target, over real gRPC.

Started as a program, it is a player. Observation ``where``: position, target and padding; continuous: the action is
the step; discrete: two branches, direction (left, stay, right) and haste (slow, fast). An episode ends at the target
(+1) or after its time limit.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from tests.mlagents.player_bytes import agent_infos, player_message

from drivetrain.mlagents import messages
from drivetrain.mlagents.side_channels import ENVIRONMENT_PARAMETERS, Stat, read_parameter, stats_bytes, unpack

NAME = "GoToTarget?team=0"
LIMIT = 20
REACHED = 0.1


def write_build(path: Path, *options: str) -> Path:
    """Write an executable that plays with these options."""
    source = Path(__file__).resolve().parents[2]
    search = os.pathsep.join([str(source / "python" / "src"), str(source)])
    words = " ".join([sys.executable, "-m", "tests.mlagents.go_to_target", *options])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nPYTHONPATH={search} exec {words} "$@"\n')
    path.chmod(0o755)
    return path


@dataclass
class Line:
    """All agents of one player."""

    options: argparse.Namespace
    random: np.random.Generator = field(default_factory=np.random.default_rng)
    reach: float = REACHED
    next_id: int = 0

    def begin(self):
        n = self.options.agents
        self.place, self.goal, self.age, self.id = np.zeros(n), np.zeros(n), np.zeros(n, int), np.zeros(n, int)
        self.start(np.arange(n))

    def start(self, rows):
        self.place[rows] = self.random.uniform(-1, 1, len(rows))
        self.goal[rows] = self.random.uniform(-1, 1, len(rows))
        self.age[rows] = 0
        self.id[rows] = self.next_id + np.arange(len(rows))
        self.next_id += len(rows)

    def observation(self):
        values = np.zeros((len(self.place), self.options.values), np.float32)
        values[:, 0], values[:, 1] = self.place, self.goal
        return values

    def move(self, step):
        self.place += np.clip(step, -1, 1) * 0.2
        self.age += 1
        reached = np.abs(self.place - self.goal) < self.reach
        reward = (-0.01 + reached).astype(np.float32)
        return reward, reached, ~reached & (self.age >= LIMIT)

    def forbidden(self):
        """At the ends of the line, going on is forbidden; haste never is."""
        if not self.options.masks:
            return None
        mask = np.zeros((len(self.place), 5), bool)
        mask[:, 0], mask[:, 2] = self.place < -0.9, self.place > 0.9
        return mask


class Player:
    def __init__(self, options):
        self.options = options
        self.line = Line(options)
        channel = grpc.insecure_channel(
            f"127.0.0.1:{options.port}",
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self.call = channel.unary_unary(messages.EXCHANGE)

    def exchange(self, data: bytes):
        try:
            reply = messages.UnityMessage.FromString(self.call(data, wait_for_ready=True))
        except grpc.RpcError:
            sys.exit(0)
        if reply.header.status != messages.OK:
            sys.exit(0)
        return reply.unity_input

    def hello(self):
        message = messages.UnityMessage()
        message.header.status = messages.OK
        said = message.unity_output.rl_initialization_output
        said.name, said.communication_version = "go_to_target", self.options.version
        messages.set_capabilities(said.capabilities)
        told = self.exchange(message.SerializeToString()).rl_initialization_input
        self.line.random = np.random.default_rng(told.seed)
        header = messages.UnityMessage()
        header.header.status = messages.OK
        return self.exchange(header.SerializeToString()).rl_input

    def initialization(self, names) -> bytes:
        message = messages.UnityMessage().unity_output.rl_initialization_output
        for name in names:
            brain = message.brain_parameters.add(brain_name=name)
            if self.options.discrete:
                brain.action_spec.num_discrete_actions = 2
                brain.action_spec.discrete_branch_sizes.extend([3, 2])
            else:
                brain.action_spec.num_continuous_actions = 1
        return message.SerializeToString()

    def steps(self, rl_input):
        actions = rl_input.agent_actions[NAME].value
        if self.options.discrete:
            chosen = np.array([list(a.discrete_actions) for a in actions])
            return (chosen[:, 0] - 1.0) * (0.5 + 0.5 * chosen[:, 1])
        return np.array([a.continuous_actions[0] for a in actions])

    def take_parameters(self, rl_input):
        for channel, content in unpack(rl_input.side_channel):
            if channel == ENVIRONMENT_PARAMETERS:
                parameter = read_parameter(content)
                if parameter.key == "reach":
                    self.line.reach = parameter.value

    def play(self):
        options, line = self.options, self.line
        if options.exit_code is not None:
            print("first of many lines\nno licence was found", flush=True)
            sys.exit(options.exit_code)
        rl_input = self.hello()
        names = [NAME, *(["Other?team=0"] if options.other else [])]
        initialization, count, infos = self.initialization(names), 0, b""
        while True:
            self.take_parameters(rl_input)
            stats = b""
            if rl_input.command == messages.RESET:
                line.begin()
                infos = self.infos(np.zeros(options.agents, np.float32), None, None)
            else:
                infos = self.advance(rl_input)
                stats = stats_bytes([Stat(key="Line/Spread", value=float(line.place.std()))])
            count += 1
            if options.hang_after is not None and count > options.hang_after:
                time.sleep(600)
            agents = {NAME: infos, **({"Other?team=0": infos} if options.other else {})}
            data = player_message(agents=agents, side_channel=stats, initialization=initialization)
            initialization = b""
            rl_input = self.exchange(data).rl_input

    def advance(self, rl_input):
        reward, reached, late = self.line.move(self.steps(rl_input))
        ended = reached | late
        if not ended.any():
            return self.infos(reward, None, None)
        rows = np.flatnonzero(ended)
        if self.options.late_starts:
            # As Unity does it: the ended alone first, which nobody has to answer; then all.
            last = self.part(rows, reward, reached | late, late)
            nothing = self.exchange(player_message(agents={NAME: last})).rl_input
            assert not nothing.agent_actions[NAME].value
            self.line.start(rows)
            reward[rows] = 0
            return self.infos(reward, None, None)
        last = self.part(rows, reward, ended, late)
        self.line.start(rows)
        reward[rows] = 0
        return last + self.infos(reward, None, None)

    def part(self, rows, reward, done, late):
        line = self.line
        return agent_infos(
            id=line.id[rows],
            reward=reward[rows],
            done=done[rows],
            cut_off=late[rows],
            observations=[("where", line.observation()[rows])],
        )

    def infos(self, reward, done, late):
        line, n = self.line, self.options.agents
        observation = line.observation()
        if self.options.nan_after is not None and line.age.max() > self.options.nan_after:
            observation[n // 2, 0] = np.nan
        none = np.zeros(n, bool)
        return agent_infos(
            id=line.id,
            reward=reward,
            done=none if done is None else done,
            cut_off=none if late is None else late,
            observations=[("where", observation)],
            forbidden=line.forbidden(),
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mlagents-port", dest="port", type=int, required=True)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--values", type=int, default=3)
    parser.add_argument("--discrete", action="store_true")
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--other", action="store_true")
    parser.add_argument("--late-starts", action="store_true")
    parser.add_argument("--version", default=messages.COMMUNICATION_VERSION)
    parser.add_argument("--exit-code", type=int)
    parser.add_argument("--hang-after", type=int)
    parser.add_argument("--nan-after", type=int)
    options, _ = parser.parse_known_args()
    Player(options).play()


if __name__ == "__main__":
    main()
