"""What is done about the watchdog's findings: tell them, stop the run, or take it back to its last good checkpoint.

A good checkpoint (``good.pt``) is a ``last.pt`` that was written while no rule that acts saw any trouble. It is kept
only where some rule may roll back, as a second name of the same file: it costs nothing until ``last.pt`` is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from drivetrain.algorithms.algorithm import Algorithm
from drivetrain.errors import DivergenceError, RunError
from drivetrain.run_record import RunRecord, link_atomic
from drivetrain.trainer.checkpoint import load_checkpoint
from drivetrain.trainer.display import Display
from drivetrain.trainer.metric_log import MetricLog
from drivetrain.trainer.progress import Progress
from drivetrain.trainer.replay_file import Memory, load_replay
from drivetrain.trainer.watchdog import AlarmError, Finding, Watchdog, are_finite


class Rescue:
    """Stands between the watchdog and the training loop."""

    def __init__(
        self,
        watchdog: Watchdog,
        *,
        algorithm: Algorithm,
        replay: Memory | None,
        record: RunRecord,
        log: MetricLog,
        display: Display,
    ) -> None:
        """Take what a roll-back needs.

        Args:
            watchdog: Looks at every row.
            algorithm: The learner.
            replay: What it remembers, kept in a file of its own; None: nothing.
            record: The run's files.
            log: Where findings are noted.
            display: Where people look.
        """
        self.watchdog = watchdog
        self._algorithm, self._replay = algorithm, replay
        self._record, self._log, self._display = record, log, display

    def look(self, row: Mapping[str, Any], *, seconds: float) -> None:
        """Show the watchdog a row, and tell what is to be told.

        Raises:
            AlarmError: The run is to stop or to roll back.
        """
        for finding in self.watchdog.observe(row, seconds=seconds, weights_are_finite=self._weights_are_finite()):
            if finding.action != "warn":
                raise AlarmError(finding)
            self._tell(finding, step=row["step"])

    def _weights_are_finite(self) -> bool:
        modules = (self._algorithm.policy, *self._algorithm.heads.values())
        return are_finite(tensor for module in modules for tensor in module.state_dict().values())

    @property
    def needs_a_good_one(self) -> bool:
        """True where a checkpoint has to be written now, so that there is one to go back to."""
        return self.watchdog.config.may_roll_back and not self._record.paths.good.exists()

    def keep_if_good(self) -> None:
        """Keep the ``last.pt`` that was just written, and what lies beside it, as the good one, if it is."""
        if self.watchdog.config.may_roll_back and self.watchdog.is_calm:
            paths = self._record.paths
            replays = [*paths.checkpoint_dir.glob(paths.REPLAYS)]
            for replay in replays:  # before the checkpoint that they belong to
                link_atomic(replay, replay.with_name(_good(replay.name)))
            link_atomic(paths.last, paths.good)
            kept = {_good(replay.name) for replay in replays}
            for older in paths.checkpoint_dir.glob(_good(paths.REPLAYS)):
                if older.name not in kept:
                    older.unlink(missing_ok=True)

    def recover(self, error: DivergenceError, progress: Progress) -> Progress:
        """Load the last good checkpoint and return where the run stands then.

        Args:
            error: What happened.
            progress: Where the run stands now.

        Raises:
            RunError: The run is to stop, or cannot be taken back.
        """
        finding = error.finding if isinstance(error, AlarmError) else self.watchdog.failed(str(error))
        self._tell(finding, step=progress.step)
        paths, config = self._record.paths, self.watchdog.config
        if finding.action != "rollback":
            raise RunError(f"{finding.text}; {self._remedy(finding)}") from error
        if self.watchdog.rollbacks >= config.max_rollbacks:
            raise RunError(
                f"{finding.text}; after {config.max_rollbacks} roll-backs (watchdog.max_rollbacks) the run ends; "
                f"{self._remedy(finding)}"
            ) from error
        if not paths.good.is_file():
            raise RunError(f"{finding.text}; there is no good checkpoint to go back to; start anew") from error
        state = load_checkpoint(paths.good).training
        assert state is not None
        if self._replay is not None:
            load_replay(paths, self._replay, name=_good(state["replay"]))
        self._algorithm.load_state_dict(state["algorithm"])
        torch.set_rng_state(state["torch_random"])
        self.watchdog.recall(state["watchdog"])
        self.watchdog.roll_back()
        earlier = Progress(**state["progress"])
        self._say(
            f"rolled back from step {progress.step:,} to {earlier.step:,}; learning rates are now "
            f"{self.watchdog.learning_rate_scale:g} of what the config says",
        )
        self._record.event(
            "rolled_back",
            rule=finding.rule,
            from_step=progress.step,
            to_step=earlier.step,
            learning_rate_scale=self.watchdog.learning_rate_scale,
            rollbacks=self.watchdog.rollbacks,
        )
        # Time and the best policy are not taken back: best.pt is still there.
        kept = {name: getattr(progress, name) for name in ("seconds", "cpu_seconds", "evaluation_seconds", "best")}
        return replace(earlier, **kept)

    def _remedy(self, finding: Finding) -> str:
        paths = self._record.paths
        if not paths.last.is_file():
            return "start anew with a lower learning rate"
        return (
            f"the last checkpoint is kept in {paths.relative(paths.last)}: --resume with "
            f"--set watchdog.{finding.rule}.action=rollback, or --init-from it with a lower learning rate"
        )

    def _tell(self, finding: Finding, *, step: int) -> None:
        self._record.update(alert=f"step {step:,}: {finding.text}", immediately=True)
        self._record.event("alert", step=step, **finding.event())
        self._say(f"step {step:,}: {finding.text}")

    def _say(self, text: str) -> None:
        self._log.note(text)
        self._display.say(text)


def _good(name: str) -> str:
    """Return the name under which a file beside ``last.pt`` is kept beside ``good.pt``."""
    return name.replace("last", "good", 1)
