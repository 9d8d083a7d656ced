"""`drivetrain render`: pictures, films and players of scenarios, one panel per driver."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drivetrain.errors import DataError, UsageError, nearest
from drivetrain.interfaces.command_line import add_command

FORMATS = ("png", "gif", "mp4", "html")
DYNAMICS = ("auto", "tracker", "direct")
DEFAULT_FILE = Path("experiments/render")
"""Of one scene with the suffix of its format, of several the folder."""
LOG = "log"


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "render",
        summary="draw scenarios driven by policies and planners, side by side",
        text="Pictures (png, gif, mp4) begin with a panel of the log; the player (html) shows the log as a dashed box, "
        "what a policy saw and considered, and when what happened; it is one file and needs no network. "
        "Drives are those that 'drivetrain evaluate' scores. Several scenes go into a folder with an index.html.",
        examples="drivetrain render experiments/checkpoints/ppo_v1/best.pt --format html\n"
        "drivetrain render experiments/checkpoints/ppo_v1/best.pt --worst 12 --format html --out experiments/worst\n"
        "drivetrain render experiments/checkpoints/ppo_v1 --scenario 3 --last-chance --format html\n"
        "drivetrain render experiments/checkpoints/cimrl_v1 --against experiments/checkpoints/ppo_v1 --scenario 3\n"
        "drivetrain render experiments/checkpoints/ppo_v1/best.pt --planner idm --out experiments/ppo_v1.png\n"
        "drivetrain render --planner constant_velocity idm expert --data datasets/processed/sample --scenario 3",
    )
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT", help="file, or folder with best.pt")
    parser.add_argument(
        "--planner", nargs="+", default=[], metavar="NAME", help="planners of 'drivetrain evaluate': one panel each"
    )
    parser.add_argument(
        "--against", nargs="+", default=[], metavar="WHO", help="a checkpoint or a planner to stand beside the first"
    )
    parser.add_argument("--data", default="auto", metavar="DIR", help="scenario store (default: auto, as in training)")
    parser.add_argument(
        "--split", default="val", metavar="S", help="split that scenario numbers and --worst count in (default: val)"
    )
    parser.add_argument(
        "--scenario", nargs="+", metavar="ID", help="scenario ids, or their numbers in the split (default: 0)"
    )
    parser.add_argument(
        "--worst",
        type=int,
        metavar="N",
        help="instead: evaluate the first driver on the split, draw its N worst scenes",
    )
    parser.add_argument(
        "--traffic",
        default="replay",
        metavar="T",
        help="replay, idm, idm_aggressive, idm_timid or self_play:CHECKPOINT (default: replay)",
    )
    parser.add_argument(
        "--dynamics", choices=DYNAMICS, default="auto", help="as in 'drivetrain evaluate' (default: auto)"
    )
    parser.add_argument(
        "--last-chance",
        action="store_true",
        help="mark until when a failure could have been avoided, and by what action",
    )
    parser.add_argument("--no-log", action="store_true", help="leave the log's panel out")
    parser.add_argument(
        "--format", choices=FORMATS, help="png, gif, mp4 (needs ffmpeg) or html (default: --out's, gif)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE|DIR", help="file, or folder for several scenes (default: experiments/render)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes that draw (default: as many as help)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw, and print the paths of the files.

    Raises:
        DrivetrainError: Who drives, where, or where to write cannot be used.
    """
    drivers = _drivers(arguments)
    several = arguments.worst is not None or len(arguments.scenario or ()) > 1
    kind = _format(arguments)
    _check_out(arguments.out, kind, several=several)
    if arguments.worst is not None and arguments.worst < 1:
        raise UsageError(f"render --worst: {arguments.worst} is too few; use 1 or more, for example 12")
    if arguments.worst is not None and arguments.scenario:
        raise UsageError("render: --worst chooses scenes itself; leave out --scenario, or --worst")
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"render --workers: {arguments.workers} is too few; use 1 or more")
    if kind == "mp4":
        from drivetrain.rendering.video import need_ffmpeg

        need_ffmpeg()
    return _draw(arguments, drivers, kind, several=several)


