"""SPM: the vocabularies of Llama 1-2, Mistral, Gemma and Phi-3. Pairs merge by score, the rest is bytes.

The merges are our own: the sentencepiece library gives other ids (it freezes user-defined pieces, skips
control pieces and rewrites invalid UTF-8), and giving it the 262,144 pieces of Gemma takes longer than all
that is done here.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from edgeq.tokenizer.spaced import SPACE, SYMBOL_BYTES, SpacedTokenizer, read_scores

Find = Callable[[Any], "int | None"]
"""The id of a symbol (str, or bytes in text that is not UTF-8), or None."""

_SHORT = 48  # symbols: up to here looking at every pair beats a heap
_CACHED_WORDS = 1 << 13
_WORTH_CUTTING = 1 << 13  # characters: merging so many takes as long as learning where to cut
_LEFT = (1 << 32) - 1


class SPMTokenizer(SpacedTokenizer):
    """`tokenizer.ggml.model` = llama."""

    kind = "spm"

    def _defaults(self) -> tuple[dict[str, int | None], dict[str, bool]]:
        roles, flags = super()._defaults()
        return {**roles, "bos": 1, "eos": 2, "unk": 0}, {**flags, "add_bos": True, "add_space_prefix": True}

    def _load(self) -> None:
        self.leading_space = self.add_space_prefix
        self._scores = read_scores(self.metadata, self.n_vocab)
        if math.isinf(sum(self._scores)):
            self._scores = [max(s, -1e300) for s in self._scores]  # -inf means "no pair" below
        self._length = 0  # characters of all texts so far, until there are enough
        self._cut: re.Pattern[str] | None = None
        self._words: dict[str, list[int]] = {}  # ids of words met before

    def _encode_text(self, data: bytes, after_special: bool) -> list[int]:
        if self.add_space_prefix and after_special:
            data = b" " + data
        try:
            text = data.decode().replace(" ", SPACE)
        except UnicodeDecodeError:
            return self._encode_broken(data)
        self._length += len(text)  # without a lock: it decides about speed alone
        if self._length < _WORTH_CUTTING:
            return self._merge(text, self.ids.get)
        out: list[int] = []
        known = self._words
        for word in self._cutter().split(text):
            ids = known.get(word)
            if ids is None:
                ids = self._merge(word, self.ids.get)
                if len(word) <= _SHORT:
                    if len(known) >= _CACHED_WORDS:
                        known.clear()
                    known[word] = ids
            out += ids
        return out

    def _encode_broken(self, data: bytes) -> list[int]:
        """Ids of bytes that are not UTF-8: a lead byte takes as many bytes as it announces."""
        data = data.replace(b" ", SPACE.encode())
        symbols, at = [], 0
        while at < len(data):
            n = SYMBOL_BYTES[data[at] >> 4]
            symbols.append(data[at : at + n])
            at += n
        ids = self.ids
        return self._merge(symbols, lambda symbol: ids.get(symbol.decode("utf-8", "surrogateescape")))

    def _cutter(self) -> re.Pattern[str]:
        """Finds the places before a '▁' that no piece reaches across: words that merge alone."""
        if self._cut is None:
            before = {part[-1:] for part in "\ud800".join(self.pieces).split(SPACE)[:-1]} - {"\ud800", ""}
            self._cut = re.compile(f"(?<=[^{SPACE}{re.escape(''.join(sorted(before)))}])(?={SPACE})")
        return self._cut

    def _merge(self, symbols: Sequence[Any], find: Find) -> list[int]:
        merge = merge_short if len(symbols) <= _SHORT else merge_long
        out: list[int] = []
        for symbol in merge(symbols, find, self._scores):
            token = find(symbol)
            if token is None:
                out += self._spell(symbol)
            else:
                out.append(token)
        return out

    def _spell(self, symbol: str | bytes) -> list[int]:
        """Byte tokens of a symbol that is no piece; the unknown token where one is missing."""
        out = []
        for byte in symbol.encode() if isinstance(symbol, str) else symbol:
            token = self.ids.get(f"<0x{byte:02X}>")
            if token is None:
                token = self.ids.get(bytes([byte]).decode("utf-8", "surrogateescape"))
            if token is None:
                return [] if self.unk_id is None else [self.unk_id]
            out.append(token)
        return out


def merge_short(symbols: Sequence[Any], find: Find, scores: Sequence[float]) -> list[Any]:
    """`symbols` after all merges: of pairs that make a piece always the best-scored, of equals the leftmost.

    Looks at every pair each time: for short words.
    """

    def gain(at: int) -> float:
        token = find(parts[at] + parts[at + 1])
        return -math.inf if token is None else scores[token]

    parts = list(symbols)
    gains = [gain(at) for at in range(len(parts) - 1)]
    while gains and (best := max(gains)) != -math.inf:
        at = gains.index(best)
        parts[at] += parts.pop(at + 1)
        del gains[at]
        if at < len(gains):
            gains[at] = gain(at)
        if at:
            gains[at - 1] = gain(at - 1)
    return parts


def merge_long(symbols: Sequence[Any], find: Find, scores: Sequence[float]) -> list[Any]:
    """What `merge_short` gives, in O(n log n) for n symbols."""
    parts: list[Any] = list(symbols)
    n = len(parts)
    after, before = list(range(1, n + 1)), list(range(-1, n - 1))
    valid: list[int | None] = [None] * n  # the heap entry of the pair that starts here; others are stale
    rank: dict[float, int] = {}

    def entry(left: int, right: int) -> int | None:
        token = find(parts[left] + parts[right])
        if token is None:
            return None
        score = scores[token]
        if score not in rank:
            rank[score] = _descending(score)
        return rank[score] | left

    for left in range(n - 1):
        valid[left] = entry(left, left + 1)
    heap = [pair for pair in valid if pair is not None]
    heapify(heap)
    while heap:
        pair = heappop(heap)
        left = pair & _LEFT
        if valid[left] != pair:
            continue
        gone = after[left]
        parts[left] += parts[gone]
        parts[gone] = valid[gone] = None
        right = after[left] = after[gone]
        valid[left] = None
        if right < n:
            before[right] = left
            if (new := entry(left, right)) is not None:
                valid[left] = new
                heappush(heap, new)
        left2 = before[left]
        if left2 >= 0:
            valid[left2] = new = entry(left2, left)
            if new is not None:
                heappush(heap, new)
    return [part for part in parts if part is not None]


def _descending(score: float) -> int:
    """An integer that orders like `score`, the other way round, with room for a place in the low bits."""
    bits: int = struct.unpack("<q", struct.pack("<d", score))[0]
    return (-bits if bits >= 0 else bits & (1 << 63) - 1) << 32
