"""BPE proper: a run of characters becomes tokens by merging the pair of lowest rank, leftmost
first, again and again.

Two engines give the same ids. A dict of ranks is ready at once and serves prompts; the `tokenizers`
library is several times faster but takes longer to build than a prompt takes to encode, so it is
built when there is enough to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise, repeat
from typing import Any, TypeVar

from edgeq.errors import TokenizerError, shown
from edgeq.tokenizer.fields import first_ranks

T = TypeVar("T")
_NONE = 1 << 62
_LONG_RUN = 512  # characters; the plain loop is quadratic in this
_PLAIN_CHARACTERS = 1 << 17  # in all, after which the library pays


class Merger:
    """Merges runs of characters that are all tokens. `merges` are as the file has them, b"left
    right", best first."""

    def __init__(self, ids: Mapping[bytes, int], merges: list[bytes]):
        _check(merges)
        self._ids = ids
        self._ranks = dict(zip(merges, range(len(merges)), strict=True))
        if len(self._ranks) < len(merges):
            self._ranks = first_ranks(merges)
        self._plain_left = _PLAIN_CHARACTERS
        self._library: Any = None

    def __call__(self, run: list[bytes]) -> list[int]:
        """Token ids of `run`, given as its characters."""
        self._plain_left -= len(run)
        if self._library is None and self._plain_left >= 0 and len(run) <= _LONG_RUN:
            return self.plain(run)
        return self.library(run)

    def plain(self, run: list[bytes]) -> list[int]:
        """The definition."""
        ids, rank = self._ids, self._ranks.get
        parts = list(run)
        ranks = [rank(a + b" " + b, _NONE) for a, b in pairwise(parts)]
        while ranks and (best := min(ranks)) < _NONE:
            i = ranks.index(best)
            merged = parts[i] + parts[i + 1]
            if merged not in ids:  # a merge without a resulting token does not exist
                ranks[i] = _NONE
                continue
            parts[i : i + 2] = [merged]
            del ranks[i]
            if i:
                ranks[i - 1] = rank(parts[i - 1] + b" " + merged, _NONE)
            if i < len(ranks):
                ranks[i] = rank(merged + b" " + parts[i + 1], _NONE)
        return [ids[part] for part in parts]

    def library(self, run: list[bytes]) -> list[int]:
        """The same by the `tokenizers` library."""
        if self._library is None:
            self._library = guarded(self._build)
        text = b"".join(run).decode()
        return [token.id for token in guarded(lambda: self._library.tokenize(text))]

    def _build(self) -> Any:
        from tokenizers.models import BPE

        ids = self._ids
        vocab: dict[str, int] = {}
        for piece, token in ids.items():
            try:
                vocab[piece.decode()] = token
            except UnicodeDecodeError:  # no text reaches it, and the library cannot hold it
                continue
        merges = sorted(self._ranks, key=self._ranks.__getitem__)
        pairs = [(m[: (at := m.find(b" ", 1))], m[at + 1 :]) for m in merges]
        return BPE(
            vocab,
            [(a.decode(), b.decode()) for a, b in pairs if a in ids and b in ids and a + b in ids],
        )


def guarded(call: Callable[[], T]) -> T:
    """The result of a call into the library; its panics, which are no Exception, become a
    TokenizerError."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise TokenizerError(f"the tokenizers library failed: {shown(error)}") from None


def _check(merges: list[bytes]) -> None:
    """Refuse a merge that is not two non-empty texts with a space between them."""
    lines = b"\n".join(merges) + b"\n"
    try:
        lines.decode()
    except UnicodeDecodeError:
        pass
    else:
        if (
            b" \n" not in lines
            and min(map(bytes.find, merges, repeat(b" "), repeat(1)), default=1) > 0
        ):
            return
    for i, merge in enumerate(merges):
        text = merge.decode("utf-8", "backslashreplace")
        if not 0 < text.find(" ", 1) < len(text) - 1 or text.encode() != merge:
            expected = "two texts in UTF-8 with a space between"
            found = shown(text, 40)
            raise TokenizerError(
                f"tokenizer.ggml.merges[{i}]: expected {expected}, found '{found}'"
            )
