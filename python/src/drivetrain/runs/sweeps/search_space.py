"""The search space of a sweep, held against the config that it varies: every key exists, every end of a range fits."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain.config import Override, config_hash, dump_config, load_config, parse_override, plain
from drivetrain.config.yaml_source import Place, YamlDocument, parse_yaml
from drivetrain.errors import ConfigError
from drivetrain.runs.sweeps.sweep_config import Range, SweepConfig, load_sweep, name_of

_BUDGET = "the budget of every trial is total_steps, so that their scores compare"
_TASK = "trials with other data or tasks do not compare; write one sweep for each"
_NOT_TRIED = {
    "training.seed": "seeds: N trains every trial with N seeds; a seed is nothing to choose by its score",
    "training.total_steps": _BUDGET,
    "training.epochs": _BUDGET,
    "training.max_minutes": _BUDGET,
    "training.max_cpu_minutes": _BUDGET,
    "data": _TASK,
    "environment.name": _TASK,
    "environment.id": _TASK,
    "algorithm.name": "another algorithm has other keys; write one sweep for each",
}
"""Keys that no search space may hold, and why."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One key of the search space."""

    key: str
    """Dotted."""
    values: Range
    """What to try."""
    is_whole: bool
    """Whether its range holds whole numbers only."""
    base: Any
    """The value of the base config."""

    @property
    def holds_base(self) -> bool:
        """Whether the base config's value is one of those to try."""
        if self.values.choices is not None:
            return self.base in self.values.choices
        low, high, step = self.values.low, self.values.high, self.values.step
        assert low is not None
        assert high is not None
        if isinstance(self.base, bool) or not isinstance(self.base, int | float) or not low <= self.base <= high:
            return False
        away = 0.0 if step is None else (self.base - low) / step
        return abs(away - round(away)) < 1e-9


@dataclass(frozen=True, kw_only=True)
class CheckedSweep:
    """A sweep whose file was found right."""

    name: str
    """With which the names of its runs begin."""
    config: SweepConfig
    """What the file says."""
    file: Path
    """The file."""
    base: Path
    """The config that is varied."""
    parameters: tuple[Parameter, ...]
    """The search space, in the order of the file."""
    base_hash: str
    """Of the base config with what `set` changes, everything spelled out."""
    base_seed: int
    """First seed of the trials."""
    processes: int
    """Learner processes of a trial."""
    _resolved: Any = dataclasses.field(repr=False, compare=False)

    def changes(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return KEY=VALUE of everything that a training with these values has besides its base config."""
        others = ("epochs", "max_minutes", "max_cpu_minutes")  # trials end by their steps alone
        budget = [f"training.total_steps={self.config.total_steps}"]
        budget += [f"training.{name}=null" for name in others if getattr(self._resolved.training, name) is not None]
        chosen = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        return (*self.config.set, *budget, *chosen)

    def config_text(self, values: Mapping[str, Any]) -> str:
        """Return the base config with these values, everything spelled out, as YAML."""
        overrides = [parse_override(change) for change in self.changes(values)]
        return dump_config(load_config(self.base, type(self._resolved), overrides=overrides))

    @property
    def base_values(self) -> dict[str, Any]:
        """Values of the base config, by key."""
        return {parameter.key: parameter.base for parameter in self.parameters}


def read_sweep(file: Path, *, root: Path) -> CheckedSweep:
    """Return the sweep of a file.

    Args:
        file: The sweep file.
        root: The project root, where its base config begins.

    Raises:
        ConfigError: One line per problem, with its place.
    """
    # The config classes stand beside the algorithms: this loads torch.
    from drivetrain.trainer.experiment import ExperimentConfig

    config = load_sweep(file)
    document = parse_yaml(file.read_text(encoding="utf-8"))
    base = root / config.base
    if not base.is_file():
        place = document.values[("base",)].prefix(str(file))
        raise ConfigError(f"{place}: base: {config.base} is no file; configs lie in python/configs/")
    load_config(base, ExperimentConfig)
    common = [_placed(change, document, index, file) for index, change in enumerate(config.set)]
    resolved = load_config(base, ExperimentConfig, overrides=common)
    problems, parameters = [], []
    for key, values in config.space.items():
        place = document.keys[("space", key)].prefix(str(file))
        found = _problems(key, values, config) or _misfits(key, values, base, ExperimentConfig, common, place)
        problems += [f"{place}: space.{key}: {problem}" for problem in found]
        if not found:
            whole = _is_whole(type(resolved), resolved, key.split("."))
            if whole and isinstance(values.step, float):
                problems.append(f"{place}: space.{key}: is a whole number, and a step of {values.step} leads to others")
            parameters.append(Parameter(key=key, values=values, is_whole=whole, base=_value_at(resolved, key)))
    if problems:
        raise ConfigError("\n".join(problems))
    return CheckedSweep(
        name=name_of(config, file),
        config=config,
        file=file,
        base=base,
        parameters=tuple(parameters),
        base_hash=config_hash(resolved),
        base_seed=resolved.training.seed,
        processes=resolved.training.processes,
        _resolved=resolved,
    )


def _placed(change: str, document: YamlDocument, index: int, file: Path) -> Override:
    place = document.keys.get(("set", index), Place(line=1, column=1)).prefix(str(file))
    try:
        return dataclasses.replace(parse_override(change), flag=place)
    except ConfigError as error:
        raise ConfigError(f"{place}: set: {str(error).removeprefix('--set ')}") from error


def _problems(key: str, values: Range, config: SweepConfig) -> list[str]:
    """Return why a key cannot be searched over, whatever its values."""
    if key in _NOT_TRIED:
        return [_NOT_TRIED[key]]
    if key.startswith("evaluation."):
        return ["evaluations must judge all trials alike; put it under set: [KEY=VALUE]"]
    if key.startswith("environment.reward.") and config.objective.metric == "mean_reward":
        return ["with other rewards mean_reward means something else; take objective: {metric: score}"]
    if any(change.partition("=")[0].strip() == key for change in config.set):
        return ["is under set, too; give it one value or several, not both"]
    return []


def _misfits(key: str, values: Range, base: Path, kind: type, common: list[Override], place: str) -> list[str]:
    """Return what the config says of the ends of a range, or of every choice."""
    found: dict[str, None] = {}
    for value in values.choices if values.choices is not None else (values.low, values.high):
        override = Override(path=tuple(key.split(".")), value=value, flag=place)
        try:
            load_config(base, kind, overrides=[*common, override])
        except ConfigError as error:
            # What is wrong elsewhere depends on other keys, too: a trial of such values fails and says so.
            lines = [line for line in str(error).splitlines() if line.startswith(f"{place}: ")]
            found |= dict.fromkeys(line.removeprefix(f"{place}: ") for line in lines)
    return [line.removeprefix(f"{key}: ") for line in found]


def _value_at(config: Any, key: str) -> Any:
    value = plain(config)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _is_whole(kind: Any, config: Any, path: list[str]) -> bool:
    """Return whether a key takes whole numbers only."""
    hint = typing.get_type_hints(kind).get(path[0])
    if len(path) == 1:
        return int in _members(hint) and float not in _members(hint)
    inner = getattr(config, path[0], None)
    if inner is None:  # a block that the base config leaves out: by its class
        classes = [member for member in _members(hint) if dataclasses.is_dataclass(member)]
        return bool(classes) and _is_whole(classes[0], None, path[1:])
    return dataclasses.is_dataclass(inner) and _is_whole(type(inner), inner, path[1:])


def _members(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [inner for member in typing.get_args(hint) for inner in _members(member)]
    return [hint]
