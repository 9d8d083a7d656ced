"""The trials of a sweep on disk, and the library that proposes them: the only file that knows Optuna.

The study is Optuna's own journal, which its other tools read, too: lines that are only ever added. A process killed at
any moment leaves at worst a torn last line, which the next one removes. Samplers are made anew for every trial, seeded
with the sweep's seed and the trial's number, so that a sweep that was interrupted proposes what it would have proposed.
"""

from __future__ import annotations

import itertools
import json
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from drivetrain.errors import RunError, UsageError, one_line
from drivetrain.run_record import drop_torn_line
from drivetrain.runs.sweeps.search_space import Parameter
from drivetrain.runs.sweeps.sweep_config import (
    ASHAPruner,
    CMAESSampler,
    GridSampler,
    HyperbandPruner,
    MedianPruner,
    SweepConfig,
    TPESampler,
)

if TYPE_CHECKING:
    import optuna
    from optuna.storages.journal import JournalFileOpenLock

State = Literal["running", "completed", "pruned", "failed"]
_PRIME = 1_000_003


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial as the study knows it."""

    number: int
    """From 0."""
    state: State
    """How far it is."""
    values: Mapping[str, Any]
    """What it tries, by key; incomplete where the process was killed while it was drawn."""
    value: float | None
    """Of the objective: of its end where it was completed, else its newest."""
    rungs: Mapping[int, float]
    """The objective by rung."""
    notes: Mapping[str, Any]
    """What else was written down about it."""
    seconds: float | None
    """From its proposal to its end [s]; None while it runs."""


def require_optuna() -> None:
    """Make sure that Optuna is there.

    Raises:
        UsageError: It is not.
    """
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise UsageError("sweep: needs the extra 'sweep': pip install 'drivetrain[sweep]'")


class Study:
    """The trials of one sweep."""

    def __init__(self, path: Path, config: SweepConfig, parameters: Sequence[Parameter]) -> None:
        """Open or make a study.

        Args:
            path: Its journal; nobody else has it open.
            config: The sweep.
            parameters: Its search space.

        Raises:
            RunError: The file cannot be used.
            UsageError: Optuna, or what a sampler needs, is not installed.
        """
        require_optuna()
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config, self._parameters = config, parameters
        drop_torn_line(path)
        try:
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=_unlocked(path)))
            self._study = optuna.create_study(
                storage=storage,
                study_name=path.parent.name,
                direction="maximize" if config.objective.maximizes else "minimize",
                sampler=self._sampler(0),
                pruner=_pruner(config),
                load_if_exists=True,
            )
        except UsageError:
            raise
        except Exception as error:  # whatever a damaged journal makes of it
            raise RunError(
                f"{path}: the study cannot be used ({one_line(error)}); check who owns it, or delete the folder to "
                "begin anew"
            ) from error
        self._handles: dict[int, optuna.trial.Trial] = {}

    def trials(self) -> list[Trial]:
        """Return all trials that were drawn, in order."""
        return [self._trial(frozen) for frozen in self._frozen()]

    def ask(self) -> Trial:
        """Draw the next trial; its values are on disk when this returns."""
        import optuna

        number = len(self._frozen())
        waiting = self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
        fixed = self._fixed(number)
        if fixed is not None and not waiting:
            self._study.enqueue_trial({key: _encoded(self._values(key), value) for key, value in fixed.items()})
        self._study.sampler = self._sampler(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's experimental corners are its own matter
            handle = self._study.ask()
            self._handles[handle.number] = handle
            self._draw(handle)
        return self.get(handle.number)

    def complete_drawing(self, number: int) -> Trial:
        """Draw what a trial lacks because the process that drew it was killed."""
        self._study.sampler = self._sampler(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._draw(self._handle(number))
        return self.get(number)

    def get(self, number: int) -> Trial:
        """Return one trial."""
        return self._trial(self._frozen()[number])

    def report(self, number: int, rung: int, value: float) -> bool:
        """Write down the objective at a rung; return whether the trial should end there."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._handle(number).report(value, step=rung)
            return self._study.pruner.prune(self._study, self._frozen()[number])

    def note(self, number: int, key: str, value: Any) -> None:
        """Write something down about a trial."""
        self._handle(number).set_user_attr(key, value)

    def tell(self, number: int, state: State, value: float | None = None) -> None:
        """Write down how a trial ended."""
        import optuna

        states = optuna.trial.TrialState
        ends = {"completed": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}
        self._study.tell(number, values=value, state=ends[state])

    def importance(self) -> dict[str, float]:
        """Return how much each key decides about being among the best trials; the shares add up to 1.

        By PED-ANOVA (Watanabe et al. 2023), over all completed trials; empty where there are too few of them or they
        do not differ.
        """
        import optuna

        completed = [trial for trial in self.trials() if trial.state == "completed"]
        if len(completed) < 4 or len({trial.value for trial in completed}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = optuna.importance.get_param_importances(
                    self._study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
                )
            except (RuntimeError, ValueError):
                return {}
        return {key: float(share) for key, share in found.items()}

    def grid_size(self) -> int | None:
        """Return how many trials there can be; None: any number."""
        return len(self._grid()) if isinstance(self._config.sampler, GridSampler) else None

    def _fixed(self, number: int) -> dict[str, Any] | None:
        """Return the values of a trial where they do not depend on the others: the base config's, or of a grid."""
        if isinstance(self._config.sampler, GridSampler):
            return self._grid()[number]
        if number == 0 and all(parameter.holds_base for parameter in self._parameters):
            return {parameter.key: parameter.base for parameter in self._parameters}
        return None

    def _grid(self) -> list[dict[str, Any]]:
        axes = [[(parameter.key, value) for value in grid_values(parameter)] for parameter in self._parameters]
        cells = [dict(cell) for cell in itertools.product(*axes)]
        random.Random(self._config.seed).shuffle(cells)
        return cells

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        import optuna

        seed = (self._config.seed * _PRIME + number) % 2**32
        sampler = self._config.sampler
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(sampler, TPESampler):
                return optuna.samplers.TPESampler(n_startup_trials=sampler.startup_trials, seed=seed)
            if isinstance(sampler, CMAESSampler):
                _require_cmaes()
                return optuna.samplers.CmaEsSampler(seed=seed)
            return optuna.samplers.RandomSampler(seed=seed)

    def _draw(self, handle: optuna.trial.Trial) -> None:
        for parameter in self._parameters:
            values, key = parameter.values, parameter.key
            if values.choices is not None:
                handle.suggest_categorical(key, [_encoded(values, choice) for choice in values.choices])
                continue
            low, high, step = values.low, values.high, values.step
            assert low is not None
            assert high is not None
            if parameter.is_whole:
                handle.suggest_int(key, int(low), int(high), step=int(step or 1), log=values.log)
            else:
                handle.suggest_float(key, float(low), float(high), step=step, log=values.log)

    def _handle(self, number: int) -> optuna.trial.Trial:
        """Return what a running trial is written by; after a restart a new one."""
        import optuna

        if number not in self._handles:
            self._handles[number] = optuna.trial.Trial(self._study, self._frozen()[number]._trial_id)
        return self._handles[number]

    def _frozen(self) -> list[optuna.trial.FrozenTrial]:
        import optuna

        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != optuna.trial.TrialState.WAITING]

    def _trial(self, frozen: optuna.trial.FrozenTrial) -> Trial:
        words: dict[str, State] = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed"}
        rungs = dict(sorted(frozen.intermediate_values.items()))
        newest = next(reversed(rungs.values()), None)
        return Trial(
            number=frozen.number,
            state=words.get(frozen.state.name, "running"),
            values={key: _decoded(self._values(key), value) for key, value in frozen.params.items()},
            value=frozen.value if frozen.state.name == "COMPLETE" else newest,
            rungs=rungs,
            notes=dict(frozen.user_attrs),
            seconds=frozen.duration.total_seconds() if frozen.duration is not None else None,
        )

    def _values(self, key: str) -> Any:
        return next(parameter.values for parameter in self._parameters if parameter.key == key)


