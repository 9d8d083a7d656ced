"""Where things lie: the project root and the files of a run. The only code that spells ``experiments/...``."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from drivetrain.errors import UsageError

_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


def project_root() -> Path:
    """Return the folder of the project.

    ``DRIVETRAIN_ROOT`` if set, else the nearest parent with pyproject.toml and python/configs, else the working folder.
    """
    chosen = os.environ.get("DRIVETRAIN_ROOT")
    if chosen:
        return Path(chosen).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "python" / "configs").is_dir():
            return folder
    return here


def alerts_file(root: Path) -> Path:
    """Return the one file that can name a command to run for alerts."""
    return root / "python" / "configs" / "alerts.yaml"


def says_anything(path: Path) -> bool:
    """Return whether a YAML file holds more than comments; one that cannot be read holds nothing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"^[ \t]*[^#\s]", text, flags=re.MULTILINE) is not None


def check_run_id(run_id: str) -> str:
    """Return ``run_id`` if it can name a folder.

    Raises:
        UsageError: It holds something else than letters, digits, dot, underscore and hyphen.
    """
    if _RUN_ID.fullmatch(run_id) and not run_id.startswith(".") and not run_id.startswith("-"):
        return run_id
    proposal = re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip(".-")[:100] or "run_1"
    raise UsageError(
        f"run id '{run_id}': use at most 100 letters, digits, '.', '_' and '-', starting with none of '.' and '-'; "
        f"for example '{proposal}'"
    )


def choose_run_id(run_id: str | None, *, output: Path | None, config: Path | None) -> str:
    """Return the name of a run: as given, else that of its output folder, else of its config, and the time."""
    if run_id is not None:
        return run_id
    if output is not None:
        return output.resolve().name
    return f"{config.stem if config is not None else 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"


@dataclass(frozen=True, kw_only=True)
class RunPaths:
    """The files of one run."""

    REPLAYS: ClassVar[str] = "last.replay-*.npz"
    """Pattern of the files beside ``last.pt`` that hold what a learner remembers."""

    root: Path
    """The project root."""
    run_id: str
    """Name of the run and of its folders."""
    checkpoint_dir_override: Path | None = None
    """Folder of the checkpoints where the user named another (``--output``)."""

    @staticmethod
    def logs(root: Path) -> Path:
        """Return the folder that holds the folders of all runs."""
        return root / "experiments" / "logs"

    @staticmethod
    def queue(root: Path) -> Path:
        """Return the file of the runs that wait to be started."""
        return root / "experiments" / "queue.db"

    @staticmethod
    def pipelines(root: Path) -> Path:
        """Return the folder that says which pipelines were started."""
        return root / "experiments" / "pipelines"

    @staticmethod
    def sweeps(root: Path) -> Path:
        """Return the folder that holds the folders of all sweeps."""
        return root / "experiments" / "sweeps"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.logs(self.root) / self.run_id

    @property
    def run_json(self) -> Path:
        """What the run is; written once."""
        return self.folder / "run.json"

    @property
    def state_json(self) -> Path:
        """How the run is doing; replaced about once a second."""
        return self.folder / "state.json"

    @property
    def config_yaml(self) -> Path:
        """The resolved config."""
        return self.folder / "config.yaml"

    @property
    def metrics_jsonl(self) -> Path:
        """One line per logged iteration."""
        return self.folder / "metrics.jsonl"

    @property
    def events_jsonl(self) -> Path:
        """One line per event: started, resumed, checkpoint, best, ..."""
        return self.folder / "events.jsonl"

    @property
    def train_log(self) -> Path:
        """Lines for people."""
        return self.folder / "train.log"

    @property
    def console_log(self) -> Path:
        """Standard output and error of a run that was started detached."""
        return self.folder / "console.log"

    @property
    def exit_json(self) -> Path:
        """How the process of a run ended, as its supervisor saw it, or else the side-car."""
        return self.folder / "exit.json"

    @property
    def launch_json(self) -> Path:
        """The job of a cluster that trains the run, or shall; only where there is one."""
        return self.folder / "launch.json"

    @property
    def slurm_folder(self) -> Path:
        """What submitit keeps of the run's jobs on Slurm, and what they print."""
        return self.folder / "slurm"

    @property
    def ray(self) -> Path:
        """Folder of what Ray and the learners' driver need while Ray's workers train; gone when they have ended."""
        return self.folder / "ray"

    @property
    def reproduction_json(self) -> Path:
        """What came of training another run again as this one."""
        return self.folder / "reproduction.json"

    @property
    def control(self) -> Path:
        """Folder of requests to the trainer."""
        return self.folder / "control"

    @property
    def stop_request(self) -> Path:
        """Present: save and stop."""
        return self.control / "stop.json"

    @property
    def checkpoint_request(self) -> Path:
        """Present: save now and go on."""
        return self.control / "checkpoint.json"

    @property
    def run_lock(self) -> Path:
        """Locked for as long as the trainer lives."""
        return self.folder / "run.lock"

    @property
    def mlflow_run_id(self) -> Path:
        """Id of the mirrored MLflow run."""
        return self.folder / "mlflow_run_id"

    @property
    def mirror_log(self) -> Path:
        """Output of the MLflow mirror."""
        return self.folder / "mirror.log"

    @property
    def sidecar_log(self) -> Path:
        """What the side-car has to say."""
        return self.folder / "sidecar.log"

    @property
    def alerts_jsonl(self) -> Path:
        """One line per alert that was raised, and how the command for it ended."""
        return self.folder / "alerts.jsonl"

    @property
    def alerts_log(self) -> Path:
        """What the command for alerts printed."""
        return self.folder / "alerts.log"

    @property
    def player_logs(self) -> Path:
        """Folder of what ML-Agents players wrote, a file each."""
        return self.folder / "players"

    @property
    def checkpoint_dir(self) -> Path:
        """Folder of the checkpoints."""
        return self.checkpoint_dir_override or self.root / "experiments" / "checkpoints" / self.run_id

    @property
    def best(self) -> Path:
        """Checkpoint of the highest evaluation score."""
        return self.checkpoint_dir / "best.pt"

    @property
    def last(self) -> Path:
        """Newest checkpoint, from which a run resumes."""
        return self.checkpoint_dir / "last.pt"

    @property
    def good(self) -> Path:
        """The newest checkpoint that the watchdog found nothing to say about; kept only where it may roll back."""
        return self.checkpoint_dir / "good.pt"

    def replay(self, step: int) -> Path:
        """What the learner of the checkpoint at ``step`` remembers, where it remembers anything."""
        return self.checkpoint_dir / self.REPLAYS.replace("*", str(step))

    def snapshot(self, step: int) -> Path:
        """The policy as it was once ``step`` was reached (``training.snapshots``)."""
        return self.checkpoint_dir / f"step_{step}.pt"

    def relative(self, path: Path) -> str:
        """Return ``path`` as people write it: relative to the root where it lies inside."""
        try:
            return path.resolve().relative_to(self.root.resolve()).as_posix()
        except ValueError:
            return str(path)
