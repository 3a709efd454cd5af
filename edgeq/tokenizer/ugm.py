"""UGM: the unigram vocabularies of T5 and XLM-R. Text is normalised, then cut into its likeliest pieces."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from functools import cached_property

from edgeq.errors import TokenizerError
from edgeq.tokenizer.bytes_text import piece_bytes
from edgeq.tokenizer.charsmap import Charsmap, Normalizer
from edgeq.tokenizer.fields import bool_value, number_list, read_types
from edgeq.tokenizer.spaced import SPACE, SYMBOL_BYTES, SpacedTokenizer, read_scores
from edgeq.tokenizer.special import NORMAL, UNUSED, USER_DEFINED

_CHARSMAP = "tokenizer.ggml.precompiled_charsmap"
_UNKNOWN_PENALTY = 10.0  # an unknown character scores this much below the worst piece
_NONE = -1  # stands for the unknown token until the end


class UGMTokenizer(SpacedTokenizer):
    """`tokenizer.ggml.model` = t5."""

    kind = "ugm"

    def _defaults(self) -> tuple[dict[str, int | None], dict[str, bool]]:
        roles, flags = super()._defaults()
        return {**roles, "eos": 1, "unk": 2, "pad": 0}, {**flags, "add_eos": True}

    def _load(self) -> None:
        self._merge_spaces = bool_value(self.metadata, "tokenizer.ggml.remove_extra_whitespaces", False)
        self.leading_space = self.add_space_prefix or self._merge_spaces
        self._scores = read_scores(self.metadata, self.n_vocab)
        self._charsmap = self._read_charsmap()

    def _read_charsmap(self) -> Charsmap | None:
        found = self.metadata.get(_CHARSMAP)
        length = len(found) if isinstance(found, Sequence) else 0
        values = number_list(self.metadata, _CHARSMAP, length, ("u8", "i8"))
        if values is None:
            return None
        if not all(isinstance(value, int) and -128 <= value <= 255 for value in values):
            raise TokenizerError(f"{_CHARSMAP}: expected bytes, found other numbers")
        return Charsmap(bytes([value & 255 for value in values]))

    @cached_property
    def _file_types(self) -> bytearray:
        """Types as the file has them: pieces are chosen by these, whatever their names make of them."""
        return read_types(self.metadata, self.n_vocab)

    @cached_property
    def _normalizer(self) -> Normalizer:
        kept = [
            piece for piece, kind in zip(self.pieces, self._file_types, strict=True) if kind == USER_DEFINED
        ]
        return Normalizer(self._charsmap, [piece_bytes(piece) for piece in kept])

    @cached_property
    def _unigrams(self) -> Unigrams:
        return Unigrams(self.pieces, self._scores, self._file_types)

    def _encode_text(self, data: bytes, after_special: bool) -> list[int]:
        ids = self._unigrams.segment(self._spaced(self._normalizer.apply(data)))
        if self.unk_id is None:
            return [token for token in ids if token != _NONE]
        unk = self.unk_id
        out: list[int] = []
        for token in ids:  # neighbouring unknown characters are one unknown token
            if token == _NONE:
                token = unk
            if token != unk or not out or out[-1] != unk:
                out.append(token)
        return out

    def _spaced(self, text: bytes) -> bytes:
        """`text` with '▁' for spaces, one put in front where the file asks for it."""
        space = SPACE.encode()
        if self._merge_spaces:
            return b"".join([space + word for word in text.split(b" ") if word])
        body = text.lstrip(b" ")
        front = space * (len(text) - len(body))
        if body and self.add_space_prefix:
            front += space
        return front + body.replace(b" ", space)


class Unigrams:
    """The pieces that text is cut into, with their scores (log probabilities)."""

    def __init__(self, pieces: Sequence[str], scores: list[float], types: bytes | bytearray):
        self._ids: dict[bytes, int] = {}
        self._scores = scores
        lengths: dict[bytes, set[int]] = {}
        worst = sys.float_info.max
        for token, (piece, kind) in enumerate(zip(pieces, types, strict=True)):
            if kind == NORMAL:
                worst = min(worst, scores[token])
            if kind not in (NORMAL, USER_DEFINED, UNUSED) or not piece:
                continue
            data = piece_bytes(piece)
            self._ids.setdefault(data, token)
            first = SYMBOL_BYTES[data[0] >> 4]
            if len(data) > first:
                start = data[: first + SYMBOL_BYTES[data[first] >> 4]]
                lengths.setdefault(start, set()).add(len(data))
        if USER_DEFINED in types:
            self._scores = [0.0 if kind == USER_DEFINED else s for s, kind in zip(scores, types, strict=True)]
        self._lengths = {start: sorted(found) for start, found in lengths.items()}  # by two characters
        self._unknown = array("f", [array("f", [worst])[0] - _UNKNOWN_PENALTY])[0]  # float32, like llama.cpp

    def segment(self, text: bytes) -> list[int]:
        """Ids of the cut with the best sum of scores, of equals the first; -1 for an unknown character."""
        ids, scores, lengths, unknown = self._ids, self._scores, self._lengths, self._unknown
        n = len(text)
        best = [-sys.float_info.max] * (n + 1)
        best[0] = 0.0
        token_to, came_from = [_NONE] * (n + 1), [0] * (n + 1)
        at = 0
        while at < n:
            here = best[at]
            end = min(n, at + SYMBOL_BYTES[text[at] >> 4])
            token = ids.get(text[at:end])
            score = here + (unknown if token is None else scores[token])
            if score > best[end]:
                best[end], token_to[end], came_from[end] = score, _NONE if token is None else token, at
            if end < n:
                for length in lengths.get(text[at : end + SYMBOL_BYTES[text[end] >> 4]], ()):
                    if (end2 := at + length) > n:
                        break
                    token = ids.get(text[at:end2])
                    if token is not None and (score := here + scores[token]) > best[end2]:
                        best[end2], token_to[end2], came_from[end2] = score, token, at
            at = end
        out = []
        while n:
            out.append(token_to[n])
            n = came_from[n]
        return out[::-1]
