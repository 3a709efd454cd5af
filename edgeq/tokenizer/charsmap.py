"""The precompiled character map of SentencePiece: byte strings and what replaces them, in a trie.

Layout: u32 size of the trie in bytes, the trie as u32 units, then replacements, each ended by a zero byte.
A unit has its label in bits 0-7, "a replacement hangs here" in bit 8, the offset to its children in bits
10-30, shifted left by 8 if bit 9 is set; with bit 31 set it holds the place of a replacement instead. (A
XOR double array: S. Kanda, "Space- and Time-Efficient String Dictionaries", 2018.)
"""

from __future__ import annotations

import re
import struct
from bisect import bisect

from edgeq.errors import TokenizerError

_KEY = "tokenizer.ggml.precompiled_charsmap"
_LONGEST, _LONGEST_TEXT = 64, 256  # bytes of a replaced string and of its replacement; in XLM-R 10 and 33
_GROWTH = 32  # times the text; NFKC needs 11
_WELL_FORMED = re.compile(rb"[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}")
_REPLACEMENT = b"\xef\xbf\xbd"


class Charsmap:
    """Finds the longest replaceable string at a place of a text. Raises TokenizerError on a broken map."""

    def __init__(self, blob: bytes):
        size = int.from_bytes(blob[:4], "little")
        if len(blob) < 4 or size + 4 >= len(blob):
            found = f"{len(blob)} bytes for a trie of {size}"
            raise TokenizerError(f"{_KEY}: expected a trie and its replacements, found {found}")
        n_units = size // 4
        self._units: tuple[int, ...] = struct.unpack_from(f"<{n_units}I", blob, 4)
        self._texts = blob[4 + size :]
        self._root = _offset(self._units[0]) if n_units else -1

    def longest(self, text: bytes, at: int) -> tuple[int, bytes]:
        """Bytes of `text` from `at` on that are replaced (0 for none), and what by."""
        used, unit, node = 0, 0, self._root
        if node < 0:
            return 0, b""
        try:
            for i in range(at, min(len(text), at + _LONGEST)):
                byte = text[i]
                node ^= byte
                unit = self._units[node]
                if unit & 0x800000FF != byte or not byte:
                    break
                node ^= _offset(unit)
                if unit & 0x100:
                    used, found = i - at + 1, self._units[node] & 0x7FFFFFFF
            else:
                if len(text) > at + _LONGEST:
                    raise TokenizerError(f"{_KEY}: expected at most {_LONGEST} bytes to replace, found more")
            return (used, self._text(found)) if used else (0, b"")
        except IndexError:
            raise TokenizerError(f"{_KEY}: the trie leads past its end ({len(self._units)} units)") from None

    def _text(self, start: int) -> bytes:
        end = self._texts.find(b"\0", start, start + _LONGEST_TEXT + 1)
        if end < 0:
            size = len(self._texts)
            wanted = f"a replacement of at most {_LONGEST_TEXT} bytes at {start}"
            raise TokenizerError(f"{_KEY}: expected {wanted}, found none; there are {size} bytes")
        return self._texts[start:end]

    def is_plain(self, byte: int) -> bool:
        """Whether an ASCII byte stays as it is unless a byte beyond ASCII follows."""
        if self._root < 0 or byte == 0:
            return True
        try:
            unit = self._units[self._root ^ byte]
            if unit & 0x800000FF != byte:
                return True
            children = self._root ^ byte ^ _offset(unit)
            followed = any(self._units[children ^ b] & 0x800000FF == b for b in range(1, 128))
            return not unit & 0x100 and not followed
        except IndexError:
            return False


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


class Normalizer:
    """Applies a map to a text. `kept`: user-defined tokens; what begins like one of them stays as it is."""

    def __init__(self, charsmap: Charsmap | None, kept: list[bytes]):
        self._charsmap = charsmap
        self._kept = sorted(text for text in kept if text)
        self._kept_bytes = max(map(len, self._kept), default=0)
        first = {text[0] for text in self._kept}
        plain = [b for b in range(128) if b not in first and (charsmap is None or charsmap.is_plain(b))]
        allowed = "".join(f"\\x{b:02x}" for b in plain)
        self._plain = re.compile(rf"[{allowed}]+(?![\x80-\xff])".encode() if plain else b"(?!)")
        self._first = frozenset(first)

    def apply(self, text: bytes) -> bytes:
        """The normalised text; a byte that belongs to no character becomes U+FFFD."""
        out: list[bytes] = []
        room = _GROWTH * len(text) + 1024
        at = 0
        while at < len(text):
            if run := self._plain.match(text, at):
                out.append(run[0])
                at = run.end()
                continue
            used, new = self._step(text, at)
            out.append(new)
            at += used
            room -= len(new)
            if room < 0:
                raise TokenizerError(f"{_KEY}: the text grows to more than {_GROWTH} times its size")
        return b"".join(out)

    def _step(self, text: bytes, at: int) -> tuple[int, bytes]:
        """How many bytes are taken next and what they become."""
        if text[at] in self._first and (kept := self._kept_prefix(text, at)):
            return kept, text[at : at + kept]
        if self._charsmap is not None:
            used, new = self._charsmap.longest(text, at)
            if used:
                return used, new
        if text[at] < 0x80:
            return 1, text[at : at + 1]
        if char := _WELL_FORMED.match(text, at):
            return len(char[0]), char[0]
        return 1, _REPLACEMENT

    def _kept_prefix(self, text: bytes, at: int) -> int:
        """How many bytes from `at` on are the beginning of a user-defined token, the whole of it or not."""
        here = text[at : at + self._kept_bytes]
        place = bisect(self._kept, here)
        return max(_common(here, other) for other in self._kept[max(0, place - 1) : place + 1])


def _common(a: bytes, b: bytes) -> int:
    """Length of the common prefix."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
