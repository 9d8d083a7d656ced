"""Runs of ML-Agents' trainer: the plugin with made-up options and summaries, in processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import RunPaths
from drivetrain.runs.launcher import LaunchRequest
from drivetrain.runs.mlagents import beginning, preflight
from drivetrain.runs.mlagents.checkpoints import Checkpoints
from drivetrain.runs.mlagents.failures import reason
from drivetrain.runs.mlagents.launch import Player, is_trainer_config, start_learning
from drivetrain.runs.run_store import RunStore

TRAINER_CONFIG = Path(__file__).resolve().parents[2] / "python" / "configs" / "planning" / "trainer_config.yaml"
PROGRAM = """
import os, sys, time
from types import SimpleNamespace
from drivetrain.runs.mlagents import beginning, writer
beginning.metadata = SimpleNamespace(version=lambda name: "1")

class Options:
    behaviors = {{"Driver": None}}
    env_settings = SimpleNamespace(env_path=None, seed=4, base_port=5005, num_envs=1, timeout_wait=60)
    torch_settings = SimpleNamespace(device=None)
    checkpoint_settings = SimpleNamespace(
        run_id="r1", write_path="experiments/logs/r1", resume={resume}, force=False, inference=False,
        initialize_from=None)
    def as_dict(self):
        behavior = {{"trainer_type": "sac", "max_steps": 3000, "hyperparameters": {{"tau": 0.005}}}}
        return {{"behaviors": {{"Driver": behavior}}, "environment_parameters": None,
                "env_settings": {{"env_path": None}}, "checkpoint_settings": {{"run_id": "r1", "resume": {resume}}}}}

def number(value):
    return SimpleNamespace(aggregated_value=value)

def checkpoint(step):
    os.makedirs("experiments/logs/r1/Driver", exist_ok=True)
    for kind in ("pt", "onnx"):
        with open(f"experiments/logs/r1/Driver/Driver-{{step}}.{{kind}}", "w") as file:
            file.write(f"{{kind}} of {{step}}")

(files,) = writer.writers(Options())
"""


def plugin(root, body, *, resume=False):
    program = PROGRAM.format(resume=resume) + textwrap.dedent(body)
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(root), "DRIVETRAIN_NO_MLFLOW": "1"}
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=root, env=environment, stderr=pipe, stdout=pipe, text=True)


def finished(root, body, *, resume=False):
    """Exit code, and what the plugin's process said on stderr; it ends by itself."""
    process = plugin(root, body, resume=resume)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def run_of(root):
    return RunStore(root).get("r1")


def test_summaries_become_rows_and_the_best_checkpoint_goes_by_the_nearest_summary(tmp_path):
    body = """
    files.write_stats("Driver", {"Environment/Cumulative Reward": number(2.0), "Losses/Policy Loss": number(0.5),
                                 "Losses/Value Loss": number(1.0), "Driving/Collision": number(0.25),
                                 "Policy/Beta": number(0.1), "Is Training": number(1.0)}, 1000)
    checkpoint(1100)
    files.write_stats("Other", {"Environment/Cumulative Reward": number(99.0)}, 1000)
    files.write_stats("Driver", {"Environment/Cumulative Reward": number(1.0), "Policy/Entropy": number(float("nan"))},
                      2000)
    checkpoint(3010)
    """
    assert finished(tmp_path, body) == (0, "")
    run = run_of(tmp_path)
    first, second = run.rows
    expected = {"mean_reward": 2.0, "policy_loss": 0.5, "value_loss": 1.0, "loss": 1.0, "collision": 0.25}
    assert {name: first[name] for name in expected} == expected
    assert (first["step"], first["Policy/Beta"], first["life"]) == (1000, 0.1, 1)
    assert "Is Training" not in first
    assert (second["entropy"], second["nonfinite"]) == (None, ["entropy"])
    assert (run.algorithm, run.health.status, run.step, run.total_steps) == ("mlagents_sac", "completed", 3010, 3000)
    kept = tmp_path / "experiments" / "checkpoints" / "r1"
    assert (kept / "best.pt").read_text() == "pt of 1100"
    assert (kept / "last.pt").read_text() == "pt of 3010"
    assert (kept / "last.onnx").read_text() == "onnx of 3010"
    assert run.resume_command() == "drivetrain resume r1"


