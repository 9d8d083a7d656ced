"""From slots to one command, or to none and what may have been meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from drivetrain.interfaces.ask.action import CHANGES, hindrance, meant_action
from drivetrain.interfaces.ask.known import RESUMABLE, Known, KnownRun
from drivetrain.interfaces.ask.numbers import whole
from drivetrain.interfaces.ask.permission import refusal
from drivetrain.interfaces.ask.reading import Reading, read
from drivetrain.interfaces.ask.reasons import reason, reason_text
from drivetrain.interfaces.ask.start import Draft, start_draft
from drivetrain.run_record import check_run_id

MAX_CANDIDATES = 5
_CHANGING = ("stop", "delete", "start", "resume", "queue")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a sentence means."""

    command: tuple[str, ...] | None
    """The one command, or None."""
    candidates: tuple[tuple[str, ...], ...]
    """What may have been meant where there is no command."""
    why_not: str
    """Why there is none, in a few words."""
    language: str
    """Of the sentence: en or ko."""


def answer(sentence: str, known: Known) -> Answer:
    """Return the one command that a sentence means, or what it may mean."""
    reading = read(sentence, known.names)
    action, several = meant_action(reading)
    if not action and not several:
        action = _without_a_verb(reading)
    if not action:
        why_not = "several" if several else "nothing"
        return _none(reading, [_draft(name, reading, known) for name in several], why_not, known)
    draft = _draft(action, reading, known)
    looks_only = draft.argv is not None and draft.argv[1:3] == ("queue", "list")
    why_not = hindrance(reading, "LIST" if looks_only else action) or draft.why_not or _left_over(reading, action)
    if draft.argv is None or why_not:
        return _none(reading, [draft], why_not, known)
    refused = refusal(draft.argv, known.root)
    if refused:
        return _none(reading, [], reason("refused", refused), known)
    return Answer(command=draft.argv, candidates=(), why_not="", language=reading.language)


def _without_a_verb(reading: Reading) -> str:
    """Return what is asked by a sentence that names a thing and nothing to do with it."""
    if reading.has("RESOURCES"):
        return "REPORT"
    if reading.has("FOLLOW") and reading.names:
        return "LOGS"
    asks = reading.has("IS", "ASK", "QUESTION")
    if asks and (reading.has("TRAINING", "STATE_active") or (reading.names and reading.chosen("STATE_"))):
        return "RUNNING"
    if reading.has("RUNS") and reading.has("ASK", "ALL", "REQUEST"):
        return "LIST"
    goes_on = reading.has("FORM_progressive", "FORM_becomes")
    if goes_on and (reading.names or reading.has("ASK") or reading.chosen("ALGORITHM_")):
        return "RUNNING"
    if reading.has("BETTER") and len(reading.names) >= 2:
        return "COMPARE"
    return ""


def _none(reading: Reading, drafts: list[Draft], why_not: str, known: Known) -> Answer:
    """Return that there is no command, with what may be meant: nothing destructive unless it was asked for."""
    found: list[tuple[str, ...]] = []
    for draft in drafts:
        found += [draft.argv] if draft.argv else []
        found += draft.others
    forbidden = reading.has("NEG", "SHOULD", "WHY") or any(
        a.form in ("neg", "permit", "should") for a in reading.actions
    )
    if forbidden or not found:
        found = [argv for argv in found if argv[1] not in _CHANGING]
        found += _about(reading, known)
    allowed = [argv for argv in dict.fromkeys(found) if not refusal(argv, known.root)]
    candidates = tuple(allowed[:MAX_CANDIDATES])
    return Answer(
        command=None, candidates=candidates, why_not=reason_text(why_not, reading.language), language=reading.language
    )


def _about(reading: Reading, known: Known) -> list[tuple[str, ...]]:
    """Return the commands that only look at what a sentence speaks of."""
    names = [use.text for use in reading.names if known.run(use.text)]
    if names:
        return [("drivetrain", "status", *names), *(("drivetrain", "logs", name) for name in names)]
    return [("drivetrain", "status"), ("drivetrain", "report")]


