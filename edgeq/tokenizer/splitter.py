r"""Cutting text into the words of a pre-tokenizer, as llama.cpp does, in time linear in the text.

Patterns run on a view of the text in which each character beyond ASCII is one that stands for its
Unicode class, so they are small and need no Unicode tables of a regex engine. Owns the view and the
rules for digits; the patterns are in `pretokenizers`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from edgeq.tokenizer.pretokenizers import PreTokenizer, Stage

SPACE, LETTER, MARK, NUMBER, PUNCTUATION, SYMBOL, REST, HAN_LETTER, HAN_REST = map(
    chr, (0x0B, *range(0x80, 0x88))
)
_BY_CATEGORY = {
    "L": LETTER,
    "M": MARK,
    "N": NUMBER,
    "P": PUNCTUATION,
    "S": SYMBOL,
    "Z": REST,
    "C": REST,
}
_SETS = {
    "L": f"A-Za-z{LETTER}{HAN_LETTER}",
    "M": MARK,
    "N": f"0-9{NUMBER}",
    "P": rf"!-#%-*,\-./:;?@\[\\\]_{{}}{PUNCTUATION}",
    "S": f"$+<=>^`|~{SYMBOL}",
    "X": f"{LETTER}{HAN_LETTER}",
    "K": f"A-Za-z{LETTER}",
    "H": f"{HAN_LETTER}{HAN_REST}",
}
"""What \\p{...} in a pattern stands for: categories, X letters beyond ASCII, H Han characters, K
letters but those."""

_HAN = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0x2CEB0, 0x2EBEF), (0x2F800, 0x2FA1F),
)  # fmt: skip
_CHUNK = 1 << 16
_BLANKS = re.compile(r"[^\S\r\n]+[\r\n]?", re.ASCII)


class _Classes(dict[int, str]):
    """Code point -> the character that stands for its class; filled as characters are met."""

    def __init__(self) -> None:
        super().__init__((c, chr(c)) for c in range(128))
        from edgeq.tokenizer.unicode import RUNS, WHITE_SPACE

        self.update((c, SPACE) for c in WHITE_SPACE if c >= 128)
        self._kinds, self._starts, at = [], [], 0
        for kind, length in re.findall("([A-Z])([0-9a-f]*)", RUNS):
            self._kinds.append(kind)
            self._starts.append(at)
            at += int(length or "1", 16)

    def __missing__(self, point: int) -> str:
        out = _BY_CATEGORY[self._kinds[bisect_right(self._starts, point) - 1]]
        if any(first <= point <= last for first, last in _HAN):
            out = HAN_LETTER if out == LETTER else HAN_REST
        self[point] = out
        return out


@lru_cache(maxsize=1)
def _classes() -> _Classes:
    return _Classes()


@lru_cache(maxsize=1)
def _white_space() -> dict[int, str]:
    from edgeq.tokenizer.unicode import WHITE_SPACE

    return {point: SPACE for point in WHITE_SPACE if point >= 128}


def class_view(text: str) -> str:
    """`text` with the class of every character beyond ASCII in its place."""
    return text if text.isascii() else text.translate(_classes())


def literal_view(text: str) -> str:
    """`text` with one ASCII character for every kind of white space beyond ASCII."""
    return text if text.isascii() else text.translate(_white_space())


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern over a view, in one group, so that `split` keeps what matches and what does not."""
    return re.compile("(" + re.sub(r"\\p\{(\w)\}", lambda m: _SETS[m[1]], pattern) + ")", re.ASCII)


class Splitter:
    """Cuts text into words by the stages of one pre-tokenizer."""

    def __init__(self, pre: PreTokenizer):
        self._stages = [(stage.literal, _cutter(stage)) for stage in pre.stages]
        self._cut = re.compile(pre.cut)

    def words(self, text: str) -> Iterator[str]:
        """The words of `text`, in order; joined they are the text."""
        for chunk in self._chunks(text):
            lengths = [len(chunk)]
            for literal, cut in self._stages:
                view = literal_view(chunk) if literal else class_view(chunk)
                lengths = [n for part in _sliced(view, lengths) for n in cut(part)]
            yield from _sliced(chunk, lengths)

    def _chunks(self, text: str) -> Iterator[str]:
        """Pieces of bounded length, cut where no word and no look-ahead crosses; whole where there
        is no such place."""
        start = 0
        while len(text) - start > _CHUNK and (found := self._cut.search(text, start + _CHUNK)):
            yield text[start : found.start() + 1]
            start = found.start() + 1
        yield text[start:] if start else text


def _sliced(text: str, lengths: Iterable[int]) -> Iterator[str]:
    at = 0
    for n in lengths:
        yield text[at : at + n]
        at += n


def _cutter(stage: Stage) -> Callable[[str], Iterable[int]]:
    """The function that gives the lengths of the words of one part."""
    if stage.rule:
        return _thousands if stage.rule == "thousands" else _after_thousands
    split = compiled(stage.pattern).split
    if r"\s{512}" not in stage.pattern:
        return lambda part: map(len, filter(None, split(part)))
    return lambda part: [
        len(word) for piece in _short_spaces(part) for word in split(piece) if word
    ]


def _short_spaces(part: str) -> Iterator[str]:
    """`part` cut in long runs of blanks, where a pattern that takes 512 at most would look ahead
    again and again."""
    start = 0
    for run in _BLANKS.finditer(part):
        if run.end() - run.start() > 1024 and not run[0].endswith(("\r", "\n")):
            for at in range(run.start(), run.end() - 1024, 512):
                yield part[start : at + 512]
                start = at + 512
    yield part[start:]


def _cuts(part: str, digits: str, first: Callable[[int], int], past: int) -> Iterator[int]:
    """Lengths of the pieces of `part` cut at every third digit, counted from the end of each run of
    `digits`."""
    start = 0
    for run in re.finditer(digits, part, re.ASCII):
        for at in range(run.start() + first(run.end() - run.start()), run.end() + past, 3):
            if at > start:
                yield at - start
                start = at
    if start < len(part):
        yield len(part) - start


def _thousands(part: str) -> Iterator[int]:
    """Before each group of three digits that ends a run."""
    return _cuts(part, r"\d+", lambda n: n % 3, 0)


def _after_thousands(part: str) -> Iterator[int]:
    """After each group; what precedes a number stays with its first group (llama.cpp's rule for
    afmoe)."""
    return _cuts(part, f"[{_SETS['N']}]+", lambda n: n % 3 or 3, 1)
