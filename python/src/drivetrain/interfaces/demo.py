"""`make demo`: scenes, a short training, evaluation beside reference rows, the status report, pictures.

Everything goes through the commands and files that a person uses: the training is `train_rl.py` in a process of its
own that keeps its policies at the start and half-way.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain.errors import DrivetrainError, RunError
from drivetrain.interfaces.command_line import OneLineParser
from drivetrain.run_record import RunPaths, project_root, read_run_state, write_bytes_atomic, write_json_atomic
from drivetrain.run_record.shipped_configs import provide_configs

RUN_ID = "demo"
CHECKOUT = Path(__file__).resolve().parents[4]
CONFIG = Path("python/configs/planning/ppo.yaml")
LAUNCHER = Path("python/src/training/train_rl.py")
STORE = Path("datasets/processed/sample-demo")
"""A small sample of its own, so that the demo neither waits for the large one nor replaces it."""
OUTPUT = Path("experiments/demo")
SNAPSHOTS = 2
"""Policies kept over the training, besides that of the start: half-way and at the end."""
STEPS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoPlan:
    """How much of everything."""

    root: Path
    """Project root; all paths below are relative to it."""
    train_scenes: int
    validation_scenes: int
    total_steps: int
    """Training budget [steps]."""

    @property
    def paths(self) -> RunPaths:
        """The files of the demo's run."""
        return RunPaths(root=self.root, run_id=RUN_ID)

    @property
    def output(self) -> Path:
        """Folder of what the demo leaves."""
        return self.root / OUTPUT

    @property
    def start(self) -> Path:
        """Checkpoint of the policy before its first step."""
        return self.paths.snapshot(0)

    @property
    def half_way(self) -> Path:
        """Checkpoint of the policy at half of the budget."""
        return self.paths.snapshot(self.total_steps // SNAPSHOTS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = OneLineParser(
        prog="python -m drivetrain.interfaces.demo",
        description="Sample scenes, a short training, evaluation, report and pictures, in under five minutes.",
        allow_abbrev=False,
    )
    parser.add_argument("--train-scenes", type=int, default=400, metavar="N", help="training scenes (default: 400)")
    parser.add_argument(
        "--validation-scenes", type=int, default=100, metavar="N", help="held-out scenes (default: 100)"
    )
    parser.add_argument("--total-steps", type=int, default=6_000_000, metavar="N", help="budget (default: 6 million)")
    try:
        arguments = parser.parse_args(argv)
        plan = DemoPlan(
            root=project_root(),
            train_scenes=arguments.train_scenes,
            validation_scenes=arguments.validation_scenes,
            total_steps=arguments.total_steps,
        )
        run_demo(plan)
    except DrivetrainError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("demo: interrupted; 'make demo' starts it anew", file=sys.stderr)
        return 130
    return 0


def run_demo(plan: DemoPlan) -> None:
    """Do all five steps."""
    begun = time.monotonic()
    plan.output.mkdir(parents=True, exist_ok=True)
    _announce(1, f"sample scenes: {plan.train_scenes} to train on, {plan.validation_scenes} held out")
    make_scenes(plan)
    _announce(2, f"training: PPO for {plan.total_steps / 1e6:.1f} million steps (about two minutes on two cores)")
    train(plan)
    _announce(3, "evaluation in closed loop on the held-out scenes, beside the reference rows")
    results = evaluate_all(plan)
    _announce(4, "status report")
    report(plan)
    _announce(5, "pictures")
    draw(plan, results)
    print(f"\nThe demo took {time.monotonic() - begun:.0f} s. Look at {OUTPUT}/scene.gif and {OUTPUT}/scene.png;")
    print(f"the policy is {plan.paths.relative(plan.paths.last)}, the figures are in {OUTPUT}/evaluation.json.")


def make_scenes(plan: DemoPlan) -> None:
    """Generate the demo's scenes unless they are there."""
    from drivetrain.data.scenario_store import ScenarioStore
    from drivetrain.data.synthetic.sample import write_sample

    folder = plan.root / STORE
    wanted = {"train": plan.train_scenes, "val": plan.validation_scenes, "test": 0}
    if folder.exists():
        try:
            if {split: ScenarioStore(folder).splits.get(split, 0) for split in wanted} == wanted:
                print(f"{STORE} is there already")
                return
        except DrivetrainError as error:
            print(f"{error}\n{STORE} is made anew")
    write_sample(folder, train=plan.train_scenes, val=plan.validation_scenes, test=0, overwrite=True)


