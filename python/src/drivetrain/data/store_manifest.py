"""Reading the manifest of a scenario store, so that whatever is wrong with it is one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drivetrain.data.shards import REMEDY
from drivetrain.data.store_files import INDEX, LOGS, MANIFEST, MAPS, SPLITS, STORE_VERSION, make_hint, remake_hint
from drivetrain.errors import DataError

FORMAT = "drivetrain scenario store"


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of the store in folder ``path``.

    Raises:
        DataError: There is no store, or its manifest is damaged or of another version.
    """
    place = path / MANIFEST
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path}: {what}, a scenario store was expected; {make_hint(path)}")
    if not place.is_file():
        raise DataError(f"{path}: holds no scenario store ({MANIFEST} is missing); {make_hint(path)}")
    try:
        manifest = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{place}: is not readable JSON ({str(error).splitlines()[0]}); {REMEDY}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{place}: does not describe a {FORMAT}; {REMEDY}")
    if manifest.get("version") != STORE_VERSION:
        raise DataError(
            f"{place}: has store version {manifest.get('version')!r}, this program reads {STORE_VERSION};"
            f" {remake_hint(path, manifest.get('source'))}"
        )
    _check_shape(place, manifest)
    return manifest


def _check_shape(place: Path, manifest: dict[str, Any]) -> None:
    kinds = {"source": str, "scenarios": dict, "rows": dict, "files": dict, "types": list, "knowledge": dict}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise DataError(f"{place}: '{key}' is {manifest.get(key)!r}, expected a {kind.__name__}; {REMEDY}")
    for table in (INDEX, LOGS, MAPS):
        if not isinstance(manifest["rows"].get(table), int):
            raise DataError(f"{place}: 'rows.{table}' is missing; {REMEDY}")
    for split in SPLITS:
        if not isinstance(manifest["scenarios"].get(split), int):
            raise DataError(f"{place}: 'scenarios.{split}' is missing; {REMEDY}")
    for name, entry in manifest["files"].items():
        if not (isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and "bytes" in entry):
            raise DataError(f"{place}: 'files.{name}' lacks bytes or sha256; {REMEDY}")
