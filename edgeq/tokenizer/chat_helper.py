"""The helper process that renders a chat template nobody has vouched for; `chat_process` is its other side.

One line of JSON comes in with the template, one goes out when it is compiled, then one in and one out per
rendering. The operating system bounds what a template can cost: processor time (the timer's signal ends the
process wherever it is) and memory. Where it offers neither, as on Windows, the clock of the other side and
the engine's own counts do.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

MEMORY = 64 << 20
"""Bytes that a piece of work may take on top of what the process has when it is ready."""


def main(started: float) -> None:
    """Serve until standard input ends. `started`: processor time when the process began to load modules."""
    with suppress(ValueError, OSError, AttributeError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that asked
    from edgeq.errors import TemplateError
    from edgeq.tokenizer.chat_engine import compile_template, render

    # A slow machine needs longer for the same work: loading Jinja2 is the yardstick.
    seconds = min(max(0.5, 5 * (time.process_time() - started)), 10.0)
    limits = _Limits(seconds)
    source, out = sys.stdin.buffer, sys.stdout.buffer
    _send(out, {"seconds": seconds})

    def answer(request: dict[str, Any], size: int) -> dict[str, Any]:
        try:
            if "variables" not in request:
                limits.run(0, lambda: compile_template(request["template"]))
                return {}
            text, spans = limits.run(
                size, lambda: render(template, request["own"], request["variables"], request["allowance"])
            )
            return {"text": text, "spans": spans}
        except TemplateError as e:
            return {"error": str(e)}

    template = ""
    while line := source.readline():
        request = json.loads(line)
        template = request.get("template", template)
        _send(out, answer(request, len(line)))


def _send(out: BinaryIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    out.flush()


class _Limits:
    """Processor time and memory of one piece of work, as far as this system can bound them."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        try:
            import resource
        except ImportError:
            self._resource: Any = None
            return
        self._resource = resource
        for name in ("RLIMIT_CORE", "RLIMIT_FSIZE"):  # no core dumps, no files
            with suppress(AttributeError, ValueError, OSError):
                resource.setrlimit(getattr(resource, name), (0, 0))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})

    def run(self, size: int, work: Callable[[], Any]) -> Any:
        """`work()` within the limits; `size`: bytes of the request, which memory grows with."""
        if self._resource is None:
            return work()
        memory, cpu = self._resource.RLIMIT_AS, self._resource.RLIMIT_CPU
        before = self._resource.getrlimit(memory)
        if (now := _address_space()) is not None:
            self._lower(memory, now + MEMORY + 16 * size)
        # The timer is exact; the limit in whole seconds is for where the timer fails.
        self._lower(cpu, int(time.process_time() + self._seconds) + 2)
        signal.setitimer(signal.ITIMER_PROF, self._seconds)
        try:
            return work()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._resource.setrlimit(memory, before)

    def _lower(self, kind: int, most: int) -> None:
        hard = self._resource.getrlimit(kind)[1]
        with suppress(ValueError, OSError):
            self._resource.setrlimit(kind, (most if hard == self._resource.RLIM_INFINITY else min(most, hard), hard))


def _address_space() -> int | None:
    """Bytes of address space in use, or None where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as f:
            pages = int(f.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    import resource

    return pages * resource.getpagesize()
