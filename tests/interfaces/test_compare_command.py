"""`drivetrain compare` as people and programs read it."""

import json
import subprocess
import sys

import pytest
from tests.runs.test_comparison import run_of

from drivetrain.interfaces.cli import main


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "0")
    for seed in (0, 1):
        run_of(tmp_path, f"a{seed}", [0.50 + 0.1 * seed], seed=seed, git_commit="0123456789abcdef")
        run_of(tmp_path, f"b{seed}", [0.60 + 0.2 * seed], seed=seed, rate=3e-4)
    return tmp_path


def test_tables_for_people(root, capsys):
    assert main(["compare", "a0", "a1", "b0", "b1"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "run a0 a1 b0 b1",
        "steps 10K/20K 10K/20K 10K/20K 10K/20K",
        "steps/s 1K 1K 1K 1K",
        "score_basic 0.500 0.600 0.600 0.800",
        "score_basic 0.550 [0.500, 0.600] ± 0.071 0.700 [0.600, 0.800] ± 0.141",
        "score_basic a0 (2 seeds) - b0 (2 seeds) -0.150 [-0.785, +0.485] 0.205 paired t not significant",
        "algorithm.learning_rate 0.0001 0.0001 0.0003 0.0003",
        "record.code 0123456789 0123456789 1234567 1234567",
    ):
        assert line in lines


def test_one_document_for_programs(root, capsys):
    assert main(["compare", "a0", "b0", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["runs", "groups", "config", "differences", "remarks"]
    assert document["groups"][0]["final"]["score_basic"] == {
        "mean": 0.5,
        "sd_of_seeds": None,
        "iqm": 0.5,
        "iqm_ci95": [None, None],
        "seeds": 1,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a0"], "compare: give two or more different runs; 'drivetrain list' shows all"),
        (["a0", "a00"], "run 'a00' does not exist in experiments/logs; did you mean 'a0'?"),
        (["a0", "../a1"], "run '../a1' does not exist in experiments/logs; 'drivetrain list' shows all"),
    ],
)
def test_mistakes_are_one_line(root, capsys, words, message):
    assert main(["compare", *words]) in (1, 2)
    assert capsys.readouterr().err == f"drivetrain: {message}\n"


def test_nothing_heavy_is_loaded(root):
    program = (
        "import sys\nfrom drivetrain.interfaces.cli import main\nmain(['compare', 'a0', 'b0', '--json'])\n"
        "print(sorted({'torch', 'numpy', 'numba', 'mlflow'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
