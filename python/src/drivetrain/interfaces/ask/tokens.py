"""A sentence cut into items: English words and phrases, Korean parts, names, numbers, paths."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from drivetrain.interfaces.ask.english_words import word_table
from drivetrain.interfaces.ask.hangul import normalise, typed_in_korean_mode, typed_in_latin_mode, within_one
from drivetrain.interfaces.ask.items import Item
from drivetrain.interfaces.ask.korean import read_korean
from drivetrain.interfaces.ask.numbers import NUMBER, plain_number, spell_out

MAX_LENGTH = 500
"""Characters of a sentence; more is no command."""
MAX_PHRASE = 6
_MARKS = {"?": "QUESTION", "&": "AND", ";": "THEN", ",": "COMMA", "+": "AND", "/": "OR", "!": "", ".": "STOP_MARK"}
_STRAY = re.compile(r"(?<!\S)[가-힣]*[ㄱ-ㅎㅏ-ㅣ][가-힣ㄱ-ㅎㅏ-ㅣ]*(?!\S)")
"""A word with letters in it that make no syllable."""
_TOKEN = re.compile(
    r"(?P<quoted>\"[^\"]*\"|(?<![\w])'[^']*')"
    r"|(?P<path>[\w.~-]*/[\w./~-]+[\w/]|[\w-]+\.(?:yaml|yml|pt|npz|md)\b)"
    r"|(?P<change>[A-Za-z_]\w*(?:\.\w+)+\s*=\s*[^\s,;]+)"
    r"|(?P<option>--[A-Za-z][\w-]*|(?<!\S)-f\b)"
    r"|(?P<dated>\d{4,}[-_]\w[\w-]*|\d+(?=[A-Za-z_]*_)\w+)"
    rf"|(?P<number>(?:{NUMBER})(?![\w]*_))"
    r"|(?P<word>[A-Za-z][A-Za-z0-9_]*(?:[.'-][A-Za-z0-9_]+)*)"
    r"|(?P<hangul>[가-힣ㄱ-ㅎㅏ-ㅣ]+(?:\s+[가-힣ㄱ-ㅎㅏ-ㅣ]+)*)"
    r"|(?P<mark>[?&;,+/!.=:])"
    r"|(?P<other>\S)",
    flags=re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a name in a sentence may be the name of."""

    run_ids: tuple[str, ...] = ()
    """All runs there are."""
    configs: tuple[str, ...] = ()
    """Stems of the configs: ppo_minute, gail_from_bc."""


def read_items(sentence: str, names: Names) -> list[Item]:
    """Return what a sentence is made of, in order."""
    text = re.sub(r"\b(w/o|w/)(?=\s|$)", lambda m: "without" if m[1] == "w/o" else "with", normalise(sentence))
    text = _STRAY.sub(_latin_word, text)
    text = spell_out(_merged_versions(text))
    raw: list[Item] = []
    end = 0
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        glued = match.start() == end and bool(raw)
        end = match.end()
        after_name = glued or (bool(raw) and raw[-1].kind in ("name", "path", "number"))
        raw += _token(kind, match[0], names, after_name=after_name)
    return _with_phrases(raw)


def _latin_word(match: re.Match[str]) -> str:
    """Return a word that was typed with the keyboard in Korean mode, as it was meant."""
    word = typed_in_latin_mode(match[0]).lower()
    return word if word in word_table() else match[0]


def _merged_versions(text: str) -> str:
    """Return the text with "ppo v1" as ppo_v1: the form of every run id that is made here."""
    return re.sub(r"\b(ppo|sac|bc|gail|cimrl)[ -]+(v\d+)\b", r"\1_\2", text, flags=re.IGNORECASE)


def _token(kind: str, text: str, names: Names, *, after_name: bool) -> list[Item]:
    if kind == "hangul":
        return _hangul(text, after_name=after_name)
    if kind == "number":
        return [Item(kind="number", meaning="", text=plain_number(text))]
    if kind == "change":
        return [Item(kind="change", meaning="", text=re.sub(r"\s", "", text))]
    if kind == "path":
        return [Item(kind="path", meaning="", text=text)]
    if kind == "quoted":
        return [Item(kind="name", meaning="", text=text[1:-1].strip(), quoted=True)] if text[1:-1].strip() else []
    if kind == "dated":
        return [Item(kind="name", meaning="", text=text)]
    if kind == "option":
        return [Item(kind="word", meaning="", text=text.lstrip("-").lower() if text != "-f" else "-f")]
    if kind == "mark":
        meaning = {"=": "OF", ":": "OF"}.get(text, _MARKS.get(text, ""))
        return [Item(kind="word", meaning=meaning, text=text)] if meaning else []
    if kind == "other":
        return [Item(kind="unknown", meaning="", text=text)] if text not in "()[]{}*~^#·…—–-_'\"%" else []
    run_id = _existing(text, names.run_ids)
    return [Item(kind="name" if run_id else "word", meaning="", text=run_id or text)]


