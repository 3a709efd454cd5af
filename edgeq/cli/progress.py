"""How far a command is, on a terminal; elsewhere nothing is said."""

from __future__ import annotations

import sys
import time

_EVERY = 0.2  # seconds between two updates


class Progress:
    """`progress(done, total)` shows the share that is done, on one line of stderr that goes away at the end."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._on = sys.stderr is not None and sys.stderr.isatty()
        self._next = time.monotonic() + _EVERY
        self._width = 0

    def __call__(self, done: int, total: int) -> None:
        if not self._on or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        text = f"{self.what} {100 * done // max(1, total)} %"
        self._show(text.ljust(self._width))
        self._width = len(text)

    def _show(self, text: str) -> None:
        sys.stderr.write(f"\r{text}")
        sys.stderr.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._width:
            self._show(" " * self._width + "\r")
