"""Commands about what was learnt: scoring and drawing a checkpoint or a reference planner."""

from __future__ import annotations

from dataclasses import replace

from drivetrain.interfaces.ask.known import Known
from drivetrain.interfaces.ask.reading import Reading
from drivetrain.interfaces.ask.runs import named_runs
from drivetrain.interfaces.ask.start import Draft


def evaluate_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that scores a policy or a planner."""
    draft = _policy(reading, known, "evaluate")
    if draft.argv is None:
        return draft
    options: list[str] = []
    traffics = reading.chosen("TRAFFIC_")
    splits = reading.chosen("SPLIT_")
    episodes = reading.values.get("episodes") or reading.values.get("scenes")
    data = [use.text for use in reading.names if use.is_path and use.text.startswith("datasets/")]
    options += ["--data", data[0]] if data else []
    options += ["--split", splits[0]] if splits else []
    options += ["--traffic", traffics[0]] if traffics else []
    for value, flag in ((episodes, "--episodes"), (reading.values.get("seed"), "--seed")):
        options += [flag, value] if value else []
    options += ["--workers", reading.values["processes"]] if "processes" in reading.values else []
    options += ["--device", *reading.chosen("DEVICE_")] if reading.has("DEVICE_cuda", "DEVICE_cpu") else []
    return Draft(argv=(*draft.argv, *options))


def render_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that draws a policy or a planner."""
    draft = _policy(reading, known, "render")
    if draft.argv is None or "scenes" not in reading.values:
        return draft
    return Draft(argv=(*draft.argv, "--scenario", reading.values["scenes"]))


def _policy(reading: Reading, known: Known, verb: str) -> Draft:
    """Return a command about a checkpoint or a reference planner."""
    planners = reading.chosen("PLANNER_")
    paths = [use.text for use in reading.names if use.is_path and not use.text.startswith("datasets/")]
    names, problem = named_runs(
        replace(reading, names=tuple(use for use in reading.names if not use.is_path)), known, exactly=False
    )
    if problem is not None:
        others = tuple(("drivetrain", verb, known.checkpoint(argv[-1])) for argv in problem.others)
        return replace(problem, others=others)
    last = reading.has("LAST")
    found = [*paths, *(known.checkpoint(name, last=last) for name in names)]
    algorithms = reading.chosen("ALGORITHM_")
    runs = known.of(algorithms) if algorithms and not found and not planners else []
    if len(runs) == 1:
        found = [known.checkpoint(runs[0].run_id, last=last)]
    if len(found) + len(planners) != 1:
        some = runs or (known.runs[:3] if not found else ())
        others = tuple(("drivetrain", verb, known.checkpoint(run.run_id)) for run in some)
        others = others or tuple(("drivetrain", verb, path) for path in found)
        return Draft(argv=None, others=others, why_not="which_policy")
    return Draft(argv=("drivetrain", verb, *(["--planner", planners[0]] if planners else found)))
