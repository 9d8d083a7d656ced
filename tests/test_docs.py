"""What the documents say is true: trees match the disk, figures are those that were stored, both READMEs agree."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.docs.commands import shell_commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def without_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


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
def test_trees_match_the_disk(page):
    for path, is_folder in tree_entries(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_dir() if is_folder else (ROOT / path).is_file(), path


@pages
def test_python_examples_compile(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        compile(block, page.name, "exec")


def test_the_page_of_benchmarks_shows_the_stored_figures():
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    # Results that were only tried out are not committed and need not be shown.
    listed = subprocess.run(
        ["git", "ls-files", "benchmarks/results"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    for name in listed.stdout.split():
        for entry in json.loads((ROOT / name).read_text(encoding="utf-8"))["figures"]:
            assert f"| {entry['name']} | **" in text, f"{name}: run `python benchmarks/run.py --table`"


def test_the_readme_s_figures_are_those_of_the_page():
    page, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/benchmarks.md", "README.md"))
    rows = re.findall(r"^\| ([^|]+) \| (\*\*[^|]+) \|", readme, flags=re.MULTILINE)
    assert len(rows) > 5
    for name, value in rows:
        assert f"| {name} | {value} |" in page, "run `python benchmarks/run.py --table`"


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
