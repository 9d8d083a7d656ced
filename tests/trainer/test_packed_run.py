"""A real run packed, evaluated from its archive, and trained again by the command in a process of its own."""

import json

import torch

from drivetrain.interfaces import cli
from drivetrain.run_record import read_run_state
from drivetrain.trainer.checkpoint import load_checkpoint, save_checkpoint


def check_archive(tmp_path, capfd):
    """The same figures as from the checkpoint; a changed byte is refused."""
    assert cli.main(["pack", "one"]) == 0
    capfd.readouterr()
    words = ["--episodes", "4", "--json"]
    assert cli.main(["evaluate", "experiments/checkpoints/one", *words]) == 0
    expected = json.loads(capfd.readouterr().out)
    assert cli.main(["evaluate", "one.zip", *words]) == 0
    told = capfd.readouterr()
    found = json.loads(told.out)
    assert found.pop("planner") == "one.zip"
    expected.pop("planner")
    assert found == expected
    assert told.err.startswith("drivetrain: one.zip: run 'one' (ppo), trained on gymnasium:CartPole-v1, fingerprint ")
    content = bytearray((tmp_path / "one.zip").read_bytes())
    content[content.index(b"checkpoints/best.pt") + 500] ^= 1
    (tmp_path / "one.zip").write_bytes(content)
    assert cli.main(["evaluate", "one.zip", *words]) == 1
    assert capfd.readouterr().err.startswith("drivetrain: one.zip: ")


def test_a_run_is_handed_over_and_comes_out_again_but_another_one_does_not(
    train, run_paths, tmp_path, monkeypatch, capfd
):
    assert train("one", "--seed", "3") == 0
    monkeypatch.chdir(tmp_path)
    check_archive(tmp_path, capfd)
    assert cli.main(["repro", "one", "--no-mlflow"]) == 0
    told = capfd.readouterr().out.splitlines()
    assert told[0] == "run 'one' trained again as 'one-repro', to step 640"
    assert told[-1] == "reproduced: within the recorded interval; identical"
    one, again = (load_checkpoint(run_paths(name).last) for name in ("one", "one-repro"))
    assert all(torch.equal(one.policy[name], again.policy[name]) for name in one.policy)
    assert json.loads(run_paths("one-repro").reproduction_json.read_text())["identical"] is True
    # A record that tells of another policy: it pushes to one side, while what is trained does not.
    one.policy["pi.bias"][:] = torch.tensor([50.0, -50.0])
    save_checkpoint(run_paths("one").last, one)
    life = read_run_state(run_paths("one-repro")).life
    assert cli.main(["repro", "one", "--no-mlflow", "--json"]) == 1
    document = json.loads((said := capfd.readouterr()).out)
    assert said.err == "drivetrain: repro: run 'one-repro' has been trained already\n"
    assert read_run_state(run_paths("one-repro")).life == life
    assert (document["reproduced"], document["identical"]) == (False, False)
    (score,) = document["scores"]
    low, high = score["recorded"]["ci95"]
    assert score["recorded"]["mean"] < 12
    assert not low <= score["again"] <= high
    assert score["scenes_that_differ"] > 0
