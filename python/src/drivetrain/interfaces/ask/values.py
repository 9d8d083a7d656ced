"""Which number is the value of what: "lr 1e-4", "30 epochs", "시드는 3으로"."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from drivetrain.interfaces.ask.items import Item

_BEFORE_MAY_STAND = frozenset(
    ["OF", "FOR", "P_TOPIC", "P_OBJECT", "P_TO", "P_SUBJECT", "P_OF", "WITH", "P_ALSO", "P_ONLY"]
)
_AFTER_MAY_STAND = frozenset({"MORE", "P_OF"})
_FILLERS_BEFORE = frozenset(
    [
        "크기",
        "값",
        "수",
        "수는",
        "size",
        "number",
        "value",
        "default",
        "개수",
        "총",
        "최대",
        "max",
        "total",
        "about",
        "around",
        "약",
        "한",
    ]
)
_FILLERS_AFTER = frozenset(
    ["개", "번", "회", "more", "total", "parallel", "env", "training", "learner", "random", "gradient"]
)
_TIME = {"KEY_seconds": Decimal(1) / 60, "KEY_minutes": Decimal(1), "KEY_hours": Decimal(60), "KEY_days": Decimal(1440)}
_COUNTS_AFTER = ("KEY_steps", "KEY_epochs", "KEY_minutes", "KEY_hours", "KEY_seconds", "KEY_days")
MIN_LONE_STEPS = 10_000
"""A number as large as this, with nothing that it counts, counts steps."""


def bind_values(items: Sequence[Item]) -> tuple[dict[str, str], set[int], list[str]]:
    """Return value by key, the indices of the keys that were used, and the numbers that count nothing."""
    values: dict[str, str] = {}
    used: set[int] = set()
    unbound: list[str] = []
    minutes = Decimal(0)
    for place, item in enumerate(items):
        if item.kind != "number":
            continue
        key_place = _key_of(items, place, used)
        if key_place is None:
            if Decimal(item.text) >= MIN_LONE_STEPS and "steps" not in values:
                values["steps"] = item.text
            else:
                unbound.append(item.text)
            continue
        used.add(key_place)
        key = items[key_place].meaning
        name = key.removeprefix("KEY_")
        if key in _TIME:
            minutes += Decimal(item.text) * _TIME[key]
        elif name in values:
            unbound.append(item.text)
        else:
            values[name] = item.text
    if minutes:
        values["minutes"] = f"{minutes:.3f}".rstrip("0").rstrip(".")
    return values, used, unbound


def _key_of(items: Sequence[Item], place: int, used: set[int]) -> int | None:
    """Return the index of the key that a number is the value of.

    Time follows its number always. Everything else may stand on either side: before it is preferred where that key has
    no value yet and does not itself count the number before.
    """
    after = _key_after(items, place)
    if after is not None and items[after].meaning in _TIME and after not in used:
        return after
    before = _key_before(items, place)
    if before is not None and before not in used and items[before].meaning not in _TIME:
        return before
    return after if after is not None and after not in used else None


def _key_before(items: Sequence[Item], place: int) -> int | None:
    k = place - 1
    while k >= 0 and (items[k].meaning in _BEFORE_MAY_STAND or items[k].text in _FILLERS_BEFORE):
        k -= 1
    return k if k >= 0 and items[k].meaning.startswith("KEY_") else None


def _key_after(items: Sequence[Item], place: int) -> int | None:
    k = place + 1
    while k < len(items) and (items[k].meaning in _AFTER_MAY_STAND or items[k].text in _FILLERS_AFTER):
        if items[k].meaning.startswith("KEY_"):
            break
        k += 1
    if k < len(items) and items[k].meaning.startswith("KEY_"):
        # "learner processes", "world environments": the last of several names counts.
        while k + 1 < len(items) and items[k + 1].meaning == items[k].meaning:
            k += 1
        return k
    return None
