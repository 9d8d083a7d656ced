"""The agent definition and the skill: their front matter is right, and every command in them exists."""

import re
from pathlib import Path

import pytest
import yaml
from tests.docs.commands import complaint, shell_commands
from tests.docs.pages import broken_links

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / ".claude/agents/model-trainer.md"
SKILL = ROOT / ".claude/skills/drivetrain/SKILL.md"
PAGES = [AGENT, SKILL, *sorted(SKILL.parent.glob("references/*.md"))]


def parts(page):
    """Front matter and body."""
    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert match
    return yaml.safe_load(match[1]), match[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_and_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    commands = list(shell_commands(re.sub(r"^ {3}", "", text, flags=re.MULTILINE)))
    assert len(commands) >= 8
    found = [complaint(words) for words in commands if words[0] not in ("nvidia-smi",)]
    assert [each for each in found if each] == []
    assert broken_links(page, text) == []


def test_the_agent_definition_says_when_and_with_what():
    front, body = parts(AGENT)
    assert front["name"] == AGENT.stem == "model-trainer"
    assert front["tools"] == "Read, Glob, Grep, Bash"
    assert front["model"] == "haiku"
    for word in (
        "train",
        "학습",
        "training",
        "PPO",
        "SAC",
        "GAIL",
        "BC",
        "start training",
        "학습 시작",
        "training status",
    ):
        assert word in front["description"]
    assert body.index("ps aux | grep train_") < body.index("drivetrain start")
    assert body.index("nvidia-smi") < body.index("drivetrain start")
    assert "tail -n" in body


def test_the_table_of_algorithms_names_configs_that_exist():
    rows = re.findall(r"^\| (\w+) \| [^|]+ \| `([^`]+)` \| (?:high|medium) \|$", AGENT.read_text(), flags=re.MULTILINE)
    assert [name for name, _ in rows] == ["PPO", "SAC", "BC", "GAIL", "CIMRL"]
    for name, config in rows:
        assert yaml.safe_load((ROOT / config).read_text(encoding="utf-8"))["algorithm"]["name"] == name.lower()


def test_the_skill_is_in_the_open_format():
    front, body = parts(SKILL)
    assert front["name"] == SKILL.parent.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", front["name"])
    assert len(front["name"]) <= 64
    assert 0 < len(front["description"]) <= 1024
    assert len(body.splitlines()) < 500