def _left_over(reading: Reading, action: str) -> str:
    """Return which part of a sentence a command has no place for."""
    fitting: Mapping[str, set[str]] = {
        "RESUME": {"steps", "epochs"},
        "EVALUATE": {"episodes", "scenes", "seed", "processes"},
        "LOGS": {"lines"},
        "SAMPLE": {"seed", "processes"},
        "RENDER": {"scenes"},
    }
    if action not in ("START", "QUEUE"):
        values = [name for name in reading.values if name not in fitting.get(action, set())]
        if values or reading.changes:
            return reason("no_use", (*values, *reading.changes)[0])
    if reading.values and reading.has("MORE", "AGAIN") and action in CHANGES:
        return "more"
    if action in ("STOP", "DELETE", "RESUME") and reading.has("DATA", "CHECKPOINT", "SAMPLE", "REPORT", "SCRATCH"):
        return "beyond_run"
    if action in ("LIST", "UI", "DOCTOR", "VERIFY", "SAMPLE") and reading.names:
        return reason("no_use", reading.names[0].text)
    return ""


def _draft(action: str, reading: Reading, known: Known) -> Draft:
    """Return the command of an action."""
    if action in ("START", "TRAIN", "OVERWRITE"):
        return start_draft(reading, known)
    if action in _PLAIN:
        return Draft(argv=("drivetrain", *_PLAIN[action]))
    build = _BUILDERS.get(action)
    return build(reading, known) if build else Draft(argv=None, why_not="nothing")


def _resolved(reading: Reading, known: Known, *, exactly: bool) -> tuple[list[str], Draft | None]:
    """Return the names of runs in a sentence, or a draft that says which one is not known.

    A name that is none but is near one is never taken for it where something would change; a name near nothing is kept
    as typed: the command itself says that there is no such run.

    Args:
        reading: The sentence.
        known: The project.
        exactly: Something would change.
    """
    names: list[str] = []
    for use in reading.names:
        if use.is_path:
            return [], Draft(argv=None, why_not=reason("no_run_id", use.text))
        alike = known.run(use.text) or (None if exactly else known.alike(use.text))
        near = [run.run_id for run in known.near(use.text)] if alike is None else []
        if near or not _can_be_run_id(use.text):
            verb = [a.meaning.lower() for a in reading.actions if a.meaning in ("STOP", "DELETE", "RESUME", "LOGS")]
            others = tuple(("drivetrain", verb[0] if verb else "status", name) for name in near)
            return [], Draft(argv=None, others=others, why_not=reason("no_run", use.text))
        names.append(alike.run_id if alike else use.text)
    return list(dict.fromkeys(names)), None


def _can_be_run_id(text: str) -> bool:
    from drivetrain.errors import UsageError

    try:
        check_run_id(text)
    except UsageError:
        return False
    return True


def _one_run(reading: Reading, known: Known, verb: str, chosen: list[KnownRun], *, exactly: bool = True) -> Draft:
    """Return a command about one run: the one that is named, or else the only one it can be."""
    names, problem = _resolved(reading, known, exactly=exactly)
    if problem is not None:
        return problem
    if len(names) == 1:
        return Draft(argv=("drivetrain", verb, names[0]))
    several = names or [run.run_id for run in chosen]
    others = tuple(("drivetrain", verb, run_id) for run_id in several)
    if not names and len(chosen) == 1 and not reading.has("ALL"):
        return Draft(argv=others[0])
    return Draft(argv=None, others=others, why_not="which_run" if not names else "one_run")


def _stop(reading: Reading, known: Known) -> Draft:
    return _one_run(reading, known, "stop", known.of(reading.chosen("ALGORITHM_"), active=True))


def _resume(reading: Reading, known: Known) -> Draft:
    chosen = [run for run in known.of(reading.chosen("ALGORITHM_")) if run.status in RESUMABLE]
    draft = _one_run(reading, known, "resume", chosen)
    if draft.argv is None:
        return draft
    for name, flag in (("steps", "--total-steps"), ("epochs", "--epochs")):
        if name in reading.values:
            value = whole(reading.values[name])
            if not value:
                return replace(draft, argv=None, why_not=reason("bad_number", reading.values[name], name))
            draft = replace(draft, argv=(*(draft.argv or ()), flag, str(value)))
    return draft


