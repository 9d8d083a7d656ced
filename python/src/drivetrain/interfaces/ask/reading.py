"""A sentence as slots: what is to be done, to which run, with which values, and what keeps it from being a command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivetrain.interfaces.ask.hangul import normalise
from drivetrain.interfaces.ask.items import Item
from drivetrain.interfaces.ask.tokens import MAX_LENGTH, Names, read_items
from drivetrain.interfaces.ask.values import bind_values

CHANGING = frozenset({"STOP", "DELETE", "RESUME", "RESTART", "OVERWRITE", "START", "TRAIN", "QUEUE", "ADD"})
"""Actions after which something is different."""
ACTIONS = CHANGING | frozenset(
    [
        "STATUS",
        "REPORT",
        "LIST",
        "LOGS",
        "COMPARE",
        "EVALUATE",
        "WATCH",
        "SAMPLE",
        "DOCTOR",
        "UI",
        "RENDER",
        "VERIFY",
        "SHOW",
        "MAKE",
        "OPEN",
        "RUNNING",
        "SAVE",
    ]
)
_HELPERS = frozenset({"LIGHT", "GIVE", "BE", "WISH", "NEG", "SHOULD"})
"""Verbs that stand behind another one and change its form."""
_WORST_FIRST = (
    "neg",
    "cond",
    "should",
    "permit",
    "question",
    "unclear",
    "past",
    "connect",
    "clause",
    "adnom",
    "progressive",
)


@dataclass(frozen=True, kw_only=True)
class Action:
    """A verb of the sentence, or a noun that stands for one."""

    meaning: str
    """One of ACTIONS."""
    form: str
    """plain: as a command is said; noun: bare; else what it is instead."""
    text: str
    """The word."""
    exact: bool
    """False where a slip was mended."""
    place: int
    """Index of its item."""


@dataclass(frozen=True, kw_only=True)
class NameUse:
    """What may be the name of a run, and what the sentence does with it."""

    text: str
    """As typed."""
    role: str
    """object; from: weights are taken from it; as: what begins is to be called so."""
    is_path: bool = False
    """True for a path."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A sentence, read."""

    language: str
    """ko where there is Hangul in it, else en."""
    actions: tuple[Action, ...]
    """In order."""
    names: tuple[NameUse, ...]
    """In order."""
    values: Mapping[str, str]
    """Value by key: steps, lr, seed, ..."""
    changes: tuple[str, ...] = ()
    """KEY=VALUE as typed."""
    marks: frozenset[str] = field(default_factory=frozenset)
    """Meanings of all other words: NEG, ASK, ALL, ALGORITHM_ppo, ..."""
    marked: tuple[str, ...] = ()
    """The same, in order, repeated as in the sentence."""
    fillers: tuple[str, ...] = ()
    """Words that say nothing by themselves."""
    unknown: tuple[str, ...] = ()
    """Words that nothing is known of, and numbers that count nothing."""

    def has(self, *marks: str) -> bool:
        """Return whether any of some marks is there."""
        return any(mark in self.marks for mark in marks)

    def chosen(self, prefix: str) -> list[str]:
        """Return what follows a prefix in the marks, in order, once each: ppo of ALGORITHM_ppo."""
        return list(dict.fromkeys(mark.removeprefix(prefix) for mark in self.marked if mark.startswith(prefix)))


def read(sentence: str, names: Names) -> Reading:
    """Return a sentence as slots."""
    items = read_items(sentence[: MAX_LENGTH + 1], names)
    values, used, unbound = bind_values(items)
    actions, helpers, forms = _actions(items, used)
    marks, unknown = [], [*unbound]
    if len(sentence) > MAX_LENGTH:
        unknown.append(f"{len(sentence)} characters")
    changes = tuple(item.text for item in items if item.kind == "change")
    named = _names(items)
    for place, item in enumerate(items):
        if item.kind == "unknown":
            unknown.append(item.text)
        elif item.meaning and place not in used:
            marks.append(item.meaning)
    marks += [f"FORM_{form}" for form in forms]
    if any(item.meaning == "LIGHT" and item.text[-1:] in "줘주드려" for item in items if item.kind == "verb"):
        marks.append("REQUEST")
    if helpers & {"GIVE", "WISH"}:
        marks.append("REQUEST")
    return Reading(
        language="ko" if re.search(r"[가-힣ㄱ-ㅎㅏ-ㅣ]", normalise(sentence)) else "en",
        actions=tuple(actions),
        names=tuple(named),
        values=values,
        changes=changes,
        marks=frozenset(marks),
        marked=tuple(marks),
        fillers=tuple(item.text for item in items if item.meaning == "FILLER"),
        unknown=tuple(unknown),
    )


def _actions(items: Sequence[Item], used: set[int]) -> tuple[list[Action], set[str], list[str]]:
    """Return the actions, the meanings of all verbs that helped them, and the forms of verbs that belong to none."""
    actions: list[Action] = []
    helpers: set[str] = set()
    lone: list[str] = []
    place = 0
    while place < len(items):
        item = items[place]
        is_action = item.meaning in ACTIONS and place not in used and item.kind in ("word", "verb")
        if is_action:
            form, end, seen = _form(items, place)
            actions.append(Action(meaning=item.meaning, form=form, text=item.text, exact=item.exact, place=place))
            helpers |= seen
            place = max(end, place + 1)
        else:
            if item.kind == "verb":
                form, end, seen = _form(items, place)
                if not _sets_a_value(items, place, form):
                    lone += [form, "becomes"] if item.text in ("되", "돼") else [form]
                helpers |= seen | {item.meaning}
                place = max(end, place + 1)
                continue
            place += 1
    return actions, helpers, lone


