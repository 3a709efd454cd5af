"""WPM: BERT's WordPiece. Text is cleaned, cut into words and signs, and each word into its longest pieces.

GGUF spells a piece that begins a word with '▁' and one that continues it bare, not with BERT's '##'.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

from edgeq.tokenizer.bytes_text import lenient_text
from edgeq.tokenizer.fields import bool_value
from edgeq.tokenizer.spaced import SPACE, SpacedTokenizer
from edgeq.tokenizer.unicode import RUNS, WHITE_SPACE
from edgeq.tokenizer.unicode_bert import CONTROLS, LOWER

_IDEOGRAPHS = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""Characters that are words of their own. 2B920 is meant to be 2B820; so it is in llama.cpp."""


class WPMTokenizer(SpacedTokenizer):
    """`tokenizer.ggml.model` = bert."""

    kind = "wpm"
    leading_space = True

    def _defaults(self) -> tuple[dict[str, int | None], dict[str, bool]]:
        roles, flags = super()._defaults()
        roles.update(bos=101, unk=100, sep=102, pad=0, mask=103)
        return roles, {**flags, "add_bos": True, "add_sep": True, "clean_spaces": True}

    def _load(self) -> None:
        lower = bool_value(self.metadata, "tokenizer.ggml.normalizer.lowercase", True)
        strip = bool_value(self.metadata, "tokenizer.ggml.normalizer.strip_accents", lower)
        self._clean = cleaner(lower, strip)
        self._lengths: dict[str, list[int]] | None = None

    def _frame(self) -> tuple[list[int], list[int]]:
        return self._role_if(True, "bos"), self._role_if(True, "sep")  # add_bos and the like are not asked

    def _encode_text(self, data: bytes, after_special: bool) -> list[int]:
        unknown = [] if self.unk_id is None else [self.unk_id]
        out: list[int] = []
        for word in lenient_text(data).translate(self._clean).split(" "):
            if word:
                out += self._encode_word(SPACE + word) or unknown
        return out

    def _encode_word(self, word: str) -> list[int]:
        """The longest piece, then the longest that continues it, and so on; nothing if that leaves a rest."""
        if (whole := self.ids.get(word)) is not None:
            return [whole]
        if self._lengths is None:
            self._lengths = lengths_by_start(self.pieces)
        ids, lengths = self.ids, self._lengths
        out: list[int] = []
        at = 0
        while at < len(word):
            for n in (*lengths.get(word[at : at + 2], ()), 1):
                token = ids.get(word[at : at + n])
                if token is not None:
                    break
            else:
                return []
            out.append(token)
            at += n
        return out


def lengths_by_start(pieces: Sequence[str]) -> dict[str, list[int]]:
    """The first two characters of pieces -> the lengths of the pieces that begin so, longest first."""
    found: dict[str, set[int]] = {}
    for piece in pieces:
        if len(piece) > 1:
            found.setdefault(piece[:2], set()).add(len(piece))
    return {start: sorted(lengths, reverse=True) for start, lengths in found.items()}


class Cleaner(dict[int, str]):
    """Code point -> what the cleaned text has in its place; filled as characters are met.

    White space is one space, controls are gone, punctuation, ASCII symbols and ideographs stand between
    spaces. To strip accents a character becomes the first of its canonical decomposition and marks are gone:
    as in llama.cpp a Hangul syllable leaves its first consonant only.
    """

    def __init__(self, lower: bool, strip: bool):
        super().__init__()
        self._lower = lower_case() if lower else {}
        self._strip = strip

    def __missing__(self, point: int) -> str:
        out = self[point] = self._cleaned(first_decomposed(point) if self._strip else point)
        return out

    def _cleaned(self, point: int) -> str:
        kind = kind_of(point)
        if kind == " ":
            return " "
        if kind == "C" or point in (0, 0xFFFD) or (kind == "M" and self._strip):
            return ""
        char = chr(self._lower.get(point, point))
        apart = kind == "P" or (kind == "S" and point < 0x7F)
        apart = apart or any(first <= point <= last for first, last in _IDEOGRAPHS)
        return f" {char} " if apart else char


@lru_cache(maxsize=4)
def cleaner(lower: bool, strip: bool) -> Cleaner:
    """The shared cleaner with these options."""
    return Cleaner(lower, strip)


def first_decomposed(point: int) -> int:
    """The first code point of the canonical decomposition, for characters that Unicode 15.1 knows.

    Decompositions never change and none were added from Unicode 13 (Python 3.10) to 15.1: Python's own serve.
    """
    return ord(unicodedata.normalize("NFD", chr(point))[0]) if kind_of(point) else point


def kind_of(point: int) -> str:
    """' ' for white space, '' where Unicode 15.1 assigns nothing, else the first letter of the category."""
    if point in WHITE_SPACE:
        return " "
    starts, kinds, controls = _kinds()
    kind = kinds[bisect_right(starts, point) - 1]
    if kind != "C":
        return kind
    return "C" if any(first <= point <= last for first, last in controls) else ""


@lru_cache(maxsize=1)
def _kinds() -> tuple[list[int], list[str], list[tuple[int, int]]]:
    """Where each run of one category starts, the category, and the runs of controls."""
    starts: list[int] = []
    kinds: list[str] = []
    at = 0
    for kind, length in re.findall("([A-Z])([0-9a-f]*)", RUNS):
        starts.append(at)
        kinds.append(kind)
        at += int(length or "1", 16)
    runs = re.findall("([0-9a-f]+)-([0-9a-f]+)", CONTROLS)
    return starts, kinds, [(int(first, 16), int(last, 16)) for first, last in runs]


@lru_cache(maxsize=1)
def lower_case() -> dict[int, int]:
    """Upper-case code point -> its simple lower case in Unicode 15.1."""
    out: dict[int, int] = {}
    for first, last, step, distance in re.findall(r"(\w+)-(\w+)/(\w)([+-]\w+)", LOWER):
        for point in range(int(first, 16), int(last, 16) + 1, int(step, 16)):
            out[point] = point + int(distance, 16)
    return out
