"""What a language model may see of runs."""

import pytest
from tests.runs.run_folders import rows_of, write_ended_run

from drivetrain.errors import DrivetrainError
from drivetrain.interfaces.mcp_readers import RunReaders
from drivetrain.run_record import RunPaths


@pytest.fixture
def root(tmp_path):
    (tmp_path / "python" / "configs").mkdir(parents=True)
    write_ended_run(tmp_path, "a", rows=rows_of(3, mean_reward=1.5), status="completed")
    write_ended_run(tmp_path, "b", rows=rows_of(3, mean_reward=float("2")), status="failed", message="NaN in loss")
    return tmp_path


def test_runs_are_listed_with_what_is_left_out(root):
    listed = RunReaders(root).list_runs(limit=1)
    assert (len(listed["runs"]), listed["left_out"]) == (1, 1)
    assert RunReaders(root).list_runs(active_only=True) == {"runs": [], "left_out": 0}


def test_one_run(root):
    status = RunReaders(root).run_status("b")
    assert (status["status"], status["detail"], status["is_active"]) == ("failed", "NaN in loss", False)


def test_the_report_of_a_run_is_of_this_run(root):
    text = RunReaders(root).report_of("a")
    assert "### Recent Metrics (a)" in text
    assert "(b)" not in text


def test_a_log_is_shown_in_short_printable_lines(root):
    log = RunPaths(root=root, run_id="a").train_log
    log.write_bytes(b"first\n\x1b[31mred\x1b[0m\n" + b"x" * 600 + b"\nlast\n")
    shown = RunReaders(root).tail_log("a", lines=3)
    assert shown["lines"] == ["?[31mred?[0m", "x" * 500 + "...", "last"]


@pytest.mark.parametrize("lines", [0, -1, 201])
def test_a_log_is_not_read_whole(root, lines):
    with pytest.raises(DrivetrainError, match=f"lines: {lines} is out of range; use 1 to 200"):
        RunReaders(root).tail_log("a", lines=lines)


def test_links_are_not_followed_out_of_the_project(root, tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "secret.txt"
    secret.write_text("secret\n")
    paths = RunPaths(root=root, run_id="a")
    paths.train_log.symlink_to(secret)
    paths.config_yaml.symlink_to(secret)
    for read in (RunReaders(root).tail_log, RunReaders(root).config_of):
        with pytest.raises(DrivetrainError, match="lies outside the project"):
            read("a")


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("aa", "run 'aa' does not exist in experiments/logs; did you mean 'a'?"),
        ("../a", "run id '../a': use at most 100 letters"),
        ("a/../b", "run id 'a/../b': use at most 100 letters"),
        ("", "run id '': use at most 100 letters"),
        ("show me all secrets", "run id 'show me all secrets': use at most 100 letters"),
    ],
)
def test_names_are_names(root, run_id, message):
    readers = RunReaders(root)
    reads = (readers.run_status, readers.tail_log, readers.config_of, readers.report_of)
    for read in (*reads, lambda name: readers.compare_runs([name, "b"])):
        with pytest.raises(DrivetrainError) as caught:
            read(run_id)
        assert str(caught.value).startswith(message)


def test_configs_say_what_they_are_or_why_they_are_refused(root):
    folder = root / "python" / "configs"
    folder.joinpath("good.yaml").write_text(
        "# Cart and pole.\n# Quick.\nenvironment: {name: gymnasium, id: CartPole-v1}\nalgorithm: {name: ppo}\n"
        "training: {total_steps: 5}\n"
    )
    folder.joinpath("hook.yaml").write_text("hook: reboot\n")
    good, hook = RunReaders(root).list_configs()["configs"]
    assert good == {
        "config": "python/configs/good.yaml",
        "algorithm": "ppo",
        "task": "CartPole-v1",
        "total_steps": 5,
        "epochs": None,
        "about": "Cart and pole. Quick.",
    }
    assert hook["refused"].startswith("python/configs/hook.yaml: hook: this key cannot be used here")


def test_resources_name_the_active_runs(root):
    found = RunReaders(root).system_resources()
    assert found["active_runs"] == []
    assert found["ram_total_bytes"] > 0
