"""The command that starts, or queues, what a sentence describes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drivetrain.interfaces.ask.known import Known
from drivetrain.interfaces.ask.numbers import whole
from drivetrain.interfaces.ask.reading import NameUse, Reading
from drivetrain.interfaces.ask.reasons import reason

ALGORITHMS = ("ppo", "sac", "bc", "gail", "cimrl")
"""In the order in which they are offered."""
_WITHIN_PPO = ("gail", "cimrl")
"""Algorithms whose gradient steps are a PPO's, with its keys in a block of its own."""


PIPELINE = "python/configs/planning/cimrl_pipeline.yaml"
_OF_A_PIPELINE = ("--seed", "--device", "--data", "--no-mlflow")
"""Options that hold for all phases of a pipeline; the others belong to one of them."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A command that a sentence may mean."""

    argv: tuple[str, ...] | None
    """The command; None where something needed was not said."""
    others: tuple[tuple[str, ...], ...] = ()
    """What else may be meant."""
    why_not: str = ""
    """Why there is no command, or why it is not sure; a reason, empty where it is sure."""


def start_draft(reading: Reading, known: Known, *, verb: Sequence[str] = ("start",)) -> Draft:
    """Return the command that starts what a sentence describes."""
    configs = _configs(reading, known)
    if len(configs) != 1:
        return _which_config(reading, known, verb, configs)
    config = configs[0]
    algorithm = algorithm_of(config)
    named = [use for use in reading.names if use.role in ("object", "as") and not use.is_path]
    named = [use for use in named if use.role == "as" or use.text != _stem(config) or known.run(use.text)]
    strange = [use.text for use in reading.names if _fits_nowhere(use)]
    if strange:
        return Draft(argv=None, others=(_plain_start(known, config, verb=verb),), why_not=reason("no_use", strange[0]))
    if len(named) > 1:
        return Draft(argv=None, why_not=reason("two_names", named[0].text, named[1].text))
    name = named[0].text if named else None
    options, why_not = _options(reading, known, algorithm)
    run_id = name or known.free_run_id(_stem(config))
    if config == PIPELINE and any(word.startswith("--") and word not in _OF_A_PIPELINE for word in options):
        why_not = why_not or "pipeline"
        options = []
    argv = ("drivetrain", *verb, config, "--run-id", run_id, *options)
    return _checked(reading, known, argv=argv, run_id=run_id, algorithm=algorithm, why_not=why_not)


def _fits_nowhere(use: NameUse) -> bool:
    """Return whether a start has no place for a path or a quoted word."""
    if use.is_path:
        known_kind = use.text.startswith("datasets/") or re.search(r"\.(?:ya?ml|pt)$", use.text)
        return use.role == "as" or not (known_kind or use.role == "from")
    return use.role == "object" and not re.search(r"[\d_-]", use.text)


def _checked(
    reading: Reading, known: Known, *, argv: tuple[str, ...], run_id: str, algorithm: str, why_not: str
) -> Draft:
    """Return the draft, or what keeps it from being one: a taken name, missing weights, a value that fits nothing."""
    run = known.run(run_id)
    fresh = tuple(
        known.free_run_id(_stem(argv[argv.index("--run-id") - 1])) if word == run_id else word for word in argv
    )
    if why_not:
        return Draft(argv=None, others=(argv,) if run is None else (fresh,), why_not=why_not)
    if run is not None:
        state = ("status" if run.is_active else "resume",)
        return Draft(
            argv=None, others=(("drivetrain", *state, run_id), fresh), why_not=reason("taken", run_id, run.status)
        )
    if reading.has("OVERWRITE"):
        return Draft(argv=None, others=(argv,), why_not="overwrite")
    if algorithm == "cimrl" and "--init-from" not in argv and PIPELINE not in argv:
        clone = known.newest_clone()
        others = ((*argv, "--init-from", clone),) if clone else (_plain_start(known, "bc"),)
        return Draft(argv=None, others=others, why_not="cimrl")
    if reading.has("AGAIN") and known.of([algorithm]):
        old = tuple(("drivetrain", "resume", run.run_id) for run in known.of([algorithm])[:2] if not run.is_active)
        return Draft(argv=None, others=(argv, *old), why_not="again")
    return Draft(argv=argv)


