"""DRY ("don't repeat yourself"): a penalty on tokens that would extend a repetition, growing with
its length.

p-e-w 2024, github.com/oobabooga/text-generation-webui/pull/5677. A token t that followed an earlier
occurrence of the last L tokens is penalized by multiplier * base^(L - allowed), for the largest
such L >= allowed; sequence breakers bound L. llama.cpp tokenizes each breaker; here a breaker is
looked for in the bytes that the tokens write, so it is found however the text was cut into tokens.
For breakers of one character, all defaults among them, the two are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgeq.errors import UsageError
from edgeq.sampling.logits import Logits
from edgeq.sampling.mathfn import power
from edgeq.sampling.penalties import store
from edgeq.sampling.settings import Sampling, found

Pieces = Sequence["str | bytes"] | Callable[[int], "str | bytes"]


def common_suffixes(tokens: Sequence[int]) -> list[int]:
    """z[k], k = 1..n-1: length of the longest common suffix of tokens and tokens[:-k]; z[0] = n.

    The Z-algorithm (Gusfield 1997, section 1.4) on the reversed sequence: linear in n.
    """
    s = tokens[::-1]
    n = len(s)
    z = [n] * min(n, 1) + [0] * (n - 1)
    left = right = 0  # s[left:right] equals s[:right-left], with the largest right so far
    for k in range(1, n):
        length = min(z[k - left], right - k) if k < right else 0
        while k + length < n and s[length] == s[k + length]:
            length += 1
        z[k] = length
        if k + length > right:
            left, right = k, k + length
    return z


def repeated(tokens: Sequence[int], allowed: int, limit: int) -> dict[int, int]:
    """{token: longest repetition that it would extend}, from `allowed` on, cut at `limit`."""
    z = common_suffixes(tokens)
    longest: dict[int, int] = {}
    for k in range(1, len(tokens)):
        length = min(z[k], limit)
        token = tokens[-k]
        if length >= allowed and length > longest.get(token, -1):
            longest[token] = length
    return longest


class Dry:
    """DRY for one vocabulary; `pieces` tells what a token writes, needed if there are breakers."""

    def __init__(self, s: Sampling, pieces: Pieces | None) -> None:
        if s.dry_sequence_breakers and pieces is None:
            raise UsageError(
                "DRY looks for its sequence breakers in the text of tokens: give Sampler "
                "pieces=tokenizer.token_bytes, or set Sampling.dry_sequence_breakers to ()"
            )
        self._settings = s
        self._pieces = pieces
        self._breakers = tuple(
            text.encode("utf-8", "surrogatepass") for text in s.dry_sequence_breakers
        )
        self._bytes: dict[int, bytes] = {}

    def _text(self, token: int) -> bytes:
        text = self._bytes.get(token)
        if text is None and self._pieces is not None:
            try:
                piece = self._pieces(token) if callable(self._pieces) else self._pieces[token]
            except LookupError:
                raise UsageError(f"Sampler pieces has no entry for token {token}") from None
            if not isinstance(piece, (str, bytes)):
                raise UsageError(
                    f"Sampler pieces must give str or bytes for token {token}; got {found(piece)}"
                )
            text = piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece
            self._bytes[token] = text
        return text or b""

    def unbroken(self, tokens: Sequence[int]) -> int:
        """How many tokens at the end lie wholly behind the last breaker; all if there is none."""
        if not self._breakers:
            return len(tokens)
        texts = [self._text(token) for token in tokens]
        whole = b"".join(texts)
        end = max(at + len(b) if (at := whole.rfind(b)) >= 0 else -1 for b in self._breakers)
        start, count = len(whole), 0
        for text in reversed(texts):
            start -= len(text)
            if start < end:
                break
            count += 1
        return count

    def apply(self, x: Logits, history: Sequence[int]) -> None:
        """Subtract the penalties in place; a token that holds a whole breaker has none."""
        s = self._settings
        n = s.dry_penalty_last_n
        tokens = history[len(history) - n if 0 <= n < len(history) else 0 :]
        if len(tokens) <= s.dry_allowed_length:
            return
        limit = self.unbroken(tokens)
        if limit < s.dry_allowed_length:
            return
        longest = repeated(tokens, s.dry_allowed_length, limit)
        ids = [
            token for token in longest if not any(b in self._text(token) for b in self._breakers)
        ]
        if not ids:
            return
        penalty = [
            s.dry_multiplier * power(s.dry_base, longest[token] - s.dry_allowed_length)
            for token in ids
        ]
        where = np.array(ids, dtype=np.intp)
        store(x, where, x[where].astype(np.float64) - np.array(penalty))
