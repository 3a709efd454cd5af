"""Strings that remember which of their characters a chat template wrote itself.

Owns `Marked` and the operations that keep its marks. The rule is one of positive proof: only the literals
of the template (and a few words the caller vouches for) start out marked, and an operation that is not
listed here gives a plain string, without marks. So text of a user can lose nothing and gain nothing,
whatever a template does with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, SupportsIndex

Spans = tuple[tuple[int, int], ...]
"""Start and end of each run of marked characters: ascending, not empty, never touching."""

_PLACEHOLDER = re.compile("%(.)", re.DOTALL)


class Marked(str):
    """A str, equal in every respect to its text; `spans` tells which characters are the template's own."""

    spans: Spans

    def __new__(cls, text: object = "", spans: Spans = ()) -> Marked:
        self = super().__new__(cls, text)
        self.spans = spans
        return self

    def __str__(self) -> str:
        return self

    def __add__(self, other: Any) -> Any:
        # Others, such as markupsafe's Markup, bring their own reflected addition, which must decide.
        return concat((self, other)) if type(other) in (str, Marked) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return concat((other, self)) if type(other) is str else NotImplemented

    def __mul__(self, times: Any) -> Any:
        return concat([self] * times) if type(times) is int else NotImplemented

    __rmul__ = __mul__

    def __mod__(self, values: Any) -> Any:
        text = str.__mod__(self, values)
        rest = values if isinstance(values, tuple) else (values,)
        if isinstance(values, dict) or any(m[1] not in "s%" for m in _PLACEHOLDER.finditer(self)):
            return text
        parts: list[str] = []
        at, given = 0, iter(rest)
        for m in _PLACEHOLDER.finditer(self):
            parts += [
                self[at : m.start()],
                self[m.start() : m.start() + 1] if m[1] == "%" else str(next(given)),
            ]
            at = m.end()
        marked = concat([*parts, self[at:]])
        return marked if marked == text else text

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        if not isinstance(key, slice):
            at = range(len(self))[key]
            return self._cut(at, at + 1)
        start, stop, step = key.indices(len(self))
        return self._cut(start, max(start, stop)) if step == 1 else str.__getitem__(self, key)

    def _cut(self, start: int, stop: int) -> Marked:
        inside = ((max(a, start) - start, min(b, stop) - start) for a, b in self.spans)
        return Marked(str.__getitem__(self, slice(start, stop)), tuple(x for x in inside if x[0] < x[1]))

    def strip(self, chars: str | None = None, /) -> str:
        return self._cut(len(self) - len(str.lstrip(self, chars)), len(self)).rstrip(chars)

    def lstrip(self, chars: str | None = None, /) -> str:
        return self._cut(len(self) - len(str.lstrip(self, chars)), len(self))

    def rstrip(self, chars: str | None = None, /) -> str:
        return self._cut(0, len(str.rstrip(self, chars)))

    def removeprefix(self, prefix: str, /) -> str:
        return self._cut(len(self) - len(str.removeprefix(self, prefix)), len(self))

    def removesuffix(self, suffix: str, /) -> str:
        return self._cut(0, len(str.removesuffix(self, suffix)))

    def join(self, items: Iterable[str], /) -> str:
        parts: list[str] = []
        for item in items:
            parts += (self, item)
        return concat(parts[1:])

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        texts, out, at = str.split(self, sep, maxsplit), [], 0
        for text in texts:
            # Between words lies white space only, so the next place of a word is its own.
            at = at if sep else str.index(self, text, at)
            out.append(self._cut(at, at + len(text)))
            at += len(text) + len(sep or "")
        return list(out)

    def upper(self) -> str:
        return self._same_length(str.upper(self))

    def lower(self) -> str:
        return self._same_length(str.lower(self))

    def title(self) -> str:
        return self._same_length(str.title(self))

    def capitalize(self) -> str:
        return self._same_length(str.capitalize(self))

    def _same_length(self, text: str) -> str:
        # Letter for letter where the length stays (a letter that grows could hide behind one that goes away,
        # so only ASCII text counts).
        return Marked(text, self.spans) if self.isascii() else text

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        if not old:
            return str.replace(self, old, new, count)
        return concat(_between(self.split(old, count), new))


def _between(parts: list[str], joint: str) -> list[str]:
    return [x for part in parts for x in (joint, part)][1:]


def concat(parts: Iterable[str]) -> str:
    """`"".join(parts)`, with the marks kept; a plain str where no part has any."""
    parts = list(parts)
    text = "".join(parts)
    spans: list[tuple[int, int]] = []
    at = 0
    for part in parts:
        if isinstance(part, Marked):
            for start, end in part.spans:
                if spans and spans[-1][1] == at + start:
                    spans[-1] = (spans[-1][0], at + end)
                else:
                    spans.append((at + start, at + end))
        at += len(part)
    return Marked(text, tuple(spans)) if spans else text


def literal(text: str) -> Marked:
    """`text` with every character marked."""
    return Marked(text, ((0, len(text)),) if text else ())