def _which_config(reading: Reading, known: Known, verb: Sequence[str], configs: list[str]) -> Draft:
    """Return what could be started where no algorithm is named, or several are."""
    if configs:
        others = tuple(_plain_start(known, config, verb=verb) for config in configs)
        return Draft(argv=None, others=others, why_not="several_algorithms")
    families = {"rl": ("ppo", "sac"), "imitation": ("bc", "gail")}
    chosen = [name for family in reading.chosen("FAMILY_") for name in families[family]]
    offered = tuple(_plain_start(known, name, verb=verb) for name in chosen or ("ppo", "sac", "gail", "bc"))
    resumable = [run for run in known.runs if run.run_id in {use.text for use in reading.names} and not run.is_active]
    again = tuple(("drivetrain", "resume", run.run_id) for run in resumable)
    return Draft(argv=None, others=(*again, *offered), why_not="no_algorithm")


def _plain_start(known: Known, name: str, *, verb: Sequence[str] = ("start",)) -> tuple[str, ...]:
    config = name if name.endswith((".yaml", ".yml")) else config_of(name)
    return ("drivetrain", *verb, config, "--run-id", known.free_run_id(_stem(config)))


def config_of(algorithm: str) -> str:
    """Return the config of an algorithm on driving scenes."""
    return f"python/configs/planning/{algorithm}.yaml"


def algorithm_of(config: str) -> str:
    """Return the algorithm of a config by its name."""
    return next((name for name in ALGORITHMS if _stem(config).split("_")[0] == name), "")


def _stem(config: str) -> str:
    return re.sub(r"\.ya?ml$", "", config.rsplit("/", 1)[-1])


def _configs(reading: Reading, known: Known) -> list[str]:
    """Return the configs that a sentence names: by path, by name, by algorithm and task, or by the run's name."""
    paths = [use.text.removeprefix("./") for use in reading.names if use.is_path and re.search(r"\.ya?ml$", use.text)]
    if paths:
        return [_full_path(path, known) for path in paths]
    stems = {_stem(config): config for config in known.configs}
    objects = [use.text for use in reading.names if not use.is_path and use.role != "from"]
    named = [stems[text] for text in objects if text in stems and known.run(text) is None]
    if named:
        return named
    algorithms = reading.chosen("ALGORITHM_")
    tasks = reading.chosen("TASK_")
    if reading.has("PIPELINE"):
        fits = not tasks and set(algorithms) <= {"bc", "cimrl"}
        return [PIPELINE, *(() if fits else (config_of(name) for name in algorithms))]
    if not algorithms:
        algorithms = [name for text in objects for name in ALGORITHMS if re.match(rf"{name}(?![a-z])", text.lower())]
    if tasks and len(tasks) == 1:
        return [f"python/configs/gymnasium/{name}_{tasks[0]}.yaml" for name in dict.fromkeys(algorithms)]
    return [config_of(name) for name in dict.fromkeys(algorithms)]


def _full_path(path: str, known: Known) -> str:
    """Return a config by its path from the root where only its file name is given."""
    found = [config for config in known.configs if config == path or config.endswith(f"/{path}")]
    return found[0] if len(found) == 1 else path


