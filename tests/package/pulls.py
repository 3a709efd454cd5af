"""What the tests of pulls share: a server, a cache of their own, no waiting, a progress that remembers."""

from __future__ import annotations

import hashlib
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeq.pull import http, hub
from edgeq.pull.progress import Silent
from tests.package.web import Web, serve

EMPTY_MODEL = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
BIG = b"GGUF" + random.Random(1).randbytes(300_000)
BIG_SHA = hashlib.sha256(BIG).hexdigest()


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as web:
        yield web


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEQ_CACHE", str(folder))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(http, "pause", lambda seconds: None)
    monkeypatch.setattr(http, "TIMEOUT", 5.0)
    monkeypatch.setattr(hub, "has_hub", lambda: False)
    return folder


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.starts: list[tuple[int, int | None]] = []
        self.last = 0
        self.notes: list[str] = []

    def start(self, label: str, done: int, total: int | None) -> None:
        self.starts.append((done, total))

    def update(self, done: int) -> None:
        self.last = done

    def note(self, text: str) -> None:
        self.notes.append(text)
