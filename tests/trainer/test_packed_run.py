"""A real run packed and evaluated from its archive: the same figures as from its checkpoint."""

import json

from drivetrain.interfaces import cli


def test_an_archive_is_evaluated_like_its_checkpoint(train, tmp_path, monkeypatch, capsys):
    assert train("one") == 0
    monkeypatch.chdir(tmp_path)
    assert cli.main(["pack", "one"]) == 0
    capsys.readouterr()
    words = ["--episodes", "4", "--json"]
    assert cli.main(["evaluate", "experiments/checkpoints/one", *words]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert cli.main(["evaluate", "one.zip", *words]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found.pop("planner") == "one.zip"
    expected.pop("planner")
    assert found == expected
    assert told.err.startswith("drivetrain: one.zip: run 'one' (ppo), trained on gymnasium:CartPole-v1, fingerprint ")
    content = bytearray((tmp_path / "one.zip").read_bytes())
    content[content.index(b"checkpoints/best.pt") + 500] ^= 1
    (tmp_path / "one.zip").write_bytes(content)
    assert cli.main(["evaluate", "one.zip", *words]) == 1
    assert capsys.readouterr().err.startswith("drivetrain: one.zip: ")
