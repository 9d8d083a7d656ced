"""Every command in every page could be typed, whether its block runs here or not."""

import pytest
from tests.docs.commands import complaint, shell_commands
from tests.docs.pages import PAGES, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_shown_commands_can_be_typed(page):
    found = [complaint(words) for words in shell_commands(page.read_text(encoding="utf-8"))]
    assert [text for text in found if text] == []


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("make test-every", "no make target"),
        ("make test PYTEST_ARGS=-x", None),
        ("python python/src/training/train_nothing.py", "no file"),
        ("python python/src/training/train_rl.py --config python/configs/planning/ppo.yaml --run-id a", None),
        ("python python/src/training/train_rl.py --config python/configs/planning/none.yaml", "no file"),
        ("python python/src/training/train_rl.py --config python/configs/planning/ppo.yaml --epochs 3", "--epochs"),
        (
            "python python/src/training/train_bc.py --config python/configs/planning/bc.yaml --set no.such=1",
            "no: unknown",
        ),
        ("python benchmarks/learning_curves.py --no-such", "no option"),
        ("python -m drivetrain.no_such_module", "no module"),
        ("python -m drivetrain.runs.mlflow_mirror experiments/logs/ppo_v1 --once", None),
        ("drivetrain statsu", "statsu"),
        ("drivetrain status --jsno", "--jsno"),
        ("drivetrain status --json | grep running", None),
        ("drivetrain status && frobnicate", "unknown command 'frobnicate'"),
        ("drivetrain start python/configs/planning/ppo.yaml --set algorithm.learning_rte=1", "learning_rate"),
        ("drivetrain start python/configs/planning/cimrl_pipeline.yaml --run-id cimrl_v1", None),
        ("NAME=1 drivetrain status > file.txt", None),
        ("mlagents-learn python/configs/planning/none.yaml", "no file"),
        (".ci/run", None),
    ],
)
def test_the_check_sees_what_it_should(line, part):
    found = complaint(line.split())
    assert found is None if part is None else found is not None and part in found, found
