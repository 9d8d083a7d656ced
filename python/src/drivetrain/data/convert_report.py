"""What a conversion made, left out, and decided; the licences of what it converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivetrain.data.store_files import SPLITS

LICENCES = {
    "nuplan": "as the nuPlan logs it was converted from (nuPlan data set: CC BY-NC-SA 4.0, non-commercial)",
    "scenarionet": "as the data set its scenes were converted from (Waymo Open Motion, nuScenes, nuPlan, Argoverse 2:"
    " non-commercial)",
    "argoverse2": "as the Argoverse 2 scenarios it was converted from (CC BY-NC-SA 4.0, non-commercial)",
    "py123d": "as the data set that py123d converted; py123d's files name it (most are non-commercial)",
    "waymo-json": "as the scenes it was converted from (Waymo Open Motion Dataset: non-commercial)",
}
BAD_FILE = "file that could not be used"

Progress = Callable[[int, int, str], None]
"""Called with files done, files in all, and the name of the file that was done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertReport:
    """What a conversion made, left out, and decided."""

    path: str
    """Folder of the store."""
    source: str
    scenarios: dict[str, int]
    """Scenarios of each split."""
    logs: int
    maps: int
    dropped: dict[str, int]
    """Reason -> how many parts of the source are not in the store."""
    notes: dict[str, int]
    """Decision (how the ego was chosen) -> number of logs."""
    knowledge: dict[str, str]
    """Field of ``Knowledge`` -> ``all``, ``some`` or ``none`` of the logs know it."""
    problems: tuple[str, ...]
    """One line for every file that could not be used."""
    missing: tuple[str, ...]
    """One line for everything asked for that is not in the store; files that could not be used among them."""
    conversion: dict[str, Any] = field(default_factory=dict)
    """Time, speed and memory it took."""

    @classmethod
    def of_store(
        cls,
        path: Path,
        manifest: Mapping[str, Any],
        *,
        problems: Sequence[str],
        missing: Sequence[str],
        conversion: Mapping[str, Any] | None = None,
    ) -> ConvertReport:
        """Return what the manifest of a store that was written says, and what it does not say."""
        return cls(
            path=str(path),
            source=manifest["source"],
            scenarios={split: manifest["scenarios"][split] for split in SPLITS},
            logs=sum(manifest["logs"].values()),
            maps=manifest["maps"],
            dropped=manifest["dropped"],
            notes=manifest["notes"],
            knowledge=manifest["knowledge"],
            problems=tuple(problems),
            missing=tuple(missing),
            conversion=dict(conversion or {}),
        )
