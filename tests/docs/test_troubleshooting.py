"""The messages that docs/troubleshooting.md explains are those that the program says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```text\n(.*?)\n```", PAGE, flags=re.DOTALL)
LONG_ENOUGH = 20
"""Fixed characters that tell one message from the others."""


def pattern(node):
    """A regular expression for what an expression of text can become; None: not text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(re.escape(part.value) if isinstance(part, ast.Constant) else ".*" for part in node.values)
    return None


@pytest.fixture(scope="module")
def said():
    """Patterns of all longer texts of the package."""
    found = set()
    for file in (ROOT / "python" / "src" / "drivetrain").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = pattern(node)
            if text is not None and len(text.replace(".*", "")) >= LONG_ENOUGH:
                found.add(text)
    return [re.compile(text) for text in found]


@pytest.mark.parametrize("message", BLOCKS)
def test_every_message_shown_is_one_the_program_says(message, said):
    assert any(text.search(message) for text in said), message


@pytest.mark.parametrize(
    "message",
    ["train_rl.py: the config is not the one we started with", "drivetrain: this checkpoint does not exist at all"],
)
def test_a_message_nobody_says_would_be_found(message, said):
    assert not any(text.search(message) for text in said)


def test_messages_are_one_line_and_many():
    assert len(BLOCKS) > 10
    assert not [text for text in BLOCKS if "\n" in text]
