"""What the vocabularies share that spell a space as '▁': scores, and the space put before a text."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable

from edgeq.errors import TokenizerError
from edgeq.tokenizer.base import Tokenizer
from edgeq.tokenizer.bytes_text import piece_bytes
from edgeq.tokenizer.fields import Metadata, number_list

SPACE = "▁"
"""How a vocabulary spells a space (U+2581)."""

SYMBOL_BYTES = bytes([1] * 12 + [2, 2, 3, 4])
"""Bytes of the character that a byte begins, by the high half of that byte."""


class SpacedTokenizer(Tokenizer):
    """A tokenizer whose pieces write a space where they have a '▁'."""

    leading_space = False
    """Whether encoding puts a space before a text, which decoding takes off again."""

    def _piece_bytes(self, piece: str) -> bytes:
        return piece_bytes(piece.replace(SPACE, " "))

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """Text of `ids`, without the space that encoding put in front; bad bytes become U+FFFD."""
        stream = self.stream(special=special)
        return "".join([stream.feed(token) for token in ids]) + stream.flush()


def read_scores(metadata: Metadata, n_vocab: int) -> list[float]:
    """The score of every token; zeros where the file has none. TokenizerError where one is NaN."""
    key = "tokenizer.ggml.scores"
    scores = number_list(metadata, key, n_vocab, ("f32", "i32"))
    if scores is None:
        return [0.0] * n_vocab
    if isinstance(total := sum(scores), int):
        return array("f", scores).tolist()  # as float32, which makes some large ones equal
    if math.isnan(total) and (bad := [i for i, score in enumerate(scores) if score != score]):
        raise TokenizerError(f"{key}: the score of token {bad[0]} is NaN, so tokens cannot be ranked")
    return scores
