"""What a hostile case is, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ggufbytes as b
from ggufbytes import G, T

MAX = (1 << 64) - 1
TOP = 1 << 63
HUGE = (("max", MAX), ("top", TOP), ("top_less_1", TOP - 1), ("4g", 1 << 32), ("1e9", 10**9))


@dataclass(frozen=True)
class Case:
    """`words` must all occur in the error (refuse) or in the warnings (load)."""

    name: str
    make: Callable[[Path], Path]
    outcome: str
    words: tuple[str, ...]


CASES: dict[str, Case] = {}


def add(outcome: str, name: str, what: bytes | G | Callable[[Path], Path], *words: str) -> None:
    assert name not in CASES, name
    make: Callable[[Path], Path]
    if isinstance(what, (bytes, G)):
        data = what if isinstance(what, bytes) else what.build()

        def make(folder: Path) -> Path:
            path = folder / f"{name}.gguf"
            path.write_bytes(data)
            return path
    else:
        make = what
    CASES[name] = Case(name, make, outcome, words)


def refuse(name: str, what: bytes | G | Callable[[Path], Path], *words: str) -> None:
    add("refuse", name, what, *words)


def load(name: str, what: bytes | G | Callable[[Path], Path], *words: str) -> None:
    add("load", name, what, *words)


def one(key: bytes) -> G:
    """A file with the one metadata entry `key` and a tensor."""
    return G(kvs=[key], tensors=[T("a")])


def raw_key(kind: int, payload: bytes) -> bytes:
    return b.text("k") + b.u32(kind) + payload


def raw_array(kind: int, count: int, payload: bytes = b"") -> bytes:
    return raw_key(b.ARRAY, b.u32(kind) + b.u64(count) + payload)
