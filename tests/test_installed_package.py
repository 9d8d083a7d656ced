"""The wheel as a stranger has it: a new environment, an empty folder, the commands of the documentation."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

import drivetrain
from drivetrain.run_record import shipped_configs

ROOT = Path(__file__).resolve().parents[1]
PYTHON = os.environ.get("DRIVETRAIN_WHEEL_PYTHON")
"""Interpreter of an environment in which nothing but the wheel was installed; ``make test-all`` makes it."""
needs_wheel = pytest.mark.skipif(not PYTHON, reason="no environment with the wheel: make test-wheel")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Run a command in an empty folder of somebody who has the wheel."""
    folder = tmp_path_factory.mktemp("somewhere")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DRIVETRAIN", "PYTHON"))}

    def run(*words, program=("drivetrain",)):
        command = [str(Path(PYTHON).with_name(program[0])), *program[1:], *words]
        done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stderr
        return done

    run.folder = folder
    return run


@needs_wheel
def test_the_sources_are_those_of_the_wheel_and_its_version_is_that_of_the_metadata(stranger):
    code = "import drivetrain, importlib.metadata as m; print(drivetrain.__file__, m.version('drivetrain'))"
    file, version = stranger("-c", code, program=("python",)).stdout.split()
    assert Path(file).is_relative_to(Path(PYTHON).parents[1])
    assert stranger("--version").stdout == f"drivetrain {version}\n"
    assert version == drivetrain.__version__


@needs_wheel
def test_the_first_minute_works_as_printed(stranger):
    stranger("data", "sample", "--train", "20", "--val", "4", "--test", "4")
    trained = stranger(
        "train", "python/configs/planning/ppo.yaml", "--run-id", "first", "--total-steps", "20000", "--no-mlflow",
        "--set", "environment.num_worlds=16", "--set", "training.processes=1", "--set", "evaluation.episodes=4",
    )  # fmt: skip
    assert f"configs of drivetrain {drivetrain.__version__}" in trained.stderr
    assert json.loads(stranger("status", "--json").stdout)["runs"][0]["status"] == "completed"
    scored = json.loads(
        stranger("evaluate", "experiments/checkpoints/first/best.pt", "--episodes", "4", "--json").stdout
    )
    assert scored["scenarios"] == {"asked": 4, "scored": 4, "failed": 0}
    stranger("render", "experiments/checkpoints/first/best.pt", "--worst", "1", "--format", "html")
    assert (stranger.folder / "experiments" / "render" / "index.html").is_file()
    begun = stranger(
        "start", "python/configs/planning/ppo.yaml", "--run-id", "second", "--total-steps", "20000", "--no-mlflow"
    )
    assert "drivetrain stop second" in begun.stdout
    assert "second" in stranger("list").stdout
    stranger("stop", "second")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that carries configs, and an empty folder to work in."""
    (tmp_path / "package" / "configs" / "planning").mkdir(parents=True)
    (tmp_path / "package" / "configs" / "planning" / "ppo.yaml").write_text("algorithm: {name: ppo}\n")
    monkeypatch.setattr(drivetrain, "__file__", str(tmp_path / "package" / "__init__.py"))
    monkeypatch.delenv("DRIVETRAIN_ROOT", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize(
    "words",
    [
        ["train", "python/configs/planning/ppo.yaml"],
        ["start", "--config=python/configs/planning/ppo.yaml"],
        ["queue", "add", "./python/configs/planning/ppo.yaml"],
        ["ask", "start ppo"],
        ["mcp"],
    ],
)
def test_a_folder_without_configs_gets_those_of_the_package(package, capsys, words):
    shipped_configs.provide_configs(words)
    assert (package / "python/configs/planning/ppo.yaml").read_text() == "algorithm: {name: ppo}\n"
    assert capsys.readouterr().err.startswith("python/configs/ was not here: written")
    assert [path.name for path in (package / "python").iterdir()] == ["configs"]


@pytest.mark.parametrize("words", [["status"], ["train", "mine.yaml"], ["--help"], []])
def test_other_commands_write_nothing(package, words):
    shipped_configs.provide_configs(words)
    assert list(package.iterdir()) == []


def test_configs_that_are_there_stay_as_they_are(package):
    (package / "python" / "configs").mkdir(parents=True)
    (package / "python" / "configs" / "mine.yaml").write_text("a: 1\n")
    shipped_configs.provide_configs(["train", "python/configs/planning/ppo.yaml"])
    assert [path.name for path in (package / "python" / "configs").iterdir()] == ["mine.yaml"]


def test_a_folder_that_cannot_be_written_is_said_in_one_line(package):
    (package / "python").write_text("a file\n")
    with pytest.raises(
        drivetrain.errors.RunError, match="python/configs: the configs of the package cannot be written"
    ):
        shipped_configs.provide_configs(["train", "python/configs/planning/ppo.yaml"])


@needs_wheel
def test_the_wheel_carries_every_config_and_no_tests(tmp_path):
    (wheel,) = (ROOT / "dist").glob("drivetrain-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    configs = {
        path.relative_to(ROOT / "python/configs").as_posix() for path in (ROOT / "python/configs").rglob("*.yaml")
    }
    assert {name.removeprefix("drivetrain/configs/") for name in names if name.endswith(".yaml")} == configs
    assert not [name for name in names if "tests" in Path(name).parts or name.startswith("training/")]
