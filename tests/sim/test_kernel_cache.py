"""The kernel cache must notice an edit in a callee that stands in another file; Numba's own cache does not."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import drivetrain
from drivetrain.sim.kernel_cache import imported_modules

CALLEE = """from drivetrain.sim.kernel_cache import jit

FACTOR = 2.0

@jit
def scale(x):
    return FACTOR * x
"""
CALLER = """from drivetrain.sim.callee import scale
from drivetrain.sim.kernel_cache import jit

@jit
def shifted(x):
    return scale(x) + 1.0
"""
RUN = """from drivetrain.sim import caller
value = caller.shifted(3.0)
print(value, sum(caller.shifted.stats.cache_hits.values()), sum(caller.shifted.stats.cache_misses.values()))
"""
HASH_CHANGES = """import sys
from pathlib import Path
from drivetrain.sim import kernel_cache
caller = Path(kernel_cache.__file__).with_name("caller.py")
for name in sys.argv[1:]:
    file = caller.with_name(name)
    before = kernel_cache.source_hash(str(caller))
    file.write_text(file.read_text() + "# edited\\n")
    kernel_cache.source_hash.cache_clear()
    kernel_cache._read.cache_clear()
    print(name, before != kernel_cache.source_hash(str(caller)))
"""


@pytest.fixture
def copied_package(tmp_path):
    """A copy of the package's foundations with a caller and a callee in two files, and a fresh cache."""
    source, copy = Path(drivetrain.__file__).parent, tmp_path / "src" / "drivetrain"
    (copy / "sim").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "registration.py", "sim/kernel_cache.py"):
        shutil.copy(source / name, copy / name)
    (copy / "sim" / "__init__.py").write_text("")
    (copy / "sim" / "callee.py").write_text(CALLEE)
    (copy / "sim" / "caller.py").write_text(CALLER)
    (copy / "sim" / "bystander.py").write_text("VALUE = 1\n")
    return copy


def run(package, program, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {
        "PYTHONPATH": str(package.parent),
        "DRIVETRAIN_CACHE_DIR": str(package.parent.parent / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_editing_a_callee_in_another_file_changes_the_result(copied_package):
    assert run(copied_package, RUN) == ["7.0", "0", "1"]
    assert run(copied_package, RUN) == ["7.0", "1", "0"], "the second process should have used the cache"
    callee = copied_package / "sim" / "callee.py"
    callee.write_text(CALLEE.replace("FACTOR = 2.0", "FACTOR = 5.0"))  # same length: only the content tells
    assert run(copied_package, RUN) == ["16.0", "0", "1"]


def test_the_hash_covers_a_kernel_and_what_it_imports_and_nothing_else(copied_package):
    names = ("caller.py", "callee.py", "kernel_cache.py", "bystander.py")
    answers = run(copied_package, HASH_CHANGES, *names)
    assert dict(zip(answers[::2], answers[1::2], strict=True)) == {
        "caller.py": "True",
        "callee.py": "True",
        "kernel_cache.py": "True",
        "bystander.py": "False",
    }


def imported_by_a_full_parse(source):
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "drivetrain":
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "drivetrain"}
    return found


def test_the_imports_of_every_source_are_those_of_a_full_parse():
    found = 0
    for file in Path(drivetrain.__file__).parent.rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        assert imported_modules(source) == imported_by_a_full_parse(source), file
        found += len(imported_modules(source))
    assert found > 1000


@pytest.mark.parametrize(
    "source",
    [
        "import drivetrain.sim.a, os, drivetrain.sim.b as b  # (both\nx = (1, 2)\nfrom drivetrain.sim.c import d\n",
        "from drivetrain.sim.a import (  # the first :)\n    b,\n    c,\n)\nx = 1\n",
        "from drivetrain.sim.a import \\\n    b\n",
        "import os, \\\n    drivetrain.sim.a\n",
        "x = 1; from drivetrain.sim.a import b\n",
        "from os import path; import drivetrain.sim.a\n",
        "\fimport drivetrain.sim.a\n",
        "import\tdrivetrain.sim.a\nfrom\tdrivetrain.sim import(b)\n",
        "from . import drivetrain\nimport drivetrainer\n\ndef f():\n    import drivetrain.sim.a\n",
        '"""Text\nfrom drivetrain that is none.\n"""\nimport drivetrain.sim.a\n',
    ],
)
def test_imports_are_found_however_they_are_written(source):
    assert imported_modules(source) == imported_by_a_full_parse(source)


def test_a_text_that_looks_like_an_import_only_adds_a_file():
    assert imported_modules('"""\nimport drivetrain.sim.a\n"""\nimport drivetrain.sim.b\n') == {
        "drivetrain.sim.a",
        "drivetrain.sim.b",
    }
