"""No dead link in any page: files, headings and pictures are looked up, web addresses only read.

With a network `python -m tests.docs.test_links` asks for every web address too.
"""

import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from tests.docs.pages import PAGES, ROOT, anchors, broken_link, broken_links, is_external, links, name_of

WAIT_S = 20.0


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page):
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_linked_is_part_of_the_repository(page):
    """A file that lies there but was never added would be missing for everybody else."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a checkout")
    tracked = {(ROOT / name).resolve() for name in listed.stdout.splitlines()}
    tracked |= {folder for file in tracked for folder in file.parents}
    for target in links(page.read_text(encoding="utf-8")):
        if not is_external(target) and target.partition("#")[0]:
            assert (page.parent / target.partition("#")[0]).resolve() in tracked, target


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("other.md", None),
        ("other.md#one-thing-here", None),
        ("other.md#one-thing-here-1", None),
        ("#own", None),
        ("https://example.org/a?b=c", None),
        ("mailto:someone@example.org", None),
        ("missing.md", "no such file"),
        ("other.md#two", "no such heading"),
        ("/other.md", "an absolute path"),
        ("https://example", "not a web address"),
        ("htp://example.org", "not a web address"),
        ("picture.png#part", "no such heading"),
    ],
)
def test_the_check_sees_what_it_should(tmp_path, target, why):
    (tmp_path / "other.md").write_text("# One thing, here\n\n## One `thing`, here\n", encoding="utf-8")
    (tmp_path / "picture.png").touch()
    page = tmp_path / "page.md"
    page.write_text("# Own\n", encoding="utf-8")
    assert broken_link(page, target) == why


def test_every_kind_of_link_is_found():
    text = (
        '[a](a.md) ![b](b.png "title") [![c](c.png)](d.md)\n[e]: e.md\n<https://f.org/x>\n<img src="g.png">\n'
        "`[no](no.md)`\n\n```bash\n[no](no.md)\n```\n<!-- [no](no.md) -->\n"
    )
    assert sorted(links(text)) == ["a.md", "b.png", "c.png", "d.md", "e.md", "g.png", "https://f.org/x"]


def test_headings_in_blocks_are_no_anchors():
    assert anchors("# A b\n\n```bash\n# not one\n```\n## [A](x.md) b\n") == {"a-b", "a-b-1"}


def ask_everywhere():
    """Ask for every web address of every page; print those that do not answer."""
    pages = {}
    for page in PAGES:
        for target in links(page.read_text(encoding="utf-8")):
            if target.startswith("http") and "://localhost" not in target:
                pages.setdefault(target.partition("#")[0], name_of(page))
    dead = 0
    for target, page in sorted(pages.items()):
        request = urllib.request.Request(target, headers={"User-Agent": "link check"})
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S):
                continue
        except urllib.error.HTTPError as error:
            if error.code in (403, 429):  # robots are not served
                continue
            why = str(error)
        except OSError as error:
            why = str(error)
        dead += 1
        print(f"{page}: {target}: {why}")
    print(f"{len(pages)} addresses, {dead} dead")
    return dead


if __name__ == "__main__":
    sys.exit(min(ask_everywhere(), 1))
