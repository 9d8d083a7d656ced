"""The documentation as a site: built without a warning, each page as other readers see it, nothing from a network."""

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from tests.rendering.browser import browser, program

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS) for page in DOCS.rglob("*.md"))
COUNTED = {"ul", "ol", "li", "table", "tr", "pre", "h2", "h3", "img"}
pytestmark = pytest.mark.needs_docs


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    warnings = [line for line in built.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))]
    assert (built.returncode, warnings) == (0, []), built.stderr
    return folder


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "site" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.count, self.links = Counter(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag in COUNTED:
            self.count[tag] += 1
        self.links += [value for name, value in attrs if name in {"src", "href"} and value]


def built_page(site, page):
    path = page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html")
    return (site / path).read_text(encoding="utf-8")


def article(html):
    return html[html.index("<article") : html.index("</article>")]


@pytest.mark.parametrize("page", [page for page in PAGES if page.parts[0] != "api"], ids=str)
def test_a_page_has_the_parts_that_other_readers_see(site, page):
    """Lists, tables and blocks come out as in CommonMark, which is stricter about nothing and laxer about indents."""
    as_elsewhere = MarkdownIt("commonmark").enable("table").render((DOCS / page).read_text(encoding="utf-8"))
    assert Elements(article(built_page(site, page))).count == Elements(as_elsewhere).count


def test_every_page_is_in_the_navigation(hooks):
    sections = hooks.navigation((DOCS / "README.md").read_text(encoding="utf-8"))
    listed = [path for section in sections[1:] for pages in section.values() for path in pages]
    assert sorted(["README.md", *listed]) == sorted(page.as_posix() for page in PAGES)


def test_nothing_is_loaded_from_elsewhere(site):
    for file in site.rglob("*.html"):
        html = file.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?([^\" >]+)", html)
        loaded += re.findall(r"<link\b[^>]*rel=\"?(?:stylesheet|icon|preload|preconnect)[^>]*href=\"?([^\" >]+)", html)
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == [], file
    for file in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", file.read_text(encoding="utf-8")), file


def test_sources_that_pages_link_to_are_shown(site):
    html = built_page(site, Path("algorithms/ppo.md"))
    assert "../source/python/src/drivetrain/algorithms/ppo.py.html" in Elements(html).links
    shown = (site / "source/python/src/drivetrain/algorithms/ppo.py.html").read_text(encoding="utf-8")
    assert "Proximal" in shown


def test_the_reference_describes_what_the_docstrings_say(site):
    html = built_page(site, Path("api/configs.md"))
    assert "drivetrain.algorithms.ppo.PPOConfig.rollout_steps" in html
    assert "Folder of a scenario store relative to the root" in html
    assert ":func:" not in built_page(site, Path("api/python.md"))


def test_markers_of_shell_blocks_do_not_show(site):
    for page in PAGES:
        assert "<!-- run:" not in article(built_page(site, page)), page


@pytest.mark.skipif(program() is None, reason="no chromium on this machine")
def test_a_page_opened_as_a_file_searches_and_asks_nobody(site):
    with browser() as page:
        page.open(site / "quickstart.html")
        page.evaluate(
            "(() => { const field = document.querySelector('.md-search__input'); field.focus(); "
            "field.value = 'gail discriminator'; "
            "field.dispatchEvent(new KeyboardEvent('keyup', {key: 'r', bubbles: true})); })()"
        )
        found = page.evaluate(
            "new Promise(done => { let left = 200; const look = () => { "
            "const links = [...document.querySelectorAll('.md-search-result__link')].map(a => a.href); "
            "links.length || !left-- ? done(links) : setTimeout(look, 50); }; look(); })"
        )
        assert any("algorithms/gail.html" in link for link in found), found
        assert page.problems() == []
        for width in (400, 1400):
            page.open(site / "quickstart.html", width=width)
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_navigation_follows_the_index(hooks):
    rows = "| [b.md](b.md) | y |\n| [c](d/c.md) | see [f](f.md) |\n"
    index = f"# Docs\n\n[a](a.md)\n\n## One\n\n| page | x |\n|---|---|\n{rows}\n## Two\n\n| [e](e.md) |\n"
    assert hooks.navigation(index) == ["README.md", {"One": ["b.md", "d/c.md"]}, {"Two": ["e.md"]}]


def test_links_out_of_the_pages_are_found_but_not_in_code(hooks):
    text = (
        "[x](../../Makefile) [y](ppo.md) [z](https://a.b/c)\n\n```bash\n[n](../../README.md)\n```\n[f](../../examples/)"
    )
    assert hooks.linked_files(text, "algorithms/bc.md") == {"Makefile", "examples"}
    assert hooks.page_of("CHANGELOG.md") == "source/CHANGELOG.md"
    assert "`ppo.yaml`" in hooks.shown("python/configs/planning")
