"""`drivetrain repro`: trains a run again from its record, and says whether its result came out again."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option, print_json


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "repro",
        summary="train a run again from its record and say whether its result came out again",
        text="The recorded config, seed, starting weights and data (held to their fingerprint) make a run of its own, "
        "in the foreground. Then both last policies are evaluated on the scenes of the run's own evaluations: the exit "
        "code is 0 if the re-run's score lies within the 95 % interval of the recorded one's, else 1. What differs in "
        "code, libraries and machine is named. Given again, it goes on where it was.",
        examples="drivetrain repro ppo_v1\n"
        "drivetrain repro ppo_of_a_colleague --data datasets/processed/nuplan --run-id ppo_again --json",
    )
    parser.add_argument("run_id", metavar="RUN", help="the run to reproduce")
    parser.add_argument("--run-id", metavar="NAME", dest="name", help="name of the re-run (default: RUN-repro)")
    parser.add_argument("--data", metavar="DIR", help="where the run's data lie on this machine (default: as recorded)")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (default: as recorded)")
    parser.add_argument("--no-mlflow", action="store_true", help="do not mirror the re-run to MLflow")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train again, evaluate both, print the verdict; return 1 where the result did not come out again.

    Raises:
        DrivetrainError: The record, the data or the training cannot be used.
    """
    from drivetrain.run_record import check_run_id, project_root
    from drivetrain.runs.reproduction import judge_again, plan_reproduction, train_again
    from drivetrain.runs.run_store import RunStore

    recorded = RunStore(project_root()).get(check_run_id(arguments.run_id), num_rows=0)
    plan = plan_reproduction(
        recorded,
        run_id=arguments.name,
        data=arguments.data,
        device=arguments.device,
        mlflow=not arguments.no_mlflow,
    )
    if plan.request is None:
        print(f"drivetrain: repro: run '{plan.paths.run_id}' has been trained already", file=sys.stderr)
    train_again(plan)
    result = judge_again(plan)
    if arguments.json:
        print_json(result.to_json())
    else:
        _show(result)
    return 0 if result.is_reproduced else 1


def _show(result: Any) -> None:
    print(f"run '{result.run_id}' trained again as '{result.again}', to step {result.steps[1]:,}")
    if result.steps[0] != result.steps[1]:
        print(
            f"  the recorded one stands at step {result.steps[0]:,}: its budget is of time, and depends on the machine"
        )
    if not result.differences:
        print("  nothing differs in code, libraries, machine and data")
    for name, (before, now) in result.differences.items():
        print(f"  differs: {name}: recorded {before}, now {now}")
    for score in result.scores:
        among = f" among {score.traffic} traffic" if score.traffic else ""
        print(
            f"  {score.metric} of the last policy in {score.scenes} {'scenes' if score.traffic else 'episodes'}{among}:"
        )
        interval = "" if score.low is None else f", 95 % interval {score.low:.4f} to {score.high:.4f}"
        print(f"    recorded {score.recorded:.4f}{interval}; again {score.again:.4f}")
        if not score.differing:
            print("    the same to the last bit in all of them")
            continue
        low, high = score.difference
        shift = f"; the difference is {low:+.4f} to {high:+.4f}" if low is not None else ""
        print(f"    other figures in {score.differing} of them{shift}")
    told = result.told
    if told is not None and len(result.scores) == 1 and abs(told - result.scores[0].recorded) > 1e-6:
        print(
            f"  the record tells {told:.4f} of the same policy: the evaluation itself is another one here "
            "(code or libraries)"
        )
    verdict = "reproduced: within the recorded interval" if result.is_reproduced else "NOT reproduced: outside of it"
    print(verdict + ("; identical" if result.is_identical else ""))
