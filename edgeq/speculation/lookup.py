"""Prompt lookup: drafts what followed when the text last read as it reads now.

Saxena, "Prompt lookup decoding" (2023), https://github.com/apoorvumang/prompt-lookup-decoding. Places are found as
deflate finds them (RFC 1951, section 4): a table of hashes with chains, in bounded memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeq.speculation.pays import best

if TYPE_CHECKING:
    from edgeq.backends.base import Cancel
    from edgeq.speculation.pays import Costs

TABLE = 1 << 16  # entries of the table: a power of two
TRIES = 16  # places that are looked at
FAR = 32  # as far as an agreement is counted
NEW = 0.08  # weight of an observation in the running chances
# Classes of agreements by their length, and the chance of each before it was observed. Less than two agree behind a
# token that was replaced.
LENGTHS = (0, 2, 3, 4, 6, 9, 15, FAR)
CHANCES = (0.3, 0.3, 0.4, 0.5, 0.6, 0.75, 0.85, 0.95)
CLASS = bytes(sum(n >= least for least in LENGTHS) - 1 for n in range(FAR + 1))
COPYING = 6  # tokens that agreed before one was replaced


class Lookup:
    """Follows a text, and the earlier place in it that reads like its end.

    While the text goes on as it did there, the place moves along. How often it does is counted for every token,
    drafted or not, by how many tokens agreed: so the chances are known before anything is drafted."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._text = list(prompt)
        self._place = 0  # of the token that is expected next; 0: nowhere
        self._agreed = 0  # tokens before it that are those at the end of the text
        self._chances = list(CHANCES)
        self._last = array("i", bytes(4 * TABLE))  # per hash of two tokens: the position behind the last such two
        self._before = array("i", (0, 0))  # per position: the one before it with the same hash
        for a, b in zip(self._text, self._text[1:]):
            self._note(a, b)

    def _note(self, a: int, b: int) -> int:
        """Enters the two tokens that end at the next position; gives the position that had their hash so far."""
        key = (a * 40503 ^ b) & TABLE - 1
        last = self._last[key]
        self._last[key] = len(self._before)
        self._before.append(last)
        return last

    def push(self, token: int) -> None:
        """The text goes on."""
        text, place = self._text, self._place
        text.append(token)
        last = self._note(text[-2], token)
        if place:
            right, kind = text[place] == token, CLASS[self._agreed]
            self._chances[kind] += NEW * (right - self._chances[kind])
            if right:
                self._place, self._agreed = place + 1, min(self._agreed + 1, FAR)
                return
        copying = self._agreed >= COPYING
        self._place, self._agreed = self._longest(last)
        if copying and not self._place:
            self._place = place + 1

    def _longest(self, place: int) -> tuple[int, int]:
        """Of the latest places, the one where most tokens agree, and how many do; 0, 0 if fewer than two."""
        text, best, most = self._text, 0, 1
        for _ in range(TRIES):
            if not place:
                break
            agreed, least = 0, max(-place, -FAR)
            while ~agreed >= least and text[place + ~agreed] == text[~agreed]:
                agreed += 1
            if agreed > most:
                best, most = place, agreed
            place = self._before[place]
        return best, most if best else 0

    def plan(self, most: int, costs: Costs) -> tuple[int, float]:
        """How many tokens to draft, and how many times as fast that should be."""
        if not self._place:
            return 0, 1.0
        at, chances = self._agreed, self._chances
        return best([chances[CLASS[min(at + i, FAR)]] for i in range(most)], costs.ratios)

    def draft(self, n: int, cancel: Cancel | None = None) -> list[int]:
        """The next n tokens, if the text goes on as it did. At its own end it goes round, as in a loop."""
        known = self._text[self._place : self._place + n]
        return (known * -(-n // len(known)))[:n]

    def judge(self, right: bool) -> None:
        """Nothing to learn: `push` sees it."""
