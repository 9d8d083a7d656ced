"""`drivetrain ask` at the command line: what it prints, what it runs, and what it never runs."""

import json
import shutil
import unicodedata

import pytest
from tests.interfaces.ask.test_sentences import ROOT
from tests.runs.run_folders import rows_of, write_ended_run, write_run

from drivetrain.interfaces import cli
from drivetrain.interfaces.ask.commands import answer
from drivetrain.interfaces.ask.known import look_up


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "python" / "configs", tmp_path / "python" / "configs")
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ran(monkeypatch):
    """The commands that ask has run, instead of running them."""
    commands = []
    real = cli.main

    def main(argv=None):
        if argv and argv[0] != "ask":
            commands.append(list(argv))
            return 0
        return real(argv)

    monkeypatch.setattr(cli, "main", main)
    return commands


def asked(capsys, *words):
    code = cli.main(["ask", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_json_has_these_two_keys_and_runs_nothing(project, ran, capsys):
    code, out, err = asked(capsys, "--json", "ppo 학습 시작해줘")
    assert (code, err, ran) == (0, "", [])
    command = ["drivetrain", "start", "python/configs/planning/ppo.yaml", "--run-id", "ppo_v1"]
    assert json.loads(out) == {"command": command, "candidates": []}
    code, out, err = asked(capsys, "--json", "--yes", "don't stop anything")
    assert json.loads(out) == {"command": None, "candidates": [["drivetrain", "status"], ["drivetrain", "report"]]}
    assert (code, err, ran) == (0, "drivetrain: ask: it says what not to do\n", [])


def test_yes_runs_and_without_a_terminal_nothing_runs_else(project, ran, capsys):
    assert asked(capsys, "--yes", "training", "status") == (0, "drivetrain status\n", "")
    assert ran == [["status"]]
    code, out, err = asked(capsys, "training status")
    assert (code, out) == (2, "drivetrain status\n")
    assert err == "drivetrain: ask: not run; give --yes, or type the command\n"
    assert ran == [["status"]]


def test_at_a_terminal_the_answer_decides(project, ran, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for said, runs in (("n", False), ("", False), ("y", True), ("네", True)):
        ran.clear()
        monkeypatch.setattr("builtins.input", lambda prompt, said=said: said)
        assert asked(capsys, "상태 알려줘")[0] == (0 if runs else 1)
        assert ran == ([["status"]] if runs else [])


def test_delete_is_never_confirmed_here(project, ran, capsys):
    write_ended_run(project, "sac_v1", status="stopped", algorithm="sac")
    assert asked(capsys, "--yes", "delete sac_v1")[1] == "drivetrain delete sac_v1\n"
    assert ran == [["delete", "sac_v1"]]  # without --yes: it asks by itself


def test_an_unclear_sentence_ends_with_two_and_what_may_be_meant(project, ran, capsys):
    code, out, err = asked(capsys, "--yes", "학습 시작")
    assert code == 2
    assert out.splitlines()[:2] == [
        "혹시 다음 중 하나인가요?",
        "  drivetrain start python/configs/planning/ppo.yaml --run-id ppo_v1",
    ]
    assert err == "drivetrain: ask: 명령을 하나로 정할 수 없습니다: 알고리즘이 빠져 있습니다\n"
    assert ran == []


@pytest.mark.parametrize(
    "sentence",
    [
        "train ppo with data ../../etc/passwd",
        "train /etc/passwd.yaml",
        "train ppo from /tmp/evil.pt",
        "train ppo from ../../evil.pt",
        "train ppo with environment.id=os:system",
        "train ppo --set training.hooks=rm",
        "train ppo $(rm -rf x)",
        "train ppo; rm -rf /",
        "train ppo `reboot`",
        "train ppo as ../../x_1",
        "write the report to /etc/cron.d/x.md",
        "stop ../../x",
        "delete ..",
        "ppo " * 2000,
        "",
        " ",
        "?!",
        "\x00\x1b[31m",
        "train ppo with lr 1e-4 lr 1e-3",
        "train ppo for 0 steps",
        "train ppo for 1e400 steps",
    ],
)
def test_hostile_and_empty_sentences_mean_nothing(project, sentence):
    found = answer(sentence, look_up(project))
    assert found.command is None
    assert not any("rm" in argv or ".." in word for argv in found.candidates for word in argv)


def test_the_next_free_name_is_nobodys(project):
    _, lock = write_run(project, "ppo_v1", rows=rows_of(3))
    (project / "experiments" / "checkpoints" / "ppo_v4").mkdir(parents=True)
    command = answer("train ppo", look_up(project)).command
    lock.release()
    assert command is not None
    assert command[-1] == "ppo_v5"


def test_stop_without_a_name_needs_one_active_run(project):
    _, first = write_run(project, "ppo_v1", rows=rows_of(3))
    assert answer("멈춰줘", look_up(project)).command == ("drivetrain", "stop", "ppo_v1")
    _, second = write_run(project, "sac_v1", rows=rows_of(3), algorithm="sac")
    found = answer("멈춰줘", look_up(project))
    sac = answer("sac 멈춰줘", look_up(project)).command
    first.release()
    second.release()
    assert found.command is None
    assert set(found.candidates) == {("drivetrain", "stop", "ppo_v1"), ("drivetrain", "stop", "sac_v1")}
    assert sac == ("drivetrain", "stop", "sac_v1")
    assert answer("멈춰줘", look_up(project)).command is None  # nothing is active any more


def test_a_name_near_another_is_never_taken_for_it(project):
    write_ended_run(project, "ppo_v1", status="stopped")
    for verb in ("stop", "delete", "resume"):
        found = answer(f"{verb} ppo_v2", look_up(project))
        assert found.command is None
        assert ("drivetrain", verb, "ppo_v1") in found.candidates
    assert answer("stop quick_7", look_up(project)).command == ("drivetrain", "stop", "quick_7")
    assert answer("status of PPO_V1", look_up(project)).command == ("drivetrain", "status", "ppo_v1")


def test_decomposed_hangul_is_the_same_sentence(project):
    sentence = unicodedata.normalize("NFD", "ppo 학습 시작해줘")
    assert answer(sentence, look_up(project)) == answer("ppo 학습 시작해줘", look_up(project))


def test_cimrl_is_offered_the_newest_clone(project):
    write_ended_run(project, "bc_v1", status="completed", algorithm="bc")
    weights = project / "experiments" / "checkpoints" / "bc_v1" / "best.pt"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    found = answer("cimrl 학습 시작해줘", look_up(project))
    assert found.command is None
    assert found.candidates[0][-2:] == ("--init-from", "experiments/checkpoints/bc_v1/best.pt")
