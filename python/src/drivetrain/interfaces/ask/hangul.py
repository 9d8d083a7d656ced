"""Hangul as letters: syllables taken apart, and words that are one slip of a finger from each other."""

from __future__ import annotations

import unicodedata

_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = (
    "", "ㄱ", "ㄲ", "ㄱㅅ", "ㄴ", "ㄴㅈ", "ㄴㅎ", "ㄷ", "ㄹ", "ㄹㄱ", "ㄹㅁ", "ㄹㅂ", "ㄹㅅ", "ㄹㅌ",
    "ㄹㅍ", "ㄹㅎ", "ㅁ", "ㅂ", "ㅂㅅ", "ㅅ", "ㅆ", "ㅇ", "ㅈ", "ㅊ", "ㅋ", "ㅌ", "ㅍ", "ㅎ",
)  # fmt: skip
_FIRST, _LAST = 0xAC00, 0xD7A3

_KEYS = dict(
    zip(
        "rRseEfaqQtTdwWczxvgkoiOjpuPhynbml",
        "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎㅏㅐㅑㅒㅓㅔㅕㅖㅗㅛㅜㅠㅡㅣ",
        strict=True,
    )
)
"""Letters of the usual Korean keyboard by the Latin key they lie on."""
_JOINED = {"ㅗㅏ": "ㅘ", "ㅗㅐ": "ㅙ", "ㅗㅣ": "ㅚ", "ㅜㅓ": "ㅝ", "ㅜㅔ": "ㅞ", "ㅜㅣ": "ㅟ", "ㅡㅣ": "ㅢ"}
_SPLIT = {joined: pair for pair, joined in _JOINED.items()}


def normalise(text: str) -> str:
    """Return a sentence with its syllables composed, full-width letters narrowed and quotation marks straightened."""
    composed = unicodedata.normalize("NFC", text)
    narrow = "".join(chr(ord(c) - 0xFEE0) if 0xFF01 <= ord(c) <= 0xFF5E else c for c in composed)
    return narrow.translate(str.maketrans("‘’“”´\u3000\u00a0\t\r\n", "''\"\"'     ", ""))


def is_syllable(letter: str) -> bool:
    """Return whether a character is a composed syllable."""
    return _FIRST <= ord(letter) <= _LAST


def letters(text: str) -> str:
    """Return a text with every syllable taken apart: 멈춰 is ㅁㅓㅁㅊㅝ."""
    return "".join(letters_of(letter) for letter in text)


def letters_of(letter: str) -> str:
    """Return the letters of one syllable; anything else as it is."""
    if not is_syllable(letter):
        return letter
    initial, rest = divmod(ord(letter) - _FIRST, 21 * 28)
    vowel, final = divmod(rest, 28)
    return _INITIALS[initial] + _VOWELS[vowel] + _FINALS[final]


def within_one(typed: str, meant: str) -> bool:
    """Return whether one letter put in, left out, replaced or swapped with its neighbour makes two words equal."""
    if abs(len(typed) - len(meant)) > 1:
        return False
    if len(typed) > len(meant):
        typed, meant = meant, typed
    start = next((k for k, pair in enumerate(zip(typed, meant, strict=False)) if pair[0] != pair[1]), len(typed))
    if len(typed) < len(meant):
        return typed[start:] == meant[start + 1 :]
    if typed[start + 1 :] == meant[start + 1 :]:
        return True
    swapped = typed[start + 1 : start + 2] + typed[start : start + 1]
    return swapped == meant[start : start + 2] and typed[start + 2 :] == meant[start + 2 :]


def typed_in_korean_mode(text: str) -> str:
    """Return what a text would be with the keyboard switched to Korean: tlwkr is 시작."""
    row = [_KEYS.get(letter, _KEYS.get(letter.lower(), letter)) for letter in text]
    joined: list[str] = []
    for letter in row:
        if joined and joined[-1] + letter in _JOINED:
            joined[-1] = _JOINED[joined[-1] + letter]
        else:
            joined.append(letter)
    return _composed(joined)


def typed_in_latin_mode(text: str) -> str:
    """Return what a text would be with the keyboard switched to Latin: ㅔㅔㅐ is ppo."""
    keys = {letter: key for key, letter in reversed(_KEYS.items())}
    return "".join(keys.get(part, part) for letter in letters(text) for part in _SPLIT.get(letter, letter))


def _composed(row: list[str]) -> str:
    """Return letters put together into syllables as a keyboard does."""
    text, k = "", 0
    while k < len(row):
        if row[k] not in _INITIALS or k + 1 == len(row) or row[k + 1] not in _VOWELS:
            text, k = text + row[k], k + 1
            continue
        final = ""
        # A consonant belongs below unless a vowel follows, whose first letter it then is.
        for length in (2, 1):
            taken = "".join(row[k + 2 : k + 2 + length])
            follows = row[k + 2 + length] if k + 2 + length < len(row) else ""
            if len(taken) == length and taken in _FINALS and follows not in (*_VOWELS,):
                final = taken
                break
        code = (_INITIALS.index(row[k]) * 21 + _VOWELS.index(row[k + 1])) * 28 + _FINALS.index(final)
        text, k = text + chr(_FIRST + code), k + 2 + len(final)
    return text
