"""The caller's side of the helper process that renders chat templates nobody has vouched for.

Owns the life of that process: started early, bounded by the clock, killed when it overstays, started again
for the next rendering. What happens inside is `chat_helper`'s.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from edgeq.errors import TemplateError, shown

_START_SECONDS = 20.0
_MAX_REPLY = 64 << 20
"""Bytes of an answer to a short request."""

# The package is entered by the back door: its __init__ would import what a template does not need.
_BOOT = """
import sys, time, types
started = time.process_time()
root, *packages = sys.argv[1:]
sys.path += packages
for name, path in (("edgeq", root), ("edgeq.tokenizer", root + "/tokenizer")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from edgeq.tokenizer.chat_helper import main
main(started)
"""

# What an interpreter may need to start, and the time zone of strftime_now; nothing else is handed on.
_KEPT = ("SYSTEMROOT", "WINDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")

_WAY_OUT = "use --template NAME with one of the built-in templates"


class _Died(Exception):
    """The process ended, or was ended, before it answered."""


class Helper:
    """A process that has one template. Safe to share between threads; a rendering at a time."""

    def __init__(self, template: str):
        self._template = template
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._refused: str | None = None

    def start(self) -> None:
        """Start the process, without waiting for it, so that it is ready when it is needed."""
        with self._lock:
            if self._refused is None:
                self._ensure()

    def render(
        self, own: Mapping[str, str], variables: Mapping[str, Any], allowance: int
    ) -> tuple[str, Sequence[Sequence[int]]]:
        """Text and marked spans, as `chat_engine.render`. Raises TemplateError."""
        with self._lock:
            if self._refused is not None:
                raise TemplateError(self._refused)
            running = self._ensure()
            try:
                reply = running.ask({"own": own, "variables": variables, "allowance": allowance})
            except TemplateError as e:
                self._refused = str(e)  # it cannot be compiled, and never will be
                self._stop()
                raise
            except _Died as e:
                self._stop()
                raise TemplateError(f"the chat template {e}") from None
            except BaseException:
                self._stop()  # Ctrl-C while waiting: the answer to come would be taken for the next one's
                raise
            if "error" in reply:
                raise TemplateError(str(reply["error"]))
            return str(reply["text"]), reply["spans"]

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _ensure(self) -> _Running:
        if self._running is None or not self._running.usable():
            self._stop()
            self._running = _Running(self._template)
        return self._running

    def _stop(self) -> None:
        if self._running is not None:
            self._running.end()
            self._running = None


class _Running:
    """One started process."""

    def __init__(self, template: str):
        self._owner = os.getpid()
        self._seconds: float | None = None
        try:
            self._process = subprocess.Popen(
                _command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={k: os.environ[k] for k in _KEPT if k in os.environ}, **_apart(),
            )  # fmt: skip
        except (OSError, ValueError, NotImplementedError) as e:
            raise TemplateError(_cannot_start(str(e))) from None
        self.end = weakref.finalize(self, _end, self._process, self._owner)
        try:
            self._write({"template": template})
        except _Died:
            self.end()
            raise TemplateError(_cannot_start("it ended at once")) from None

    def usable(self) -> bool:
        """False once the process has ended, or when this is a fork of the one that started it."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises TemplateError if the template cannot be compiled, _Died if no answer comes."""
        if self._seconds is None:
            try:
                seconds = float(self._read(_START_SECONDS)["seconds"])
            except (_Died, KeyError, TypeError, ValueError) as e:
                self.end()
                raise TemplateError(_cannot_start(f"it {e}")) from None
            try:
                compiled = self._read(_wall(seconds))
            except _Died as e:
                raise TemplateError(f"the chat template {e} while it was compiled") from None
            if "error" in compiled:
                raise TemplateError(compiled["error"])
            self._seconds = seconds
        size = self._write(request)
        return self._read(_wall(self._seconds), _MAX_REPLY + 64 * size)

    def _write(self, message: dict[str, Any]) -> int:
        assert self._process.stdin
        line = json.dumps(message).encode() + b"\n"
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError:
            raise _Died(self._ending(None)) from None
        return len(line)

    def _read(self, seconds: float, most: int = _MAX_REPLY) -> dict[str, Any]:
        """One line of the process, of at most `most` bytes; it is killed after `seconds` on the clock."""
        assert self._process.stdout
        overdue = threading.Event()

        def kill() -> None:
            overdue.set()
            self._process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            line = self._process.stdout.readline(most)
        finally:
            timer.cancel()
        if not line.endswith(b"\n") or overdue.is_set():
            raise _Died(self._ending(seconds if overdue.is_set() else None))
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise _Died("made its renderer answer nonsense")
        return reply

    def _ending(self, seconds: float | None) -> str:
        """Why the process is no more, in words that follow "the chat template"."""
        self._process.kill()
        code = self._process.wait()
        if seconds is not None:
            return f"took more than {seconds:g} s"
        if code in (-getattr(signal, "SIGPROF", 0), -getattr(signal, "SIGXCPU", 0)):
            return "took more processor time than it may have"
        return f"crashed its renderer (exit code {code})"


def _wall(seconds: float) -> float:
    """Limit on the clock for work that may take `seconds` of processor time."""
    # Where the timer of processor time exists, the clock is only for a helper that waits or starves.
    return 2 + 3 * seconds if hasattr(signal, "setitimer") else 2 * seconds


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe:
                pipe.close()
        except OSError:
            pass  # what was still to be written has no reader


def _apart() -> dict[str, Any]:
    """Keeps Ctrl-C and new console windows away from the helper."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _command() -> list[str]:
    python = getattr(sys, "_base_executable", None) or sys.executable
    name = os.path.basename(python or "").lower()
    if not name.startswith(("python", "pypy")) or getattr(sys, "frozen", False):
        raise TemplateError(_cannot_start(f"{shown(python)!r} is not a Python interpreter"))
    paths = []
    for module in ("jinja2", "markupsafe"):
        spec = find_spec(module)
        if spec is None or not spec.origin:
            raise TemplateError(f"chat templates need the package {module}, which is not installed")
        paths.append(os.path.dirname(os.path.dirname(spec.origin)))
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [python, "-I", "-S", "-c", _BOOT, root, *dict.fromkeys(paths)]


def _cannot_start(why: str) -> str:
    return (
        "this file's chat template is not a known one, so it is rendered in a helper process, "
        f"which could not be started: {shown(why)}; {_WAY_OUT}"
    )
