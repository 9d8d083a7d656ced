"""Files that list scenarios: for evaluations and for trainings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivetrain.algorithms.anchor import AnchorConfig
from drivetrain.algorithms.cimrl import CIMRLConfig
from drivetrain.algorithms.gail import GAILConfig
from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.marginals import MarginalsConfig
from drivetrain.algorithms.sac import SACConfig
from drivetrain.config import config_hash
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import ConfigError, DataError, UsageError
from drivetrain.trainer.evaluate import evaluate
from drivetrain.trainer.experiment import NOT_PART_OF_TRAINING, ExperimentConfig, training_hash
from drivetrain.trainer.scenario_choice import choose_rows, listed_rows, splits_of
from drivetrain.trainer.training_scenes import TrainingScenes

LATER_KEYS = ("scenarios", "training.overlap", "environment.route", "environment.at_goal")
"""Keys of all algorithms' runs that older ones do not have."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ScenarioStore:
    path = tmp_path_factory.mktemp("data") / "few"
    return ScenarioStore(write_sample(path, train=3, val=2, test=0, progress=lambda *_: None))


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_list_names_its_scenes_of_whatever_split(store, tmp_path):
    train, val = store.ids("train"), store.ids("val")
    file = written(tmp_path / "some.txt", "# two", f"{val[1].upper()}  # stuck", "", train[0], train[0])
    rows = listed_rows(store, file)
    assert [store.load(int(row)).scenario_id for row in rows] == [train[0], val[1]]
    assert splits_of(store, rows) == "train+val"
    assert choose_rows(store, split="val", scenarios=file).tolist() == rows.tolist()


def test_an_evaluation_drives_the_listed_scenes_only(store, tmp_path):
    one = store.ids("val")[1]
    file = written(tmp_path / "one.txt", one)
    result = evaluate("log_replay", store, scenarios=file, dynamics="direct")
    assert result.scenario_ids == (one,)
    assert result.inputs["split"] == "val"
    assert result.inputs["selection"] == {"seed": 0, "scenarios": str(file)}
    whole = evaluate("log_replay", store, dynamics="direct")
    at = whole.scenario_ids.index(one)
    assert result.values["score_basic"][0] == whole.values["score_basic"][at]
    assert result.inputs["data_fingerprint"] != whole.inputs["data_fingerprint"]


def test_a_training_takes_the_listed_scenes(store, tmp_path):
    file = written(tmp_path / "two.txt", *store.ids("val"))
    chosen = TrainingScenes.choose(
        store, split="train", most=100, seed=0, all_controllable=False, min_distance_m=0.0, listed=file
    )
    assert np.array_equal(chosen.rows, store.rows("val"))


def test_a_scene_that_is_not_there_gets_the_nearest_one(store, tmp_path):
    known = store.ids()[0]
    wrong = ("0" if known[0] != "0" else "1") + known[1:]
    file = written(tmp_path / "wrong.txt", wrong)
    with pytest.raises(DataError) as error:
        listed_rows(store, file)
    assert str(error.value) == (
        f"{file}: lists scenario '{wrong}', not among the 5 of {store.path}; did you mean '{known}'?"
    )


def test_files_that_list_nothing_usable_are_refused(store, tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read \(No such file"):
        listed_rows(store, tmp_path / "none.txt")
    with pytest.raises(UsageError, match=r"line 1 holds 'scene-7', a token has 16 hexadecimal characters$"):
        listed_rows(store, written(tmp_path / "odd.txt", "scene-7"))
    filters = written(tmp_path / "filter.yaml", f"scenario_tokens: ['{store.ids()[0]}']", "limit_total_scenarios: 1")
    with pytest.raises(UsageError, match="asks for more than scenarios by their ids"):
        listed_rows(store, filters)


def test_a_run_is_another_one_with_a_list_and_the_same_without():
    plain = ExperimentConfig()
    listed = replace(plain, scenarios="failures.txt")
    assert training_hash(plain) == config_hash(plain, without=(*NOT_PART_OF_TRAINING, *LATER_KEYS))
    for changed in ({"route": "mission"}, {"at_goal": "drive_on"}):
        other = replace(plain, environment=replace(plain.environment, **changed))
        assert training_hash(other) != training_hash(plain)
    assert len({training_hash(plain), training_hash(listed), training_hash(replace(plain, scenarios="b.txt"))}) == 3
    with pytest.raises(ConfigError, match=r"^scenarios: environment 'gymnasium' has none; leave the key out$"):
        ExperimentConfig(environment=GymnasiumConfig(id="CartPole-v1"), scenarios="failures.txt")


@pytest.mark.parametrize(
    ("algorithm", "key", "used"),
    [
        (SACConfig(), "algorithm.anchor", SACConfig(anchor=AnchorConfig(coefficient=0.1))),
        (CIMRLConfig(), "algorithm.sac.anchor", None),
        (GAILConfig(), "algorithm.marginals", GAILConfig(marginals=MarginalsConfig(weight=0.3))),
    ],
    ids=["sac", "cimrl", "gail"],
)
def test_runs_of_before_a_key_existed_go_on(algorithm, key, used):
    plain = ExperimentConfig(algorithm=algorithm)
    later = (*LATER_KEYS, key)
    assert training_hash(plain) == config_hash(plain, without=(*NOT_PART_OF_TRAINING, *later))
    if used is not None:
        assert training_hash(ExperimentConfig(algorithm=used)) != training_hash(plain)
