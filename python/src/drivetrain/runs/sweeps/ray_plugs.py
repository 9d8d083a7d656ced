"""What Ray Tune calls: a searcher, a scheduler and a stopper that ask the sweep.

Tune pickles copies of them, for a restart of its own that is never used: those copies are empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher


class Search(Searcher):
    """Proposes what the sweep proposes."""

    def __init__(self, jobs: Any) -> None:
        super().__init__(metric="value", mode="max")
        self._jobs = jobs

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial."""
        config = self._jobs.next(trial_id)
        return Searcher.FINISHED if config is None else config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the end of a trial."""
        self._jobs.end(trial_id, result, is_lost=error)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the study holds all of it."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Verdicts(FIFOScheduler):
    """Ends the trials that the sweep wants ended."""

    def __init__(self, jobs: Any) -> None:
        super().__init__()
        self._jobs = jobs

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether a trial goes on."""
        ends = self._jobs.look(trial.trial_id)
        return TrialScheduler.STOP if ends else TrialScheduler.CONTINUE

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Stop(Stopper):
    """Ends everything once somebody asks for it."""

    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        self._is_stopped = is_stopped

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether one trial ends: none on its own."""
        return False

    def stop_all(self) -> bool:
        """Return whether all end."""
        return self._is_stopped()

    def __getstate__(self) -> dict[str, Any]:
        return {}
