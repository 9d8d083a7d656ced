"""Commands that only look: status, lists and the report."""

from __future__ import annotations

from drivetrain.interfaces.ask.known import Known
from drivetrain.interfaces.ask.reading import Reading
from drivetrain.interfaces.ask.runs import named_runs
from drivetrain.interfaces.ask.start import Draft

_LISTED = {name: name for name in ("failed", "stopped", "completed", "lost", "stalled", "queued")}


def status_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that tells how runs are doing."""
    if reading.has("DEVICE_cuda", "DEVICE_cpu", "RESOURCES"):
        return report_draft(reading, known)
    names, problem = named_runs(reading, known, exactly=False)
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


def show_draft(reading: Reading, known: Known) -> Draft:
    """Return what is to be shown where the sentence only says "show"."""
    if reading.names:
        return status_draft(reading, known)
    if reading.has("RESOURCES", "DEVICE_cuda"):
        return report_draft(reading, known)
    if reading.has("STATE_active"):
        return status_draft(reading, known)
    if reading.has("RUNS"):
        return list_draft(reading, known)
    return Draft(argv=None, why_not="show_what")


def list_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that lists runs."""
    states = [state for state in reading.chosen("STATE_") if state in _LISTED]
    running = any(a.meaning == "RUNNING" for a in reading.actions) or "active" in reading.chosen("STATE_")
    wanted = [_LISTED[state] for state in states] + (["running"] if running and not states else [])
    stopped = any(a.meaning == "STOP" and a.form == "adnom" for a in reading.actions)
    wanted += ["stopped"] if stopped and not wanted else []
    return Draft(argv=("drivetrain", "list", *(["--status", *wanted] if wanted else [])))


def report_draft(reading: Reading, known: Known) -> Draft:
    """Return the command that writes the report."""
    languages = reading.chosen("LANG_") or (["ko"] if reading.language == "ko" else [])
    files = [use.text for use in reading.names if use.is_path]
    if len(languages) > 1 or len(files) > 1 or any("/" in file and ".." in file for file in files):
        return Draft(argv=None, why_not="report_how")
    options = ["--lang", languages[0]] if languages else []
    return Draft(argv=("drivetrain", "report", *options, *(["--out", files[0]] if files else [])))
