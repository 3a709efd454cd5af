"""The inside of an engine's process: takes requests as JSON lines on stdin, answers on what was stdout.

Engines print what they like: their stdout goes to stderr. Runs in other Pythons too, which may lack what edgeq
needs: nothing but the standard library is imported before an engine asks for more.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import IO, Any, Protocol

from edgeq.bench.cases import Case

ENGINES = ("own", "limits", "llama_bench", "command", "llama_python", "mistral")


class Engine(Protocol):
    """What a module in engines/ offers as `Engine`. Any exception is an answer: its text."""

    def load(self, options: dict[str, Any]) -> dict[str, Any]:
        """Makes ready for all cases; gives facts for the report, at least `engine` with its version."""
        ...

    def measure(self, case: Case) -> float:
        """The value of a case, in the unit that `Case` says."""
        ...


def cpu_seconds() -> float | None:
    """CPU time of this process and the children that have ended; None where the system does not tell of those."""
    try:
        import resource
    except ImportError:
        return None
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def answer(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    before = cpu_seconds()
    try:
        if request["do"] == "load":
            out: dict[str, Any] = {"facts": engine.load(request["options"])}
        else:
            out = {"value": engine.measure(Case(**request["case"]))}
    except Exception as error:
        kind = "" if type(error) in (RuntimeError, ValueError, ImportError) else f"{type(error).__name__}: "
        return {"error": f"{kind}{error}"[:4000]}
    after = cpu_seconds()
    return out | {"cpu": None if before is None or after is None else after - before}


def serve(name: str, requests: IO[str], answers: IO[str]) -> None:
    """Until stdin ends: the parent has gone, or wants no more."""
    engine: Engine = import_module(f"edgeq.bench.engines.{name}").Engine()
    for line in requests:
        answers.write(json.dumps(answer(engine, json.loads(line))) + "\n")
        answers.flush()


def main() -> None:
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(sys.argv[1], sys.stdin, answers)
