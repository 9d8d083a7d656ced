"""What alerts.yaml may say, and what the command is told; a command that fails or hangs is a line and nothing else."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from drivetrain.errors import ConfigError
from drivetrain.run_record import alerts_file
from drivetrain.runs.alerts import Alert, AlertsConfig, hook_environment, load_alerts, run_hook

ALERT = Alert(
    kind="failed",
    run_id="ppo_v1",
    algorithm="ppo",
    life=2,
    status="failed",
    message="the loss is nan; 학습 중단",
    step=1200,
    total_steps=5000,
    reward=None,
    log="experiments/logs/ppo_v1/train.log",
    resume_command=None,
)


def write_alerts(root, text):
    alerts_file(root).parent.mkdir(parents=True, exist_ok=True)
    alerts_file(root).write_text(text)


def hook(root, code, *words, **options):
    """Run a line of Python as the command."""
    config = AlertsConfig(on=("failed",), command=(sys.executable, "-c", code, *words), **options)
    return run_hook(config, ALERT, root=root, output=root / "alerts.log")


def test_nothing_is_run_without_the_file_and_by_the_one_that_comes_with_the_project(tmp_path):
    assert not load_alerts(tmp_path).is_active
    assert load_alerts(Path(__file__).resolve().parents[2]) == AlertsConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("on: [faild]\ncommand: [x]", "unknown alert 'faild'; did you mean 'failed'?; choose from failed, stalled"),
        ("on: [failed]", "command: is empty, so 'on' has nothing to run; give a list of words"),
        ("on: [failed]\ncommand: notify-send hello", 'command: expected array, got "notify-send hello"'),
        ("on: []\ncommand: [x]\ntimeout_s: 0", "timeout_s: 0 is not within 0 to 3600 s"),
        ("on: []\ncomand: [x]", "comand: unknown key; did you mean 'command'?"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, text, message):
    write_alerts(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_alerts(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_is_told_by_environment_and_standard_input(tmp_path):
    code = (
        "import json, os, sys; print(json.dumps([json.load(sys.stdin), dict(os.environ), sys.argv[1:], os.getcwd()]))"
    )
    result = hook(tmp_path, code, "a b", "$HOME")
    assert (result.exit_code, result.problem) == (0, "")
    facts, environment, words, folder = json.loads((tmp_path / "alerts.log").read_text())
    assert facts["message"] == "the loss is nan; 학습 중단"
    assert (facts["kind"], facts["step"], facts["reward"]) == ("failed", 1200, None)
    assert words == ["a b", "$HOME"]  # no shell has read them
    assert folder == str(tmp_path)
    told = {name: value for name, value in environment.items() if name.startswith("DRIVETRAIN_ALERT")}
    assert told["DRIVETRAIN_ALERT"] == "failed"
    assert told["DRIVETRAIN_ALERT_RUN_ID"] == "ppo_v1"
    assert told["DRIVETRAIN_ALERT_REWARD"] == ""


def test_a_command_is_no_process_of_the_run():
    assert hook_environment({"DRIVETRAIN_RUN_ID": "ppo_v1", "HOME": "/"}) == {"HOME": "/"}


def test_a_program_with_a_slash_lies_below_the_root(tmp_path):
    script = tmp_path / "hooks" / "tell.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho told $DRIVETRAIN_ALERT\n")
    script.chmod(0o755)
    config = AlertsConfig(on=("failed",), command=("hooks/tell.sh",))
    assert run_hook(config, ALERT, root=tmp_path, output=tmp_path / "alerts.log").problem == ""
    assert (tmp_path / "alerts.log").read_text() == "told failed\n"


def test_a_command_that_fails_says_how(tmp_path):
    result = hook(tmp_path, "raise SystemExit(3)")
    assert (result.exit_code, result.problem) == (3, f"{sys.executable}: ended with exit code 3")
    killed = hook(tmp_path, "import os; os.kill(os.getpid(), 15)")
    assert killed.problem == f"{sys.executable}: ended with signal SIGTERM"
    missing = run_hook(
        AlertsConfig(on=("failed",), command=("no-such-program",)), ALERT, root=tmp_path, output=tmp_path / "alerts.log"
    )
    assert missing.problem == "no-such-program: cannot be run (No such file or directory)"
    assert missing.exit_code is None


def test_a_command_that_hangs_is_killed_with_all_it_started(tmp_path):
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    result = hook(tmp_path, code, timeout_s=1.5)
    assert result.problem == f"{sys.executable}: killed, because it ran for more than 1.5 s"
    child = int((tmp_path / "alerts.log").read_text())
    deadline = time.monotonic() + 10.0
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(child)


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return not os.path.isdir("/proc")
