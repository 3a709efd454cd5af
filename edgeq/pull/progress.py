"""What a pull tells the person who waits: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol


class Progress(Protocol):
    """Told of one transfer after another. `done` and `total` are bytes of the current one."""

    def start(self, label: str, done: int, total: int | None) -> None: ...

    def update(self, done: int) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Silent:
    """Tells nothing."""

    def start(self, label: str, done: int, total: int | None) -> None:
        """A transfer begins, or goes on from `done`."""

    def update(self, done: int) -> None:
        """Bytes of the transfer so far."""

    def name(self, label: str) -> None:
        """The same transfer goes on with something else."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def close(self) -> None:
        """Nothing more comes."""


class Lines(Silent):
    """A line when a transfer starts and one when it ends: for logs and pipes."""

    def __init__(self) -> None:
        self.label, self.done, self.first, self.began = "", 0, 0, 0.0

    def start(self, label: str, done: int, total: int | None) -> None:
        self.close()
        self.label, self.done, self.first, self.began = label, done, done, time.monotonic()
        if total:
            here = f", {done / 1e6:.1f} MB are here already" if done else ""
            self.note(f"{label}, {total / 1e6:.1f} MB{here}")

    def update(self, done: int) -> None:
        self.done = done

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.label and self.done > self.first:
            seconds = max(time.monotonic() - self.began, 1e-3)
            rate = (self.done - self.first) / seconds / 1e6
            self.note(f"{self.label}: {self.done / 1e6:.1f} MB in {seconds:.1f} s ({rate:.1f} MB/s)")
        self.label = ""


class Bar(Silent):
    """A bar with bytes, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
        console = Console(stderr=True)
        self.bars: Any = RichProgress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console)
        self.task: Any = None

    def start(self, label: str, done: int, total: int | None) -> None:
        self.bars.start()
        if self.task is not None:
            self.bars.remove_task(self.task)
        self.task = self.bars.add_task(label, total=total, completed=done)

    def update(self, done: int) -> None:
        if self.task is not None:
            self.bars.update(self.task, completed=done)

    def name(self, label: str) -> None:
        if self.task is not None:
            self.bars.update(self.task, description=label)

    def note(self, text: str) -> None:
        self.bars.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self.bars.stop()


def for_stderr() -> Progress:
    """A bar where stderr is a terminal, else lines."""
    return Bar() if sys.stderr is not None and sys.stderr.isatty() else Lines()