def _restart(reading: Reading, known: Known) -> Draft:
    anew = start_draft(reading, known)
    resumed = _resume(reading, known)
    others = [draft.argv for draft in (resumed, anew) if draft.argv] + [*anew.others]
    return Draft(argv=None, others=tuple(others), why_not="restart")


def _delete(reading: Reading, known: Known) -> Draft:
    draft = _one_run(reading, known, "delete", [])
    if draft.argv is None and not draft.others:
        ended = [run for run in known.of(reading.chosen("ALGORITHM_")) if not run.is_active]
        others = tuple(("drivetrain", "delete", run.run_id) for run in ended)
        return replace(draft, others=others, why_not=draft.why_not or "which_run")
    return draft


def _status(reading: Reading, known: Known) -> Draft:
    if reading.has("DEVICE_cuda", "DEVICE_cpu", "RESOURCES"):
        return _report(reading, known)
    names, problem = _resolved(reading, known, exactly=False)
    if problem is not None:
        return problem
    states = reading.chosen("STATE_")
    ended = [state for state in states if state in ("failed", "stopped", "completed", "lost", "stalled", "queued")]
    if ended and not names and reading.has("RUNS", "LIST") | any(a.meaning == "LIST" for a in reading.actions):
        return Draft(argv=("drivetrain", "list", "--status", *ended))
    algorithms = reading.chosen("ALGORITHM_")
    if not names and algorithms:
        runs = known.of(algorithms, active=True) or known.of(algorithms)[:1]
        names = [run.run_id for run in runs]
    only = ["--active"] if reading.has("ONLY", "P_ONLY") and "active" in states and not names else []
    return Draft(argv=("drivetrain", "status", *names, *only))


def _show(reading: Reading, known: Known) -> Draft:
    if reading.names:
        return _status(reading, known)
    if reading.has("RESOURCES", "DEVICE_cuda"):
        return _report(reading, known)
    if reading.has("STATE_active"):
        return _status(reading, known)
    if reading.has("RUNS"):
        return _list(reading, known)
    return Draft(argv=None, why_not="show_what")


def _list(reading: Reading, known: Known) -> Draft:
    states = [state for state in reading.chosen("STATE_") if state in _LISTED]
    running = any(a.meaning == "RUNNING" for a in reading.actions) or "active" in reading.chosen("STATE_")
    wanted = [_LISTED[state] for state in states] + (["running"] if running and not states else [])
    stopped = any(a.meaning == "STOP" and a.form == "adnom" for a in reading.actions)
    wanted += ["stopped"] if stopped and not wanted else []
    return Draft(argv=("drivetrain", "list", *(["--status", *wanted] if wanted else [])))


_LISTED = {name: name for name in ("failed", "stopped", "completed", "lost", "stalled", "queued")}


def _report(reading: Reading, known: Known) -> Draft:
    languages = reading.chosen("LANG_") or (["ko"] if reading.language == "ko" else [])
    files = [use.text for use in reading.names if use.is_path]
    if len(languages) > 1 or len(files) > 1 or any("/" in file and ".." in file for file in files):
        return Draft(argv=None, why_not="report_how")
    options = ["--lang", languages[0]] if languages else []
    return Draft(argv=("drivetrain", "report", *options, *(["--out", files[0]] if files else [])))


def _logs(reading: Reading, known: Known) -> Draft:
    algorithms = reading.chosen("ALGORITHM_")
    active = known.of(algorithms, active=True)
    chosen = active or (known.of(algorithms)[:1] if len(known.of(algorithms)) == 1 else [])
    draft = _one_run(reading, known, "logs", chosen, exactly=False)
    if draft.argv is None:
        return (
            draft
            if draft.others
            else replace(draft, others=tuple(("drivetrain", "logs", r.run_id) for r in known.runs))
        )
    follow = reading.has("FOLLOW") or any(a.meaning == "WATCH" for a in reading.actions) or _keeps_on(reading)
    lines = whole(reading.values["lines"]) if "lines" in reading.values else None
    return Draft(argv=(*draft.argv, *(["-n", str(lines)] if lines else []), *(["-f"] if follow else [])))


