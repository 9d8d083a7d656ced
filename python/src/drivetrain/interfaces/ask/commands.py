"""From slots to one command, or to none and what may have been meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drivetrain.interfaces.ask.action import CHANGES, hindrance, meant_action
from drivetrain.interfaces.ask.known import Known
from drivetrain.interfaces.ask.permission import refusal
from drivetrain.interfaces.ask.policies import evaluate_draft, render_draft
from drivetrain.interfaces.ask.reading import Reading, read
from drivetrain.interfaces.ask.reasons import reason, reason_text
from drivetrain.interfaces.ask.runs import (
    compare_draft,
    delete_draft,
    logs_draft,
    restart_draft,
    resume_draft,
    stop_draft,
    watch_draft,
)
from drivetrain.interfaces.ask.start import Draft, start_draft
from drivetrain.interfaces.ask.views import list_draft, report_draft, show_draft, status_draft

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


def _queue(reading: Reading, known: Known) -> Draft:
    adds = any(action.meaning in ("START", "ADD", "TRAIN") for action in reading.actions)
    if adds or reading.chosen("ALGORITHM_") or reading.has("PIPELINE"):
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
    "STOP": stop_draft,
    "RESUME": resume_draft,
    "RESTART": restart_draft,
    "DELETE": delete_draft,
    "STATUS": status_draft,
    "RUNNING": status_draft,
    "SHOW": show_draft,
    "LIST": list_draft,
    "REPORT": report_draft,
    "LOGS": logs_draft,
    "COMPARE": compare_draft,
    "EVALUATE": evaluate_draft,
    "RENDER": render_draft,
    "WATCH": watch_draft,
    "QUEUE": _queue,
    "SAMPLE": _sample,
    "VERIFY": _verify,
}
