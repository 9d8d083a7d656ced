"""The pages that a reader sees, and what they are made of: headings, links, fenced blocks, shell commands."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
SHELLS = ("bash", "sh", "shell", "console")
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+|~~~+)(?P<language>[^\n`]*)$")
MARKER = re.compile(r"^ *<!-- run: (?P<text>.+?) -->$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    page: Path
    """Where it stands."""
    line: int
    """Of its opening fence, from 1."""
    language: str
    """What stands behind the fence; empty where nothing does."""
    text: str
    """What lies between the fences, the indent of the fence taken away."""
    marker: str
    """What `<!-- run: ... -->` on the line before says; empty where there is none."""

    @property
    def name(self):
        """Where a reader finds it."""
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def name_of(page):
    """The path of a page as a reader names it."""
    return page.relative_to(ROOT).as_posix()


def split_fences(text):
    """(blocks as (line, language, text, marker), the text with every block blanked)."""
    found, rest, lines = [], [], text.splitlines()
    index = 0
    while index < len(lines):
        opening = FENCE.match(lines[index])
        if opening is None:
            rest.append(lines[index])
            index += 1
            continue
        marker = MARKER.match(lines[index - 1]) if index else None
        body, start = [], index + 1
        closing = re.compile(rf"^ *{re.escape(opening['ticks'])}[`~]* *$")
        index += 1
        while index < len(lines) and not closing.match(lines[index]):
            body.append(lines[index].removeprefix(opening["indent"]))
            index += 1
        index += 1
        rest += [""] * (len(body) + 2)
        found.append((start, opening["language"].strip(), "\n".join(body) + "\n", marker["text"] if marker else ""))
    return found, "\n".join(rest) + "\n"


def blocks(page):
    """All fenced blocks of a page, in order."""
    found, _ = split_fences(page.read_text(encoding="utf-8"))
    return [
        Block(page=page, line=line, language=language, text=text, marker=marker)
        for line, language, text, marker in found
    ]


def shell_blocks(page):
    """The blocks whose lines a reader types."""
    return [block for block in blocks(page) if block.language in SHELLS]


def shell_lines(text):
    """The command lines of a block: continuation lines joined, comments and empty lines left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield line.strip(), words


def prose(text):
    """A page without its blocks, its inline code and its comments."""
    _, rest = split_fences(text)
    return re.sub(r"<!--.*?-->", "", re.sub(r"`+[^`\n]+`+", "``", rest), flags=re.DOTALL)


def anchors(text):
    """The anchors GitHub gives a page's headings, the second of two equal ones numbered, and those set by hand."""
    _, rest = split_fences(text)
    found = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", rest))
    seen = {}
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", rest, flags=re.MULTILINE):
        plain = re.sub(r"\]\([^)]*\)", "", heading).replace("[", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


def links(text):
    """All link and picture targets of a page: inline, by reference, in angle brackets, in HTML."""
    rest = prose(text)
    found = re.findall(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", rest)
    found += re.findall(r"^ {0,3}\[[^\]]+\]:\s+<?(\S+?)>?$", rest, flags=re.MULTILINE)
    found += re.findall(r"<(https?://[^>\s]+)>", rest)
    found += re.findall(r"\b(?:src|href)=\"([^\"]+)\"", rest)
    return found


def is_external(target):
    """Whether a target lies outside the repository."""
    return re.match(r"[a-z][a-z+.-]*:|//", target) is not None


def broken_link(page, target):
    """What is wrong with a link, as far as can be told without a network; None where nothing is."""
    if is_external(target):
        parts = urlsplit(target)
        if parts.scheme == "mailto":
            return None if re.fullmatch(r"[^@\s]+@[^@\s]+\.\w+", parts.path) else "not an address"
        good = parts.scheme in ("http", "https") and re.fullmatch(
            r"(?:[\w-]+\.)+[a-z]{2,}|localhost", parts.hostname or ""
        )
        return None if good else "not a web address"
    path, _, anchor = target.partition("#")
    if path.startswith("/"):
        return "an absolute path"
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return "no such file"
    if not file.is_relative_to(ROOT) and page.is_relative_to(ROOT):
        return "outside the repository"
    if anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text(encoding="utf-8"))):
        return "no such heading"
    return None


def broken_links(page, text):
    """What is wrong with the links of a page: "target: why" of each."""
    found = [(target, broken_link(page, target)) for target in links(text)]
    return [f"{target}: {why}" for target, why in found if why]
