"""Which one command a sentence asks for, and what keeps it from being one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from drivetrain.interfaces.ask import english_words, korean_words
from drivetrain.interfaces.ask.reading import Action, Reading
from drivetrain.interfaces.ask.reasons import reason


def _set(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


CHANGES = frozenset({"START", "STOP", "RESUME", "RESTART", "DELETE", "OVERWRITE", "QUEUE"})
"""What must be said without any doubt."""
_TAKES: Mapping[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "QUEUE": "START TRAIN ADD SHOW LIST STATUS RUNNING",
        "COMPARE": "SHOW EVALUATE REPORT STATUS TRAIN MAKE RUNNING",
        "REPORT": "STATUS SHOW MAKE SAVE OPEN RUNNING TRAIN",
        "WATCH": "START SHOW STATUS TRAIN OPEN RUNNING",
        "LOGS": "SHOW TRAIN OPEN WATCH RUNNING",
        "DOCTOR": "START SHOW STATUS VERIFY RUNNING",
        "UI": "START OPEN SHOW WATCH TRAIN RUNNING",
        "EVALUATE": "START SHOW TRAIN MAKE RUNNING",
        "RENDER": "MAKE SHOW START SAVE TRAIN",
        "VERIFY": "START SHOW",
        "SAMPLE": "MAKE START",
        "STATUS": "SHOW RUNNING TRAIN LIST OPEN",
        "LIST": "SHOW TRAIN RUNNING OPEN",
        "OVERWRITE": "START TRAIN",
        "RESUME": "TRAIN START RUNNING",
        "RESTART": "TRAIN START RUNNING",
        "STOP": "TRAIN RUNNING",
        "DELETE": "TRAIN",
        "START": "TRAIN MAKE SAMPLE",
        "TRAIN": "SAMPLE",
        "RUNNING": "SHOW TRAIN",
        "SHOW": "TRAIN",
        "SAVE": "",
        "MAKE": "",
        "ADD": "",
        "OPEN": "",
    }.items()
}
"""Command -> what may stand beside it without being a second one; in the order in which they are tried."""
_COMMAND = ("plain", "noun")
_TOLD = ("past", "adnom", "progressive")


def meant_action(reading: Reading) -> tuple[str, list[str]]:
    """Return the one action a sentence asks for, or an empty string and the several that it speaks of."""
    actions = _those_that_count(reading)
    present = list(dict.fromkeys(action.meaning for action in actions))
    if not present:
        return "", []
    joined = reading.has("AND", "THEN")
    separate = [a for a in actions if a.meaning not in ("SHOW", "RUNNING", "SAVE") and a.form != "noun"]
    if (joined and len({a.meaning for a in separate}) > 1) or _one_after_the_other(actions):
        return "", present
    for name, others in _TAKES.items():
        if name in present and set(present) - {name} <= others:
            return ("START" if name == "TRAIN" else name), present
    return "", present


def _those_that_count(reading: Reading) -> list[Action]:
    """Return the actions without those that only describe: the stopped run, the run, what is being trained."""
    actions = []
    for action in reading.actions:
        told = action.form in _TOLD
        if action.meaning in ("START", "TRAIN") and told:
            actions.append(replace(action, meaning="RUNNING"))
        elif action.meaning in ("STOP", "DELETE", "RESUME") and told:
            actions.append(replace(action, meaning="RUNNING")) if action.form == "past" else None
        elif action.meaning == "SHOW" and action.form == "connect":
            continue
        else:
            actions.append(action)
    if reading.has("FORM_becomes"):  # 학습 어디까지 됐어: how the training is, not the wish to train
        actions = [replace(a, meaning="RUNNING") if a.meaning == "TRAIN" and a.form == "noun" else a for a in actions]
    actions = _idioms(actions)
    others = {action.meaning for action in actions} - {"TRAIN", "SHOW", "RUNNING"}
    if len(others) > 1:  # "stop the run", "list of runs", 실행 중지: what runs, not the wish to run it
        actions = [
            a for a in actions if not (a.meaning == "START" and a.text in ("run", "실행", "가동") and _is_noun(a))
        ]
        if reading.language == "ko" and "LOGS" in others:
            actions = [a for a in actions if a.text not in ("계속", "계속해서")]
    return actions


def _idioms(actions: list[Action]) -> list[Action]:
    """Return the actions with those made one that are one in two words: get it going, 그만 돌려."""
    words = [action.text for action in actions]
    if "get" in words and "going" in words[words.index("get") :]:
        going = words.index("going", words.index("get"))
        started = [replace(a, meaning="START", form="plain") if k == going else a for k, a in enumerate(actions)]
        return [action for action in started if action.text != "get"]
    if "그만" in words:
        first = words.index("그만")
        return [a for k, a in enumerate(actions) if k <= first or a.meaning not in ("START", "TRAIN")]
    return actions


def _is_noun(action: Action) -> bool:
    return action.form == "noun" or action.text == "run"


def _one_after_the_other(actions: list[Action]) -> bool:
    """Return whether a verb ends in -고 or the like and another action follows: two commands."""
    for k, action in enumerate(actions):
        if action.form == "connect" and any(later.meaning != action.meaning for later in actions[k + 1 :]):
            return True
    return False


def hindrance(reading: Reading, action: str) -> str:
    """Return why a sentence is no command, as a reason; empty where it is one."""
    forms = {a.form for a in reading.actions} | {
        m.removeprefix("FORM_") for m in reading.marks if m.startswith("FORM_")
    }
    if reading.has("NEG") or "neg" in forms:
        return "negated"
    if reading.has("WHY", "HOW_TO", "SHOULD") or forms & {"permit", "should"}:
        return "asks"
    if reading.has("BLOCK") or "cond" in forms:
        return "condition"
    if reading.has("OR") and action != "COMPARE":
        return "choice"
    if action in CHANGES:
        return _doubt(reading, action, forms)
    return reason("unknown", reading.unknown[0]) if _too_much_unknown(reading) else ""


def _doubt(reading: Reading, action: str, forms: set[str]) -> str:
    """Return why a sentence that would change something is not clear enough."""
    if reading.unknown:
        return reason("unknown", reading.unknown[0])
    if action in ("STOP", "DELETE") and _says_more(reading, action):
        return "not_plain"
    if reading.has("ASK", "BETTER", "SOFT"):
        return "asks"
    said = [a.form for a in reading.actions if a.meaning == action or {a.meaning, action} <= {"START", "TRAIN"}]
    if any(form not in _COMMAND for form in said) or forms & {"question", "unclear", "connect", "clause"}:
        return "not_plain"
    if reading.has("IS") or (reading.has("QUESTION") and not reading.has("REQUEST")):
        return "question"
    return ""


def _says_more(reading: Reading, action: str) -> bool:
    """Return whether a sentence that would end something has a word that need not be in such a sentence."""
    marks = {mark for mark in reading.marks if not mark.startswith(("ALGORITHM_", "STATE_", "FORM_"))}
    if marks - _BESIDE_AN_END or not {filler.lower() for filler in reading.fillers} <= _EMPTY_WORDS:
        return True
    if any(use.role != "object" for use in reading.names):
        return True
    faint = any(a.meaning == action and a.text in _FAINT_WORDS for a in reading.actions)
    return (
        faint
        and not reading.names
        and not reading.has("TRAIN", "TRAINING", "RUNS")
        and not reading.chosen("ALGORITHM_")
    )


_BESIDE_AN_END = _set(
    "STOP DELETE TRAIN TRAINING RUNNING RUNS START REQUEST FILLER P_OBJECT P_TOPIC P_OF P_ALSO P_ONLY LIGHT GIVE WISH",
    "THAT OF STOP_MARK COMMA QUESTION NAME ALL IN",
)
"""Meanings that do not change what a stop or a deletion is about."""
_EMPTY_WORDS = _set(english_words.EMPTY, korean_words.EMPTY) | {"for me"}
_FAINT_WORDS = _set(english_words.FAINT, korean_words.FAINT)


def _too_much_unknown(reading: Reading) -> bool:
    hangul = [word for word in reading.unknown if not word.isascii()]
    return len(hangul) < len(reading.unknown) or len(hangul) > 1