def test_a_stop_saves_once_whatever_comes_after_and_a_resume_goes_on(tmp_path):
    body = """
    files.write_stats("Driver", {"Environment/Cumulative Reward": number(1.0)}, 1000)
    try:
        print("ready", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        os.kill(os.getpid(), 2)  # SIGINT must not break off what follows
        checkpoint(1200)
    """
    learner = plugin(tmp_path, body)
    assert learner.stdout.readline() == "ready\n"
    assert run_of(tmp_path).health.status == "running"
    learner.send_signal(signal.SIGTERM)
    _, said = learner.communicate(timeout=60)
    assert learner.returncode == 0
    assert said == "drivetrain: it is stopping already: the last checkpoint is being written\n"
    run = run_of(tmp_path)
    assert (run.health.status, run.step) == ("stopped", 1200)
    body = 'files.write_stats("Driver", {"Environment/Cumulative Reward": number(1.0)}, 2000)'
    assert finished(tmp_path, body, resume=True) == (0, "")
    run = run_of(tmp_path)
    assert [(row["step"], row["life"]) for row in run.rows] == [(1000, 1), (2000, 2)]
    assert [event["at_step"] for event in run.events(9) if event["event"] == "resumed"] == [1200]


def test_a_stop_does_not_break_off_the_saving_at_the_end(tmp_path):
    body = """
    def _save_models():  # as ML-Agents calls it
        os.kill(os.getpid(), 15)
        checkpoint(3000)
    _save_models()
    """
    said = "drivetrain: it is at its end already: the last checkpoint is being written\n"
    assert finished(tmp_path, body) == (0, said)
    assert (run_of(tmp_path).health.status, run_of(tmp_path).step) == ("completed", 3000)


def test_an_exception_fails_the_run_and_a_killed_worker_does_too(tmp_path):
    _, said = finished(tmp_path, 'raise RuntimeError("NaN from the player")')
    assert said.splitlines()[-1] == "RuntimeError: NaN from the player"
    assert (run_of(tmp_path).health.status, run_of(tmp_path).health.detail) == (
        "failed",
        "RuntimeError: NaN from the player",
    )
    body = """
    import multiprocessing, signal
    worker = multiprocessing.Process(target=time.sleep, args=(60,))
    worker.start()
    time.sleep(1.5)  # the watch looks twice a second
    os.kill(worker.pid, signal.SIGKILL)
    def advance():  # as ML-Agents calls it
        time.sleep(30)
    try:
        time.sleep(2.0)  # it is busy elsewhere, and not disturbed
        advance()
    except KeyboardInterrupt:
        checkpoint(700)
    """
    said = "drivetrain: a worker process was killed (signal 9): saving, then stopping\n"
    assert finished(tmp_path, body, resume=True) == (1, said)
    run = run_of(tmp_path)
    assert (run.health.status, run.health.detail, run.step) == ("failed", "a worker process was killed (signal 9)", 700)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal")
def test_workers_end_with_a_killed_trainer(tmp_path):
    body = """
    import multiprocessing
    worker = multiprocessing.Process(target=time.sleep, args=(60,))
    worker.start()
    print(worker.pid, flush=True)
    time.sleep(30)
    """
    learner = plugin(tmp_path, body)
    worker = int(learner.stdout.readline())
    learner.kill()
    learner.communicate()
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    assert run_of(tmp_path).health.status == "lost"


def test_a_second_trainer_of_the_same_run_is_refused(tmp_path):
    first = plugin(tmp_path, 'print("ready", flush=True)\ntime.sleep(30)')
    assert first.stdout.readline() == "ready\n"
    code, said = finished(tmp_path, "", resume=True)
    assert code == 1
    first.kill()
    first.communicate()
    assert said == (
        f"drivetrain: run 'r1' is already being trained by pid {first.pid}; stop it with 'drivetrain stop r1', or "
        "choose another --run-id\n"
    )


