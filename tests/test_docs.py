"""What the documents say is true: links resolve, trees match the disk, commands and targets exist."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from drivetrain.errors import UsageError
from drivetrain.interfaces.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOREIGN_COMMANDS = {
    "cd",
    "git",
    "grep",
    "mlagents-learn",
    "pip",
    "ps",
    "source",
    "tail",
    "tensorboard",
    "watch",
    "kill",
    "cat",
}
"""Commands in examples that are not ours to check."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def without_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(text):
    """The anchors GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page, text):
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            found.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(file.read_text(encoding="utf-8")):
            found.append(f"{target}: no such heading")
    return found


def shell_commands(text):
    """All command lines of the bash blocks, continuation lines joined, comments removed."""
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def complaint(words):
    """What is wrong with a command shown in a document, or None."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    command, *rest = words
    if "|" in rest:
        rest = rest[: rest.index("|")]
    if command in FOREIGN_COMMANDS:
        return None
    if command == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        missing = [word for word in rest if "=" not in word and not word.startswith("-") and word not in targets]
        return f"no make target {missing}" if missing else None
    if command == "python" and rest[:1] and rest[0].endswith(".py"):
        return None if (ROOT / rest[0]).is_file() else f"no file {rest[0]}"
    if command in {"drivetrain", "python"}:
        if command == "python":
            if rest[:2] != ["-m", "drivetrain"]:
                return None if rest[:1] == ["-m"] or rest[:1] == ["-c"] else f"cannot check {words}"
            rest = rest[2:]
        try:
            build_parser().parse_args(rest)
        except UsageError as error:
            return str(error)
        except SystemExit:  # --help and --version print and leave
            return None
        return None
    return None if (ROOT / command).is_file() else f"unknown command '{command}'"


def tree_entries(text):
    """(path, is_folder) of every line of the blocks marked as trees: two spaces of indent per level."""
    for block in re.findall(r"```tree\n(.*?)```", text, flags=re.DOTALL):
        parents = []
        for line in block.splitlines():
            name = line.split()[0]
            depth = (len(line) - len(line.lstrip(" "))) // 2
            parents = [*parents[:depth], name.rstrip("/")]
            yield "/".join(parents), name.endswith("/")


@pages
def test_links_resolve(page):
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pages
def test_shown_commands_exist(page):
    found = [complaint(words) for words in shell_commands(page.read_text(encoding="utf-8"))]
    assert [text for text in found if text] == []


@pages
def test_trees_match_the_disk(page):
    for path, is_folder in tree_entries(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_dir() if is_folder else (ROOT / path).is_file(), path


@pages
def test_python_examples_compile(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        compile(block, page.name, "exec")


def test_the_readme_shows_the_stored_figures():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    # Results that were only tried out are not committed and need not be shown.
    listed = subprocess.run(
        ["git", "ls-files", "benchmarks/results"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    for name in listed.stdout.split():
        for entry in json.loads((ROOT / name).read_text(encoding="utf-8"))["figures"]:
            assert f"| {entry['name']} | **" in text, f"{name}: run `python benchmarks/run.py --table`"


def test_the_readme_tree_names_every_package():
    entries = {path for path, _ in tree_entries((ROOT / "README.md").read_text(encoding="utf-8"))}
    packages = {p.parent.relative_to(ROOT).as_posix() for p in (ROOT / "python/src/drivetrain").glob("*/__init__.py")}
    assert packages <= entries


def test_the_korean_readme_says_what_the_english_one_says():
    english, korean = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md"))
    # The same commands, but for the language of the report, and the same program but for its comment.
    assert [[w for w in words if w not in ("--lang", "ko")] for words in shell_commands(korean)] == [
        list(words) for words in shell_commands(english)
    ]
    programs = [re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) for text in (english, korean)]
    assert re.sub(r"  #.*", "", programs[0][0]) == re.sub(r"  #.*", "", programs[1][0])
    # Every figure in it stands in the English one, every picture and page too.
    figures = [set(re.findall(r"\d+(?:[.,]\d+)*", without_code(text))) for text in (korean, english)]
    assert figures[0] - figures[1] <= {"8"}  # nuPlan's "eight" metrics
    links = [set(re.findall(r"\]\(([^)\s]+)\)", without_code(text))) for text in (korean, english)]
    assert {link for link in links[0] if not link.startswith("README.md")} <= links[1]
    assert "README.ko.md" in links[1]


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", index)}
    pages_of_docs = {page for page in PAGES if page.parent != ROOT and page.name != "README.md"}
    assert pages_of_docs - linked == set()


def test_nothing_in_the_documents_is_private():
    """No machine's own paths in anything a reader sees."""
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    for name in tracked.stdout.split():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"/(root|home|work|tmp)/\w", text), name


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["make", "test-every"], "no make target"),
        (["python", "python/src/training/train_nothing.py"], "no file"),
        (["drivetrain", "statsu"], "statsu"),
        (["drivetrain", "status", "--jsno"], "--jsno"),
        (["frobnicate"], "unknown command"),
        (["make", "test", "PYTEST_ARGS=-x"], None),
        (["drivetrain", "status", "--json"], None),
        ([".ci/run"], None),
    ],
)
def test_the_command_check_sees_what_it_should(words, part):
    found = complaint(words)
    assert found is None if part is None else part in found


def test_the_link_check_sees_what_it_should(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One thing, here\n[a](missing.md) [b](#one-thing-here) [c](#two) [d](https://x.org/y)\n")
    assert broken_links(page, page.read_text()) == ["missing.md: no such file", "#two: no such heading"]
