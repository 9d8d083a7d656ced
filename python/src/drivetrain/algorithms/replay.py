"""A ring of the latest vector steps, from which off-policy learners draw (Lin 1992).

C slots (vector steps), N rows, B drawn transitions, D observation values, F final observations.

A slot holds one step of all rows, and the environment writes straight into it: the observation after a step is the
next slot's, so that none is kept twice. Only where an episode ended is the true last observation kept besides, because
the next slot then begins another episode. Memory is claimed once; the final observations grow by doubling, to one per
transition at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.errors import CheckpointError
from drivetrain.models.observation_rows import TORCH_DTYPES, to_numpy, to_torch
from drivetrain.sim.environment import ActionSpace, StepResult

_FIRST_FINALS = 1024
"""Final observations that there is room for at first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Something kept per transition besides what every learner needs."""

    shape: tuple[int, ...] = ()
    """Of one transition's value."""
    dtype: torch.dtype = torch.float32
    """How it is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transitions:
    """What was drawn, on the learner's device."""

    observation: Tensor
    """Before the first step, shape [B, D]."""
    action: Tensor
    """Of the first step, int64 [B] or float32 [B, M]."""
    reward: Tensor
    """Discounted sum of the rewards of up to n steps, shape [B], float32."""
    discount: Tensor
    """Weight of the value of ``next_observation``: gamma to the number of steps, 0 where the last one terminated;
    shape [B], float32."""
    next_observation: Tensor
    """After the last step; an ended episode's own last one, not that of the episode after it; shape [B, D]."""
    terminated: Tensor
    """The last step ended the task, shape [B], bool."""
    fields: Mapping[str, Tensor]
    """The further fields of the first step by name, shape [B, ...]."""