def train(plan: DemoPlan) -> None:
    """Train in a process of its own that keeps its policies at the start and half-way.

    Raises:
        RunError: The training failed.
    """
    paths = plan.paths
    if (CHECKOUT / LAUNCHER).is_file():
        start = [str(CHECKOUT / LAUNCHER), "--config", str(CHECKOUT / CONFIG)]
    else:
        # An installed package has no launchers.
        provide_configs([str(CONFIG)])
        start = ["-m", "drivetrain", "train", str(CONFIG)]
    command = [
        sys.executable, *start, "--run-id", RUN_ID, "--overwrite",
        "--data", str(STORE), "--total-steps", str(plan.total_steps),
        "--set", f"evaluation.episodes={plan.validation_scenes}", "--set", f"training.snapshots={SNAPSHOTS}",
    ]  # fmt: skip
    print(f"$ python {' '.join(command[1:])}".replace(f"{CHECKOUT}/", ""), flush=True)
    process = subprocess.Popen(command, cwd=plan.root)
    try:
        process.wait()
    except KeyboardInterrupt:
        # The trainer got the same signal: it saves and stops by itself.
        process.wait()
        raise
    if process.returncode != 0:
        raise RunError(
            f"the training failed with exit code {process.returncode}; see {paths.relative(paths.train_log)}"
        )
    state = read_run_state(paths)
    if state is None or state.status != "completed":
        raise RunError(
            f"the training was {state.status if state else 'lost'} before its end; 'make demo' starts it anew"
        )


def evaluate_all(plan: DemoPlan) -> list[Any]:
    """Score the three policies and the reference planners on the held-out scenes; print and store the table."""
    from dataclasses import replace

    from drivetrain.trainer.evaluate import evaluate

    store = plan.root / STORE
    shown = [
        ("policy at the start", plan.start),
        ("policy half-way", plan.half_way),
        ("policy at the end", plan.paths.last),
    ]
    results = [
        replace(
            evaluate(checkpoint, store, split="val", reference=label.endswith("end"), dynamics="direct"), planner=label
        )
        for label, checkpoint in shown
    ]
    *earlier, final = results
    rows = [*earlier, replace(final, reference=()), *final.reference]
    _print_table(rows)
    document = {"scenes": str(STORE), "split": "val", "rows": [row.to_json(per_scenario=True) for row in rows]}
    write_json_atomic(plan.output / "evaluation.json", document)
    return results


def report(plan: DemoPlan) -> None:
    """Print and keep the status report."""
    from drivetrain.interfaces.report import build_report

    text = build_report(plan.root).to_markdown("en")
    write_bytes_atomic(plan.output / "report.md", text.encode())
    print(text, end="")


def draw(plan: DemoPlan, results: Sequence[Any]) -> None:
    """Draw one held-out scene: the log, and the policy at the start, half-way and at the end."""
    from drivetrain.data.scenario_store import ScenarioStore
    from drivetrain.rendering.animation import save_animation
    from drivetrain.rendering.drivers import planner_drive, policy_drive
    from drivetrain.rendering.scene_picture import save_picture

    store = ScenarioStore(plan.root / STORE)
    scenario = store.load(telling_scene(results, {name: _extent(store, name) for name in results[-1].scenario_ids}))
    recordings = [
        planner_drive("log", scenario),
        policy_drive(plan.start, scenario, label="start of training"),
        policy_drive(plan.half_way, scenario, label="half-way"),
        policy_drive(plan.paths.last, scenario, label="end of training"),
    ]
    save_picture(recordings, plan.output / "scene.png")
    save_animation(recordings, plan.output / "scene.gif")
    print(f"scene {scenario.scenario_id} ({scenario.scenario_type}), chosen because it shows a difference")


def telling_scene(results: Sequence[Any], extent: dict[str, float]) -> str:
    """Return the id of the scene that shows best what was learnt.

    The policy fails there at the start and does well at the end, half-way lies between; it is small enough to see.

    Args:
        results: Evaluations at the start, half-way and at the end, on the same scenes.
        extent: Length of the logged drive by scenario id [m].
    """
    start, half_way, end = (dict(zip(r.scenario_ids, r.values["score_basic"].tolist(), strict=True)) for r in results)

    def worth(name: str) -> float:
        gain = end[name] - start[name]
        steady = 0.3 * (start[name] <= half_way[name] <= end[name])
        return gain + steady - abs(extent[name] - 60.0) / 100.0

    return max(sorted(end), key=worth)


def _extent(store: Any, name: str) -> float:
    pose = store.load(name).ego.pose
    return float(((pose[1:, :2] - pose[:-1, :2]) ** 2).sum(axis=1).__pow__(0.5).sum())


COLUMNS = {
    "score_basic": "score_basic",
    "collision_at_fault_rate": "at-fault collision",
    "offroad_rate": "off road",
    "red_light_rate": "ran red",
    "progress": "progress",
}
"""Metrics of the table and their headings; all are shown x 100."""


def _print_table(rows: Sequence[Any]) -> None:
    from drivetrain.interfaces.tables import print_table

    lines = [[row.planner, *(_percent(row.metrics[name]) for name in COLUMNS)] for row in rows]
    print_table(("driven by", *COLUMNS.values()), lines, right=tuple(COLUMNS.values()), label="driven by")
    print(f"x 100, mean and half the 95 % interval over {rows[0].scored} held-out scenes")


def _percent(value: Any) -> str:
    half = (value.high - value.low) / 2 if value.high is not None and value.low is not None else 0.0
    return f"{100 * value.mean:.0f} ± {100 * half:.0f}"


def _announce(number: int, what: str) -> None:
    print(f"\n[{number}/{STEPS}] {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