def _unlocked(path: Path) -> JournalFileOpenLock:
    """Return a lock that is none: the sweep's own keeps others out, and a killed process cannot leave it behind."""
    from optuna.storages.journal import JournalFileOpenLock

    class Unlocked(JournalFileOpenLock):
        """Locks nothing."""

        def acquire(self) -> bool:
            """Do nothing."""
            return True

        def release(self) -> None:
            """Do nothing."""

    return Unlocked(str(path))


def grid_values(parameter: Parameter) -> list[Any]:
    """Return the values that a grid has of a key."""
    values = parameter.values
    if values.choices is not None:
        return list(values.choices)
    assert values.low is not None
    assert values.high is not None
    assert values.step is not None
    count = int((values.high - values.low) / values.step + 1e-9) + 1
    numbers = [values.low + index * values.step for index in range(count)]
    return [int(number) for number in numbers] if parameter.is_whole else [float(number) for number in numbers]


def _encoded(values: Any, value: Any) -> Any:
    """Return a value as the study keeps it: lists and mappings, which it does not know, as text."""
    has_blocks = any(isinstance(choice, list | dict) for choice in values.choices or ())
    return json.dumps(value) if has_blocks else value


def _decoded(values: Any, value: Any) -> Any:
    has_blocks = any(isinstance(choice, list | dict) for choice in values.choices or ())
    return json.loads(value) if has_blocks else value


def _pruner(config: SweepConfig) -> optuna.pruners.BasePruner:
    import optuna

    pruner = config.pruner
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(pruner, MedianPruner):
            return optuna.pruners.PercentilePruner(
                100.0 * pruner.keep, n_startup_trials=pruner.startup_trials, n_warmup_steps=pruner.warmup_rungs + 1
            )
        if isinstance(pruner, ASHAPruner):
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=pruner.first_rung, reduction_factor=pruner.reduction
            )
        if isinstance(pruner, HyperbandPruner):
            return optuna.pruners.HyperbandPruner(
                min_resource=pruner.first_rung, max_resource=config.rungs, reduction_factor=pruner.reduction
            )
        return optuna.pruners.NopPruner()


def _require_cmaes() -> None:
    import importlib.util

    if importlib.util.find_spec("cmaes") is None:
        raise UsageError("sweep: sampler cmaes needs the package cmaes: pip install cmaes; or choose sampler: tpe")
