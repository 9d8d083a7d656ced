"""Imports point down the layers, and what must start fast loads nothing heavy."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "src" / "drivetrain"

LAYERS = {
    "errors": 0,
    "config": 0,
    "run_record": 0,
    "registration": 0,
    "processes": 0,
    "ray_workers": 1,
    "sim": 1,
    "planners": 2,
    "metrics": 2,
    "mlagents": 2,
    "data": 3,
    "closed_loop": 3,
    "models": 4,
    "parallel": 4,
    "algorithms": 5,
    "trainer": 6,
    "runs": 7,
    "mlagents_player": 7,
    "rendering": 7,
    "triage": 8,
    "interfaces": 9,
}
FRONT_DOOR = 10
"""``drivetrain/__init__.py`` and ``__main__.py``: the Python API and ``python -m drivetrain``."""

TORCH_LAYERS = {"models", "parallel", "algorithms", "trainer"}
TORCH_FREE_MODULES = {"torch", "torchvision", "tensorboard"}
MLFLOW_HOME = "runs/mlflow_mirror.py"
TEXTUAL_HOME = "interfaces/watch_app.py"
WIRE_ROOM = "mlagents"
WIRE_MODULES = {"grpc", "google"}
"""gRPC and protobuf."""
ELSEWHERE = {"interfaces/devkit/drivetrain_planner.py", "mlagents/compatibility_hook.py"}
"""Files that are handed out and run by other programs."""
PLUGS = {"runs/sweeps/ray_plugs.py", "runs/sweeps/ray_trial.py"}
"""Files that only Ray loads, and the one function that starts it."""


def room_of(path: Path) -> str:
    """The layer table's name for a source file: its package, or the module's own name at the top."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def layer_of(room: str) -> int:
    return FRONT_DOOR if room in {"__init__", "__main__"} else LAYERS[room]


def imported_modules(tree: ast.AST) -> list[tuple[int, str]]:
    """Every (line, absolute module or name) a file imports, inside functions and TYPE_CHECKING blocks too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def imported_room(name: str) -> str | None:
    """The room an import leads to, or None when it leaves the package or asks only for the version."""
    parts = name.split(".")
    # The bare package is how a module finds out where the sources lie; what it offers is asked for by name.
    if parts[0] != "drivetrain" or name in {"drivetrain", "drivetrain.__version__"}:
        return None
    return parts[1] if parts[1] in LAYERS else "__init__"


def violations(path: Path, source: str) -> list[str]:
    """What in one file breaks the rule 'a file imports its own room or a lower layer'."""
    room = room_of(path)
    found = []
    for line, name in imported_modules(ast.parse(source)):
        target = imported_room(name)
        if target is None or target == room:
            continue
        own, other = layer_of(room), layer_of(target)
        # Files of layer 0 may use each other; rooms of one higher layer may not.
        if other > own or (other == own and own > 0):
            found.append(f"{path.relative_to(PACKAGE)}:{line} (layer {own}) imports {name} (layer {other})")
    return found


def third_party_violations(path: Path, source: str) -> list[str]:
    """Uses of torch, MLflow, Textual or gRPC outside the rooms they are allowed in."""
    relative = path.relative_to(PACKAGE).as_posix()
    if relative in ELSEWHERE:
        return []
    found = []
    for line, name in imported_modules(ast.parse(source)):
        top = name.split(".")[0]
        if top in TORCH_FREE_MODULES and room_of(path) not in TORCH_LAYERS:
            found.append(f"{relative}:{line} imports {top}")
        if top == "mlflow" and relative != MLFLOW_HOME:
            found.append(f"{relative}:{line} imports mlflow")
        if top == "textual" and relative != TEXTUAL_HOME:
            found.append(f"{relative}:{line} imports textual")
        if top in WIRE_MODULES and room_of(path) != WIRE_ROOM:
            found.append(f"{relative}:{line} imports {top}")
    return found


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def modules_of(*rooms: str) -> list[str]:
    names = []
    for path in source_files():
        foreign = path.relative_to(PACKAGE).as_posix() in ELSEWHERE | PLUGS
        if room_of(path) in rooms and path.name != "__main__.py" and not foreign:
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def loaded_after(statement: str) -> set[str]:
    """Top-level modules present in a fresh interpreter after a statement."""
    program = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_every_room_on_disk_is_in_the_table() -> None:
    rooms = {room_of(path) for path in source_files()} - {"__init__", "__main__"}
    assert rooms <= set(LAYERS)


def test_imports_point_down() -> None:
    found = [line for path in source_files() for line in violations(path, path.read_text(encoding="utf-8"))]
    assert found == []


def test_torch_and_mlflow_stay_in_their_rooms() -> None:
    found = [line for path in source_files() for line in third_party_violations(path, path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("sim/world.py", "from drivetrain.models import encoder", 1),
        ("sim/world.py", "def f():\n    import drivetrain.data.shards", 1),
        (
            "sim/world.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from drivetrain.data import x",
            1,
        ),
        ("sim/world.py", "from drivetrain import evaluate", 1),
        ("rendering/style.py", "from drivetrain.runs import status", 1),
        ("runs/status.py", "from drivetrain.rendering import style", 1),
        ("sim/world.py", "from drivetrain.errors import DataError\nfrom drivetrain.sim import geometry", 0),
        ("config.py", "from drivetrain.errors import ConfigError", 0),
        (
            "trainer/trainer.py",
            "from drivetrain import __version__\nfrom drivetrain.algorithms import ppo",
            0,
        ),
        ("__init__.py", "def f():\n    from drivetrain.trainer import evaluation", 0),
    ],
)
def test_the_rule_sees_what_it_should(path: str, source: str, expected: int) -> None:
    assert len(violations(PACKAGE / path, source)) == expected


def test_the_third_party_rule_sees_what_it_should() -> None:
    assert third_party_violations(PACKAGE / "sim/world.py", "def f():\n    import torch.nn") != []
    assert third_party_violations(PACKAGE / "models/encoder.py", "import torch") == []
    assert third_party_violations(PACKAGE / "runs/status.py", "from mlflow.tracking import MlflowClient") != []
    assert third_party_violations(PACKAGE / MLFLOW_HOME, "import mlflow") == []
    assert third_party_violations(PACKAGE / "interfaces/watch_view.py", "from textual.app import App") != []
    assert third_party_violations(PACKAGE / TEXTUAL_HOME, "import textual") == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import drivetrain") & {"torch", "numba", "mlflow", "numpy", "pydantic"} == set()


def test_runs_and_interfaces_load_no_torch_numba_or_mlflow() -> None:
    names = [name for name in modules_of("runs", "interfaces") if not name.endswith((".mlflow_mirror", ".watch_app"))]
    assert loaded_after("import " + ", ".join(names)) & {"torch", "numba", "mlflow"} == set()


def test_low_layers_run_without_torch() -> None:
    names = modules_of("errors", "config", "run_record", "sim", "planners", "metrics", "mlagents", "data")
    assert loaded_after("import " + ", ".join(names)) & {"torch", "mlflow"} == set()


def test_the_table_is_the_one_in_the_architecture_page() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", text, flags=re.MULTILINE)
    documented = {name: int(layer) for layer, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert documented == LAYERS
