"""Says what a file that is not GGUF looks like, so that the error can name the way out. Decides nothing."""

from __future__ import annotations

from edgeq.errors import shown

_MAGICS = (
    (
        b"version https://git-lfs",
        "a git-lfs pointer, not the model itself; run `git lfs pull`, or download the file",
    ),
    (b"PK\x03\x04", "a zip archive (a PyTorch checkpoint?); convert it to GGUF first"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x80\x02", "a Python pickle (an old PyTorch checkpoint?); convert it to GGUF first"),
    (b"tjgg", "a ggjt file, a format older than GGUF; get the model as GGUF"),
    (b"fmgg", "a ggmf file, a format older than GGUF; get the model as GGUF"),
    (b"lmgg", "a ggml file, a format older than GGUF; get the model as GGUF"),
    (b"algg", "a ggla file (a LoRA adapter older than GGUF); get it as GGUF"),
    (b"ggjt", "a ggjt file, a format older than GGUF; get the model as GGUF"),
    (b"FUGG", "a GGUF file with its bytes swapped (big-endian?); get the little-endian file"),
    (b"gguf", "no GGUF file: the magic is written in lower case"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"\x7fELF", "a program (ELF)"),
    (b"%PDF", "a PDF document"),
)


def looks_like(head: bytes, size: int) -> str:
    """What the file with this size and these first bytes (up to 4096) seems to be, in words."""
    if size == 0:
        return "an empty file; download it again"
    if size < 4:
        return f"not a GGUF file: only {size} byte{'s' if size > 1 else ''}; download it again"
    for magic, what in _MAGICS:
        if head.startswith(magic):
            return what
    text = head[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<body")):
        return "an HTML page, not the model (a failed download?); download the file itself"
    length = int.from_bytes(head[:8], "little")
    if size > 10 and 2 <= length <= size - 8 and head[8:9] == b"{":
        return "a safetensors file; convert it to GGUF first"
    if text.startswith((b"{", b"[")):
        return "JSON text, not the model (an error message of a server?); download the file itself"
    return f"not a GGUF file: it begins with {shown(head[:4])}, expected b'GGUF'"
