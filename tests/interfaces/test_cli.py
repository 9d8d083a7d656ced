"""The command line as a whole: quick to start, mistakes in one line, JSON alone on stdout."""

import json
import os
import subprocess
import sys

import pytest
from tests.runs.run_folders import rows_of, write_ended_run, write_run

from drivetrain.errors import ConfigError, DrivetrainError
from drivetrain.interfaces import cli
from drivetrain.interfaces.commands import status

HEAVY = ("torch", "numba", "numpy", "pydantic", "mlflow", "textual", "mcp")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def run_process(*words, root):
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(root)}
    command = [sys.executable, "-m", "drivetrain", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def imported_by(code, root):
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(root)}
    code += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return done.stdout, {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "words", ["--help", "status", "status --json", "status --active", "list", "report", "data --help"]
)
def test_nothing_heavy_is_imported(tmp_path, words):
    write_ended_run(tmp_path, "ppo_v1", status="completed", rows=rows_of(100, mean_reward=1.0))
    code = f"""
from drivetrain.interfaces.cli import main
try:
    main({words.split()})
except SystemExit:
    pass
"""
    output, modules = imported_by(code, tmp_path)
    assert output
    assert not modules & set(HEAVY)
    if words != "report":
        assert "rich" not in modules


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["stauts"], "unknown command 'stauts'; did you mean 'status'?"),
        (
            ["status", "--jsno"],
            "status: unrecognized arguments: --jsno; did you mean '--json'?; see 'drivetrain status --help'",
        ),
        (["--foo"], "unrecognized arguments: --foo; see 'drivetrain --help'"),
        (["data", "smaple"], "did you mean 'sample'?; see 'drivetrain data --help'"),
        (["data"], "data: the following arguments are required: ACTION; see 'drivetrain data --help'"),
        (["report", "--lang", "fr"], "see 'drivetrain report --help'"),
        (["list", "--status", "runing"], "list --status: unknown status 'runing'; did you mean 'running'?"),
        (["evaluate"], "evaluate: give one of: a checkpoint, --planner NAME, --trajectories FILE.npz; for example: "),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(project, capsys, words, line):
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("drivetrain: ")
    assert err.count("\n") == 1
    assert line in err


def test_unknown_words_name_all_commands_where_none_is_near(project, capsys):
    assert cli.main(["xyzzy"]) == 2
    assert "choose one of data, train, start," in capsys.readouterr().err


def test_no_command_prints_the_help_on_stderr(project, capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: drivetrain")


def test_every_command_has_examples_that_parse(capsys):
    parser = cli.build_parser()
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit):
            parser.parse_args([name, "--help"])
        shown = capsys.readouterr().out.partition("examples:\n")[2]
        examples = [line.split() for line in shown.splitlines() if line.startswith("  ")]
        assert examples, name
        for example in examples:
            if example[0] == "mlagents-learn":
                continue  # the other tool that the command installs
            assert example[:2] == ["drivetrain", name]
            parser.parse_args(example[1:])


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == "drivetrain 0.1.0\n"


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (DrivetrainError("the disk is full"), 1, "drivetrain: the disk is full\n"),
        (ConfigError("a.yaml:1:1: x\na.yaml:2:1: y"), 2, "drivetrain: a.yaml:1:1: x\ndrivetrain: a.yaml:2:1: y\n"),
        (KeyboardInterrupt(), 130, "drivetrain: interrupted\n"),
    ],
)
def test_errors_become_lines_and_exit_codes(project, monkeypatch, capsys, error, code, shown):
    def fail(arguments):
        raise error

    monkeypatch.setattr(status, "run", fail)
    assert cli.main(["status"]) == code
    assert capsys.readouterr() == ("", shown)


def test_a_reader_who_leaves_is_no_failure(tmp_path):
    for index in range(40):
        write_ended_run(tmp_path, f"run_{index}_{'x' * 60}", status="completed")
    command = f"{sys.executable} -m drivetrain list --json | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "DRIVETRAIN_ROOT": str(tmp_path)}
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_status_shows_runs_and_their_trouble(project, capsys):
    write_ended_run(project, "broken", status="failed", message="the loss is nan", rows=rows_of(3), created=1.0)
    rows = rows_of(21, mean_reward=4.567, collision=0.1, progress=0.8, loss=0.25)
    _, lock = write_run(project, "ppo_v1", rows=rows)
    assert cli.main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Run", "Algorithm", "Status", "Step", "Reward", "Collision", "Progress", "Loss", "ETA"]
    assert lines[1].split() == ["ppo_v1", "PPO", "running", "210K/1M", "4.57", "0.10", "0.80", "0.250", "2:38"]
    assert lines[2].split() == ["broken", "PPO", "failed", "30K/1M", "-", "-", "-", "-", "-"]
    assert lines[3] == "broken: the loss is nan"
    assert cli.main(["status", "broken", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["run_id"], run["reward"]) == ("broken", None)
    assert cli.main(["status", "--active", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["ppo_v1"]
    lock.release()


def test_status_without_runs_says_how_to_start_one(project, capsys):
    assert cli.main(["status"]) == 0
    assert "drivetrain train python/configs/planning/ppo.yaml" in capsys.readouterr().out
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": []}
    assert cli.main(["status", "ppo_v1"]) == 1
    assert (
        capsys.readouterr().err == "drivetrain: run 'ppo_v1' does not exist in experiments/logs; there is no run yet\n"
    )


def test_list_shows_scores_and_checkpoints(project, capsys):
    record = write_ended_run(project, "ppo_v1", status="completed", rows=rows_of(2), state={"best_score": 0.875})
    write_ended_run(project, "early", status="failed", created=1.0)
    for path in (record.paths.best, record.paths.last):
        path.write_bytes(b"weights")
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-3:] == ["20K/1M", "0.875", "experiments/checkpoints/ppo_v1/{best,last}.pt"]
    assert lines[2].endswith("none")
    assert cli.main(["list", "--status", "completed", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert entry["checkpoints"] == ["experiments/checkpoints/ppo_v1/best.pt", "experiments/checkpoints/ppo_v1/last.pt"]
    assert (entry["best_score"], entry["data"]) == (0.875, "datasets/processed/sample")
