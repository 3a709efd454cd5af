"""edgeq itself, in this process: steps of the executable, as a session takes them."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from edgeq.bench.cases import MEMORY_PROMPT, SMALL_CONTEXT, Case

if TYPE_CHECKING:
    from edgeq.model import Model

ENOUGH, LEAST = 0.25, 5  # seconds and steps of a small batch


class Engine:
    def load(self, options: dict[str, Any]) -> dict[str, Any]:
        """options: model, positions that the cases need, and the variant: backend, threads, isa, kv, chunk."""
        import edgeq
        from edgeq._version import __version__
        from edgeq.bench.facts import facts

        variant = {key: options[key] for key in ("backend", "threads", "isa", "chunk") if options.get(key)}
        kv = options.get("kv") or "F16"
        self.positions = options["positions"]
        self.model = edgeq.load(options["model"], context=self.positions, kv_type=kv, **variant)
        self.state = self.model.executable.new_state(1, self.positions, kv)
        self.filled = 0
        chosen = random.Random(0)
        self.ids = [chosen.randrange(self.model.vocab) for _ in range(self.positions)]
        return {
            "engine": f"edgeq {__version__}", "backend": self.model.backend.name, "kv": kv,
            "isa": getattr(self.model.executable, "isa", ""),
            "threads": getattr(self.model.backend, "threads", None) or options.get("threads"),
            "model": facts(self.model), "prompt": prompt(self.model),
        }  # fmt: skip

    def measure(self, case: Case) -> float:
        if case.kind == "pp":
            return self._timed(0, case.n)
        self._fill(case.depth if case.kind == "tg" else SMALL_CONTEXT)
        if case.kind == "tg":
            began = time.perf_counter()
            for i in range(case.depth, case.depth + case.n):
                self._step(i, 1)
            return time.perf_counter() - began
        self._step(SMALL_CONTEXT, case.n)
        spent: list[float] = []
        while sum(spent) < ENOUGH or len(spent) < LEAST:
            spent.append(self._timed(SMALL_CONTEXT, case.n))
        return sum(spent) / len(spent)

    def _timed(self, start: int, count: int) -> float:
        began, chunk = time.perf_counter(), self.model.options.chunk
        for at in range(start, start + count, chunk):
            self._step(at, min(chunk, start + count - at))
        return time.perf_counter() - began

    def _step(self, start: int, count: int) -> None:
        from edgeq.backends.base import Batch

        self.model.executable.step(self.state, Batch.single(self.ids[start : start + count], start))
        self.filled = max(self.filled, start + count)

    def _fill(self, positions: int) -> None:
        """Keys and values before the timed ones: pages that were never written would be read faster."""
        if self.filled < positions:
            self._timed(self.filled, positions - self.filled)


def prompt(model: Model) -> str:
    """A text of MEMORY_PROMPT tokens or a few less, of words that differ: rows of an embedding differ too."""
    text = " ".join(f"{i * 7919 % 9973:04d}" for i in range(MEMORY_PROMPT))
    while len(model.tokenize(text)) > MEMORY_PROMPT:
        text = text[: len(text) * 99 // 100]
    return text
