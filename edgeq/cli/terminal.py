"""What goes to stdout and stderr: a model's text as it is into a pipe, harmless on a terminal; notes on
stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

# A terminal takes orders from control characters (ESC, CSI, ...): those are shown, not sent. C0 but \t
# \n, DEL, C1.
_CONTROL = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160)) if c not in (9, 10)}


def harmless(text: str) -> str:
    """`text` with control characters spelled out, so that a terminal shows them and does not obey."""
    return text.translate(_CONTROL)


class Out:
    """Generated text on its way to stdout (or another stream), sent piece by piece."""

    def __init__(self, stream: IO[Any] | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.terminal = self.stream is not None and self.stream.isatty()
        self._open_line = False

    def write(self, text: str) -> None:
        """Sends `text` at once. Raises OSError (BrokenPipeError: nobody reads any more)."""
        if self.stream is None or not text:
            return
        if self.terminal:
            text = harmless(text)
            encoding = getattr(self.stream, "encoding", None) or "utf-8"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
            self._open_line = not text.endswith("\n")
        buffer = None if self.terminal else getattr(self.stream, "buffer", None)
        if buffer is None:
            self.stream.write(text)
        else:
            self.stream.flush()
            buffer.write(text.encode("utf-8", "surrogatepass"))
        self.stream.flush()

    def end(self) -> None:
        """Ends the line on a terminal; a pipe gets the text alone."""
        if self._open_line:
            self.write("\n")


@contextmanager
def interrupted(text: str | Callable[[], str] = "no incomplete file is left") -> Iterator[None]:
    """Says so where Ctrl-C or a signal ends the block, and what is left; `text` may be found out only then."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        left = text if isinstance(text, str) else text()
        say(f"interrupted; {left}" if left else "interrupted")
        raise


def say(text: str) -> None:
    """A line for the person, on stderr. Loses nothing and fails nowhere: without stderr it goes unsaid."""
    if sys.stderr is not None:
        try:
            print(text, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return
