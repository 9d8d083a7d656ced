"""What the site adds to the pages of docs/, which are read as plain files elsewhere: navigation, and what they link to.

The navigation is made from the sections of docs/README.md. A link to a file outside docs/ (sources, configs, examples)
leads to a page that shows it. A link named by the file it leads to is named by that page's title. Markers of shell
blocks are left out.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
SHOWN = "source/"
"""Where the site keeps files from outside docs/."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".sh": "bash", ".toml": "toml", "Makefile": "make"}
LINK = re.compile(r"\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
MARKER = re.compile(r"^ *<!-- run:.*?-->\n", flags=re.MULTILINE)
NAMED_BY_FILE = re.compile(r"\[(?:[\w/.]+/)?[\w-]+\.md\]\((?P<path>[\w/.-]+\.md)\)")
ROLE = re.compile(r":(?:func|class|mod|meth|attr|data):<code>~?([\w.]+)</code>")
CODE = re.compile(r"^( *)```.*?^\1```$", flags=re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^\| \[[^\]]+\]\(([^)#\s]+\.md)\)", flags=re.MULTILINE)


def navigation(index: str) -> list[dict[str, object] | str]:
    """Return the sections of the index, each with the pages its table names."""
    home, *sections = re.split(r"^## (.+)\n", index, flags=re.MULTILINE)
    del home
    entries = [(title, ENTRY.findall(text)) for title, text in zip(sections[::2], sections[1::2], strict=True)]
    return ["README.md", *({title: pages} for title, pages in entries)]


def linked_files(text: str, page: str) -> set[str]:
    """Return the files and folders outside docs/ that a page links to, as paths from the root.

    Args:
        text: The page.
        page: Its path from docs/.
    """
    found = set()
    for match in LINK.finditer(CODE.sub("", text)):
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), match["path"]))
        if not path.startswith("docs/") and (ROOT / path).exists():
            found.add(path)
    return found


def page_of(path: str) -> str:
    """Return where the site shows a file or folder from outside docs/."""
    return f"{SHOWN}{path}" if path.endswith(".md") else f"{SHOWN}{path}.md"


def shown(path: str) -> str:
    """Return the page that shows a file from outside docs/, or what a folder holds."""
    file = ROOT / path
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    if file.is_dir():
        return head + "\n".join(f"- `{entry.name}`" for entry in sorted(file.iterdir())) + "\n"
    text = file.read_text(encoding="utf-8")
    language = LANGUAGES.get(file.suffix or file.name, "text")
    return f"{head}````{language}\n{text}\n````\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation from the index."""
    config.nav = navigation((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside docs/ that a page links to."""
    paths = {path for file in files.documentation_pages() for path in linked_files(file.content_string, file.src_uri)}
    for path in sorted(paths):
        files.append(File.generated(config, page_of(path), content=shown(path), inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to the pages that show them; leave out what only the tests read."""
    uri = page.file.src_uri
    if uri.startswith(SHOWN):
        return markdown
    outside = linked_files(markdown, uri)

    def lead(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(uri), match["path"]))
        if path not in outside:
            return match[0]
        return f"]({os.path.relpath(page_of(path), posixpath.dirname(uri) or '.')}{match['anchor'] or ''})"

    def name(match: re.Match[str]) -> str:
        file = files.get_file_from_path(posixpath.normpath(posixpath.join(posixpath.dirname(uri), match["path"])))
        title = re.search(r"^# (.+)$", file.content_string, flags=re.MULTILINE) if file else None
        return f"[{title[1]}]({match['path']})" if title else match[0]

    return LINK.sub(lead, NAMED_BY_FILE.sub(name, MARKER.sub("", markdown)))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show names in docstrings as names."""
    del page, config, files
    return ROLE.sub(lambda match: f"<code>{match[1]}</code>", html)
