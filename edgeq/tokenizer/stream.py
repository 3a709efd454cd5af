"""Tokens to text one at a time: whole characters only, and the same text as decoding them all at once."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from edgeq.tokenizer.special import USER_DEFINED

if TYPE_CHECKING:
    from edgeq.tokenizer.base import Tokenizer


class TextStream:
    """Text of tokens as they come.

    at_start: the tokens begin a text, so the space that encoding puts before a text is taken off again.
    Switch it off where they continue one, as the output of a model continues its prompt.
    special: control tokens are spelled out.
    """

    def __init__(self, tokenizer: Tokenizer, at_start: bool = True, special: bool = False):
        self._tokenizer = tokenizer
        self._special = special
        self._drop_space = at_start and getattr(tokenizer, "leading_space", False)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The text that this token completes, perhaps none; bytes that cannot be UTF-8 become U+FFFD."""
        data = self._tokenizer.token_bytes(token, self._special)
        if self._drop_space and data:
            self._drop_space = False
            if self._tokenizer.types[token] != USER_DEFINED:  # those are matched before a space is put in
                data = data.removeprefix(b" ")
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD if the tokens stopped within a character."""
        return self._decoder.decode(b"", True)