def _hangul(text: str, *, after_name: bool) -> list[Item]:
    if not re.search(r"[가-힣]", text) and (word := typed_in_latin_mode(text.replace(" ", ""))) in word_table():
        return [Item(kind="word", meaning="", text=word, exact=False)]
    items = read_korean(text, after_name=after_name)
    unknown = [item for item in items if item.kind == "unknown"]
    if unknown and (word := typed_in_latin_mode(text)).lower() in word_table():
        return [Item(kind="word", meaning="", text=word.lower(), exact=False)]
    return [item if item.kind != "unknown" or re.search(r"[가-힣]", item.text) else _nothing(item) for item in items]


def _nothing(item: Item) -> Item:
    return replace(item, kind="word", meaning="FILLER")


def _with_phrases(raw: list[Item]) -> list[Item]:
    """Return the items with every English word looked up, longest phrases first."""
    table, items, k = word_table(), [], 0
    while k < len(raw):
        if raw[k].kind != "word" or raw[k].meaning:
            items.append(raw[k])
            k += 1
            continue
        for length in range(MAX_PHRASE, 0, -1):
            part = raw[k : k + length]
            words = " ".join(item.text.lower() for item in part)
            if len(part) == length and all(i.kind == "word" and not i.meaning for i in part) and words in table:
                items.append(replace(raw[k], meaning=table[words], text=words))
                k += length
                break
        else:
            items += _one_word(raw[k])
            k += 1
    return items


def _one_word(item: Item) -> list[Item]:
    """Return what a word is that is in no table: a name, glued words, a slip, or nothing known."""
    table, word = word_table(), item.text.lower()
    if re.search(r"[\d_]", word):
        return [replace(item, kind="name", text=re.sub(r"'s$", "", item.text))]
    if word.endswith("'s") and word[:-2] in table:
        return [replace(item, text=word[:-2], meaning=table[word[:-2]])]
    parts = [part for part in re.split(r"[-.']", word) if part]
    if len(parts) > 1:
        return (
            [_known(part, table) for part in parts] if all(p in table for p in parts) else [replace(item, kind="name")]
        )
    glued = _glued(word)
    if glued:
        return [_known(part, table) for part in glued]
    meant = _meant(word)
    if meant:
        return [replace(_known(meant, table), exact=False)]
    korean = typed_in_korean_mode(item.text)
    if len(word) >= 4 and re.fullmatch("[가-힣]+", korean):
        found = read_korean(korean, after_name=False)
        if all(part.kind != "unknown" for part in found):
            return [replace(part, exact=False) for part in found]
    return [replace(item, kind="unknown")]


def _known(word: str, table: dict[str, str]) -> Item:
    return Item(kind="word", meaning=table[word], text=word)


def _glued(word: str) -> list[str]:
    """Return the words that were typed without a space between them, or nothing."""
    table = word_table()
    for cut in range(2, len(word) - 1):
        head, tail = word[:cut], word[cut:]
        if _can_be_glued(head) and _can_be_glued(tail) and not {table[head], table[tail]} <= {"FILLER"}:
            return [head, tail]
    return []


def _can_be_glued(word: str) -> bool:
    meaning = word_table().get(word, "")
    return meaning.startswith("ALGORITHM_") or (len(word) >= 4 and meaning != "FILLER" and bool(meaning))


@cache
def _meant(word: str) -> str:
    """Return the word that was meant where one slip explains what was typed and no other word's meaning is as near."""
    table = word_table()
    if len(word) < 4:
        return ""
    near = [known for known in table if len(known) >= 4 and " " not in known and within_one(word, known)]
    if not near and len(word) >= 8:
        near = [known for known in table if len(known) >= 8 and _within_two(word, known)]
    swapped = [known for known in near if sorted(known) == sorted(word)]
    for choice in (swapped, near):
        if choice and len({_root(table[known]) for known in choice}) == 1:
            return choice[0] if _is_safe(word, choice[0]) else ""
    return ""


def _root(meaning: str) -> str:
    return {"TRAINING": "TRAIN"}.get(meaning, meaning)


def _is_safe(typed: str, meant: str) -> bool:
    """Return whether a slip may stand for a word; one that ends something must keep its letters, the first in place."""
    if word_table()[meant] not in ("STOP", "DELETE", "OVERWRITE"):
        return True
    return typed[0] == meant[0] and (len(typed) != len(meant) or sorted(typed) == sorted(meant) or len(meant) >= 6)


def _within_two(typed: str, meant: str) -> bool:
    shorter = (typed[:k] + typed[k + 1 :] for k in range(len(typed)))
    return any(within_one(text, meant) for text in shorter) or any(
        within_one(typed, meant[:k] + meant[k + 1 :]) for k in range(len(meant))
    )


def _existing(text: str, run_ids: Iterable[str]) -> str:
    """Return the run that a word names but for capital letters, where it is one only."""
    if text.lower() in word_table():
        return ""  # a run named "report" is meant only in quotation marks
    if text in run_ids:
        return text
    found = [run_id for run_id in run_ids if run_id.lower() == text.lower()]
    return found[0] if len(found) == 1 else ""
