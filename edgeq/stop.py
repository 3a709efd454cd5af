"""Stop strings in streamed text: found wherever the pieces are cut, and never shown in part.

Owns the search (Aho-Corasick automaton) and what is held back. Not here: tokens that end a
generation, bytes to text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edgeq.errors import UsageError, shown

_TOTAL_MAX = 65536  # characters in all stop strings together: bounds the automaton's memory


class StopStrings:
    """Watches a stream of text for any of `stops`: a string, or several, or none.

    The first to be complete wins; of several that are complete at the same character, the longest.
    So the result does not depend on how the text is cut, and nothing waits for a longer stop string
    once a shorter one is there. Text is held back only while it is the beginning of a stop string.
    Time is linear in the text, whatever the stop strings are.
    Aho, Corasick, "Efficient string matching", CACM 18 (1975), doi:10.1145/360825.360855.
    """

    def __init__(self, stops: str | Iterable[str]) -> None:
        self.stops = _checked(stops)
        self.matched: str | None = None  # the stop string that was found
        # Per node: the node for each next character; its text, as (stop string, length); the
        # longest stop string that its text ends with; the node of the longest proper suffix.
        self._next: list[dict[str, int]] = [{}]
        self._prefix: list[tuple[str, int]] = [("", 0)]
        self._hit = [""]
        self._fail = [0]
        for stop in self.stops:
            self._insert(stop)
        self._link()
        self._state = 0

    def _insert(self, stop: str) -> None:
        node = 0
        for depth, char in enumerate(stop, 1):
            child = self._next[node].get(char)
            if child is None:
                child = len(self._next)
                self._next[node][char] = child
                self._next.append({})
                self._prefix.append((stop, depth))
                self._hit.append("")
                self._fail.append(0)
            node = child
        self._hit[node] = stop

    def _link(self) -> None:
        queue = deque(self._next[0].values())  # breadth first: suffixes are shorter, so done before
        while queue:
            node = queue.popleft()
            self._hit[node] = self._hit[node] or self._hit[self._fail[node]]
            for char, child in self._next[node].items():
                self._fail[child] = self._step(self._fail[node], char)
                queue.append(child)

    def _step(self, node: int, char: str) -> int:
        """The node after `char`: the longest suffix of the text that begins a stop string."""
        while node and char not in self._next[node]:
            node = self._fail[node]
        return self._next[node].get(char, 0)

    def feed(self, text: str) -> tuple[str, bool]:
        """Take the next piece; returns the text that is safe to show, and whether a stop was found.

        After a stop every call returns ("", True): what follows a stop string is no part of the
        answer.
        """
        if self.matched is not None:
            return "", True
        held, node = self._state, self._state
        for position, char in enumerate(text):
            node = self._step(node, char)
            if self._hit[node]:
                self.matched, self._state = self._hit[node], 0
                return self._released(held, text, position + 1, len(self.matched)), True
        self._state = node
        return self._released(held, text, len(text), self._prefix[node][1]), False

    def _released(self, held: int, text: str, used: int, keep: int) -> str:
        """What node `held` stood for, then text[:used], without the last `keep` characters."""
        stop, depth = self._prefix[held]
        end = depth + used - keep
        return stop[:end] if end <= depth else stop[:depth] + text[: end - depth]

    def flush(self) -> str:
        """The text still held back, at the end of a stream that no stop string ended."""
        stop, depth = self._prefix[self._state]
        self._state = 0
        return stop[:depth]


def _checked(stops: object) -> tuple[str, ...]:
    if not isinstance(stops, Iterable) or isinstance(stops, (bytes, bytearray)):
        raise UsageError(
            f"stops must be a string or a sequence of strings; got {shown(type(stops).__name__)}"
        )
    total = 0
    checked: dict[str, None] = {}  # in order, each once
    for stop in (stops,) if isinstance(stops, str) else stops:
        if not isinstance(stop, str):
            raise UsageError(f"a stop string must be a string; got {shown(type(stop).__name__)}")
        if not stop:
            raise UsageError(
                "a stop string must not be empty: it would stop before the first character"
            )
        total += len(stop)
        if total > _TOTAL_MAX:
            raise UsageError(
                f"stop strings may have {_TOTAL_MAX} characters in all; these have more"
            )
        checked[stop] = None
    return tuple(checked)
