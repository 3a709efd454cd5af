"""Bytes and text: what bytes a str stands for, llama.cpp's reading of invalid UTF-8, the byte
alphabet of BPE.

Owns no vocabulary. Surrogates in a str stand for the three bytes that UTF-8 would give them.
"""

from __future__ import annotations

import re

from edgeq.errors import TokenizerError


def as_bytes(text: str | bytes) -> bytes:
    """The bytes of `text`; a lone surrogate of a str counts as its three bytes."""
    if isinstance(text, str):
        try:
            return text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-8", "surrogatepass")
    if isinstance(text, bytes | bytearray | memoryview):
        return bytes(text)
    raise TokenizerError(f"text: expected str or bytes, found {type(text).__name__}")


def piece_bytes(piece: str) -> bytes:
    """The bytes of a token's text as the file holds it (bytes that are not UTF-8 are escaped
    surrogates)."""
    for errors in ("strict", "surrogateescape"):
        try:
            return piece.encode("utf-8", errors)
        except UnicodeEncodeError:
            continue
    return piece.encode("utf-8", "surrogatepass")


# A lead byte followed by as many continuation bytes as it announces; everything else is one bad byte. Like
# llama.cpp's reader this lets overlong forms and surrogates through; past U+10FFFF it would crash, we do not.
_SEQUENCE = re.compile(
    rb"[\x00-\x7f]+|[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2}|[\x80-\xff]"
)
_LEAD_BITS = {2: 0x1F, 3: 0x0F, 4: 0x07}


def lenient_text(data: bytes) -> str:
    """`data` as code points by llama.cpp's rule: U+FFFD for every byte that starts no sequence.

    Overlong forms give the code point they spell, surrogates stay surrogates.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _SEQUENCE.sub(_respell, data).decode("utf-8", "surrogatepass")


def _respell(match: re.Match[bytes]) -> bytes:
    sequence = match[0]
    if sequence[0] < 0x80:
        return sequence
    if len(sequence) == 1:
        return b"\xef\xbf\xbd"
    point = sequence[0] & _LEAD_BITS[len(sequence)]
    for byte in sequence[1:]:
        point = point << 6 | byte & 0x3F
    return chr(point).encode("utf-8", "surrogatepass")


def _byte_alphabet() -> list[str]:
    """GPT-2's spelling of the 256 bytes: printable Latin-1 as itself, the others from U+0100 on in
    order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(b) if b in printable else chr(next(spare)) for b in range(256)]


BYTE_CHARS: list[str] = _byte_alphabet()
"""The character that spells each byte in a byte-level BPE vocabulary."""

_TO_CHARS = {b: ord(c) for b, c in enumerate(BYTE_CHARS)}
_TO_BYTES = {c: bytes([b]) for b, c in enumerate(BYTE_CHARS)}


def spell_bytes(data: bytes) -> str:
    """`data` in the byte alphabet, one character a byte."""
    return data.decode("latin-1").translate(_TO_CHARS)


def unspell_bytes(piece: str) -> bytes:
    """The bytes that `piece` spells; a character outside the byte alphabet stands for its UTF-8
    bytes."""
    return b"".join([_TO_BYTES.get(c) or piece_bytes(c) for c in piece])
