"""The outside of an engine's process: starts it, asks it, and outlives whatever it does."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from edgeq.errors import BackendError, shown

HOME = str(Path(__file__).resolve().parents[2])
# Another Python finds its own packages first, and edgeq's worker in our place; our own worker is this very edgeq.
BOOT = "import sys; home = sys.argv.pop(1); sys.path.{}home); from edgeq.bench.worker import main; main()"
LINE_MAX = 1 << 24  # characters of an answer


class EngineFailed(BackendError):
    """An engine said no, or its process ended (`died`), or did not answer in time (`died` too: it was ended)."""

    def __init__(self, message: str, died: bool = False) -> None:
        super().__init__(message)
        self.died = died


class Child:
    """A process of `edgeq.bench.worker` with one engine. `environment`: variables on top of ours."""

    def __init__(self, engine: str, python: str = "", environment: dict[str, str] | None = None) -> None:
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        boot = BOOT.format("append(" if python else "insert(0, ")
        try:
            self.process = subprocess.Popen(
                [python or sys.executable, "-c", boot, HOME, engine],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, encoding="utf-8",
                env={**os.environ, **(environment or {})}, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self.said.close()
            raise EngineFailed(f"{shown(python)} cannot be started: {error.strerror}", died=True) from None
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with contextlib.suppress(ValueError, OSError):
            while line := stream.readline(LINE_MAX):
                self._lines.put(line)
        self._lines.put("")

    def load(self, options: dict[str, Any], limit: float) -> dict[str, Any]:
        """The engine's facts. Raises EngineFailed."""
        facts: dict[str, Any] = self._ask({"do": "load", "options": options}, limit)["facts"]
        return facts

    def measure(self, case: dict[str, Any], limit: float) -> tuple[float, float | None]:
        """The value, and the seconds of CPU time that it took. Raises EngineFailed."""
        found = self._ask({"do": "measure", "case": case}, limit)
        value = found["value"]
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise EngineFailed(f"a measurement of {value!r}")
        return float(value), found["cpu"]

    def _ask(self, request: dict[str, Any], limit: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self._lines.get(timeout=limit)
        except queue.Empty:
            self.close()
            raise EngineFailed(f"no answer within {limit:g} s (--limit)", died=True) from None
        except OSError:
            line = ""
        if not line:
            raise EngineFailed(self._ended(), died=True)
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            self.close()
            raise EngineFailed(f"an answer that is no JSON: {shown(line, 80)}", died=True) from None
        if "error" in found:
            raise EngineFailed(str(found["error"]))
        return found

    def _ended(self) -> str:
        """What became of a process that no longer answers, and its last words."""
        self.close()
        code = self.process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        last = [line for line in self.last.splitlines() if line.strip()]
        return f"its process ended with {how}" + (f": {last[-1].strip()}" if last else "")

    def close(self) -> None:
        """Ends the process and all that it started."""
        if self.said.closed:
            return
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.5)
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()
        self.said.seek(0, os.SEEK_END)
        self.said.seek(max(0, self.said.tell() - 4000))
        self.last = self.said.read().decode("utf-8", "replace")
        self.said.close()
        self._reader.join(1)
        if not self._reader.is_alive():  # else something that has left the group still holds the pipe
            self.process.stdout.close()  # type: ignore[union-attr]
