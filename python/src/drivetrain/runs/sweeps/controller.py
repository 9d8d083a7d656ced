"""Runs a sweep: draws trials, trains them, ends the poor ones early, and says what came of it.

The study says which trials there are, the run folders how far they are; this process only reads both and does what is
next. So it may be killed at any moment: called again it finds trials that still train, resumes those that were lost or
stopped, and counts none twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from drivetrain.errors import RunError
from drivetrain.runs.sweeps.fleet import Fleet, Say, SweepRun
from drivetrain.runs.sweeps.folder import SweepFolder
from drivetrain.runs.sweeps.search_space import CheckedSweep
from drivetrain.runs.sweeps.study import Study, Trial
from drivetrain.runs.sweeps.summary import write_summary
from drivetrain.runs.sweeps.trial_runs import best_trial, confirming_runs, trial_runs

POLL_S = 1.0
HOPELESS = 3
"""A sweep whose first trials all failed ends after so many."""


class SweepController:
    """One life of a sweep."""

    def __init__(self, sweep: CheckedSweep, folder: SweepFolder, study: Study, fleet: Fleet, *, say: Say) -> None:
        self._sweep, self._config = sweep, sweep.config
        self._folder, self._study, self._fleet, self._say = folder, study, fleet, say
        size = study.grid_size()
        self._most = self._config.trials if size is None else min(size, self._config.trials)

    def run(self, is_stopped: Callable[[], bool], *, poll_s: float = POLL_S) -> bool:
        """Go on until all is done or somebody asks to stop; return whether all is done.

        Raises:
            RunError: Every trial so far failed, or the study cannot be used.
        """
        for phase, do_next in (("searching", self._search), ("confirming", self._confirm)):
            while not do_next():
                self.write_summary(phase)
                if is_stopped():
                    self._stop_all()
                    self.write_summary("stopped")
                    return False
                time.sleep(poll_s)
        self.write_summary("done")
        return True

    # --- searching ----------------------------------------------------------------------------------------------------

    def _search(self) -> bool:
        """Do what is next; return whether all trials have ended."""
        for trial in self._going():
            self._advance(trial)
        trials, going = self._study.trials(), self._going()
        if self._is_hopeless():
            self._stop_all()
            self.refuse_hopeless()
        runs = self._going_runs()
        is_waiting = any(self._fleet.condition(run.run_id) == "absent" for run in runs)
        # The first one alone at first: it prepares the data and compiles what the others then find on disk.
        is_prepared = not going or any(self._fleet.has_begun(run.run_id) for run in runs)
        if is_prepared and not is_waiting and self._has_room(runs) and (trial := self.draw()) is not None:
            self._advance(trial)
            return False
        return len(trials) >= self._most and not going

    def _is_hopeless(self) -> bool:
        words = [trial.state for trial in self._study.trials() if trial.state != "running"]
        return len(words) >= HOPELESS and set(words) == {"failed"}

    def refuse_hopeless(self) -> None:
        """Raise where all that ended so far has failed.

        Raises:
            RunError: It has; says why the last one did.
        """
        if self._is_hopeless():
            failed = [trial for trial in self._study.trials() if trial.state == "failed"]
            raise RunError(
                f"sweep '{self._sweep.name}': all {len(failed)} trials so far failed; {failed[-1].notes.get('reason')}"
            )

    def _going(self) -> list[Trial]:
        return [trial for trial in self._study.trials() if trial.state == "running"]

    def _going_runs(self) -> list[SweepRun]:
        # A trial whose values are not all drawn has no run yet.
        drawn = [trial for trial in self._going() if set(trial.values) == set(self._config.space)]
        return [run for trial in drawn for run in trial_runs(self._sweep, trial)]

    def _has_room(self, runs: Sequence[SweepRun]) -> bool:
        return self._fleet.has_room(run.run_id for run in runs)

    def _advance(self, trial: Trial) -> None:
        """Do what is next for one trial."""
        if set(trial.values) != set(self._config.space):
            trial = self._study.complete_drawing(trial.number)
        runs = trial_runs(self._sweep, trial)
        if "pruned_rung" in trial.notes or "reason" in trial.notes:
            self._end(trial, runs)
            return
        room = self._has_room(self._going_runs())
        words = []
        for run in runs:
            word, reason = self._fleet.keep_going(run, has_room=room)
            if reason:
                self._study.note(trial.number, "reason", f"{run.run_id}: {reason}")
                self._say(f"trial {trial.number}: failed; {run.run_id}: {reason}")
                self._end(self._study.get(trial.number), runs)
                return
            words.append(word)
            room = self._has_room(self._going_runs())
        is_over = all(word == "completed" for word in words)
        rung = self._report(trial, runs, is_over=is_over)
        if rung is not None:
            self._study.note(trial.number, "pruned_rung", rung)
            self._say(f"trial {trial.number}: ended at rung {rung} of {self._config.rungs}")
            self._end(self._study.get(trial.number), runs)
        elif is_over:
            self._complete(trial, runs)

    def _report(self, trial: Trial, runs: Sequence[SweepRun], *, is_over: bool) -> int | None:
        """Write down the rungs that all runs of a trial have reached; return the one at which it should end."""
        metric = self._config.objective.metric
        by_run = [self._fleet.rungs_of(run.run_id, metric) for run in runs]
        for rung in range(1, self._config.rungs + 1):
            if rung in trial.rungs or not all(rung in known for known in by_run):
                continue
            ends = self._study.report(trial.number, rung, sum(known[rung] for known in by_run) / len(by_run))
            # Where all its steps are done anyway, nothing is saved by not counting them.
            if ends and not is_over and rung < self._config.rungs:
                return rung
        return None

    def _complete(self, trial: Trial, runs: Sequence[SweepRun]) -> None:
        metric = self._config.objective.metric
        finals = [self._fleet.final(run.run_id, metric) for run in runs]
        known = [value for value in finals if value is not None]
        self._note_steps(trial, runs)
        if len(known) < len(finals):
            self._study.note(trial.number, "reason", f"{runs[0].run_id}: its evaluations have no {metric}")
            self._study.tell(trial.number, "failed")
            return
        value = sum(known) / len(known)
        self._study.tell(trial.number, "completed", value)
        self._say(f"trial {trial.number}: completed, {metric} {value:.4g}")

    def _end(self, trial: Trial, runs: Sequence[SweepRun]) -> None:
        """End the runs of a trial that was ended early or failed, and then the trial."""
        words = [self._fleet.condition(run.run_id) for run in runs]
        for run, word in zip(runs, words, strict=True):
            if word == "active":
                self._fleet.stop(run.run_id)
        if any(word in ("active", "busy") for word in words):
            return
        if "reason" not in trial.notes and all(word == "completed" for word in words):
            self._complete(trial, runs)  # it was done before the stop reached it: then it counts
            return
        self._note_steps(trial, runs)
        self._study.tell(trial.number, "failed" if "reason" in trial.notes else "pruned")

    def _note_steps(self, trial: Trial, runs: Sequence[SweepRun]) -> None:
        self._study.note(trial.number, "steps", sum(self._fleet.steps(run.run_id) for run in runs))

    # --- driven by somebody else --------------------------------------------------------------------------------------

    def interrupted(self) -> list[Trial]:
        """Return the trials that an earlier life of the sweep left unfinished, their values drawn."""
        return [self._study.complete_drawing(trial.number) for trial in self._going()]

    def draw(self) -> Trial | None:
        """Return a new trial; None where there are enough, or no hope."""
        if len(self._study.trials()) >= self._most or self._is_hopeless():
            return None
        trial = self._study.ask()
        self._say(f"trial {trial.number}: {values_text(trial)}")
        return trial

    def runs(self, trial: Trial) -> list[SweepRun]:
        """Return the trainings of a trial."""
        return trial_runs(self._sweep, trial)

    def take_rungs(self, number: int) -> bool:
        """Write down how far a trial is; return whether it should end now."""
        trial = self._study.get(number)
        rung = self._report(trial, self.runs(trial), is_over=False)
        if rung is not None:
            self._study.note(number, "pruned_rung", rung)
            self._say(f"trial {number}: ended at rung {rung} of {self._config.rungs}")
        self.write_summary("searching")
        return rung is not None

    def take_end(self, number: int, reason: str) -> None:
        """Write down the end of a trial whose trainings somebody else ran.

        Args:
            number: The trial.
            reason: Why it failed; empty: it did not.
        """
        trial = self._study.get(number)
        runs = self.runs(trial)
        if reason:
            self._study.note(number, "reason", reason)
            self._say(f"trial {number}: failed; {reason}")
            self._study.tell(number, "failed")
        elif all(self._fleet.condition(run.run_id) == "completed" for run in runs):
            self._report(trial, runs, is_over=True)
            self._complete(trial, runs)
        else:
            self._note_steps(trial, runs)
            self._study.tell(number, "pruned")
        self.write_summary("searching")

    def unconfirmed(self) -> list[SweepRun]:
        """Return the confirming runs that are not completed."""
        return [run for run in self._confirming() if self._fleet.condition(run.run_id) != "completed"]

    # --- confirming ---------------------------------------------------------------------------------------------------

    def _confirm(self) -> bool:
        """Train the best and the base config with new seeds; return whether that is done."""
        runs = self._confirming()
        is_done = True
        for run in runs:
            word, reason = self._fleet.keep_going(run, has_room=self._has_room(runs))
            is_done &= word == "completed" or bool(reason)
        return is_done

    def _confirming(self) -> list[SweepRun]:
        pairs = confirming_runs(self._sweep, best_trial(self._sweep, self._study.trials()))
        return [run for pair in pairs for run in pair]

    # --- the end ------------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Let everything that trains save and end; called again, the sweep goes on from there."""
        names = [run.run_id for run in (*self._going_runs(), *self._confirming())]
        self._wait_for(names)
        for name in names:
            if self._fleet.condition(name) == "active":
                self._fleet.stop(name)
        self._wait_for(names)

    def _wait_for(self, names: Sequence[str]) -> None:
        """Wait until nothing is being started or stopped."""
        while any(self._fleet.condition(name) == "busy" for name in names):
            time.sleep(0.1)

    def write_summary(self, phase: str) -> None:
        """Write what came of it so far."""
        write_summary(self._sweep, self._folder, self._study, self._fleet, phase=phase)


def values_text(trial: Trial) -> str:
    """Return what a trial tries, for people."""
    return ", ".join(
        f"{key.rpartition('.')[2]} {value:.4g}" if isinstance(value, float) else f"{key.rpartition('.')[2]} {value}"
        for key, value in trial.values.items()
    )