def _sets_a_value(items: Sequence[Item], place: int, form: str) -> bool:
    """Return whether a verb only says that something is set: 시드는 3으로 하고."""
    before = items[place - 1].meaning if place else ""
    return form == "connect" and items[place].meaning == "LIGHT" and before == "P_TO"


def _form(items: Sequence[Item], place: int) -> tuple[str, int, set[str]]:
    """Return the form of the verb chain that begins at a place, where it ends, and the meanings of its helpers."""
    first = items[place]
    if first.kind == "word" and first.text.isascii():
        return ("noun" if first.meaning in ("TRAINING", "RUNNING") else "plain"), place + 1, set()
    forms: list[tuple[str, str]] = [(first.meaning, first.form)] if first.kind == "verb" else []
    seen: set[str] = set()
    k = place + 1
    while k < len(items):
        item = items[k]
        if item.kind == "particle" and item.text == "하고" and k == place + 1:
            forms.append(("LIGHT", "connect"))
        elif item.kind == "verb" and item.meaning in _HELPERS:
            passive = item.text in ("되", "돼") and item.form == "plain"  # 중단됩니다: it is told, not asked for
            forms.append((item.meaning, "past" if passive else item.form))
            seen.add(item.meaning)
        elif item.meaning == "LIGHT_NOUN" and forms:
            forms.append(("LIGHT_NOUN", item.text))
        elif item.meaning == "NEG" and forms and item.kind == "word":
            forms.append(("NEG", "neg"))
        elif not (_may_stand_between(item) and _verb_follows(items, k)):
            break
        k += 1
    return _worst(forms), k, seen


def _may_stand_between(item: Item) -> bool:
    if item.kind == "particle":
        return item.meaning in ("P_OBJECT", "P_ALSO", "P_ONLY", "P_TOPIC", "P_SUBJECT", "P_TO")
    return item.meaning == "FILLER" and item.text in ("좀", "한번", "한", "번", "바로", "지금", "잘")


def _verb_follows(items: Sequence[Item], place: int) -> bool:
    for item in items[place + 1 :]:
        if item.kind == "verb" and item.meaning in _HELPERS:
            return True
        if not _may_stand_between(item):
            return False
    return False


def _worst(forms: Sequence[tuple[str, str]]) -> str:
    """Return what a chain of verbs says as a whole."""
    if not forms:
        return "noun"
    found = set()
    for k, (meaning, form) in enumerate(forms):
        follower = forms[k + 1][0] if k + 1 < len(forms) else ""
        if meaning == "NEG" or form == "neg":
            found.add("neg")
        elif meaning == "SHOULD":
            found.add("should")
        elif form == "connect" and follower == "WISH":
            continue
        elif form == "connect" and follower == "BE":
            found.add("progressive")
        elif form == "adnom" and follower == "LIGHT_NOUN":
            found.add("plain" if (forms[k][0] == "LIGHT" and k > 0) or meaning == "GIVE" else "question")
        elif form == "clause" and (meaning == "WISH" or follower):
            continue
        elif form == "ji":
            found.add("unclear")
        elif meaning not in ("LIGHT_NOUN", "BE", "WISH") and form:
            found.add(form)
    return next((form for form in _WORST_FIRST if form in found), "plain")


def _names(items: Sequence[Item]) -> list[NameUse]:
    """Return the names with their roles, by the words before (from, as) and the particles after (에서, 라는)."""
    found = []
    for place, item in enumerate(items):
        if item.kind not in ("name", "path"):
            continue
        before = [
            i
            for i in items[max(place - 4, 0) : place]
            if i.meaning not in ("FILLER", "OF", "CHECKPOINT", "BEST", "LAST", "WITH")
        ]
        after = _after(items, place)
        role = "object"
        if (before and before[-1].meaning == "FROM") or after & {"P_FROM", "FROM_WORD", "FROM"}:
            role = "from"
        elif (before and before[-1].meaning in ("AS", "NAME")) or _named_before(items, place) or after & {"P_NAMED"}:
            role = "as"
        found.append(NameUse(text=item.text, role=role, is_path=item.kind == "path"))
    return found


def _named_before(items: Sequence[Item], place: int) -> bool:
    """Return whether 이름은 or run id: stands before."""
    row = [item.meaning for item in items[max(place - 3, 0) : place]]
    return (
        bool(row)
        and ("NAME" in row or "AS" in row)
        and all(
            m in ("NAME", "AS", "OF", "P_TOPIC", "P_OBJECT", "P_SUBJECT", "FILLER")
            for m in row[row.index("NAME") if "NAME" in row else row.index("AS") :]
        )
    )


def _after(items: Sequence[Item], place: int) -> set[str]:
    """Return the particles that follow a name, past what may stand between: 의 체크포인트."""
    found: set[str] = set()
    for item in items[place + 1 : place + 5]:
        if item.kind == "particle" or item.meaning in ("FROM_WORD", "CHECKPOINT", "NAME"):
            found.add(item.meaning)
        else:
            break
    return found