def _drivers(arguments: argparse.Namespace) -> list[str | Path]:
    """Return who drives, planners by name and policies by their path, the log aside."""
    found: list[str | Path] = [*arguments.checkpoints, *arguments.planner]
    if not found and arguments.no_log:
        raise UsageError("drivetrain render: nobody drives; give a checkpoint or --planner, or drop --no-log")
    if not found and (arguments.worst is not None or arguments.against):
        option = "--worst" if arguments.worst is not None else "--against"
        raise UsageError(f"render {option}: nobody drives; give a checkpoint or --planner first")
    if arguments.against:
        from drivetrain.rendering.drivers import PLANNERS

        for name in arguments.against:
            is_path = name not in PLANNERS
            if is_path and not Path(name).exists() and not name.endswith(".pt"):
                raise UsageError(
                    f"render --against: '{name}' is neither a checkpoint nor a planner{nearest(name, PLANNERS)}; "
                    f"planners are {', '.join(PLANNERS)}"
                )
            found.append(Path(name) if is_path else name)
    return found


def _format(arguments: argparse.Namespace) -> str:
    """Return the format: asked for, or the suffix of the file."""
    out = arguments.out
    suffix = out.suffix.removeprefix(".") if out is not None and not out.is_dir() else ""
    if suffix and suffix not in FORMATS:
        *others, last = (f".{name}" for name in FORMATS)
        raise UsageError(
            f"drivetrain render --out: '{out}' must end in {', '.join(others)} or {last}, or be a folder"
            f"{nearest(suffix, FORMATS)}"
        )
    if suffix and arguments.format and suffix != arguments.format:
        raise UsageError(f"render: --out '{out}' and --format {arguments.format} contradict each other; leave one out")
    return arguments.format or suffix or "gif"


def _check_out(out: Path | None, kind: str, *, several: bool) -> None:
    """Check that files can be where they are to be."""
    if out is None:
        return
    if several and out.suffix.removeprefix(".") in FORMATS and not out.is_dir():
        raise UsageError(f"render --out: '{out}' names one {kind} file, several scenes need a folder; drop its suffix")
    folder = out if several or not out.suffix else out.parent
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UsageError(f"render --out: '{place}' is a file, a folder is needed there; name another place")


def _draw(arguments: argparse.Namespace, drivers: list[str | Path], kind: str, *, several: bool) -> int:
    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.rendering.drivers import named_driver, uses_tracker
    from drivetrain.rendering.gallery import save_gallery
    from drivetrain.rendering.many import SceneRenderer, draw_many
    from drivetrain.run_record import project_root
    from drivetrain.trainer.data_choice import choose_data

    store, _ = choose_data(arguments.data, project_root(), say=_to_stderr, may_generate=False)
    # Read here once, so that whatever is wrong with them is said before anything is driven.
    named = [named_driver(name) for name in drivers]
    rows = None if arguments.worst is not None else [_row(store, arguments.split, x) for x in arguments.scenario or "0"]
    some = rows[0] if rows else int(store.rows(arguments.split)[0]) if len(store.rows(arguments.split)) else 0
    tracker = uses_tracker(arguments.dynamics, named, store, some)
    if arguments.last_chance and arguments.traffic != "replay" and (tracker or "self_play" in arguments.traffic):
        raise UsageError(
            f"render --last-chance: states among '{arguments.traffic}' traffic cannot be gone back to; leave it out"
        )
    if rows is None:
        rows = _worst(arguments, drivers[0], tracker=tracker, store=store)
    panels = drivers if drivers and (arguments.no_log or kind == "html") else [LOG, *drivers]
    renderer = SceneRenderer(
        store=store.path, drivers=panels, tracker=tracker, traffic=arguments.traffic, last_chances=arguments.last_chance
    )
    pictures = _pictures(arguments, store, rows, kind, several=several)
    pictures[0].path.parent.mkdir(parents=True, exist_ok=True)
    drawn = []
    with StderrProgress("drawing") as progress:
        for entry in draw_many(renderer, pictures, processes=arguments.workers):
            drawn.append(entry)
            if several:
                progress(len(drawn), len(pictures))
    made = [entry for entry in drawn if not entry.problem]
    for entry in drawn:
        scores = ", ".join("?" if score is None else f"{100 * score:.1f}" for score in entry.scores)
        told = f"not drawn: {entry.problem}" if entry.problem else f"score {scores}" if scores else ""
        print(f"scenario {entry.scenario_id} ({entry.scenario_type}) {told}".rstrip(), file=sys.stderr)
        if not entry.problem:
            print(entry.picture.path)
    if not several and not made:
        raise DataError(f"scenario {drawn[0].scenario_id} cannot be driven: {drawn[0].problem}; choose another one")
    if several and made:
        title = f"{named[0].label}: the {len(made)} worst scenes" if arguments.worst else f"{len(made)} scenes"
        labels = [driver.label for driver in named if driver.name != LOG]
        print(save_gallery(pictures[0].path.parent, drawn, drivers=labels, title=title))
    return 0 if len(made) == len(drawn) else 1


