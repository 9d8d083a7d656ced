"""Korean words taken apart: noun + particle, stem + ending, with spaces where people put them.

Spacing is the commonest slip ("학습시작해줘", "멈 춰 줘"), so spaces only make a cut cheaper: a stretch of Hangul
is cut into known parts at least cost. Where something stays unknown it is cut once more, with one slip allowed in every
word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from drivetrain.interfaces.ask.hangul import is_syllable, letters, letters_of, within_one
from drivetrain.interfaces.ask.items import Item
from drivetrain.interfaces.ask.korean_words import FORMS, NOUNS, OPEN_FORMS, PARTICLES, VERBS

WORD, PARTICLE, ENDING = 1.0, 0.3, 0.2
SLIP = 1.4
"""A word with a slip in it costs this much more."""
UNKNOWN, STRAY_LETTER = 2.2, 0.8
"""A syllable that belongs to nothing; a letter that is no syllable (ㅋㅋ)."""
SPACE_INSIDE, NO_SPACE_BEFORE = 0.5, 0.15
SHORT = 0.5
"""A word of one syllable in the middle of others is often a part of something unknown."""
MIN_SLIP_LETTERS = 5
"""Shorter words are too near to others to be mended."""
_OPEN_STARTS = ("name", "free", "particle")


@dataclass(frozen=True)
class _Step:
    """The cheapest way to somewhere: from where, by which part."""

    cost: float
    place: tuple[int, str]
    item: Item | None


def read_korean(text: str, *, after_name: bool) -> list[Item]:
    """Return the parts of a stretch of Hangul.

    Args:
        text: Syllables, single letters and spaces.
        after_name: A name or number stands directly before it, so it may begin with a particle.
    """
    strict = _cut(text, after_name=after_name, slips=False)
    if not any(item.kind == "unknown" for item in strict):
        return strict
    return _cut(text, after_name=after_name, slips=True)


def _cut(text: str, *, after_name: bool, slips: bool) -> list[Item]:
    whole, starts, spaces = _spread(text)
    typed = dict(zip(sorted(starts), [letter for letter in text if not letter.isspace()], strict=False))
    begin = (0, "name" if after_name else "free")
    best: dict[tuple[int, str], _Step] = {begin: _Step(0.0, begin, None)}
    for position in range(len(whole) + 1):
        for state in ("name", "free", "particle", "stem", "open"):
            here = best.get((position, state))
            if here is None:
                continue
            for end, new_state, cost, item in _parts(whole, position, state, starts, spaces, slips=slips):
                crossed = sum(position < space < end for space in spaces)
                total = here.cost + cost + SPACE_INSIDE * crossed
                known = best.get((end, new_state))
                if known is None or total < known.cost:
                    best[end, new_state] = _Step(total, (position, state), item)
    ends = [(step.cost, place) for place, step in best.items() if place[0] == len(whole) and place[1] in _OPEN_STARTS]
    place, items = min(ends)[1], []
    while place != begin:
        step = best[place]
        if step.item is not None and step.item.kind == "unknown":
            items.append(replace(step.item, text=typed[step.place[0]]))
        elif step.item is not None:
            items.append(step.item)
        place = step.place
    return _joined(items[::-1])


def _spread(text: str) -> tuple[str, frozenset[int], frozenset[int]]:
    """Return a text's letters without spaces, where syllables start (and the end), and where spaces stood."""
    whole, starts, spaces = "", set(), set()
    for letter in text:
        if letter.isspace():
            spaces.add(len(whole))
        else:
            starts.add(len(whole))
            whole += letters_of(letter)
    return whole, frozenset({*starts, len(whole)}), frozenset(spaces)


