"""The agents of one ML-Agents player as rows: fixed seats, in which one agent follows another.

S seats of the player, n agents in a message, D observation values, M continuous actions, B discrete branches.

A player asks for the actions of those agents that have something to decide, in its own order, and lets agents come and
go. A learner wants the same rows at every step. So every agent has a seat from its first message to its last. A step of
the rows lasts until each seated agent that was told an action has come back, usually one message. Agents that are asked
again meanwhile repeat their action, and what they are rewarded is added up; one that has just come does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.mlagents import messages
from drivetrain.mlagents.player import Behavior, Player
from drivetrain.mlagents.wire import AgentReader, AgentRows, PlayerMessage, agent_actions

_MOST_MESSAGES = 10_000
"""More messages than this for one step: nobody will ever be asked again."""
_NOBODY = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionCode:
    """What an action of the learner is on the wire."""

    num_continuous: int
    """M; 0 for a discrete behavior."""
    branches: tuple[int, ...]
    """Choices of each branch."""
    choices: NDArray[np.int64]
    """The choice in each branch that a category stands for, shape [K, B]; [0, 0] for a continuous behavior."""
    mask_columns: NDArray[np.int64]
    """Where these choices are among all branches one behind the other, shape [K, B]."""

    @staticmethod
    def of(behavior: Behavior) -> ActionCode:
        """Return the code of a behavior; a category is one choice in every branch."""
        branches = behavior.branches
        choices = np.zeros((0, 0), np.int64)
        if branches:
            choices = np.stack(np.unravel_index(np.arange(np.prod(branches)), branches), axis=1).astype(np.int64)
        starts = np.cumsum([0, *branches[:-1]]) if branches else np.zeros(0, np.int64)
        return ActionCode(
            num_continuous=behavior.num_continuous,
            branches=branches,
            choices=choices,
            mask_columns=choices + starts,
        )

    def forbidden_categories(self, forbidden: NDArray) -> NDArray[np.float32]:
        """Return 1 for each category with a forbidden choice in any branch, [n, K], for masks of all branches."""
        return (forbidden[:, self.mask_columns] != 0).any(axis=2).astype(np.float32)

    def idle(self, count: int) -> NDArray:
        """Return the actions that do nothing: zeros, or the first choice of every branch."""
        return np.zeros(count, np.int64) if self.branches else np.zeros((count, self.num_continuous), np.float32)

    def encode(self, action: NDArray) -> bytes:
        """Return actions of the learner, [n] or [n, M], as bytes; vectors are clipped to [-1, 1]."""
        if self.branches:
            return agent_actions(np.zeros((len(action), 0), np.float32), self.choices[action])
        clipped = np.clip(action, -1.0, 1.0).astype(np.float32)
        return agent_actions(clipped, np.zeros((len(action), 0), np.int64))


class PlayerRows:
    """The seats of one player. Arrays have one entry per seat and are overwritten by every step."""

    def __init__(self, player: Player, behavior: Behavior, *, seats: int | None) -> None:
        """Seat the agents of the message that the player sent last.

        Args:
            player: Connected; :meth:`begin` resets it.
            behavior: Whose agents are seated.
            seats: How many; None: as many as ask at the beginning.
        """
        self.player, self.behavior = player, behavior
        self.code = ActionCode.of(behavior)
        self._reader = AgentReader(
            tuple(int(np.prod(o.shape)) for o in behavior.observations), num_mask=sum(behavior.branches)
        )
        self._given_seats = seats
        self._num_values = sum(int(np.prod(o.shape)) for o in behavior.observations)
        self.num_columns = self._num_values + len(self.code.choices)
        self._allocate(seats or 0)

    def _allocate(self, seats: int) -> None:
        self.num_seats = seats
        self.agent = np.full(seats, _NOBODY, np.int64)
        self.observation = np.zeros((seats, self.num_columns), np.float32)
        self.reward = np.zeros(seats, np.float32)
        self.terminated = np.zeros(seats, np.bool_)
        self.truncated = np.zeros(seats, np.bool_)
        self.acting = np.zeros(seats, np.bool_)
        self._action = self.code.idle(seats)
        self._told = np.zeros(seats, np.bool_)
        self._pending = np.zeros(seats, np.bool_)
        self._is_open = np.zeros(seats, np.bool_)
        self._seat_of: dict[int, int] = {}
        self._asked = np.zeros(0, np.int64)
        self._others: dict[str, int] = {}
        self.finals: list[tuple[int, NDArray[np.float32]]] = []

    def begin(self, message: PlayerMessage) -> None:
        """Start anew with the first message after a reset."""
        for _ in range(_MOST_MESSAGES):
            rows = self._read(message)
            waiting = int((~rows.done).sum())
            if waiting:
                self._allocate(self._given_seats or waiting)
                self._take(rows)
                return
            self._note_others(message)
            self.player.send(self._answers())
            message = self.player.receive()
        raise self.player.fail(f"no agent of behavior '{self.behavior.name}' asks for an action")

    def tell(self, action: NDArray) -> None:
        """Begin a step: send the action of every row, of which those with an agent count."""
        self.acting[:] = self.agent != _NOBODY
        self._action[:] = action
        self._pending[:] = self.acting
        self._is_open[:] = self.acting
        self._told[:] = False
        self.reward[:] = 0.0
        self.terminated[:] = False
        self.truncated[:] = False
        self.finals = []
        self._send()

    def await_outcome(self) -> None:
        """End the step: wait until everybody who was told an action has come back."""
        for _ in range(_MOST_MESSAGES):
            message = self.player.receive()
            self._take(self._read(message))
            self._note_others(message)
            if len(self._asked) and not self._pending.any():
                return
            self._send()
        late = self.agent[self._pending].tolist()
        who = f"agent {late[0]} has not come back" if late else "no agent has asked for an action"
        raise self.player.fail(f"{who} within {_MOST_MESSAGES:,} messages")

    def _send(self) -> None:
        self._told[self._asked] = True
        self.player.send(self._answers())

    def _answers(self) -> dict[str, bytes]:
        answers = {name: self._idle(name, count) for name, count in self._others.items() if count}
        if len(self._asked):
            answers[self.behavior.name] = self.code.encode(self._action[self._asked])
        return answers

    def _idle(self, name: str, count: int) -> bytes:
        code = ActionCode.of(self.player.behaviors[name])
        return code.encode(code.idle(count))

    def _note_others(self, message: PlayerMessage) -> None:
        """Count the agents of other behaviors that wait for an action: they are told to do nothing."""
        self._others = {}
        for name, (begin, end) in message.agents.items():
            if name != self.behavior.name:
                agents = messages.ListAgentInfo.FromString(message.data[begin:end]).value
                self._others[name] = sum(not agent.done for agent in agents)

    def _read(self, message: PlayerMessage) -> AgentRows:
        try:
            rows = self._reader.read(message, self.behavior.name)
        except DataError as error:
            raise self.player.fail(str(error)) from error
        if not np.isfinite(rows.reward).all():
            wrong = int(np.flatnonzero(~np.isfinite(rows.reward))[0])
            raise self.player.fail(
                f"the reward of agent {rows.id[wrong]} is {rows.reward[wrong]}; mend the environment"
            )
        if not np.isfinite(rows.observation).all():
            wrong, column = (int(x) for x in np.argwhere(~np.isfinite(rows.observation))[0])
            raise self.player.fail(
                f"{self._place(column)} of agent {rows.id[wrong]} is {rows.observation[wrong, column]}; mend the player"
            )
        return rows

    def _place(self, column: int) -> str:
        for spec in self.behavior.observations:
            size = int(np.prod(spec.shape))
            if column < size:
                return f"observation '{spec.name}', value {column},"
            column -= size
        raise AssertionError(column)

    def _take(self, rows: AgentRows) -> None:
        """Seat, unseat and credit the agents of a message."""
        seats = np.array([self._seat_of.get(agent, _NOBODY) for agent in rows.id.tolist()], np.int64)
        known = seats != _NOBODY
        # A seat may be taken by a second agent within one step: its rewards are nobody's.
        credited = known & self._is_open[seats]
        np.add.at(self.reward, seats[credited], rows.reward[credited])
        for i in np.flatnonzero(known & rows.done).tolist():
            self._unseat(int(seats[i]), rows, i)
        waiting = ~rows.done
        for i in np.flatnonzero(waiting & ~known).tolist():
            seats[i] = self._seat(int(rows.id[i]))
        self._asked = seats[waiting]
        self.observation[self._asked] = self._columns(rows, waiting)
        # Whoever had been told its action has now done it.
        self._pending[self._asked[self._told[self._asked]]] = False

    def _columns(self, rows: AgentRows, which: NDArray) -> NDArray[np.float32]:
        values = rows.observation[which]
        if not self.code.branches:
            return values
        return np.concatenate([values, self.code.forbidden_categories(rows.forbidden[which])], axis=1)

    def _unseat(self, seat: int, rows: AgentRows, i: int) -> None:
        del self._seat_of[int(rows.id[i])]
        self.agent[seat] = _NOBODY
        if self._is_open[seat]:
            self._is_open[seat] = False
            self.terminated[seat], self.truncated[seat] = not rows.cut_off[i], rows.cut_off[i]
            self.finals.append((seat, self._columns(rows, np.array([i]))[0].copy()))
        self._pending[seat] = False

    def _seat(self, agent: int) -> int:
        free = np.flatnonzero(self.agent == _NOBODY)
        if not len(free):
            raise self.player.fail(
                f"agent {agent} joins and all {self.num_seats} rows are taken; set environment.agents to the most that "
                "are there at a time"
            )
        seat = int(free[0])
        self.agent[seat] = agent
        self._seat_of[agent] = seat
        self._action[seat] = self.code.idle(1)[0]
        self._told[seat] = False
        return seat
