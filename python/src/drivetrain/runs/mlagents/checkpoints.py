"""The checkpoints of ML-Agents' trainer, copied to where every run has its own: best.pt, last.pt and their ONNX files.

ML-Agents writes a reward beside each checkpoint that counts only the episodes since its last update; what is best is
judged by the nearest summary instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from drivetrain.run_record import RunPaths, write_bytes_atomic


class Checkpoints:
    """Copies what is new.

    Args:
        paths: The run.
        folder: Where ML-Agents keeps the checkpoints of the behavior.
        behavior: Its name.
        best: Highest mean reward of a copied checkpoint so far; None: there is none.
        event: Takes the name and the details of an event of the run.
    """

    def __init__(
        self,
        paths: RunPaths,
        folder: Path,
        behavior: str,
        *,
        best: float | None,
        event: Callable[..., Any],
    ) -> None:
        self._paths, self._folder, self._behavior, self._event = paths, folder, behavior, event
        self._best = best
        self._seen = 0

    def newest(self) -> int:
        """Return the step of the newest checkpoint; 0: there is none."""
        return max(self._steps(), default=0)

    def skip_to(self, step: int) -> None:
        """Take the checkpoints up to a step for known."""
        self._seen = step

    def copy_new(self, rewards: Mapping[int, float]) -> None:
        """Copy checkpoints written since the last call.

        Args:
            rewards: Mean reward by the step of its summary.

        Raises:
            RunError: The folder cannot be written.
        """
        for step in sorted(step for step in self._steps() if step > self._seen):
            self._seen = step
            self._copy(step, "last")
            self._event("checkpoint", path=self._paths.relative(self._paths.last), step=step)
            reward = rewards[min(rewards, key=lambda at: abs(at - step))] if rewards else None
            if not self._paths.best.is_file() or (reward is not None and (self._best is None or reward > self._best)):
                self._copy(step, "best")
                self._best = reward
                self._event("best", path=self._paths.relative(self._paths.best), step=step, mean_reward=reward)

    def _copy(self, step: int, name: str) -> None:
        for suffix in (".pt", ".onnx"):
            source = self._folder / f"{self._behavior}-{step}{suffix}"
            if source.is_file():
                self._paths.checkpoint_dir.mkdir(parents=True, exist_ok=True)
                write_bytes_atomic(self._paths.checkpoint_dir / f"{name}{suffix}", source.read_bytes())

    def _steps(self) -> list[int]:
        pattern = re.compile(rf"{re.escape(self._behavior)}-(\d+)\.pt")
        try:
            names = [entry.name for entry in self._folder.iterdir()]
        except OSError:
            return []
        return [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
