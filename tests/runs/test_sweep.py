"""A sweep from its first trial to its verdict: what is pruned, what survives a kill, what is counted."""

import json
import os

import pytest
from tests.runs.run_folders import write_ended_run
from tests.runs.sweep_stand_in import StandInTrainings
from tests.trainer.conftest import CARTPOLE

from drivetrain.errors import RunError
from drivetrain.interfaces import cli
from drivetrain.run_record import RunPaths
from drivetrain.runs.sweeps import controller, fleet
from drivetrain.runs.sweeps.folder import SweepFolder
from drivetrain.runs.sweeps.launch import SweepOptions, run_sweep
from drivetrain.runs.sweeps.search_space import read_sweep
from drivetrain.runs.sweeps.study import Study

pytestmark = pytest.mark.needs_sweep

SWEEP = """\
base: c.yaml
total_steps: 400
rungs: 4
trials: 8
parallel: 2
confirm: 2
pruner: {name: median, startup_trials: 2}
space:
  algorithm.learning_rate: {low: 1e-4, high: 1, log: true}
"""


class Killed(BaseException):
    """SIGKILL of the sweep: nothing of it runs any more."""


@pytest.fixture
def trainings(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    (tmp_path / "c.yaml").write_text(CARTPOLE.replace("epochs: 2", "epochs: 2, learning_rate: 1e-3"))
    (tmp_path / "s.yaml").write_text(SWEEP)
    found = StandInTrainings(tmp_path)
    found.patch(monkeypatch, fleet)
    monkeypatch.setattr(controller, "POLL_S", 0.0)
    monkeypatch.setattr(controller.SweepController.run, "__kwdefaults__", {"poll_s": 0.0})
    return found


def sweep_of(trainings, *, after=None, said=None, **options):
    """Run the sweep; after so many ticks `after[1]` happens."""
    ticks = 0

    def look():
        nonlocal ticks
        ticks += 1
        trainings.tick()
        if after is not None and ticks == after[0]:
            return after[1]()
        return False

    root = trainings.root
    folder, is_done = run_sweep(
        root / "s.yaml",
        root=root,
        options=SweepOptions(mlflow=False, **options),
        is_stopped=look,
        say=(said if said is not None else []).append,
    )
    return json.loads(folder.summary.read_text()), is_done


def kill():
    raise Killed


def test_a_sweep_ends_poor_trials_early_and_confirms_the_best(trainings, tmp_path):
    summary, is_done = sweep_of(trainings)
    assert is_done
    counts = summary["counts"]
    assert counts["completed"] + counts["pruned"] == 8 == len(summary["trials"])
    assert counts["pruned"] >= 3
    assert trainings.most == 2
    first = summary["trials"][0]
    assert (first["values"], first["state"], first["runs"]) == (
        {"algorithm.learning_rate": 1e-3},
        "completed",
        ["s_t000"],
    )
    assert first["rungs"] == pytest.approx({"1": 0.5, "2": 0.6, "3": 0.7, "4": 0.8})
    pruned = [trial for trial in summary["trials"] if trial["state"] == "pruned"]
    assert all(trial["steps"] < 400 and 2 <= trial["pruned_rung"] < 4 for trial in pruned)
    assert summary["steps"]["done"] == sum(trial["steps"] for trial in summary["trials"]) < 3200
    best = summary["best"]
    assert best["value"] == max(trial["value"] for trial in summary["trials"] if trial["state"] == "completed")
    request = trainings.requests["s_t000"]
    assert request.config == tmp_path / "c.yaml"
    assert set(request.changes) >= {"training.total_steps=400", "evaluation.evenly=4", "evaluation.max_share=0"}
    # New seeds for both sides, and a verdict from them alone.
    number = best["trial"]
    assert summary["confirmation"]["best"]["runs"] == [f"s_t{number:03d}_s1000", f"s_t{number:03d}_s1001"]
    assert summary["confirmation"]["base"]["values"] == [pytest.approx(0.806), pytest.approx(0.8)]
    assert summary["confirmation"]["difference"] == pytest.approx(best["value"] - 0.8)
    assert summary["verdict"].startswith(f"the best config (trial {number}) beats the base config with 2 new seed(s)")


def test_the_best_config_is_one_that_start_takes(trainings, tmp_path):
    summary, _ = sweep_of(trainings)
    from drivetrain.config import load_config
    from drivetrain.trainer.experiment import ExperimentConfig

    config = load_config(tmp_path / summary["best"]["config"], ExperimentConfig)
    assert config.algorithm.learning_rate == summary["best"]["values"]["algorithm.learning_rate"]
    assert (config.training.total_steps, config.evaluation.evenly) == (400, 0)


@pytest.mark.parametrize("ticks", [1, 4, 7, 12])
def test_killed_at_any_time_it_goes_on_and_counts_nothing_twice(trainings, ticks):
    with pytest.raises(Killed):
        sweep_of(trainings, after=(ticks, kill))
    going = set(trainings.open)
    begun = list(trainings.told)
    summary, is_done = sweep_of(trainings)
    assert is_done
    assert len(summary["trials"]) == 8
    # What trained was taken over: nothing started twice, nothing was stopped for it or resumed.
    starts = [told for told in trainings.told if told.startswith("start")]
    assert len(starts) == len(set(starts)) == 8 + 4
    assert not [told for told in trainings.told if told.startswith("resume")]
    assert all(f"start {name}" in begun for name in going)
    rows = [f"s_t{number:03d}" for number in range(8)]
    assert all(len(set(steps)) == len(steps) for steps in (_steps(trainings.root, name) for name in rows))


def _steps(root, name):
    lines = RunPaths(root=root, run_id=name).metrics_jsonl.read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_sweep_goes_on_as_if_nothing_had_been(trainings, tmp_path, monkeypatch):
    """One training at a time, the order is the same: then so are all trials."""
    (tmp_path / "s.yaml").write_text(SWEEP.replace("parallel: 2", "parallel: 1"))
    with pytest.raises(Killed):
        sweep_of(trainings, after=(9, kill))
    interrupted, _ = sweep_of(trainings)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("c.yaml", "s.yaml"):
        (other / name).write_text((tmp_path / name).read_text())
    again = StandInTrainings(other)
    again.patch(monkeypatch, fleet)
    whole, _ = sweep_of(again)
    strip = lambda trials: [{k: v for k, v in trial.items() if k != "seconds"} for trial in trials]  # noqa: E731
    assert strip(interrupted["trials"]) == strip(whole["trials"])


def test_a_lost_trial_is_resumed_and_one_that_is_always_lost_given_up(trainings):
    def lose_one():
        trainings.lose(sorted(trainings.open)[0])
        return False

    said = []
    summary, _ = sweep_of(trainings, after=(2, lose_one), said=said)
    assert [told for told in trainings.told if told.startswith("resume")] == ["resume s_t000"]
    assert "run 's_t000' goes on (it was lost)" in said
    assert summary["trials"][0]["state"] == "completed"
    assert summary["counts"]["failed"] == 0


def test_a_trial_that_is_lost_again_and_again_fails(trainings, monkeypatch):
    tick = trainings.tick

    def cursed():
        if "s_t001" in trainings.open:
            trainings.lose("s_t001")
        tick()

    monkeypatch.setattr(trainings, "tick", cursed)
    summary, is_done = sweep_of(trainings)
    assert is_done
    assert summary["trials"][1]["state"] == "failed"
    assert summary["trials"][1]["reason"] == "s_t001: lost 3 times (killed?)"
    assert trainings.told.count("resume s_t001") == 3


def test_stopped_it_goes_on_from_the_checkpoints(trainings):
    summary, is_done = sweep_of(trainings, after=(3, lambda: True))
    assert not is_done
    assert summary["phase"] == "stopped"
    stopped = [told.split()[1] for told in trainings.told if told.startswith("stop ")]
    assert stopped
    assert trainings.open == {}
    summary, is_done = sweep_of(trainings)
    assert is_done
    assert summary["counts"]["failed"] == 0
    assert {f"resume {name}" for name in stopped} <= set(trainings.told)


def test_a_trial_stopped_by_hand_is_let_be(trainings):
    def stop_one():
        trainings.stop([sorted(trainings.open)[0]], root=trainings.root)
        return False

    summary, _ = sweep_of(trainings, after=(2, stop_one))
    assert summary["trials"][0]["reason"] == "s_t000: stopped by hand"
    assert summary["counts"]["failed"] == 1


def test_where_every_trial_fails_it_ends_and_says_why(trainings):
    trainings.broken = {f"s_t{number:03d}" for number in range(8)}
    with pytest.raises(RunError, match="sweep 's': all 3 trials so far failed; s_t002: run 's_t002': out of luck"):
        sweep_of(trainings, parallel=1)


def test_several_seeds_are_one_trial(trainings, tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP.replace("trials: 8", "trials: 2\nseeds: 2"))
    summary, _ = sweep_of(trainings)
    first = summary["trials"][0]
    assert first["runs"] == ["s_t000_s0", "s_t000_s1"]
    assert first["value"] == pytest.approx(0.8 + 0.0005)  # the mean of both seeds
    assert first["steps"] == 800


def test_where_the_base_config_is_best_that_is_said(trainings, tmp_path):
    text = SWEEP.replace("low: 1e-4, high: 1, log: true", "choices: [1e-3, 1e-4, 1]").replace("trials: 8", "trials: 4")
    (tmp_path / "s.yaml").write_text(text)
    summary, _ = sweep_of(trainings)
    assert summary["verdict"] == (
        "the search did not beat the base config (400 steps each): its own values have the best score_basic"
    )
    assert not [told for told in trainings.told if "base" in told]


def test_where_new_seeds_do_not_confirm_the_best_that_is_said(trainings, monkeypatch):
    score = trainings.score
    monkeypatch.setattr(
        trainings, "score", lambda request, step: score(request, step) * (-1 if request.seed >= 1000 else 1)
    )
    summary, _ = sweep_of(trainings)
    assert "does NOT beat the base config with 2 new seed(s), 400 steps each" in summary["verdict"]


def test_a_grid_tries_every_cell_once(trainings, tmp_path):
    grid = "sampler: {name: grid}\nspace:\n  algorithm.learning_rate: {choices: [1e-3, 1e-2]}\n"
    grid += "  policy.hidden: {choices: [[8], [8, 8], [16]]}\n"
    (tmp_path / "s.yaml").write_text(SWEEP.partition("space:")[0].replace("trials: 8", "trials: 20") + grid)
    with pytest.raises(Killed):
        sweep_of(trainings, after=(4, kill))
    summary, _ = sweep_of(trainings)
    cells = [json.dumps(trial["values"], sort_keys=True) for trial in summary["trials"]]
    assert len(cells) == len(set(cells)) == 6 == summary["planned"]
    assert "policy.hidden=[8, 8]" in {c for request in trainings.requests.values() for c in request.changes}


@pytest.mark.parametrize("pruner", ["{name: asha}", "{name: hyperband}", "{name: none}"])
def test_every_pruner_by_name(trainings, tmp_path, pruner):
    text = SWEEP.replace("{name: median, startup_trials: 2}", pruner).replace("confirm: 2", "confirm: 0")
    (tmp_path / "s.yaml").write_text(text.replace("trials: 8", "trials: 9"))
    summary, _ = sweep_of(trainings)
    assert (summary["counts"]["pruned"] > 0) == (pruner != "{name: none}")
    assert "no runs with other seeds have confirmed it" in summary["verdict"]


def test_a_trial_half_drawn_when_it_was_killed_is_completed(trainings, tmp_path, monkeypatch):
    text = SWEEP + "  algorithm.gamma: {low: 0.9, high: 0.99}\n"
    (tmp_path / "s.yaml").write_text(text)
    draw = Study._draw

    def interrupted(self, handle):
        if handle.number == 2:
            self._parameters = self._parameters[:1]
            draw(self, handle)
            raise Killed
        draw(self, handle)

    monkeypatch.setattr(Study, "_draw", interrupted)
    with pytest.raises(Killed):
        sweep_of(trainings)
    monkeypatch.setattr(Study, "_draw", draw)
    summary, is_done = sweep_of(trainings)
    assert is_done
    assert len(summary["trials"]) == 8
    assert all(len(trial["values"]) == 2 for trial in summary["trials"])


def test_two_sweeps_with_one_name(trainings, tmp_path, capsys):
    sweep = read_sweep(tmp_path / "s.yaml", root=tmp_path)
    folder = SweepFolder(root=tmp_path, name=sweep.name)
    with folder.held():
        assert cli.main(["sweep", str(tmp_path / "s.yaml")]) == 1
        told = capsys.readouterr().err
    assert told.startswith(f"drivetrain: sweep 's' is already running (pid {os.getpid()}); 'drivetrain sweep s --show'")
    write_ended_run(tmp_path, "s_t004", status="completed")
    assert cli.main(["sweep", str(tmp_path / "s.yaml")]) == 1
    assert "run 's_t004' exists already and belongs to no sweep; give the sweep another name (name: s_2)" in (
        capsys.readouterr().err
    )
    (tmp_path / "s.yaml").write_text(SWEEP + "name: t\n")
    sweep_of(trainings, after=(2, lambda: True))
    (tmp_path / "s.yaml").write_text(SWEEP.replace("high: 1,", "high: 2,") + "name: t\n")
    with pytest.raises(
        RunError, match=r"other content \(space\.algorithm\.learning_rate\.high\); .*drivetrain sweep t"
    ):
        sweep_of(trainings)
    (tmp_path / "s.yaml").write_text(SWEEP + "name: t\n")
    (tmp_path / "c.yaml").write_text(CARTPOLE.replace("epochs: 2", "epochs: 3, learning_rate: 1e-3"))
    with pytest.raises(RunError, match=r"its base config c\.yaml has changed since it began"):
        sweep_of(trainings)


def test_a_sweep_goes_on_by_its_name(trainings, tmp_path, capsys):
    sweep_of(trainings, after=(3, lambda: True))
    (tmp_path / "s.yaml").unlink()
    copy = SweepFolder(root=tmp_path, name="s").file
    assert read_sweep(copy, root=tmp_path).name == "s"
    (tmp_path / "s.yaml").write_text(copy.read_text())
    summary, is_done = sweep_of(trainings)
    assert is_done
    assert len(summary["trials"]) == 8
    assert cli.main(["sweep", "s", "--show"]) == 0
    assert "sweep 's': 8 of 8 trials" in capsys.readouterr().out


def test_more_trials_may_follow(trainings, tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP.replace("trials: 8", "trials: 3"))
    sweep_of(trainings)
    (tmp_path / "s.yaml").write_text(SWEEP.replace("trials: 8", "trials: 5"))
    summary, is_done = sweep_of(trainings)
    assert is_done
    assert len(summary["trials"]) == 5


def test_a_torn_journal_goes_on_and_a_damaged_one_is_told(trainings, tmp_path):
    with pytest.raises(Killed):
        sweep_of(trainings, after=(3, kill))
    journal = SweepFolder(root=tmp_path, name="s").study
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    summary, is_done = sweep_of(trainings)
    assert is_done
    assert len(summary["trials"]) == 8
    text = journal.read_bytes()
    journal.write_bytes(text[:200] + b"???" + text[200:])
    with pytest.raises(RunError, match=r"study\.journal: the study cannot be used \(.*begin anew"):
        sweep_of(trainings)
