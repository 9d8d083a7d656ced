"""What a sentence is made of, once its words are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["word", "verb", "particle", "number", "name", "path", "change", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One word, or one part of a Korean word."""

    kind: Kind
    """word: noun, adverb or any English word; name: what may be a run id; change: KEY=VALUE."""
    meaning: str
    """What it means, as the word tables say; empty for numbers, names and what is not known."""
    text: str
    """As typed, or the word that was meant."""
    form: str = ""
    """Of a verb: plain, connect, cond, question, past, ..."""
    exact: bool = True
    """False where a slip of the finger was mended."""
    quoted: bool = False
    """True for what stood in quotation marks: a name, whatever it says."""
