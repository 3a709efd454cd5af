"""Token ids of a rendered chat: only what the template wrote can become a control token.

The text is cut at those control tokens and nowhere else, since merges may cross the border between template
and message; what lies between is read as plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from edgeq.tokenizer.bytes_text import BYTE_CHARS, as_bytes, piece_bytes
from edgeq.tokenizer.special import CONTROL, UNKNOWN, USER_DEFINED

if TYPE_CHECKING:
    from edgeq.tokenizer.base import Tokenizer


class Segment(NamedTuple):
    """A run of rendered text from one origin."""

    text: str
    is_special_allowed: bool
    """True for what the template wrote, where the text of a control token stands for that token."""


# Hides a byte of a message while control tokens are looked for: 0xFF occurs in no UTF-8 text. White space
# stays, since some tokens swallow what is next to them.
_MASK = bytes(b if b in b" \t\n\v\f\r" else 0xFF for b in range(256))


_LIKE_CONTROL = r"<[|｜].*[|｜]>|<(start|end)_of_\w+>|\[/?[A-Z_]{3,}\]"


def encode_segments(tokenizer: Tokenizer, segments: Sequence[Segment]) -> list[int]:
    """Ids of `segments` as one text, with bos in front if the vocabulary wants it and none is written.

    They equal `tokenizer.encode` of the whole text as long as no message spells a control token. No eos is
    added: the template says where a turn ends.
    """
    data = b"".join(as_bytes(s.text) for s in segments)
    masked = b"".join(as_bytes(s.text) if s.is_special_allowed else as_bytes(s.text).translate(_MASK) for s in segments)
    out: list[int] = []
    own = b"".join(bytes([s.is_special_allowed]) * len(as_bytes(s.text)) for s in segments)
    for part in _cut(tokenizer, data, masked, own):
        if isinstance(part, int):
            out.append(part)
        else:
            out += _plain(tokenizer, part)
    bos = tokenizer.bos_id
    return [bos, *out] if tokenizer.add_bos and bos is not None and out[:1] != [bos] else out


def _is_control(tokenizer: Tokenizer, token: int) -> bool:
    """Whether only a template may write `token`.

    Some vocabularies hold such tokens as user-defined ones, which are matched in any text: those are known by
    their looks, or by ending a generation.
    """
    kind = tokenizer.types[token]
    if kind == USER_DEFINED:
        return token in tokenizer.end_ids or re.fullmatch(_LIKE_CONTROL, tokenizer.pieces[token]) is not None
    return kind == CONTROL


def _cut(tokenizer: Tokenizer, data: bytes, masked: bytes, own: bytes) -> Iterator[int | bytes]:
    """`data` as the control tokens of the template and the text between them.

    masked: `data` with what messages hold made unrecognizable; own: 1 for each byte of the template, else 0.
    White space that a token swallows is left out.
    """
    at, start, end = 0, -1, 0  # start, end: the text since the last token
    for part in tokenizer.specials.split(masked, parse_special=True):
        text = piece_bytes(tokenizer.pieces[part]) if isinstance(part, int) else part
        # Only swallowed white space lies between the parts, so the next place of a part is its own.
        at = masked.find(text, at)
        here, at = at, at + len(text)
        special = isinstance(part, int) and (_is_control(tokenizer, part) or tokenizer.types[part] == UNKNOWN)
        if special and 0 not in own[here:at]:
            if start >= 0:
                yield data[start:end]
            yield part
            start = -1
        else:
            start, end = here if start < 0 else start, at
    if start >= 0:
        yield data[start:end]


def _plain(tokenizer: Tokenizer, text: bytes) -> list[int]:
    ids = tokenizer.encode(text, add_special=False, parse_special=False)
    # Besides user-defined tokens, merges can give one, where the vocabulary holds all of its parts.
    forbidden = {i for i in set(ids) if i != tokenizer.unk_id and _is_control(tokenizer, i)}
    return [j for i in ids for j in (_spelled(tokenizer, i) if i in forbidden else [i])] if forbidden else ids


def _spelled(tokenizer: Tokenizer, token: int) -> list[int]:
    """The text of `token` a character at a time, in tokens that are not control tokens."""
    out: list[int] = []
    for char in tokenizer.pieces[token]:
        bytewise = [BYTE_CHARS[b] if tokenizer.kind == "bpe" else f"<0x{b:02X}>" for b in piece_bytes(char)]
        for spelling in ([char], bytewise):
            ids = [tokenizer.ids[s] for s in spelling if s in tokenizer.ids]
            if ids and not any(_is_control(tokenizer, i) for i in ids):
                out += ids
                break
    return out