def _options(reading: Reading, known: Known, algorithm: str) -> tuple[list[str], str]:
    """Return the options that the values become, and what is wrong with them."""
    options: list[str] = []
    for name, flag in (("steps", "--total-steps"), ("epochs", "--epochs"), ("seed", "--seed")):
        if name in reading.values:
            if name == ("steps" if algorithm == "bc" else "epochs"):
                return [], reason("budget", algorithm, "epochs" if algorithm == "bc" else "steps")
            value = whole(reading.values[name])
            if value is None or (name != "seed" and value == 0):
                return [], reason("bad_number", reading.values[name], name)
            options += [flag, str(value)]
    devices = reading.chosen("DEVICE_")
    if len(devices) > 1:
        return options, reason("two_values", ", ".join(devices))
    options += ["--device", devices[0]] if devices else []
    data, why_not = _data(reading)
    options += data
    sources = [use for use in reading.names if use.role == "from" or (use.is_path and use.text.endswith(".pt"))]
    sources = [use for use in sources if not use.text.startswith("datasets/") and not re.search(r"\.ya?ml$", use.text)]
    if len(sources) > 1:
        return options, reason("two_values", ", ".join(use.text for use in sources))
    if sources:
        weights, problem = _weights(sources[0].text, known, last=reading.has("LAST"))
        why_not = why_not or problem
        options += ["--init-from", weights]
    changes, problem = _changes(reading, algorithm)
    options += [word for change in changes for word in ("--set", change)]
    options += ["--no-mlflow"] if reading.has("NO_MLFLOW") else []
    return options, why_not or problem


def _weights(text: str, known: Known, *, last: bool) -> tuple[str, str]:
    """Return the checkpoint that a name or a path means, and what is wrong with it."""
    if "/" in text or text.endswith(".pt"):
        return text, ""
    run = known.run(text) or known.alike(text)
    weights = known.checkpoint(run.run_id if run else text, last=last)
    near = [other.run_id for other in known.near(text)]
    if run is None and near and not (known.root / weights).is_file():
        return known.checkpoint(near[0], last=last), reason("nearest", text, near[0])
    return weights, ""


def _data(reading: Reading) -> tuple[list[str], str]:
    paths = [use.text for use in reading.names if use.is_path and use.text.startswith("datasets/")]
    words = [name for mark, name in (("NUPLAN", "nuplan"), ("SAMPLE", "sample")) if reading.has(mark)]
    if len(paths) + len(words) > 1:
        return [], reason("two_values", ", ".join([*paths, *words]))
    if paths or words:
        return ["--data", paths[0] if paths else f"datasets/processed/{words[0]}"], ""
    return [], ""


def _changes(reading: Reading, algorithm: str) -> tuple[list[str], str]:
    """Return the KEY=VALUE of everything that has no option of its own."""
    changes = list(reading.changes)
    block = "algorithm.ppo" if algorithm in _WITHIN_PPO else "algorithm"
    sac = algorithm == "sac"
    keys: dict[str, tuple[str, ...]] = {
        "lr": ("algorithm.policy_learning_rate", "algorithm.critic_learning_rate")
        if sac
        else (f"{block}.learning_rate",),
        "policy_lr": ("algorithm.policy_learning_rate",) if sac else (),
        "critic_lr": ("algorithm.critic_learning_rate",) if sac else (),
        "batch": (f"{block}.minibatch_size",),
        "gamma": () if algorithm == "bc" else (f"{block}.gamma",),
        "clip": () if sac or algorithm == "bc" else (f"{block}.clip_range",),
        "entropy": () if sac or algorithm == "bc" else (f"{block}.entropy_coefficient",),
        "worlds": ("environment.num_worlds",),
        "processes": ("training.processes",),
        "threads": ("training.threads",),
        "minutes": ("training.max_minutes",),
    }
    for name, value in reading.values.items():
        if name in ("steps", "epochs", "seed"):
            continue
        if not keys.get(name):
            return changes, reason("no_key", algorithm or "this config", name.replace("_", " "))
        if name in ("batch", "worlds", "processes", "threads"):
            count = whole(value)
            if not count:
                return changes, reason("bad_number", value, name)
            value = str(count)
        changes += [f"{key}={value}" for key in keys[name]]
    return changes, ""
