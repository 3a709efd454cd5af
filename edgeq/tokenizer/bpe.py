"""Byte-level BPE: the vocabularies of GPT-2, Llama 3, Qwen, SmolLM and most; also BPE on plain text.

Owns how a text becomes words and a word becomes ids; cutting is in `splitter`, merging in `merges`.
The vocabulary is held as bytes, which is how the file has it: decoding 150,000 pieces would double
the time it takes to start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from edgeq.errors import TokenizerError, shown
from edgeq.tokenizer.base import TOKENS, Tokenizer
from edgeq.tokenizer.bytes_text import BYTE_CHARS, lenient_text, piece_bytes, unspell_bytes
from edgeq.tokenizer.fields import bytes_list, text_value
from edgeq.tokenizer.merges import Merger
from edgeq.tokenizer.pretokenizers import PRETOKENIZERS, PreTokenizer
from edgeq.tokenizer.splitter import Splitter

SPACE = "▁"
"""How vocabularies on plain text spell a space (U+2581)."""

_SPELLED = [c.encode() for c in BYTE_CHARS]
_CACHED_WORDS, _CACHED_LENGTH = 1 << 16, 64


class PieceIds(Mapping[str, int]):
    """Piece -> id, over pieces held as bytes."""

    def __init__(self, by_bytes: dict[bytes, int]):
        self.by_bytes = by_bytes

    def __getitem__(self, piece: str) -> int:
        return self.by_bytes[piece_bytes(piece)]

    def __len__(self) -> int:
        return len(self.by_bytes)

    def __iter__(self) -> Iterator[str]:
        return (piece.decode("utf-8", "surrogateescape") for piece in self.by_bytes)


class BPETokenizer(Tokenizer):
    """`tokenizer.ggml.model` = gpt2 (or gemma4), cut by `tokenizer.ggml.pre`."""

    kind = "bpe"

    def _table(self) -> tuple[Sequence[str], Mapping[str, int]]:
        self._ids = self._index(bytes_list(self.metadata, TOKENS) or [])
        return self.metadata[TOKENS], PieceIds(self._ids)

    def _defaults(self) -> tuple[dict[str, int | None], dict[str, bool]]:
        self._pre = self._read_pre()
        roles, flags = super()._defaults()
        if not self._is_gemma4():
            roles |= {"bos": self._pre.bos, "eos": 11}
        flags |= {"add_bos": self._pre.add_bos, "clean_spaces": self._pre.clean_spaces}
        return roles, flags

    def _is_gemma4(self) -> bool:
        return text_value(self.metadata, "tokenizer.ggml.model") == "gemma4"

    def _read_pre(self) -> PreTokenizer:
        name = "gemma4" if self._is_gemma4() else text_value(self.metadata, "tokenizer.ggml.pre")
        if not name:
            self.warnings.append(
                "tokenizer.ggml.pre is missing: cut by the default, ids may be wrong"
            )
            name = "default"
        if name not in PRETOKENIZERS:
            names = ", ".join(sorted(PRETOKENIZERS))
            raise TokenizerError(
                f"tokenizer.ggml.pre: '{shown(name)}' is unknown; known are {names}"
            )
        return PRETOKENIZERS[name]

    def _load(self) -> None:
        pre = self._pre
        merges = bytes_list(self.metadata, "tokenizer.ggml.merges")
        if merges is None and pre.needs_merges:
            raise TokenizerError(
                "tokenizer.ggml.merges: missing, so no two characters can be joined"
            )
        if pre.newlines and pre.add_bos:
            self.add_bos = True  # Gemma 4: files say false, the model needs it
        self._merge = Merger(self._ids, merges or [])
        self._splitter = Splitter(pre)
        self._boundary = self._word_boundary(merges or []) if pre.escape_spaces else None
        self._complete = pre.byte_level and all(character in self._ids for character in _SPELLED)
        self._words: dict[str, list[int]] = {}

    def _word_boundary(self, merges: list[bytes]) -> re.Pattern[str] | None:
        """Where a line is cut into words: at each space if the vocabulary says so, else where no
        merge reaches across, which is before the spaces of a word in every vocabulary met; None if
        some merge does."""
        if self._pre.starts_word:
            return re.compile(f"(?={SPACE})")
        if re.search(f"[^{SPACE}\0 ] ?{SPACE}", b"\0".join(merges).decode()):
            return None
        return re.compile(f"(?<=[^{SPACE}])(?={SPACE})")

    def _piece_bytes(self, piece: str) -> bytes:
        if self._pre.byte_level:
            return unspell_bytes(piece)
        return piece_bytes(piece.replace(SPACE, " ") if self._pre.escape_spaces else piece)

    def _encode_text(self, data: bytes, after_special: bool) -> list[int]:
        words = self._words
        out: list[int] = []
        if self._pre.escape_spaces:
            data = data.replace(
                b" ", SPACE.encode()
            )  # as bytes: a space in overlong form stays one
        for word in self._cut(lenient_text(data)):
            found = words.get(word)
            if found is None:
                found = self._encode_word(word)
                if len(word) <= _CACHED_LENGTH:
                    if len(words) >= _CACHED_WORDS:
                        words.clear()
                    words[word] = found
            out += found
        return out

    def _cut(self, text: str) -> Iterable[str]:
        if not self._pre.escape_spaces:
            return self._splitter.words(text)
        lines: Iterable[str] = self._splitter.words(text)
        if self._pre.starts_word:
            lines = (line if line[0] in (SPACE, "\n") else SPACE + line for line in lines)
        if (boundary := self._boundary) is None:
            return lines
        return (word for line in lines for word in boundary.split(line) if word)

    def _encode_word(self, word: str) -> list[int]:
        pre, ids = self._pre, self._ids
        data = word.encode("utf-8", "surrogatepass")
        if pre.byte_level:
            characters = [_SPELLED[byte] for byte in data]
        else:
            characters = [c.encode("utf-8", "surrogatepass") for c in word]
        if pre.whole_words or (pre.newlines and not word.strip("\n")):
            whole = ids.get(b"".join(characters))
            if whole is not None:
                return [whole]
        if self._complete:
            return self._merge(characters)
        return self._encode_with_gaps(characters)

    def _encode_with_gaps(self, characters: list[bytes]) -> list[int]:
        """Characters that are no tokens become byte tokens or nothing, and the ones beside them are
        not joined."""
        out: list[int] = []
        run: list[bytes] = []
        for character in characters:
            if character in self._ids and not b"\xed\xa0" <= character[:2] <= b"\xed\xbf":
                run.append(character)
                continue
            if run:
                out += self._merge(run)
                run = []
            if not self._pre.byte_level:
                found = (self._ids.get(b"<0x%02X>" % byte) for byte in character)
                out += [token for token in found if token is not None]
        return out + self._merge(run) if run else out
