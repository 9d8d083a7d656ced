"""Runs trained again by the command, in a process of their own: the same to the last bit, or said not to be."""

import json

import torch

from drivetrain.interfaces import cli
from drivetrain.run_record import read_run_state
from drivetrain.trainer.checkpoint import load_checkpoint, save_checkpoint


def test_a_run_comes_out_again_and_another_one_does_not(train, run_paths, capfd):
    assert train("one", "--seed", "3") == 0
    capfd.readouterr()
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