class ReplayRing:
    """The latest transitions of a vector environment."""

    def __init__(
        self,
        *,
        capacity: int,
        num_rows: int,
        observation_size: int,
        observation_dtype: str,
        action_space: ActionSpace,
        fields: Mapping[str, Field] | None = None,
        half: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Claim the memory.

        Args:
            capacity: Transitions to keep at least; whole vector steps are kept.
            num_rows: Rows per vector step (N).
            observation_size: Values per observation (D).
            observation_dtype: How the environment writes them.
            action_space: What actions are.
            fields: Further values per transition, by name.
            half: True: observations written as float32 are kept as float16.
            device: Where the ring lies and drawn transitions are wanted.
        """
        self.num_rows, self.device = num_rows, torch.device(device)
        self.num_slots = -(-capacity // num_rows) + 1  # one holds the present observation
        written = TORCH_DTYPES[observation_dtype]
        kept = torch.float16 if half and written == torch.float32 else written
        rows = self.num_slots * num_rows

        def claim(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(rows, *shape, dtype=dtype, device=self.device)

        is_discrete = action_space.is_discrete
        self._observation = claim(kept, observation_size)
        self._values = {
            "action": claim(torch.int64) if is_discrete else claim(torch.float32, action_space.size),
            "reward": claim(torch.float32),
            "terminated": claim(torch.bool),
            "truncated": claim(torch.bool),
            "valid": claim(torch.bool),
            **{name: claim(field.dtype, *field.shape) for name, field in (fields or {}).items()},
        }
        self._own = tuple(fields or {})
        # Where the environment cannot write into the ring itself, it writes here, and store() copies.
        direct = self.device.type == "cpu" and kept == written
        self._desk = None if direct else torch.zeros(num_rows, observation_size, dtype=written)
        # A final observation's number counts all that ever were; its place is that number modulo their room.
        self._final = torch.zeros(_FIRST_FINALS, observation_size, dtype=kept, device=self.device)
        self._final_number = torch.zeros(rows, dtype=torch.int64, device=self.device)
        self._slot_finals = np.zeros(self.num_slots, np.int64)
        self._slot_valid = np.zeros(self.num_slots, np.int64)
        self._finals_made = self._finals_dropped = 0
        self._slot = self._size = 0

    def __len__(self) -> int:
        """Return the number of transitions held."""
        return int(self._slot_valid.sum())

    @property
    def most(self) -> int:
        """Transitions that there is room for."""
        return (self.num_slots - 1) * self.num_rows

    @property
    def fill(self) -> float:
        """Share of the ring in use, 0..1."""
        return self._size / (self.num_slots - 1)

    @property
    def num_bytes(self) -> int:
        """Memory claimed so far [byte]."""
        tensors = (self._observation, self._final, self._final_number, *self._values.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def first_rows(self) -> NDArray:
        """Return where the environment writes the observation from which the next step starts, shape [N, D]."""
        return to_numpy(self._slot_rows(self._slot) if self._desk is None else self._desk)

    def next_rows(self) -> NDArray:
        """Return where the environment writes the observation after the next step; drops the oldest step if full."""
        if self._size == self.num_slots - 1:
            oldest = (self._slot + 1) % self.num_slots
            self._finals_dropped += int(self._slot_finals[oldest])
            self._slot_finals[oldest] = self._slot_valid[oldest] = 0
            self._size -= 1
        return to_numpy(self._slot_rows((self._slot + 1) % self.num_slots) if self._desk is None else self._desk)

    def begin(self) -> None:
        """Take in what was written into :meth:`first_rows`."""
        if self._desk is not None:
            self._slot_rows(self._slot).copy_(self._desk)

    def go_on_from(self, observation: NDArray) -> None:
        """Take up again from an observation [N, D]; where it is not the one expected, the newest step is dropped.

        A ring that is put back beside its environment goes on as if nothing had been; an environment that alone was put
        back to an earlier moment, or began anew, leaves a gap that no transition may bridge.
        """
        rows, before = self.first_rows(), self._slot_rows(self._slot).clone()
        rows[:] = observation
        self.begin()
        if self._size > 0 and not torch.equal(before, self._slot_rows(self._slot)):
            newest = (self._slot - 1) % self.num_slots
            self._values["valid"][newest * self.num_rows : (newest + 1) * self.num_rows] = False
            self._slot_valid[newest] = 0

    def present(self) -> Tensor:
        """Return the observation from which the next step starts, as the environment wrote it, shape [N, D]."""
        return self._slot_rows(self._slot) if self._desk is None else self._desk.to(self.device)

    def store(self, action: Tensor, step: StepResult, **fields: Tensor | NDArray) -> None:
        """Keep the step whose observation was written into :meth:`next_rows`.

        Args:
            action: What was done, shape [N, ...].
            step: What came of it.
            fields: The further fields by name, shape [N, ...].
        """
        given = {
            "reward": step.reward,
            "terminated": step.terminated,
            "truncated": step.truncated,
            "valid": step.valid,
            **fields,
        }
        at = slice(self._slot * self.num_rows, (self._slot + 1) * self.num_rows)
        self._values["action"][at].copy_(action)
        for name, value in given.items():
            self._values[name][at].copy_(torch.from_numpy(value) if isinstance(value, np.ndarray) else value)
        self._slot_valid[self._slot] = int(step.valid.sum())
        self._keep_finals(at.start, step)
        self._slot = (self._slot + 1) % self.num_slots
        self._size += 1
        if self._desk is not None:
            self._slot_rows(self._slot).copy_(self._desk)

    def _keep_finals(self, start: int, step: StepResult) -> None:
        count = len(step.final_rows)
        self._slot_finals[self._slot] = count
        if count == 0:
            return
        while self._finals_made + count - self._finals_dropped > len(self._final):
            self._double_finals()
        numbers = torch.arange(self._finals_made, self._finals_made + count, device=self.device)
        rows = torch.from_numpy(step.final_rows.astype(np.int64)).to(self.device)
        self._final_number[start + rows] = numbers
        self._final[numbers % len(self._final)] = to_torch(step.final_observation).to(self._final)
        self._finals_made += count

    def _double_finals(self) -> None:
        room = len(self._final)
        wider = torch.zeros(2 * room, *self._final.shape[1:], dtype=self._final.dtype, device=self.device)
        numbers = torch.arange(self._finals_dropped, self._finals_made, device=self.device)
        wider[numbers % (2 * room)] = self._final[numbers % room]
        self._final = wider

    def draw(self, count: int, generator: torch.Generator, *, among: Tensor | None = None) -> Tensor:
        """Return the places of transitions drawn with replacement, all equally likely, shape [B].

        Args:
            count: How many (B).
            generator: On the CPU.
            among: Places to choose from, from :meth:`places`; None: all.
        """
        if among is not None:
            return among[torch.randint(len(among), (count,), generator=generator).to(among.device)]
        size = self._size * self.num_rows
        start = ((self._slot - self._size) % self.num_slots) * self.num_rows
        some_are_void = len(self) < size
        places = torch.zeros(0, dtype=torch.int64, device=self.device)
        while len(places) < count:
            # By age, not by place: so a restored ring, which may lie elsewhere, draws the same.
            age = torch.randint(size, (count - len(places),), generator=generator).to(self.device)
            drawn = (start + age) % len(self._observation)
            places = torch.cat([places, drawn[self._values["valid"][drawn]] if some_are_void else drawn])
        return places

    def places(self, name: str) -> Tensor:
        """Return the places of the transitions whose field of this name is above 0, oldest first, shape [K]."""
        slots = (self._slot - self._size + torch.arange(self._size, device=self.device)) % self.num_slots
        chosen = (self._values[name] > 0) & self._values["valid"]
        found = chosen.view(self.num_slots, self.num_rows)[slots].nonzero()
        return slots[found[:, 0]] * self.num_rows + found[:, 1]

    def read(self, places: Tensor, *, gamma: float, num_steps: int = 1) -> Transitions:
        """Return the transitions at these places.

        A return of several steps ends early where the episode ends, truncated or terminated, and at the newest step.

        Args:
            places: From :meth:`draw` or :meth:`places`, shape [B].
            gamma: Discount per step.
            num_steps: Most steps of a return (n).
        """
        values, rows = self._values, len(self._observation)
        newest = (self._slot - 1) % self.num_slots
        # Steps that follow in the ring; the slot of the present observation holds none.
        following = (newest - places // self.num_rows) % self.num_slots
        last, reward = places, values["reward"][places]
        discount = torch.full_like(reward, gamma)
        goes_on = torch.ones_like(places, dtype=torch.bool)
        for k in range(1, num_steps):
            step = (places + k * self.num_rows) % rows
            goes_on = goes_on & ~(values["terminated"][last] | values["truncated"][last]) & (following >= k)
            goes_on = goes_on & values["valid"][step]
            last = torch.where(goes_on, step, last)
            reward = reward + torch.where(goes_on, gamma**k * values["reward"][last], torch.zeros_like(reward))
            discount = torch.where(goes_on, discount * gamma, discount)
        terminated = values["terminated"][last]
        following_rows = self._observation.index_select(0, (last + self.num_rows) % rows)
        cut = (terminated | values["truncated"][last]).nonzero().squeeze(1)
        following_rows[cut] = self._final[self._final_number[last[cut]] % len(self._final)]
        return Transitions(
            observation=self._widened(self._observation.index_select(0, places)),
            action=values["action"][places],
            reward=reward,
            discount=discount * ~terminated,
            next_observation=self._widened(following_rows),
            terminated=terminated,
            fields={name: values[name][places] for name in self._own},
        )

    def _widened(self, rows: Tensor) -> Tensor:
        # The compiled network reads every type that an environment writes, and float16 is none of them.
        return rows.float() if rows.dtype == torch.float16 else rows

    def _slot_rows(self, slot: int) -> Tensor:
        return self._observation[slot * self.num_rows : (slot + 1) * self.num_rows]

    def arrays(self) -> dict[str, NDArray]:
        """Return all that is held, by name; on the CPU views of the ring, not copies."""
        used = (self.num_slots if self._slot < self._size else self._slot + 1) * self.num_rows
        finals = self._finals_made if self._finals_made < len(self._final) else len(self._final)
        tensors = {
            "observation": self._observation[:used],
            "final": self._final[:finals],
            "final_number": self._final_number[:used],
            **{f"value.{name}": value[:used] for name, value in self._values.items()},
        }
        counts = [self.num_slots, self.num_rows, self._slot, self._size, self._finals_made, self._finals_dropped]
        return {
            "counts": np.array([*counts, len(self._final)], np.int64),
            "slot_finals": self._slot_finals,
            "slot_valid": self._slot_valid,
            **{name: to_numpy(tensor.cpu()) for name, tensor in tensors.items()},
        }

    def load_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Continue from :meth:`arrays`.

        Raises:
            CheckpointError: They are of a ring of another shape.
        """
        counts = [int(x) for x in arrays["counts"]]
        stored = (counts[0], counts[1], *arrays["observation"].shape[1:])
        here = (self.num_slots, self.num_rows, *self._observation.shape[1:])
        names = {f"value.{name}" for name in self._values}
        if stored != here or not names <= set(arrays):
            raise CheckpointError(
                f"the stored replay has {stored} (steps, rows, values per observation), this one {here}; "
                "use the capacity and num_worlds of the run"
            )
        self._slot, self._size, self._finals_made, self._finals_dropped, room = counts[2:]
        self._slot_finals[:], self._slot_valid[:] = arrays["slot_finals"], arrays["slot_valid"]
        self._final = torch.zeros(room, here[-1], dtype=self._final.dtype, device=self.device)
        targets = {"observation": self._observation, "final": self._final, "final_number": self._final_number}
        targets |= {f"value.{name}": value for name, value in self._values.items()}
        for name, target in targets.items():
            target[: len(arrays[name])].copy_(to_torch(arrays[name]))