def _row(store: Any, split: str, name: str) -> int:
    """Return the row of a scenario, given by id or by its number in the split."""
    if len(name) == 16:
        return store.row_of(name)
    rows = store.rows(split)
    if name.isdigit() and int(name) < len(rows):
        return int(rows[int(name)])
    close = nearest(name, store.ids(split)) if len(rows) <= 10_000 else ""
    raise DataError(
        f"{store.path}: scenario '{name}' is neither an id (16 hex characters) nor a number "
        f"below {len(rows)}, the size of split '{split}'{close}"
    )


def _worst(arguments: argparse.Namespace, driver: str | Path, *, tracker: bool, store: Any) -> list[int]:
    """Return the rows of the scenes in which a driver scores lowest, the lowest first."""
    import numpy as np

    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.trainer.evaluate import evaluate

    with StderrProgress("evaluating") as progress:
        result = evaluate(
            "log_replay" if driver == LOG else driver,
            store,
            split=arguments.split,
            traffic=arguments.traffic,
            dynamics="tracker" if tracker else "direct",
            processes=arguments.workers,
            progress=progress,
        )
    scores = result.values[result.score_name]
    known = np.flatnonzero(~np.isnan(scores))
    if not len(known):
        raise DataError(
            f"{store.path}: no scene of split '{arguments.split}' has a {result.score_name.replace('_', ' ')}, so none "
            "is the worst; use --scenario, or --dynamics direct"
        )
    order = known[np.argsort(scores[known], kind="stable")][: arguments.worst]
    return [store.row_of(result.scenario_ids[at]) for at in order.tolist()]


def _pictures(arguments: argparse.Namespace, store: Any, rows: list[int], kind: str, *, several: bool) -> list[Any]:
    """Return the pictures to make: one file, or files of a folder named by their scenes."""
    from drivetrain.rendering.many import Picture

    out = arguments.out or (DEFAULT_FILE if several else DEFAULT_FILE.with_suffix(f".{kind}"))
    if not several and out.suffix and not out.is_dir():
        return [Picture(row=rows[0], path=out)]
    digits = len(str(len(rows)))
    pictures = []
    for rank, row in enumerate(rows, start=1):
        name = f"{int(store.index['token'][row]):016x}.{kind}"
        pictures.append(
            Picture(
                row=row,
                path=out / (f"{rank:0{digits}d}-{name}" if arguments.worst else name),
                thumbnail=several and kind == "html",
            )
        )
    return pictures


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)
