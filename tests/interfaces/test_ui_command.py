"""Pages of other programs: started on free ports, said, and ended with all that they started, however we end."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest

from drivetrain.errors import RunError, UsageError
from drivetrain.interfaces import cli
from drivetrain.interfaces.commands import ui
from drivetrain.interfaces.web_pages import Page, free_port, serve

SERVER = """
import socket, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", MARK], process_group=0)
listener = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
time.sleep(600)
"""
"""Listens, and has a worker in a process group of its own, as some servers do."""

OWNER = """
import pathlib, sys
from drivetrain.interfaces.web_pages import Page, serve
page = Page(name="Fake", command=[sys.executable, "-c", sys.argv[1]], port=int(sys.argv[2]))
serve([page], folder=pathlib.Path("."), say=lambda line: print(line, flush=True))
"""


def processes_with(mark):
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def owner(port, tmp_path):
    """A process that serves a fake page, the mark of the page's worker, and the lines it said."""
    mark = f"worker-of-{tmp_path}"
    script = SERVER.replace("MARK", repr(mark))
    command = [sys.executable, "-c", OWNER, script, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline(), process.stdout.readline()]
            yield process, mark, lines
        finally:
            process.kill()
            for left in processes_with(mark):
                left.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_the_owner_ends(owner, port, number):
    process, mark, lines = owner
    assert lines == [f"Fake         http://127.0.0.1:{port}/\n", "Ctrl-C ends it\n"]
    assert len(processes_with(mark)) == 1
    guards = psutil.Process(process.pid).children(recursive=True)
    assert len(guards) == 3  # the guard, the server, its worker
    os.kill(process.pid, number)
    assert process.wait(30.0) != 0
    assert wait_for(lambda: not any(child.is_running() for child in guards)), guards
    assert processes_with(mark) == []


def test_a_port_in_use_is_left_to_whoever_has_it(port, tmp_path):
    with socket.create_server(("127.0.0.1", port)):
        assert free_port(port) == free_port(port + 1)
        assert free_port(port, taken={free_port(port + 1)}) > free_port(port + 1)
        page = Page(name="Fake", command=[sys.executable, "-c", "raise SystemExit('no such option')"], port=port)
        said = []
        with pytest.raises(RunError) as error:
            serve([page], folder=tmp_path, say=said.append)
    assert str(error.value) == "Fake ended by itself with exit code 1: no such option"
    assert said[0].startswith(f"port {port} is in use; Fake gets ")


def test_ports_end_somewhere():
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 65535))
            probe.listen()
        except OSError:
            pass  # somebody else has it: as good
        with pytest.raises(UsageError, match="port 65535: none of 65535 to 65535 is free; name another"):
            free_port(65535)


def test_tensorboard_shows_its_page(tmp_path, port):
    environment = os.environ | {"DRIVETRAIN_ROOT": str(tmp_path)}
    command = [sys.executable, "-m", "drivetrain", "ui", "--port", str(port), "--no-mlflow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"TensorBoard  http://127.0.0.1:{port}/\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60.0) as answer:
                assert "<title>TensorBoard</title>" in answer.read().decode()
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            assert process.wait(30.0) == 0
            assert process.stdout.read() == "Ctrl-C ends it\nended\n"
            assert wait_for(lambda: not any(child.is_running() for child in family))
        finally:
            process.kill()


def test_mlflow_is_started_only_where_it_can_be(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert ui.mlflow_page(tmp_path, 5000) == (None, "MLflow       no store yet: the first training creates mlflow.db")
    sqlite3.connect(tmp_path / "mlflow.db").close()
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr(ui.importlib.util, "find_spec", lambda name: None if name == "flask" else object())
    assert ui.mlflow_page(tmp_path, 5000) == (None, ui.MLFLOW_PAGES_HINT)
    monkeypatch.setattr(ui.importlib.util, "find_spec", lambda name: object())
    page, hint = ui.mlflow_page(tmp_path, 5001)
    assert (page.name, page.port, hint) == ("MLflow", 5001, "")
    assert page.command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert page.command[4:6] == ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    assert page.command[6:] == ["--host", "127.0.0.1", "--workers", "1"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example")
    assert ui.mlflow_page(tmp_path, 5000) == (None, "MLflow       https://tracking.example (MLFLOW_TRACKING_URI)")


def test_a_port_that_is_none_is_refused(capsys):
    assert cli.main(["ui", "--mlflow-port", "70000"]) == 2
    assert capsys.readouterr().err == "drivetrain: ui: --mlflow-port 70000: give a port from 1 to 65535\n"
