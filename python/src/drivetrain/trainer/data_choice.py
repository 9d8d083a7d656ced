"""Which data set a run trains on: what the config says, or the first that is there, or a generated sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError, UsageError
from drivetrain.run_record import DataChoice

MANIFEST = "manifest.json"
NUPLAN = "datasets/processed/nuplan"
SAMPLE = "datasets/processed/sample"


def choose_data(
    data: str, root: Path, *, say: Callable[[str], None], may_generate: bool = True
) -> tuple[ScenarioStore, DataChoice]:
    """Return the store a run trains on, and how it was chosen.

    ``auto`` takes the nuPlan store if it exists, else the sample store, else generates the sample. A path never falls
    back.

    Args:
        data: ``auto``, or a folder, relative to the root.
        root: The project root.
        say: Told when something takes long.
        may_generate: ``auto`` may generate the sample.

    Raises:
        DataError: There is no usable store.
    """
    path, choice = (
        _auto(root, say, may_generate=may_generate) if data == "auto" else (_explicit(data, root), "explicit")
    )
    store = ScenarioStore(path)
    try:
        shown = path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        shown = str(path)
    return store, DataChoice(path=shown, fingerprint=store.fingerprint, choice=choice)


def _auto(root: Path, say: Callable[[str], None], *, may_generate: bool) -> tuple[Path, str]:
    for place, choice in ((NUPLAN, "auto: nuplan"), (SAMPLE, "auto: sample")):
        if (root / place / MANIFEST).is_file():
            return root / place, choice
    if not may_generate:
        raise DataError(
            f"data: there is no store in {NUPLAN} or {SAMPLE}; make one with 'drivetrain data convert', or name another"
        )
    say(f"no data set in {NUPLAN} or {SAMPLE}: generating the sample (2,000 scenes, once)")
    from drivetrain.data.synthetic.sample import write_sample  # loads what draws maps

    path = root / SAMPLE
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_sample(path)
    except (DataError, UsageError):
        if not (path / MANIFEST).is_file():  # another run was faster, otherwise
            raise
    return path, "auto: generated sample"


def _explicit(data: str, root: Path) -> Path:
    path = root / Path(data).expanduser()
    if (path / MANIFEST).is_file():
        return path
    what = "is no scenario store (it has no manifest.json)" if path.is_dir() else "does not exist"
    remedy = "make a sample with 'drivetrain data sample', or convert logs with 'drivetrain data convert'"
    raise DataError(f"data: {data} {what}; {remedy}, or use data: auto")
