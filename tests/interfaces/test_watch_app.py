"""The screen with keys, driven by its keys alone."""

import asyncio

import pytest
from tests.runs.run_folders import rows_of, write_ended_run, write_run

from drivetrain.errors import RunError
from drivetrain.interfaces.watch_view import Watcher

pytestmark = pytest.mark.needs_tui


@pytest.fixture
def root(tmp_path):
    write_ended_run(tmp_path, "old", status="stopped", rows=rows_of(10, mean_reward=float), created=1)
    record, lock = write_run(tmp_path, "ppo_v1", rows=rows_of(40, mean_reward=float), created=2)
    record.paths.train_log.write_text("the oldest line\n" + 100 * "a line\n" + "the newest line\n")
    yield tmp_path
    lock.release()


def drive(root, *keys, selected=None, until=lambda app: True):
    """What is on the screen after some keys, and the messages shown."""
    from drivetrain.interfaces.watch_app import WatchApp

    async def play():
        app = WatchApp(Watcher(root), root=root, interval_s=3600.0, selected=selected)
        async with app.run_test(size=(140, 40)) as pilot:
            await app.workers.wait_for_complete()
            for key in keys:
                await pilot.press(key)
                await app.workers.wait_for_complete()
                await pilot.pause()
            for _ in range(200):
                if until(app):
                    break
                await pilot.pause(0.02)
            await app.workers.wait_for_complete()
            await pilot.pause()
            picture = app.export_screenshot().replace("&#160;", " ")
            return picture, [notice.message for notice in app._notifications]

    return asyncio.run(play())


def is_told(app):
    return len(app._notifications) > 0


def test_the_screen_has_runs_keys_and_the_log_of_the_first(root):
    picture, told = drive(root)
    for text in ("ppo_v1", "running", "stopped", "the newest line", "Stop", "Resume", "Quit", "█"):
        assert text in picture
    assert "the oldest line" not in picture
    assert told == []


def test_down_shows_the_next_run_and_up_goes_back(root):
    picture, _ = drive(root, "down")
    assert "the newest line" not in picture
    picture, _ = drive(root, "down", "up")
    assert "the newest line" in picture
    picture, _ = drive(root, "j", "k")
    assert "the newest line" in picture


def test_the_cursor_begins_on_the_run_that_was_named(root):
    picture, _ = drive(root, selected="old")
    assert "the newest line" not in picture
    picture, _ = drive(root, "up", selected="old")
    assert "the newest line" in picture


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_one_key_leaves(root, key):
    from drivetrain.interfaces.watch_app import WatchApp

    async def play():
        app = WatchApp(Watcher(root), root=root, interval_s=0.2, selected=None)
        async with app.run_test() as pilot:
            await pilot.press(key)
            await pilot.pause()
            return app._exit

    assert asyncio.run(play())


def test_a_look_that_fails_is_told_and_the_screen_stays(root, monkeypatch):
    def look(*_, **__):
        raise OSError(5, "Input/output error", "experiments/logs")

    monkeypatch.setattr(Watcher, "look", look)
    picture, told = drive(root, until=is_told)
    assert told == ["cannot look: [Errno 5] Input/output error: 'experiments/logs'"]
    assert "Quit" in picture


def test_the_command_opens_it_unless_a_table_is_asked_for(root, monkeypatch):
    from drivetrain.interfaces import cli, watch_app, watch_table

    opened = []
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(root))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(watch_app.WatchApp, "run", lambda app: opened.append("app"))
    monkeypatch.setattr(watch_table, "watch_table", lambda *_, **__: opened.append("table"))
    assert cli.main(["watch", "--interval", "1"]) == 0
    assert cli.main(["watch", "old", "--table"]) == 0
    assert opened == ["app", "table"]


def test_a_stop_is_asked_first(root, monkeypatch):
    from drivetrain.interfaces import watch_app

    stopped = []

    def stop_run(run_id, *, root, say):
        stopped.append(run_id)
        raise RunError("too [late]")

    monkeypatch.setattr(watch_app, "stop_run", stop_run)
    picture, _ = drive(root, "s")
    assert "saves a checkpoint first" in picture
    picture, _ = drive(root, "s", "n", "s", "escape", "s", "enter", "s", "q")
    assert "saves a checkpoint first" not in picture
    assert stopped == []
    _, told = drive(root, "s", "y", until=is_told)
    assert stopped == ["ppo_v1"]
    assert told == ["too [late]"]


def test_a_resume_is_asked_first_and_says_what_became_of_it(root, monkeypatch):
    from drivetrain.interfaces import watch_app
    from drivetrain.runs.launcher import StartedRun

    def resume_run(run_id, *, root):
        return StartedRun(run_id=run_id, pid=42, folder=root, command=[])

    monkeypatch.setattr(watch_app, "resume_run", resume_run)
    _, told = drive(root, "down", "r", "y", until=is_told)
    assert told == ["run 'old' resumed (pid 42)"]


def test_what_makes_no_sense_is_said_instead_of_asked(root, tmp_path_factory):
    _, told = drive(root, "r")
    assert told == ["run 'ppo_v1' is running; it needs no resume"]
    _, told = drive(root, "down", "s")
    assert told == ["run 'old' is stopped; nothing to stop"]
    picture, told = drive(tmp_path_factory.mktemp("empty"), "s", "r")
    assert told == ["no run to stop", "no run to resume"]
    assert "No run yet" in picture


def test_a_run_that_is_deleted_or_new_leaves_the_cursor_on_its_run(root):
    from drivetrain.interfaces.watch_app import WatchApp

    async def play():
        app = WatchApp(Watcher(root), root=root, interval_s=3600.0, selected="old")
        async with app.run_test(size=(140, 40)) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            write_ended_run(root, "newer", status="completed", created=3)
            app.look()
            await app.workers.wait_for_complete()
            await pilot.pause()
            return app._view.detail.run_id, app.query_one("#runs").cursor_row, app._selected

    assert asyncio.run(play()) == ("old", 2, "old")
