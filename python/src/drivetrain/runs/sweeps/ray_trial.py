"""A trial as Ray Tune runs it: on the node where it is placed it starts our own trainings and says how far they are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray import tune

from drivetrain.runs.sweeps.fleet import Fleet, SweepRun

_POLL_S = 0.5


class RayTrial(tune.Trainable):
    """The trainings of one trial; a step of it is a rung.

    Killed with its node it is made anew elsewhere, finds its runs on the shared storage and lets them go on.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take what the trial is."""
        self._runs = [SweepRun(**{**run, "changes": tuple(run["changes"])}) for run in config["runs"]]
        self._metric, self._told = config["metric"], 0
        self._fleet = Fleet(
            base=Path(config["base"]),
            rungs=config["rungs"],
            root=Path(config["root"]),
            mlflow=config["mlflow"],
            size=len(self._runs),
            say=lambda text: print(text, flush=True),  # noqa: T201 - Ray's log of the trial
        )

    def step(self) -> dict[str, Any]:
        """Wait for the next rung, or the end, and tell it."""
        while True:
            words = []
            for run in self._runs:
                word, reason = self._fleet.keep_going(run, has_room=True)
                if reason:
                    return self._result({}, done=True, reason=f"{run.run_id}: {reason}")
                words.append(word)
            is_over = all(word == "completed" for word in words)
            by_run = [self._fleet.rungs_of(run.run_id, self._metric) for run in self._runs]
            shared = sorted(rung for rung in by_run[0] if all(rung in known for known in by_run))
            if is_over or any(rung > self._told for rung in shared):
                self._told = max(shared, default=0)
                rungs = {rung: sum(known[rung] for known in by_run) / len(by_run) for rung in shared}
                return self._result(rungs, done=is_over, reason="")
            time.sleep(_POLL_S)

    def cleanup(self) -> None:
        """Let what still trains save and end."""
        for run in self._runs:
            while self._fleet.condition(run.run_id) == "busy":
                time.sleep(0.1)
            if self._fleet.condition(run.run_id) == "active":
                self._fleet.stop(run.run_id)
        self._fleet.close()

    def _result(self, rungs: dict[int, float], *, done: bool, reason: str) -> dict[str, Any]:
        return {
            "rungs": {str(rung): value for rung, value in rungs.items()},
            "value": next(reversed(rungs.values()), 0.0),
            "reason": reason,
            "done": done,
        }
