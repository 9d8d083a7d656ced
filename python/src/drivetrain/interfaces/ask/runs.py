"""Commands about runs: which run a sentence means, and what is to become of it."""

from __future__ import annotations

from dataclasses import replace

from drivetrain.errors import UsageError
from drivetrain.interfaces.ask.known import RESUMABLE, Known, KnownRun
from drivetrain.interfaces.ask.numbers import whole
from drivetrain.interfaces.ask.reading import Reading
from drivetrain.interfaces.ask.reasons import reason
from drivetrain.interfaces.ask.start import Draft, start_draft
from drivetrain.run_record import check_run_id


def named_runs(reading: Reading, known: Known, *, exactly: bool) -> tuple[list[str], Draft | None]:
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
    try:
        check_run_id(text)
    except UsageError:
        return False
    return True


def _one_run(reading: Reading, known: Known, verb: str, chosen: list[KnownRun], *, exactly: bool = True) -> Draft:
    """Return a command about one run: the one that is named, or else the only one it can be."""
    names, problem = named_runs(reading, known, exactly=exactly)
    if problem is not None:
        return problem
    if len(names) == 1:
        return Draft(argv=("drivetrain", verb, names[0]))
    several = names or [run.run_id for run in chosen]
    others = tuple(("drivetrain", verb, run_id) for run_id in several)
    if not names and len(chosen) == 1 and not reading.has("ALL"):
        return Draft(argv=others[0])
    return Draft(argv=None, others=others, why_not="which_run" if not names else "one_run")


def stop_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that stops a run."""
    return _one_run(reading, known, "stop", known.of(reading.chosen("ALGORITHM_"), active=True))


def resume_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that continues a run."""
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


def restart_draft(reading: Reading, known: Known) -> Draft:
    """Return what starting again may mean: never one command."""
    anew = start_draft(reading, known)
    resumed = resume_draft(reading, known)
    others = [draft.argv for draft in (resumed, anew) if draft.argv] + [*anew.others]
    return Draft(argv=None, others=tuple(others), why_not="restart")


def delete_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that deletes a run, which must be named."""
    draft = _one_run(reading, known, "delete", [])
    if draft.argv is None and not draft.others:
        ended = [run for run in known.of(reading.chosen("ALGORITHM_")) if not run.is_active]
        others = tuple(("drivetrain", "delete", run.run_id) for run in ended)
        return replace(draft, others=others, why_not=draft.why_not or "which_run")
    return draft


def logs_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that shows a run's log."""
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


def compare_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that puts runs side by side."""
    names, problem = named_runs(reading, known, exactly=False)
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


def watch_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that watches all runs, with the named one under the cursor."""
    names, problem = named_runs(reading, known, exactly=False)
    return problem if problem is not None else Draft(argv=("drivetrain", "watch", *names[:1]))