def test_what_env_leads_to_is_looked_at_before_a_player_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unity").mkdir()
    (tmp_path / "plain").touch()
    build = tmp_path / "unity" / "game.x86_64"
    build.touch(mode=0o755)
    preflight.check_player(None)
    preflight.check_player("unity/game")
    for path, complaint in (
        (
            "build",
            "--env build: there is no such file; put a Unity build there, or our simulator: "
            "drivetrain mlagents player-export build",
        ),
        ("unity", "--env unity: it is a folder; name the executable; did you mean unity/game.x86_64?"),
        ("plain", "--env plain: plain is not executable; run: chmod +x plain"),
    ):
        with pytest.raises(UsageError) as caught:
            preflight.check_player(path)
        assert str(caught.value) == complaint


def test_a_port_in_use_is_told_with_a_free_block_and_no_folder_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments" / "logs" / "r1"
    (folder / "run_logs").mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = SimpleNamespace(
            env_settings=SimpleNamespace(env_path=sys.executable, base_port=port - 1, num_envs=2),
            checkpoint_settings=SimpleNamespace(write_path=str(folder)),
        )
        with pytest.raises(RunError) as caught:
            beginning.check_is_startable(options)
    words = str(caught.value)
    assert words.startswith(f"port {port} is in use (another mlagents-learn?); give --base-port ") or (
        words.startswith(f"port {port - 1} is in use")  # somebody else's, by chance
    )
    assert not folder.exists()
    base = preflight.free_block(4)
    assert all(preflight.is_free(number) for number in range(base, base + 4))


def test_checkpoints_are_copied_once_and_a_worse_one_does_not_become_best(tmp_path):
    paths, events = RunPaths(root=tmp_path, run_id="r"), []
    folder = tmp_path / "B"
    folder.mkdir()

    def note(name, **details):
        events.append((name, details["step"]))

    checkpoints = Checkpoints(paths, folder, "B", best=5.0, event=note)
    paths.checkpoint_dir.mkdir(parents=True)
    paths.best.write_text("from before")
    (folder / "B-100.pt").write_text("100")
    (folder / "checkpoint.pt").write_text("newest")
    checkpoints.copy_new({90: 4.0})
    checkpoints.copy_new({90: 4.0})
    assert (events, paths.best.read_text(), paths.last.read_text()) == ([("checkpoint", 100)], "from before", "100")
    (folder / "B-200.pt").write_text("200")
    checkpoints.copy_new({90: 4.0, 210: 6.0})
    assert (events[1:], paths.best.read_text()) == ([("checkpoint", 200), ("best", 200)], "200")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"data": "x"},
            "start: --data means nothing to ML-Agents' trainer; the player has its data: "
            "drivetrain mlagents player-export PATH --data DIR",
        ),
        ({"epochs": 3}, "start: --epochs means nothing to ML-Agents' trainer; give --total-steps"),
        ({}, f"start: --env is missing: {TRAINER_CONFIG} names no player; for example path/to/unity/build"),
    ],
)
def test_options_without_a_meaning_are_refused(tmp_path, changes, complaint):
    assert is_trainer_config(TRAINER_CONFIG)
    assert not is_trainer_config(TRAINER_CONFIG.with_name("ppo.yaml"))
    with pytest.raises(UsageError) as caught:
        start_learning(LaunchRequest(config=TRAINER_CONFIG, **changes), Player(), root=tmp_path)
    assert str(caught.value) == complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "text", "log", "told"),
    [
        (
            "UnityEnvironmentException",
            "Environment shut down with return code 1 (SOMETHING).",
            "[0.1 s] connected\n[0.2 s] error: no data\n",
            "the player ended with exit code 1; its last line in Player-0.log: [0.2 s] error: no data",
        ),
        (
            "UnityEnvironmentException",
            "Environment shut down with return code -9 (SIGKILL).",
            "",
            "the player was killed (signal 9); it left no log",
        ),
        (
            "UnityTimeOutException",
            "The Unity environment took too long to respond. Make sure that :\n\t many things",
            None,
            "the player did not answer within 60 s (env_settings.timeout_wait); it left no log",
        ),
        ("RuntimeError", "The rewards had NaN values.\nmore", None, "RuntimeError: The rewards had NaN values."),
    ],
)
def test_why_it_failed_names_the_players_part(tmp_path, kind, text, log, told):
    if log is not None:
        (tmp_path / "Player-0.log").write_text(log)
    error = type(kind, (Exception,), {})(text)
    assert reason(error, timeout_s=60, run_logs=tmp_path) == told
