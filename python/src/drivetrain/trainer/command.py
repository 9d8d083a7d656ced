"""The training command: arguments, the run's lock, then (and only then) everything heavy."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn

from drivetrain.errors import DrivetrainError, UsageError, nearest
from drivetrain.run_record import RunPaths, alerts_file, choose_run_id, claim_run, project_root, says_anything
from drivetrain.trainer.torchrun import lead, learn, place_of

Kind = Literal["rl", "bc", "gail"]

_ABOUT = {
    "rl": "Train a planner by reinforcement learning in closed loop.",
    "bc": "Clone the behaviour of an expert.",
    "gail": "Imitate an expert by adversarial learning in closed loop.",
}
_EXAMPLES = {
    "rl": """examples:
  python python/src/training/train_rl.py --config python/configs/planning/ppo.yaml --run-id ppo_v1
  python python/src/training/train_rl.py --config python/configs/planning/ppo.yaml --run-id ppo_v1 --resume
  python python/src/training/train_rl.py --config python/configs/planning/sac.yaml --run-id sac_v1
  python python/src/training/train_rl.py --config python/configs/planning/ppo.yaml --run-id quick \\
      --total-steps 200000 --set algorithm.learning_rate=3e-4 --set environment.num_worlds=256
  tensorboard --logdir=experiments/logs/ --port 6006""",
    "bc": """example:
  python python/src/training/train_bc.py --config python/configs/planning/bc.yaml \\
      --data datasets/processed/nuplan/ --output experiments/checkpoints/bc_v1/""",
    "gail": """examples:
  python python/src/training/train_gail.py --config python/configs/planning/gail.yaml \\
      --expert-data datasets/processed/nuplan/ --run-id gail_v1
  python python/src/training/train_gail.py --config python/configs/planning/gail.yaml --run-id gail_bc \\
      --init-from experiments/checkpoints/bc_v1/ --set algorithm.rail.collision=-2
  python python/src/training/train_gail.py --config python/configs/gymnasium/gail_cartpole.yaml --run-id cartpole
  python python/src/training/train_gail.py --run-id gail_v1 --resume""",
}
_DEFAULT = {"rl": "ppo", "bc": "bc", "gail": "gail"}


def add_arguments(parser: argparse.ArgumentParser, kind: Kind) -> None:
    """Add the arguments of a training command."""
    parser.add_argument("--config", metavar="FILE", type=Path, help="YAML config (with --resume: the run's own)")
    parser.add_argument("--run-id", metavar="NAME", help="name of the run (default: of --output, or config and time)")
    data_flags = ["--data", "--expert-data"] if kind == "gail" else ["--data"]
    about = "whose logs are the expert and where the policy drives" if kind == "gail" else "scenario store"
    parser.add_argument(*data_flags, dest="data", metavar="DIR", help=f"{about} (default: what the config says)")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="checkpoints (default: experiments/checkpoints/NAME)"
    )
    if kind == "bc":
        parser.add_argument("--epochs", metavar="N", type=int, help="passes over the data, instead of the config's")
    else:
        parser.add_argument("--total-steps", metavar="N", type=int, help="budget, instead of the config's")
    parser.add_argument("--seed", metavar="N", type=int, help="seed of every random number, instead of the config's")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or auto, instead of the config's")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the run where its last checkpoint stands")
    again.add_argument("--overwrite", action="store_true", help="delete the run of this name first")
    parser.add_argument("--init-from", metavar="PATH", type=Path, help="start from the weights of this checkpoint")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a dotted key; repeatable"
    )
    parser.add_argument("--no-mlflow", action="store_true", help="do not mirror the run to MLflow")


def main(kind: Kind, argv: Sequence[str] | None = None) -> int:
    """Run a training command and return its exit code: 0 done or stopped, 1 failed, 2 wrong use."""
    prog = f"train_{kind}.py"
    parser = _OneLineParser(
        prog=prog,
        allow_abbrev=False,
        description=_ABOUT[kind],
        epilog=_EXAMPLES[kind],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser, kind)
    try:
        return train(kind, parser.parse_args(argv))
    except DrivetrainError as error:
        for text in str(error).split("\n"):
            sys.stderr.write(f"{prog}: {text}\n")
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("drivetrain"):
            raise
        # The loop itself asks for torch, Numba, NumPy and rich alone; what comes here was needed by this very run.
        name = error.name.partition(".")[0]
        sys.stderr.write(f"{prog}: this run needs the package {name}, which is not installed: pip install {name}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{prog}: interrupted\n")
        return 130


def train(kind: Kind, arguments: argparse.Namespace) -> int:
    """Train as parsed arguments say.

    Raises:
        DrivetrainError: Wrong use, or the run failed; one clear line.
    """
    place = place_of(os.environ)
    if place is not None and place.rank > 0:
        return learn(place)
    arguments.kind = kind
    paths = _paths(arguments)
    if place is not None and place.most_restarts > 0 and arguments.run_id is None and arguments.output is None:
        raise UsageError("--run-id is missing: a run that may be started again needs a name that stays")
    if arguments.config is not None and not arguments.config.is_file():
        from drivetrain.config import load_config

        load_config(arguments.config, dict)  # says what is wrong with the path
    if arguments.config is None:
        if not arguments.resume:
            raise UsageError(f"--config is missing; for example --config python/configs/planning/{_DEFAULT[kind]}.yaml")
        arguments.config = paths.config_yaml
    is_restart = place is not None and place.restarts > 0 and paths.run_json.is_file()
    lock = claim_run(paths, resume=arguments.resume or is_restart, overwrite=arguments.overwrite and not is_restart)
    os.environ["DRIVETRAIN_RUN_ID"] = paths.run_id
    try:
        # Only now: loading torch takes seconds, in which a second start must already be refused.
        from drivetrain.trainer.joined_processes import as_restart, has_ended
        from drivetrain.trainer.session import run_session

        if is_restart:
            if has_ended(paths):
                return 0
            arguments = as_restart(arguments, paths)
        if place is None:
            return run_session(paths, arguments)
        with lead(place) as joined:
            return run_session(paths, arguments, joined=joined)
    except BaseException:
        _forget_stillborn(paths)
        raise
    finally:
        lock.release()


def start_sidecar(paths: RunPaths, *, life: int, mlflow: bool) -> None:
    """Start the process that stands beside this life of the run; what becomes of it never touches the training."""
    if not mlflow and not says_anything(alerts_file(paths.root)):
        return  # nothing to copy, nobody to tell
    source = Path(__file__).resolve().parents[2]
    search = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
    # The mark of a run's own processes is not the side-car's: it outlives them, to tell how they ended.
    environment = {name: value for name, value in os.environ.items() if name != "DRIVETRAIN_RUN_ID"}
    words = [str(paths.folder), "--life", str(life), *([] if mlflow else ["--no-mlflow"])]
    try:
        with paths.sidecar_log.open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "drivetrain.runs.sidecar", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=paths.root,
                env={**environment, "PYTHONPATH": search},
                start_new_session=True,
            )
    except OSError as error:
        sys.stderr.write(f"side-car not started ({error.strerror}); the training goes on without it\n")


class _OneLineParser(argparse.ArgumentParser):
    """Tells a wrong flag in one line, with the nearest right one."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage.

        Raises:
            UsageError: Always.
        """
        known = [flag for action in self._actions for flag in action.option_strings]
        wrong = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        hint = nearest(wrong[1], known) if wrong else ""
        raise UsageError(f"{message}{hint or '; --help shows all flags'}")


def _paths(arguments: argparse.Namespace) -> RunPaths:
    output = arguments.output
    if arguments.run_id is None and output is None and arguments.resume:
        raise UsageError("--resume: which run? give --run-id; 'drivetrain list' shows all")
    run_id = choose_run_id(arguments.run_id, output=output, config=arguments.config)
    paths = RunPaths(root=project_root(), run_id=run_id)
    if output is None or output.resolve() == paths.checkpoint_dir.resolve():
        return paths
    return RunPaths(root=paths.root, run_id=run_id, checkpoint_dir_override=output.resolve())


def _forget_stillborn(paths: RunPaths) -> None:
    """Remove the folder of a run that never began (wrong config, no data), so that its name stays free."""
    if paths.run_json.exists():
        return
    try:
        left = {entry.name for entry in paths.folder.iterdir()}
        if left <= {paths.run_lock.name}:
            paths.run_lock.unlink(missing_ok=True)
            paths.folder.rmdir()
    except OSError:
        return
