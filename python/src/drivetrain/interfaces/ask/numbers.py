"""Numbers as people type them: 2M, 1.5k, 200만, 이백만, two million, 1e-4."""

from __future__ import annotations

import re
from decimal import Decimal

from drivetrain.interfaces.ask.korean_words import COUNTED, DIGITS, MYRIADS, NUMERALS, TENS

NUMBER = r"\d[\d,_]*(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}
_HANGUL_SCALE = re.compile(
    rf"({NUMBER})\s*([십백천]*[만억]|[십백천]+)(?![가-힣])|({NUMBER})\s*([십백천]*[만억]|[백천])"
)
_WORDS: dict[str, int] = dict(
    zip(
        [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "fifteen",
            "sixteen",
            "twenty",
            "thirty",
            "forty",
            "fifty",
            "sixty",
            "hundred",
        ],
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 20, 30, 40, 50, 60, 100),
        strict=True,
    )
)
_ENGLISH_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_COUNTED_ENGLISH = (
    r"(?:more\s+)?(?:[a-z]+\s+)?(?:epochs?|steps?|process(?:es)?|workers?|cores?|worlds?|minutes?|mins?|hours?|hrs?|"
    r"threads?|episodes?|lines?|scenes?|days?|seconds?|envs?)\b"
)


def spell_out(text: str) -> str:
    """Return a sentence with every number in digits, scales included."""
    text = _english_words(text)
    text = _hangul_numerals(text)
    text = re.sub(rf"(?<![\w.-])({NUMBER})\s*([kKmMbB])(?![A-Za-z0-9_.-])", _scaled, text)
    text = re.sub(
        rf"(?<![\w.-])({NUMBER})\s+(hundred|thousand|million|billion|mil|mio)\b", _scaled_word, text, flags=re.I
    )
    text = _HANGUL_SCALE.sub(_scaled_hangul, text)
    # 시간 반 is half an hour more.
    text = re.sub(r"(\d+)\s*시간\s*반(?![가-힣])", lambda m: f"{m[1]}.5시간", text)
    return re.sub(r"(?:(?<=\s)|^)반\s*시간", "0.5시간", text)


def plain_number(text: str) -> str:
    """Return a number without grouping, spelt as typed otherwise: 1e-4 stays, 2,000,000 becomes 2000000."""
    return text.replace(",", "").replace("_", "").rstrip(".")


def whole(text: str) -> int | None:
    """Return a whole number, or None where the text is none."""
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() and 0 <= value < 10**15 else None


def _amount(number: str, scale: int) -> str:
    value = Decimal(plain_number(number)) * scale
    return f"{value.normalize():f}"


def _scaled(match: re.Match[str]) -> str:
    return _amount(match[1], _SCALES[match[2].lower()]) + " "


def _scaled_word(match: re.Match[str]) -> str:
    word = match[2].lower()
    return _amount(match[1], 10**6 if word in ("mil", "mio") else _ENGLISH_SCALES[word])


def _scaled_hangul(match: re.Match[str]) -> str:
    number, scales = (match[1], match[2]) if match[1] else (match[3], match[4])
    scale = 1
    for letter in scales:
        scale *= {**TENS, **MYRIADS}[letter]
    return _amount(number, scale)


def _english_words(text: str) -> str:
    scales = "|".join(_ENGLISH_SCALES)
    text = re.sub(rf"\bhalf\s+an?\s+({scales})\b", lambda m: f"{_ENGLISH_SCALES[m[1].lower()] // 2}", text, flags=re.I)
    text = re.sub(rf"\ban?\s+({scales})\b", lambda m: f"{_ENGLISH_SCALES[m[1].lower()]}", text, flags=re.I)
    text = re.sub(r"\b(?:half\s+an\s+hour)\b", "30 minutes", text, flags=re.I)
    text = re.sub(r"\ban\s+hour\b", "1 hour", text, flags=re.I)
    words = "|".join(_WORDS)
    counted = rf"\b({words})(?=[\s-]+(?:{scales}|{_COUNTED_ENGLISH}))"
    return re.sub(counted, lambda m: str(_WORDS[m[1].lower()]), text, flags=re.I)


def _hangul_numerals(text: str) -> str:
    units = "|".join(sorted(COUNTED.split(), key=len, reverse=True))
    natives = "|".join(sorted(NUMERALS, key=len, reverse=True))
    letters = "".join({**DIGITS, **TENS, **MYRIADS})
    text = re.sub(rf"(?<![가-힣])({natives})\s*(?={units})", lambda m: f" {NUMERALS[m[1]]} ", text)
    found = rf"(?<![가-힣\d.])([{letters}]+)\s*(?={units})"
    text = re.sub(found, _sino_text, text)
    # A lone large number says what it is without a unit too: 이백만 동안.
    large = rf"(?<![가-힣\d.])([{letters}]*[십백천일이삼사오육칠팔구][만억])(?![가-힣])"
    return re.sub(large, _sino_text, text)


def _sino_text(match: re.Match[str]) -> str:
    value = _sino(match[1])
    return match[0] if value is None else f" {value} "


def _sino(text: str) -> int | None:
    """Return the value of a Sino-Korean numeral: 이백만 is 2,000,000; None where the letters make no numeral."""
    total = below = digit = 0
    seen_digit = False
    for letter in text:
        if letter in DIGITS:
            if seen_digit:
                return None
            digit, seen_digit = DIGITS[letter], True
        elif letter in TENS:
            below += (digit if seen_digit else 1) * TENS[letter]
            digit, seen_digit = 0, False
        else:
            total += max(below + digit, 1) * MYRIADS[letter]
            below, digit, seen_digit = 0, 0, False
    return total + below + digit
