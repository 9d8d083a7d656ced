"""Builds that are no builds, and players that leave nothing behind."""

import subprocess
import sys
import time

import psutil
import pytest

from drivetrain.errors import ConfigError
from drivetrain.mlagents.player_process import PlayerProcess, executable_of


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_build_is_found_with_and_without_unitys_suffix(tmp_path):
    build = script(tmp_path / "game.x86_64", "#!/bin/sh\n")
    assert executable_of(build) == build
    assert executable_of(tmp_path / "game") == build


def test_what_is_no_build_is_said_in_one_line(tmp_path):
    script(tmp_path / "game", "#!/bin/sh\n")
    with pytest.raises(ConfigError) as folder:
        executable_of(tmp_path)
    assert str(folder.value) == (
        f"environment.path: '{tmp_path}' is a folder; name the executable in it: {tmp_path / 'game'}"
    )
    with pytest.raises(ConfigError) as missing:
        executable_of(tmp_path / "gmae")
    assert str(missing.value) == (
        f"environment.path: there is no player '{tmp_path / 'gmae'}'; did you mean 'game'?; name the executable of a "
        "Unity build, or make one of ours with: drivetrain mlagents player-export PATH"
    )
    (tmp_path / "game").chmod(0o644)
    with pytest.raises(ConfigError) as plain:
        executable_of(tmp_path / "game")
    assert str(plain.value) == (
        f"environment.path: '{tmp_path / 'game'}' is not executable; run: chmod +x {tmp_path / 'game'}"
    )


def test_its_end_is_told_with_its_last_lines(tmp_path):
    build = script(tmp_path / "game", "#!/bin/sh\necho one; echo two >&2; echo three; echo four; exit 3\n")
    player = PlayerProcess([str(build)], log=tmp_path / "player.log")
    deadline = time.monotonic() + 10
    while player.ending() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert player.ending() == f"ended with code 3; its last lines: two | three | four (all of {tmp_path}/player.log)"
    player.end(patience_s=0.0)


def test_what_a_player_started_ends_with_it(tmp_path):
    build = script(tmp_path / "game", f"#!/bin/sh\nsleep 300 &\necho $! > {tmp_path}/child\nwait\n")
    player = PlayerProcess([str(build)], log=tmp_path / "player.log")
    child = await_number(tmp_path / "child")
    player.end(patience_s=0.0)
    assert not is_running(player.pid)
    await_end(child)  # nobody's child now: its signal is on its way


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a process with its parent")
def test_a_player_ends_with_a_trainer_that_is_killed(tmp_path):
    build = script(tmp_path / "game", f"#!/bin/sh\necho $$ > {tmp_path}/player\nexec sleep 300\n")
    program = (
        "import pathlib, time\nfrom drivetrain.mlagents.player_process import PlayerProcess\n"
        f"PlayerProcess([{str(build)!r}], log=pathlib.Path({str(tmp_path / 'player.log')!r}))\ntime.sleep(300)\n"
    )
    trainer = subprocess.Popen([sys.executable, "-c", program])
    player = await_number(tmp_path / "player")
    assert is_running(player)
    trainer.kill()
    trainer.wait()
    await_end(player)


def await_end(pid):
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)


def await_number(path):
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(path.read_text())


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
