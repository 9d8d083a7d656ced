"""What `ask` looks up before it answers: which runs there are, how they are doing, which configs and checkpoints."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivetrain.interfaces.ask.tokens import Names
from drivetrain.run_record import RunPaths
from drivetrain.runs.run_store import RunStore

RESUMABLE = ("stopped", "failed", "lost")


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """A run, as far as a sentence may speak of it."""

    run_id: str
    """Its name."""
    algorithm: str
    """ppo, sac, ...; empty while unknown."""
    status: str
    """running, stopped, ..."""
    is_active: bool
    """True while its trainer lives."""
    checkpoints: str
    """Folder of its checkpoints, relative to the root where it lies inside."""
    created: float
    """Unix time [s]."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """The project as it is now."""

    root: Path
    """The project root."""
    runs: tuple[KnownRun, ...] = ()
    """Active ones first, then the newest first."""
    configs: tuple[str, ...] = ()
    """Configs below python/configs, relative to the root."""

    @property
    def names(self) -> Names:
        """What names in a sentence may stand for."""
        return Names(run_ids=tuple(run.run_id for run in self.runs))

    def run(self, run_id: str) -> KnownRun | None:
        """Return a run by its exact name."""
        return next((run for run in self.runs if run.run_id == run_id), None)

    def alike(self, run_id: str) -> KnownRun | None:
        """Return the only run whose name differs in capitals, hyphens, dots and underscores alone."""
        found = [run for run in self.runs if _bare(run.run_id) == _bare(run_id)]
        return found[0] if len(found) == 1 else None

    def near(self, run_id: str) -> list[KnownRun]:
        """Return the runs whose names are near, nearest first."""
        names = difflib.get_close_matches(run_id, [run.run_id for run in self.runs], n=3, cutoff=0.6)
        return [run for name in names if (run := self.run(name)) is not None]

    def of(self, algorithms: Sequence[str], *, active: bool = False) -> list[KnownRun]:
        """Return the runs of some algorithms (of all, where none is named), active ones only if wanted."""
        chosen = [run for run in self.runs if not algorithms or run.algorithm in algorithms]
        return [run for run in chosen if run.is_active] if active else chosen

    def free_run_id(self, stem: str) -> str:
        """Return the next name nobody uses: ppo_v3 after ppo_v1 and ppo_v2."""
        folders = [RunPaths.logs(self.root), self.root / "experiments" / "checkpoints"]
        taken = {run.run_id for run in self.runs}
        for folder in folders:
            taken |= {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        versions = [int(m[1]) for name in taken if (m := re.fullmatch(rf"{re.escape(stem)}_v(\d{{1,9}})", name))]
        return f"{stem}_v{max(versions, default=0) + 1}"

    def checkpoint(self, run_id: str, *, last: bool = False) -> str:
        """Return the path of a run's checkpoint, relative to the root."""
        run = self.run(run_id)
        folder = run.checkpoints if run else f"experiments/checkpoints/{run_id}"
        return f"{folder.rstrip('/')}/{'last' if last else 'best'}.pt"

    def newest_clone(self) -> str | None:
        """Return the checkpoint of the newest cloned policy, if there is one."""
        for run in sorted(self.of(["bc"]), key=lambda run: -run.created):
            if (self.root / self.checkpoint(run.run_id)).is_file():
                return self.checkpoint(run.run_id)
        return None


def look_up(root: Path) -> Known:
    """Return what there is to know of a project; reads only."""
    runs = [
        KnownRun(
            run_id=run.run_id,
            algorithm=run.algorithm,
            status=run.health.status,
            is_active=run.health.is_active,
            checkpoints=run.paths.relative(run.paths.checkpoint_dir),
            created=run.created,
        )
        for run in RunStore(root).runs()
    ]
    folder = root / "python" / "configs"
    files = [path for path in folder.rglob("*.yaml") if path.parent.name != "sweeps"] if folder.is_dir() else []
    configs = sorted(path.relative_to(root).as_posix() for path in files)
    return Known(root=root, runs=tuple(runs), configs=tuple(configs))


def _bare(name: str) -> str:
    return re.sub(r"[-_.\s]", "", name.lower())