def _parts(
    whole: str, position: int, state: str, starts: frozenset[int], spaces: frozenset[int], *, slips: bool
) -> Iterator[tuple[int, str, float, Item | None]]:
    """Yield (end, state there, cost, part) of everything that can stand at a position."""
    if state in ("stem", "open"):
        return
    if position not in starts or position == len(whole):
        return
    after_space = position == 0 or position in spaces
    lead = 0.0 if after_space else NO_SPACE_BEFORE
    for end, meaning, exact in _matches(_nouns(), whole, position, slips=slips):
        if end in starts:
            short = SHORT if end - position <= 3 and not (after_space and (end in spaces or end == len(whole))) else 0.0
            item = Item(kind="word", meaning=meaning[0], text=meaning[1], exact=exact)
            yield end, "name", WORD + lead + short + (0.0 if exact else SLIP), item
    for table, endings in ((_stems(), _bare_endings()), (_open_stems(), _open_endings())):
        for middle, meaning, exact in _matches(table, whole, position, slips=slips):
            for end, form in _endings(endings, whole, middle):
                if end in starts:
                    item = Item(kind="verb", meaning=meaning[0], text=meaning[1], form=form, exact=exact)
                    yield end, "free", WORD + lead + (ENDING if end > middle else 0.0) + (0.0 if exact else SLIP), item
    if state in ("name", "particle"):
        for end, meaning, _ in _matches(_particles(), whole, position, slips=False):
            if end in starts:
                item = Item(kind="particle", meaning=meaning[0], text=meaning[1])
                apart = 0.0 if not after_space or position == 0 else 0.6
                yield end, "particle", PARTICLE + apart + (0.0 if end in spaces or end == len(whole) else 0.3), item
    end = min(start for start in starts if start > position)
    if len(letters_of(whole[position])) == 1 and end - position == 1:
        yield end, state, STRAY_LETTER, None
    else:
        yield end, "name", UNKNOWN, Item(kind="unknown", meaning="", text="")


def _matches(
    table: Mapping[str, tuple[str, str]], whole: str, position: int, *, slips: bool
) -> Iterator[tuple[int, tuple[str, str], bool]]:
    """Yield (end, (meaning, word), whether exact) of every word that stands at a position."""
    for end in range(position + 1, min(len(whole), position + _longest(id(table), table)) + 1):
        found = table.get(whole[position:end])
        if found is not None:
            yield end, found, True
    if not slips:
        return
    for word, meaning in table.items():
        if len(word) < MIN_SLIP_LETTERS:
            continue
        for length in (len(word) - 1, len(word), len(word) + 1):
            typed = whole[position : position + length]
            if len(typed) == length and typed != word and within_one(typed, word) and _is_safe(typed, word, meaning[0]):
                yield position + length, meaning, False


def _is_safe(typed: str, word: str, meaning: str) -> bool:
    """Return whether a slip may stand for a word: one that ends something only by a wrong vowel, 삭재 but not 정리."""
    return meaning not in ("STOP", "DELETE") or _consonants(typed) == _consonants(word)


def _consonants(word: str) -> str:
    return "".join(letter for letter in word if letter <= "ㅎ")


def _endings(table: Mapping[str, str], whole: str, position: int) -> Iterator[tuple[int, str]]:
    for end in range(position, min(len(whole), position + 14) + 1):
        form = table.get(whole[position:end])
        if form is not None:
            yield end, form


def _joined(items: list[Item]) -> list[Item]:
    """Return the parts with neighbouring unknown syllables made one word."""
    joined: list[Item] = []
    for item in items:
        if item.kind == "unknown" and joined and joined[-1].kind == "unknown":
            joined[-1] = Item(kind="unknown", meaning="", text=joined[-1].text + item.text)
        else:
            joined.append(item)
    return joined


_LENGTHS: dict[int, int] = {}


def _longest(key: int, table: Mapping[str, tuple[str, str]]) -> int:
    if key not in _LENGTHS:
        _LENGTHS[key] = max(map(len, table))
    return _LENGTHS[key]


@cache
def _nouns() -> dict[str, tuple[str, str]]:
    table: dict[str, tuple[str, str]] = {}
    for meaning, words in NOUNS.items():
        for word in words.split():
            table.setdefault(letters(word), (meaning, word))
    return table


@cache
def _particles() -> dict[str, tuple[str, str]]:
    return {
        letters(word): (meaning, word)
        for meaning, words in PARTICLES.items()
        for word in words.split()
        if is_syllable(word[0])
    }


def _verbs(part: int) -> dict[str, tuple[str, str]]:
    table: dict[str, tuple[str, str]] = {}
    for meaning, verbs in VERBS.items():
        for verb in verbs.split():
            stem = verb.split("|")[part]
            table.setdefault(letters(stem), (meaning, stem))
    return table


@cache
def _stems() -> dict[str, tuple[str, str]]:
    return _verbs(0)


@cache
def _open_stems() -> dict[str, tuple[str, str]]:
    return _verbs(1)


@cache
def _bare_endings() -> dict[str, str]:
    return {letters(ending): form for form, endings in FORMS.items() for ending in endings.split()}


@cache
def _open_endings() -> dict[str, str]:
    table = {letters(ending): form for form, endings in OPEN_FORMS.items() for ending in endings.split()}
    past = letters("ㅆ")
    for form, endings in FORMS.items():
        for ending in endings.split():
            table.setdefault(past + letters(ending), "past" if form not in ("cond",) else "cond")
    return table | {"": "plain"}
