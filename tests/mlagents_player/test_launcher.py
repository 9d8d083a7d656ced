"""The executable: what it says, that --env would find it, and what is refused."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain.errors import UsageError
from drivetrain.mlagents_player.launcher import check_target, is_launcher, write_launcher


def test_it_starts_this_python_with_the_data_and_passes_on_what_the_trainer_adds(tmp_path):
    data = tmp_path / "a store's folder"
    data.mkdir()
    target = tmp_path / "path" / "to" / "build"
    write_launcher(target, data=data, num_worlds=12)
    assert os.access(target, os.X_OK)
    assert is_launcher(target)
    assert list(target.parent.iterdir()) == [target]
    line = shlex.split(target.read_text().splitlines()[-1])
    expected = [sys.executable, "-m", "drivetrain.mlagents_player", "--data", str(data), "--worlds", "12", "$@"]
    assert line == ["exec", *expected]
    write_launcher(target, data=data, num_worlds=3)  # one of ours may be replaced
    assert "--worlds 3" in target.read_text()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("my.application/build", "mlagents-learn takes '.app' out of every path; choose one without it"),
        ("build.x86_64", "mlagents-learn takes '.x86_64' out of every path; choose one without it"),
        ("what?/build", "mlagents-learn reads *?[ as patterns; choose another path"),
    ],
)
def test_a_path_that_env_would_not_find_is_refused(name, complaint):
    with pytest.raises(UsageError) as caught:
        check_target(Path(name))
    assert str(caught.value) == f"player-export: {name}: {complaint}"


def test_what_lies_there_is_not_replaced(tmp_path):
    folder = tmp_path / "unity"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"is a folder; --env needs a file: .*unity/build$"):
        check_target(folder)
    build = folder / "build"
    build.write_bytes(b"\x7fELF a real one")
    with pytest.raises(UsageError, match=r"is there already and no player of ours \(a Unity build\?\)"):
        check_target(build)
    build.unlink()
    (folder / "build.x86_64").touch()
    with pytest.raises(UsageError, match=r"--env would start .*build\.x86_64 instead of .*build; choose another path"):
        check_target(build)


@pytest.mark.needs_unity
def test_without_a_trainer_the_player_says_so_in_its_log_and_fails(tmp_path, monkeypatch):
    from drivetrain.mlagents import player_link
    from drivetrain.mlagents_player import __main__ as player

    monkeypatch.setattr(player, "NAME", "drivetrain")
    link = player_link.PlayerLink
    monkeypatch.setattr(player_link, "PlayerLink", lambda port, *, name: link(port, name=name, connect_timeout_s=0.2))
    monkeypatch.setattr(player_link, "end_with_parent", lambda: None)
    log = tmp_path / "Player-0.log"
    words = ["-nographics", "-batchmode", "--mlagents-port", "9", "-logFile", str(log), "--data", "x", "--worlds", "1"]
    assert player.main([*words, "--odd"]) == 1
    told = log.read_text().splitlines()
    assert told[0].endswith("ignored: --odd")
    assert "error: player: no trainer on port 9 within 0 s" in told[1]


def test_the_player_tells_its_options_without_loading_anything_heavy():
    program = "import sys, drivetrain.mlagents_player.__main__; print('numpy' in sys.modules, 'grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
