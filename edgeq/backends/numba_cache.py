"""Machine code of the numba backend on disk, between processes: one file per kernel, checked when it is read.

Owns where files lie and that a damaged one counts as none. Imports no Numba; what the bytes mean is not known here.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

DIGEST = 32  # bytes of SHA-256 that a file begins with


def folder() -> Path | None:
    """NUMBA_CACHE_DIR, EDGEQ_CACHE/numba, or a folder among the platform's caches; None where there is no home.

    It need not exist, and need not be writable."""
    if asked := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(asked)
    if asked := os.environ.get("EDGEQ_CACHE"):
        return Path(asked).expanduser().absolute() / "numba"
    from platformdirs import user_cache_path

    try:
        return user_cache_path("edgeq", appauthor=False) / "numba"
    except RuntimeError:
        return None


def load(name: str) -> bytes | None:
    """What was saved under a name; None where there is nothing, or not all of it."""
    place = folder()
    try:
        data = (place / name).read_bytes() if place else b""
    except OSError:
        return None
    content = data[DIGEST:]
    return content if hashlib.sha256(content).digest() == data[:DIGEST] else None


def save(name: str, content: bytes) -> None:
    """Keeps it where that is possible; where it is not, each process compiles again. Other processes see all of it or
    nothing."""
    place = folder()
    if place is None:
        return
    part = place / f".{name}.{uuid4().hex}"
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(hashlib.sha256(content).digest() + content)
            part.replace(place / name)
        finally:
            part.unlink(missing_ok=True)