def _keeps_on(reading: Reading) -> bool:
    return any(action.text in ("계속", "계속해서") for action in reading.actions)


def _compare(reading: Reading, known: Known) -> Draft:
    names, problem = _resolved(reading, known, exactly=False)
    if problem is not None:
        return problem
    for algorithm in reading.chosen("ALGORITHM_") if len(names) < 2 else ():
        runs = known.of([algorithm])
        if len(runs) != 1:
            others = tuple(("drivetrain", "compare", *[r.run_id for r in runs[:4]]) for _ in (0,) if len(runs) > 1)
            return Draft(argv=None, others=others, why_not=reason("which_run_of", algorithm))
        names.append(runs[0].run_id)
    names = list(dict.fromkeys(names))
    if len(names) < 2 and reading.has("ALL", "RUNS") and not names and len(known.runs) >= 2:
        names = [run.run_id for run in known.runs]
    if len(names) < 2:
        newest = [run.run_id for run in known.runs if run.run_id not in names][: 2 - len(names)]
        others = (("drivetrain", "compare", *names, *newest),) if len(names) + len(newest) == 2 else ()
        return Draft(argv=None, others=others, why_not="which_runs")
    return Draft(argv=("drivetrain", "compare", *names))


def _evaluate(reading: Reading, known: Known) -> Draft:
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


def _render(reading: Reading, known: Known) -> Draft:
    draft = _policy(reading, known, "render")
    if draft.argv is None or "scenes" not in reading.values:
        return draft
    return Draft(argv=(*draft.argv, "--scenario", reading.values["scenes"]))


def _policy(reading: Reading, known: Known, verb: str) -> Draft:
    """Return a command about a checkpoint or a reference planner."""
    planners = reading.chosen("PLANNER_")
    paths = [use.text for use in reading.names if use.is_path and not use.text.startswith("datasets/")]
    names, problem = _resolved(
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


def _watch(reading: Reading, known: Known) -> Draft:
    _, problem = _resolved(reading, known, exactly=False)
    return problem if problem is not None else Draft(argv=("drivetrain", "watch"))


def _queue(reading: Reading, known: Known) -> Draft:
    if reading.chosen("ALGORITHM_") or any(a.meaning in ("START", "ADD", "TRAIN") for a in reading.actions):
        return start_draft(reading, known, verb=("queue", "add"))
    return Draft(argv=("drivetrain", "queue", "list"))


def _sample(reading: Reading, known: Known) -> Draft:
    options: list[str] = []
    for name, flag in (("seed", "--seed"), ("processes", "--workers")):
        options += [flag, reading.values[name]] if name in reading.values else []
    return Draft(argv=("drivetrain", "data", "sample", *options))


def _verify(reading: Reading, known: Known) -> Draft:
    if reading.has("DATA"):
        others = (("drivetrain", "data", "verify", "datasets/processed/sample"), ("drivetrain", "verify"))
        return Draft(argv=None, others=others, why_not="which_data")
    return Draft(argv=("drivetrain", "verify"))


_PLAIN: Mapping[str, tuple[str, ...]] = {"UI": ("ui",), "DOCTOR": ("doctor",)}
_BUILDERS: Mapping[str, Callable[[Reading, Known], Draft]] = {
    "STOP": _stop,
    "RESUME": _resume,
    "RESTART": _restart,
    "DELETE": _delete,
    "STATUS": _status,
    "RUNNING": _status,
    "SHOW": _show,
    "LIST": _list,
    "REPORT": _report,
    "LOGS": _logs,
    "COMPARE": _compare,
    "EVALUATE": _evaluate,
    "RENDER": _render,
    "WATCH": _watch,
    "QUEUE": _queue,
    "SAMPLE": _sample,
    "VERIFY": _verify,
}
