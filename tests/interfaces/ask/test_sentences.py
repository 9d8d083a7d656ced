"""Sentences in both languages, typed as people type, and the exact command of each."""

import shutil
from pathlib import Path

import pytest

from drivetrain.interfaces.ask.commands import answer
from drivetrain.interfaces.ask.known import Known, KnownRun
from drivetrain.interfaces.cli import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[3]
TABLE = Path(__file__).with_name("sentences.txt")
CONFIGS = {name.upper(): f"python/configs/planning/{name}.yaml" for name in ("ppo", "sac", "bc", "gail", "cimrl")}
CHANGING = {"stop", "delete", "resume", "start", "queue"}


def run_of(run_id, status, created):
    return KnownRun(
        run_id=run_id,
        algorithm=run_id.split("_")[0],
        status=status,
        is_active=status == "running",
        checkpoints=f"experiments/checkpoints/{run_id}",
        created=created,
    )


RUNS = (
    run_of("ppo_v1", "running", 4.0),
    run_of("sac_v1", "stopped", 3.0),
    run_of("bc_v1", "completed", 2.0),
    run_of("gail_v1", "failed", 1.0),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "python" / "configs", root / "python" / "configs")
    return root


def known_of(root, runs=RUNS):
    configs = sorted(path.relative_to(root).as_posix() for path in (root / "python" / "configs").rglob("*.yaml"))
    return Known(root=root, runs=runs, configs=tuple(configs))


def table():
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            sentence, _, words = line.partition(" => ")
            yield sentence, None if words == "-" else ["drivetrain", *(CONFIGS.get(w, w) for w in words.split())]


def test_at_least_95_percent_are_right_and_nothing_is_changed_that_was_not_asked_for(project, monkeypatch):
    monkeypatch.setattr("drivetrain.runs.gate.usable_cores", lambda: 8)
    known = known_of(project)
    sentences = dict(table())
    wrong = {}
    for sentence, expected in sentences.items():
        found = answer(sentence, known).command
        if found is None or list(found) != expected:
            if found is None and expected is None:
                continue
            wrong[sentence] = found
    assert len(sentences) >= 380
    assert len([s for s in sentences if not s.isascii()]) >= 180
    assert {s: argv for s, argv in wrong.items() if argv and argv[1] in CHANGING} == {}
    assert len(wrong) <= 0.05 * len(sentences), wrong


def test_what_only_speaks_of_ending_ends_nothing(project):
    known = known_of(project)
    path = TABLE.with_name("endings_not_meant.txt")
    sentences = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(sentences) >= 100
    found = {sentence: answer(sentence, known).command for sentence in sentences}
    assert {s: argv for s, argv in found.items() if argv and argv[1] in CHANGING} == {}


NOT_THAT = (
    "don't {}",
    "never {}",
    "should i {}?",
    "{} if it diverges",
    "{} tomorrow",
    "{} and start sac",
    "why {}",
    "{} or not",
)
NOT_SO = (
    "{}지 마",
    "{}지 말아 주세요",
    "{}면 안 돼",
    "{}고 sac 학습 시작해",
    "{}야 하나요",
    "{}기 전에 알려줘",
    "{}지 않았으면 해",
)


@pytest.mark.parametrize("english", ["stop ppo_v1", "delete sac_v1", "kill ppo_v1", "remove gail_v1", "resume sac_v1"])
def test_no_frame_that_denies_or_asks_leaves_a_command(project, english):
    known = known_of(project)
    for frame in NOT_THAT:
        assert answer(frame.format(english), known).command is None, frame


@pytest.mark.parametrize("stem", ["ppo_v1 중지하", "sac_v1 삭제하", "ppo_v1 멈추", "gail_v1 지우", "sac_v1 재개하"])
def test_no_ending_that_denies_or_asks_leaves_a_command(project, stem):
    known = known_of(project)
    for frame in NOT_SO:
        assert answer(frame.format(stem), known).command is None, frame


def test_every_command_in_the_table_is_one_that_the_command_line_takes():
    parsers = {}
    for sentence, argv in table():
        if argv is not None and argv[1] in COMMANDS:
            parser = parsers.setdefault(argv[1], build_parser([argv[1]]))
            assert parser.parse_args(argv[1:]).command == argv[1], sentence
    assert {"start", "stop", "delete", "queue", "compare"} <= set(parsers)
