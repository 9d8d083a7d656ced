"""The page of a run: curves, scores beside reference rows, worst scenes, throughput, events, what it was made with."""

from __future__ import annotations

import datetime
import html
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from drivetrain.interfaces.number_text import clock_text, percent_text, step_text
from drivetrain.interfaces.run_page.curves import (
    SHARES,
    TRAINED,
    evaluation_charts,
    read_columns,
    throughput,
    training_charts,
)
from drivetrain.interfaces.run_page.judgement import Judgement, judge
from drivetrain.interfaces.run_page.style_sheet import style_sheet
from drivetrain.run_record import project_root, read_jsonl_tail
from drivetrain.runs.evaluations import read_evaluations
from drivetrain.runs.run_store import Run, RunStore

MOST_EVENTS = 400
ROUTINE = ("evaluated", "checkpoint", "best")
"""Events that every run has many of; the curves say more."""
SHARE_COLORS = ("ego", "cyclist", "green", "parked")


def run_page(
    run_id: str, *, scenes: int = 6, evaluate: bool = True, progress: Callable[[int, int, str], None] | None = None
) -> str:
    """Return a run as one HTML page.

    Args:
        run_id: The run.
        scenes: How many of its worst scenes are drawn.
        evaluate: Evaluate its best policy for the table of scores; False: leave that and the scenes out.
        progress: Told of the evaluation: (finished, all) scenarios and who drives.

    Raises:
        RunError: There is no such run.
    """
    root = project_root()
    run = RunStore(root).get(run_id)
    config = _config(run.paths.config_yaml)
    judged = judge(run, config, root, scenes=scenes, progress=progress) if evaluate else Judgement()
    columns = read_columns(run.paths, (*TRAINED, *SHARES))
    body = [
        _head(run),
        _section("Best policy", _scores(judged) if evaluate else ""),
        _section("Evaluations while it trained", _evaluations(run, config, judged)),
        _section("Worst scenes", _gallery(judged)),
        _section("Training", _charts(training_charts(columns))),
        _section("Where the time went", _shares(throughput(columns))),
        _section("Events", _events(run)),
        _section("What it was made with", _facts(run) + _config_block(run.paths.config_yaml)),
    ]
    title = html.escape(f"{run.run_id}: {run.algorithm or 'run'}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        f'img-src data:"><title>{title}</title><style>{style_sheet()}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _head(run: Run) -> str:
    health = run.health
    detail = f" ({html.escape(health.detail)})" if health.detail else ""
    began = datetime.datetime.fromtimestamp(run.created).strftime("%Y-%m-%d %H:%M") if run.created else "unknown"
    seconds = run.metric("seconds")
    facts = [
        f"{step_text(run.step)} of {step_text(run.total_steps)} steps",
        f"begun {began}",
        *([f"{clock_text(seconds)} of training"] if seconds is not None else []),
    ]
    return (
        f"<header><h1>{html.escape(run.run_id)} <small>{html.escape(run.algorithm.upper())}</small>"
        f'<span class="status {html.escape(health.status)}">{html.escape(health.status)}{detail}</span></h1>'
        f"<p>{html.escape(' · '.join(facts))}</p></header>"
    )


def _scores(judged: Judgement) -> str:
    notes = "".join(_note(text) for text in judged.notes)
    if judged.result is None:
        return notes + _note(f"Not evaluated: {judged.problem}.")
    from drivetrain.trainer.evaluation_result import ALL_METRICS, cell_text

    rows = (judged.result, *judged.result.reference)
    names = [name for name in ALL_METRICS if name in judged.result.metrics]
    labels = ["this run", *(row.label for row in rows[1:])]
    head = "".join(f"<th>{html.escape(label)}</th>" for label in labels)
    body = "".join(
        f"<tr><td>{name}</td>"
        + "".join(f"<td>{cell_text(row.metrics[name], ALL_METRICS[name])}</td>" for row in rows)
        + "</tr>"
        for name in names
    )
    about = (
        f"{judged.result.scored} held-out episodes; shares x 100, ± half the 95 % interval; "
        f"traffic {judged.result.traffic or 'none'}, dynamics {judged.result.dynamics or 'none'}"
    )
    return f'{notes}<p>{about}.</p><div class="wide"><table><tr><th></th>{head}</tr>{body}</table></div>'


def _evaluations(run: Run, config: Mapping[str, Any], judged: Judgement) -> str:
    evaluations = read_evaluations(run.paths)
    if not evaluations:
        return _note("This run has made no evaluation yet.")
    levels = []
    if judged.result is not None:
        for row in judged.result.reference:
            found = row.metrics.get(judged.result.score_name)
            if found is not None and found.mean is not None:
                levels.append((row.planner.replace("_", " "), found.mean))
    episodes = config.get("evaluation", {}).get("episodes")
    about = f"Bands around rates are 95 % intervals over the {episodes} episodes of an evaluation." if episodes else ""
    return f"<p>{about}</p>{_charts(evaluation_charts(evaluations, episodes, levels))}"


def _charts(charts: Sequence[Any]) -> str:
    drawn = "".join(chart.svg() for chart in charts)
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def _gallery(judged: Judgement) -> str:
    if not judged.worst:
        return ""
    figures = "".join(
        f'<figure><img src="{scene.picture}" alt="log and policy in scene {scene.scenario_id}">'
        f"<figcaption><b>{'?' if scene.score is None else f'{100 * scene.score:.0f}'}</b> "
        f"{html.escape(scene.outcome)}<br>{html.escape(scene.scenario_type.replace('_', ' '))} "
        f"<code>{scene.scenario_id}</code></figcaption></figure>"
        for scene in judged.worst
    )
    first = judged.worst[0].scenario_id
    return (
        f"<p>The lowest-scored of the evaluated scenes, each at its end: the log and the policy. "
        f"<code>drivetrain render CHECKPOINT --scenario {first} --format html</code> plays one.</p>"
        f'<div class="gallery">{figures}</div>'
    )


def _shares(shares: Mapping[str, float]) -> str:
    if not shares:
        return ""
    parts = list(zip(shares.items(), SHARE_COLORS, strict=False))
    bar = "".join(f'<i style="width:{100 * share:.1f}%;background:var(--{color})"></i>' for (_, share), color in parts)
    words = "".join(
        f'<span><i style="background:var(--{color})"></i>{name} {percent_text(share)}</span>'
        for (name, share), color in parts
    )
    return f'<div class="bar">{bar}</div><p class="legend">{words}</p>'


def _events(run: Run) -> str:
    events = [event for event in read_jsonl_tail(run.paths.events_jsonl, MOST_EVENTS) if _is_told(event)]
    rows = "".join(
        f'<tr class="{"bad" if event["event"] in ("watchdog", "failed", "rolled_back") else ""}">'
        f"<td>{_clock(event)}</td><td>{html.escape(str(event['event']).replace('_', ' '))}</td>"
        f"<td>{html.escape(_told(event))}</td></tr>"
        for event in events
    )
    head = "<tr><th>when</th><th>what</th><th></th></tr>"
    return f'<div class="wide"><table class="events">{head}{rows}</table></div>' if rows else ""


def _is_told(event: Mapping[str, Any]) -> bool:
    return isinstance(event.get("event"), str) and event["event"] not in ROUTINE


def _clock(event: Mapping[str, Any]) -> str:
    then = event.get("time")
    when = datetime.datetime.fromtimestamp(then).strftime("%m-%d %H:%M:%S") if isinstance(then, int | float) else ""
    step = event.get("at_step", event.get("step"))
    return f"{when} · step {step_text(step)}" if isinstance(step, int | float) else when


def _told(event: Mapping[str, Any]) -> str:
    """Return what an event says: its message, else what it holds."""
    if isinstance(event.get("message"), str):
        return event["message"]
    skipped = {"event", "time", "life", "at_step", "argv"}
    held = {key: value for key, value in event.items() if key not in skipped and value not in (None, "", [], {})}
    return ", ".join(f"{key} {value}" for key, value in held.items())


def _facts(run: Run) -> str:
    info = run.info
    if info is None:
        return _note("run.json is missing or damaged, so nothing is known of data, machine and code.")
    commit = (info.git_commit or "unknown") + (" with changes" if info.git_dirty else "")
    facts = {
        "command": shlex.join(info.argv),
        "data": f"{info.data.path} (fingerprint {info.data.fingerprint}, {info.data.choice})",
        "begun from": info.parent or "its own weights",
        "seed": str(info.seed),
        "machine": f"{info.host}, device {info.device}",
        "code": f"commit {commit}",
        "versions": ", ".join(f"{k} {v}" for k, v in info.versions.items() if v and k != "git_commit"),
        "checkpoints": info.checkpoint_dir,
        "config hash": info.config_hash,
    }
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(value)}</td></tr>" for name, value in facts.items())
    return f'<div class="wide"><table class="facts">{rows}</table></div>'


def _config_block(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return _note("config.yaml cannot be read.")
    return f"<details><summary>config.yaml</summary><pre>{html.escape(text)}</pre></details>"
