"""One model in rounds: in every round every engine has every case, in an order that turns."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgeq.bench import rule
from edgeq.bench.cases import COMMAND, Case, fitting, peaks
from edgeq.bench.child import HOME, Child, EngineFailed
from edgeq.bench.contenders import Contender
from edgeq.bench.engines import command
from edgeq.errors import UsageError
from edgeq.record import Record

SHORT = "The capital of France is"  # the prompt of the first token
LIMITS = "limits"  # the name under which the machine itself is measured
DEATHS = 2  # a process that ended so often is not started again


class Settings(Record):
    """rounds: that count, after one that does not. limit: seconds for a slot. pause: seconds before one."""

    threads: int
    rounds: int = 5
    limit: float = 120.0
    pause: float = 0.1
    limits: bool = True


class Runner:
    """An engine in its process, started when it is needed."""

    def __init__(
        self, label: str, engine: str, options: dict[str, Any], python: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.label, self.engine, self.options, self.python = label, engine, options, python
        self.environment = environment
        self.child: Child | None = None
        self.facts: dict[str, Any] = {}
        self.deaths = 0

    def load(self, limit: float) -> dict[str, Any]:
        """The facts. Raises EngineFailed."""
        if self.child is None:
            self.child = Child(self.engine, self.python, self.environment)
            self.facts = self._guarded(lambda child: child.load(self.options, limit))
        return self.facts

    def measure(self, case: Case, limit: float) -> tuple[float, float | None]:
        found: tuple[float, float | None] = self._guarded(lambda child: child.measure(case.as_json(), limit))
        return found

    def _guarded(self, work: Callable[[Child], Any]) -> Any:
        assert self.child is not None
        try:
            return work(self.child)
        except EngineFailed as error:
            if error.died or not self.facts:
                self.close()
                self.deaths += 1 if error.died else DEATHS  # what does not load will not load later
            raise

    @property
    def gone(self) -> bool:
        return self.deaths >= DEATHS

    def close(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


class Rounds:
    """All slots of one model. `say` is told what happens, a line at a time."""

    def __init__(
        self, path: str, who: Sequence[Contender], cases: Sequence[Case], settings: Settings,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.path, self.who, self.settings, self.say = path, who, settings, say
        self.context = trained_context(path)
        self.cases, self.left_out = fitting(cases, self.context)
        if not self.cases:
            raise UsageError(f"{os.path.basename(path)}: no case fits its context of {self.context}")
        self.slots: list[dict[str, Any]] = []
        self.seen: list[rule.Slot] = []
        self.failures: list[dict[str, str]] = []
        self.out: set[tuple[str, str]] = set()

    def run(self) -> dict[str, Any]:
        """Everything but the verdicts, which need all slots of the run. Raises EngineFailed where edgeq itself
        cannot load the model."""
        runners: dict[tuple[str, str], Runner] = {}
        with tempfile.TemporaryDirectory(prefix="edgeq-bench-") as folder:
            try:
                return self._run(runners, folder)
            finally:
                for runner in runners.values():
                    runner.close()

    def _run(self, runners: dict[tuple[str, str], Runner], folder: str) -> dict[str, Any]:
        long = os.path.join(folder, "prompt.txt")
        for c in self.who:
            if c.kind:
                runners[c.label, "speed"] = self._speed(c)
            if c.cli or c.ours:
                runners[c.label, "command"] = Runner(c.label, "command", self._lines(c, long))
        own = [runners[c.label, "speed"].load(self.settings.limit) for c in self.who if c.ours]
        with open(long, "w", encoding="utf-8") as file:
            file.write(own[0]["prompt"])
        machine = self._limits(own, runners)
        for turn in range(self.settings.rounds + 1):
            self._turn(turn, runners, machine)
        facts = {c.label: runners[c.label, "speed"].facts for c in self.who if c.kind}
        return {
            "file": os.path.basename(self.path), "size": os.path.getsize(self.path), "context": self.context,
            "facts": own[0]["model"],
            "machine": runners[LIMITS, "speed"].facts if (LIMITS, "speed") in runners else {},
            "contenders": [c.as_json() | {"facts": without(facts.get(c.label, {}), "prompt")} for c in self.who],
            "cases": [c.as_json() for c in self.cases], "limits": [c.as_json() for c in machine],
            "left_out": [c.name for c in self.left_out], "slots": self.slots, "failures": self.failures,
        }  # fmt: skip

    def _speed(self, c: Contender) -> Runner:
        threads = self.settings.threads
        options: dict[str, Any] = {"model": os.path.abspath(self.path), "threads": threads}
        options |= {"positions": max([64, *(case.positions for case in self.cases)])}
        options |= {"program": c.program, "words": list(c.words)} if c.program else dict(c.variant)
        environment = {"RAYON_NUM_THREADS": str(threads)} if c.kind == "mistral" else {}
        return Runner(c.label, c.kind, options, c.python, environment)

    def _lines(self, c: Contender, long: str) -> dict[str, Any]:
        path, threads = os.path.abspath(self.path), self.settings.threads
        if c.ours:
            return command.ours(HOME, path, {"threads": threads, **dict(c.variant)}, SHORT, long)
        return command.llama(c.cli[0], path, threads, list(c.cli[1:]), SHORT, long)

    def _limits(self, own: list[dict[str, Any]], runners: dict[tuple[str, str], Runner]) -> list[Case]:
        """The cases of the machine itself: one thread and all, every variant that edgeq uses and the best."""
        if not self.settings.limits:
            return []
        threads = sorted({1, self.settings.threads, *(f["threads"] for f in own)})
        runner = Runner(LIMITS, "limits", {"model": os.path.abspath(self.path), "threads": threads})
        try:
            best = runner.load(self.settings.limit)["isa"]
        except EngineFailed as error:
            self._failed(LIMITS, "", error)
            return []
        runners[LIMITS, "speed"] = runner
        pairs = {(best, t) for t in (1, self.settings.threads)}
        pairs |= {(f["isa"] or best, t) for f in own for t in (1, f["threads"])}
        cases = [Case("read", t) for t in threads]
        return cases + [Case(kind, t, isa=isa) for isa, t in sorted(pairs) for kind in peaks(isa)]

    def _turn(self, turn: int, runners: dict[tuple[str, str], Runner], machine: Sequence[Case]) -> None:
        for case in machine:
            self._slot(turn, case, runners[LIMITS, "speed"])
        for i, case in enumerate(self.cases):
            role = "command" if case.kind in COMMAND else "speed"
            able = [runners[c.label, role] for c in self.who if (c.label, role) in runners]
            for runner in rotated(able, turn + i):
                self._slot(turn, case, runner)

    def _slot(self, turn: int, case: Case, runner: Runner) -> None:
        if runner.gone or (runner.label, case.name) in self.out:
            return
        limit = self.settings.limit
        try:
            runner.load(limit)
            time.sleep(self.settings.pause)
            watch = rule.Watch()
            value, cpu = runner.measure(case, limit)
            seen = watch.end(cpu)
        except EngineFailed as error:
            self._failed(runner.label, "" if runner.gone else case.name, error)
            return
        self.seen.append(seen)
        self.slots.append({"round": turn, "engine": runner.label, "case": case.name, "value": value} | seen.as_json())
        self.say(f"round {turn} of {self.settings.rounds}: {runner.label} {case.name} "
                 f"{case.written(case.figure(value))} {case.unit}")  # fmt: skip

    def _failed(self, label: str, case: str, error: EngineFailed) -> None:
        """case "": all that this engine was still to do."""
        self.out.add((label, case))
        self.failures.append({"engine": label, "case": case, "message": " ".join(str(error).split())})
        self.say(f"{label} {case or 'as a whole'} is left out: {self.failures[-1]['message']}")


def rotated(items: Sequence[Any], by: int) -> list[Any]:
    by %= max(1, len(items))
    return [*items[by:], *items[:by]]


def without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in mapping.items() if k != key}


def trained_context(path: str) -> int:
    """Positions that the model was made for, as its file says. Raises GGUFError, ModelError."""
    from edgeq import archs, gguf
    from edgeq.config import Keys

    with gguf.open(path) as file:
        name, _ = archs.find(file.metadata)
        return Keys(file.metadata, name).count("context_length", high=(1 << 32) - 1)
