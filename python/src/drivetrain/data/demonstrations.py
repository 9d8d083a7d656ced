"""Demonstrations: what an expert saw and did, row by row, whoever the expert was.

M rows (transitions), E episodes, D observation values, A action dimensions.

Imitation learns from these alone: behaviour cloning reads rows in any order, adversarial imitation also needs which
rows follow each other. Rows of an episode are consecutive, so that ``observation[i + 1]`` is what followed
``action[i]``, except at an episode's last row, which ``final_observation`` completes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import ConfigError, DataError, nearest

EXPERTS = ("log", "scripted", "random", "demo")


@dataclass(frozen=True, kw_only=True, slots=True)
class DemonstrationConfig:
    """Where demonstrations come from."""

    expert: Literal["log", "scripted", "random", "demo"] = "log"
    """``log``: the recorded drives, re-driven with the vehicle model (driving); ``scripted``: a controller written by
    hand; ``random``: random actions, the control that nothing can be learnt from (both: Gymnasium); ``demo``: Unity's
    recordings (Unity)."""
    path: str = ""
    """A ``.demo`` file or a folder of them, relative to the project root (demo)."""
    agents: Literal["ego", "all"] = "ego"
    """Whose drives (driving): the recording vehicle's, or those of every vehicle that can be driven from the scene's
    first frame on."""
    episodes: int = 60
    """Episodes of a scripted or random expert."""
    seed: int = 0
    """Of the expert's random numbers, of its starts, and of displacements."""
    match_horizon: int = 4
    """Steps for which a candidate action is held when labels are matched (driving)."""
    action_change_weight: float = 0.02
    """Cost of changing the command by its full range, where a squared metre costs 1 (driving). More of it drives
    smoother and follows less closely."""
    max_deviation_m: float = 2.0
    """A drive ends where the vehicle model cannot keep as near as this to the log [m] (driving)."""
    displaced_passes: int = 0
    """Further passes over all scenes in which the vehicle is displaced now and then and steers back (driving)."""
    displacement_interval_s: float = 4.0
    """Mean time between two displacements [s]."""
    displacement_m: float = 0.75
    """Largest displacement to the side and half of the largest along the road [m]."""
    displacement_rad: float = 0.15
    """Largest turn of the heading by a displacement [rad]."""
    displacement_mps: float = 1.0
    """Largest change of the speed by a displacement [m/s]."""
    relabel_horizon: int = 10
    """As ``match_horizon``, but off the log, where the way back should be smooth."""

    def __post_init__(self) -> None:
        if self.expert not in EXPERTS:
            hint = nearest(self.expert, EXPERTS)
            raise ConfigError(f"demonstrations.expert: '{self.expert}' is not one of {', '.join(EXPERTS)}{hint}")
        if (self.expert == "demo") != bool(self.path):
            wrong = "is missing; name a .demo file" if not self.path else "names a file; use demonstrations.expert=demo"
            raise ConfigError(f"demonstrations.path: {wrong}")
        if self.agents not in ("ego", "all"):
            raise ConfigError(f"demonstrations.agents: '{self.agents}' is unknown; use ego or all")
        for name in ("episodes", "match_horizon", "relabel_horizon"):
            if getattr(self, name) < 1:
                raise ConfigError(f"demonstrations.{name}: {getattr(self, name)} is too small; use 1 or more")
        for name in ("max_deviation_m", "displacement_interval_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"demonstrations.{name}: {getattr(self, name)} is impossible; use a number above 0")
        for name in (
            "seed",
            "action_change_weight",
            "displaced_passes",
            "displacement_m",
            "displacement_rad",
            "displacement_mps",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"demonstrations.{name}: {getattr(self, name)} is negative; use 0 or more")


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Transitions of an expert. Arrays may be memory-mapped and are never written to."""

    observation: NDArray
    """What the expert saw, in the environment's ``observation_dtype``, shape [M, D]."""
    action_index: NDArray[np.int16]
    """The category it chose, shape [M]; shape [0] where actions are only continuous."""
    action: NDArray[np.float32]
    """The same action as a vector in [-1, 1], shape [M, A]; A is 0 where categories stand for nothing continuous."""
    pose: NDArray[np.float32]
    """Rear axle x, y [m] and heading [rad] in the map frame before the action, shape [M, 3]; [0, 3] if not driving."""
    episode_start: NDArray[np.int64]
    """First row of each episode, then M, shape [E + 1]."""
    terminated: NDArray[np.bool_]
    """True where the environment ended the episode, False where it was cut off, shape [E]."""
    final_observation: NDArray
    """What was seen after each episode's last action, shape [E, D]."""
    displaced: NDArray[np.bool_]
    """True where the expert was on its way back after a displacement, shape [E]."""
    group: NDArray[np.int32]
    """What a split must not tear apart: the scene, or the episode itself, shape [E]."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Everything they were made from."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """How many drives were left out, or cut short, by reason."""

    def __len__(self) -> int:
        return len(self.observation)

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.terminated)

    def episode_of_row(self) -> NDArray[np.int32]:
        """Return the episode of every row, shape [M]."""
        lengths = np.diff(self.episode_start)
        return np.repeat(np.arange(self.num_episodes, dtype=np.int32), lengths)

    def take_episodes(self, chosen: NDArray[np.int64]) -> Demonstrations:
        """Return these episodes alone, in the given order."""
        starts, ends = self.episode_start[chosen], self.episode_start[chosen + 1]
        pieces = [np.arange(a, b) for a, b in zip(starts, ends, strict=True)]
        rows = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        return replace(
            self,
            observation=self.observation[rows],
            action_index=self.action_index[rows] if len(self.action_index) else self.action_index,
            action=self.action[rows],
            pose=self.pose[rows] if len(self.pose) else self.pose,
            episode_start=np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64),
            terminated=self.terminated[chosen],
            final_observation=self.final_observation[chosen],
            displaced=self.displaced[chosen],
            group=self.group[chosen],
        )

    def split(self, share: float, *, seed: int) -> tuple[Demonstrations, Demonstrations]:
        """Return (the rest, about ``share`` of the groups), drawn by ``seed``; both hold at least one group.

        Raises:
            DataError: There are fewer than two groups.
        """
        groups = np.unique(self.group)
        if len(groups) < 2:
            raise DataError(f"demonstrations: {len(groups)} episode is too few to hold some out; use 2 or more")
        count = min(max(round(share * len(groups)), 1), len(groups) - 1)
        held_out = np.random.default_rng(seed).permutation(groups)[:count]
        is_held_out = np.isin(self.group, held_out)
        return self.take_episodes(np.flatnonzero(~is_held_out)), self.take_episodes(np.flatnonzero(is_held_out))

    def check_any(self, num_scenes: int) -> None:
        """Check that there is something to learn from.

        Raises:
            DataError: There is nothing.
        """
        if not len(self):
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items() if count)
            why = f" ({reasons})" if reasons else ""
            raise DataError(f"demonstrations: none of {num_scenes} scenes has a drive that can be used{why}")

    def summary(self) -> str:
        """Return one line that says how many there are and what was left out."""
        text = f"{len(self):,} transitions in {self.num_episodes:,} episodes"
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in self.skipped.items() if count)
        return f"{text}; skipped: {left_out}" if left_out else text


ARRAYS = tuple(f.name for f in fields(Demonstrations) if f.name not in ("inputs", "skipped"))
"""Names of the arrays."""


def joined_arrays(pieces: Sequence[Demonstrations], name: str) -> Iterator[NDArray]:
    """Yield an array of every piece so that, one after the other, they are that of the whole."""
    first_row = 0
    for number, piece in enumerate(pieces):
        array = getattr(piece, name)
        if name != "episode_start":
            yield array
            continue
        is_last = number == len(pieces) - 1
        yield first_row + (array if is_last else array[:-1])
        first_row += len(piece)


def joined_skips(pieces: Sequence[Demonstrations]) -> dict[str, int]:
    """Return how many drives were left out of all pieces, by reason."""
    total: Counter[str] = Counter()
    for piece in pieces:
        total.update(piece.skipped)
    return dict(total)


def joined(pieces: Sequence[Demonstrations]) -> Demonstrations:
    """Return pieces one after the other, with the inputs of the first."""
    arrays = {name: np.concatenate(list(joined_arrays(pieces, name))) for name in ARRAYS}
    return Demonstrations(**arrays, inputs=pieces[0].inputs, skipped=joined_skips(pieces))
