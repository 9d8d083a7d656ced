"""`drivetrain export`: what it writes, and what it refuses."""

import ast
import json
import sys

import pytest
import yaml
from tests.devkit.random_policy import write_policy

from drivetrain.interfaces import cli
from drivetrain.interfaces.devkit_export import ADAPTER
from drivetrain.trainer.checkpoint import load_checkpoint
from drivetrain.trainer.planning_service import OUTSIDE_PLANNERS


def export(*words, output):
    return cli.main(["export", *map(str, words), "--format", "devkit", "--output", str(output)])


def test_a_policy_is_written_without_what_only_a_training_needs(tmp_path, capsys):
    policy, output = write_policy(tmp_path / "best.pt"), tmp_path / "export"
    assert export(policy, output=output) == 0
    assert f"exported to {output} as a nuplan-devkit planner" in capsys.readouterr().out
    names = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert names == {
        "README.md", "drivetrain_export.json", "drivetrain_planner.py", "planner/drivetrain_planner.yaml", "policy.pt"
    }  # fmt: skip
    assert (output / "drivetrain_planner.py").read_bytes() == ADAPTER.read_bytes()
    assert load_checkpoint(output / "policy.pt").training is None
    assert load_checkpoint(policy).training is not None
    document = json.loads((output / "drivetrain_export.json").read_text())
    assert (document["policy"], document["planner"], document["python"]) == ("policy.pt", None, sys.executable)
    assert f"hydra.searchpath=[file://{output}, " in (output / "README.md").read_text()


def test_every_option_of_the_adapter_is_in_its_config(tmp_path):
    assert export("--planner", "idm", output=tmp_path / "export") == 0
    config = yaml.safe_load((tmp_path / "export" / "planner" / "drivetrain_planner.yaml").read_text())
    classes = {node.name: node for node in ast.parse(ADAPTER.read_text()).body if isinstance(node, ast.ClassDef)}
    init = next(node for node in classes["DrivetrainPlanner"].body if getattr(node, "name", "") == "__init__")
    options = {argument.arg for argument in init.args.args} - {"self"}
    assert set(config["drivetrain_planner"]) == options | {"_target_", "_convert_"}
    assert config["drivetrain_planner"]["_target_"] == "drivetrain_planner.DrivetrainPlanner"


def test_a_folder_with_files_is_left_alone_unless_asked(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert export("--planner", "idm", output=tmp_path) == 2
    assert capsys.readouterr().err == (
        f"drivetrain: export: --output: {tmp_path} holds files; give another folder, or --overwrite\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert export("--planner", "idm", "--overwrite", output=tmp_path) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "drivetrain_export.json").is_file()


def test_an_export_that_is_cut_short_is_none(tmp_path, monkeypatch):
    """The file without which the adapter refuses is written last, and removed first."""
    assert export("--planner", "idm", output=tmp_path) == 0

    def die(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr("drivetrain.run_record.write_bytes_atomic", die)
    assert export("--planner", "idm", "--overwrite", output=tmp_path) == 130
    assert not (tmp_path / "drivetrain_export.json").exists()


def test_what_does_not_drive_is_refused(tmp_path, capsys):
    cartpole = write_policy(
        tmp_path / "cartpole.pt", config={"environment": {"name": "gymnasium", "id": "CartPole-v1"}}
    )
    output, names = tmp_path / "export", ", ".join(OUTSIDE_PLANNERS)
    for words, line in (
        (
            [cartpole],
            f"{cartpole}: was trained on a Gymnasium environment and drives no vehicle; give a driving policy",
        ),
        ([tmp_path / "no.pt"], f"{tmp_path / 'no.pt'}: no such checkpoint; there are cartpole.pt"),
        (["--planner", "nuplan_idn"], f"planner: 'nuplan_idn' is not one of {names}; did you mean 'nuplan_idm'?"),
        (["--planner", "log_replay"], f"planner: 'log_replay' needs a log; choose one of {names}"),
        ([], "export: give either a checkpoint or --planner NAME"),
    ):
        assert export(*words, output=output) != 0
        assert capsys.readouterr().err == f"drivetrain: {line}\n"
        assert not output.exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--format", "devkti"],
            "export: format 'devkti' is not one of onnx, torchscript, safetensors, mlagents, devkit; did you mean "
            "'devkit'?",
        ),
        (["--format", "devkit", "--output", __file__], f"export: --output: {__file__} is a file; give a folder"),
    ],
)
def test_wrong_words_are_answered_with_the_right_ones(tmp_path, capsys, words, line):
    assert cli.main(["export", "--planner", "idm", "--output", str(tmp_path / "export"), *words]) == 2
    assert capsys.readouterr().err == f"drivetrain: {line}\n"
