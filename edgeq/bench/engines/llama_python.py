"""llama-cpp-python, through its documented low-level calls: `Llama.eval`, `reset` and `n_tokens`."""

from __future__ import annotations

import random
import time
from typing import Any

from edgeq.bench.cases import SMALL_CONTEXT, Case

NAME = "llama-cpp-python"
ENOUGH, LEAST = 0.25, 5  # seconds and steps of a small batch


class Engine:
    def load(self, options: dict[str, Any]) -> dict[str, Any]:
        """options: model, threads, positions. Raises ImportError where the package is not installed."""
        try:
            import llama_cpp
        except ImportError as error:
            raise ImportError(f"{error}; install it, or name a Python that has it: --peer {NAME}=PYTHON") from None

        threads, positions = options["threads"], options["positions"]
        self.llm = llama_cpp.Llama(
            model_path=options["model"], n_ctx=positions, n_batch=2048, n_ubatch=512, n_threads=threads,
            n_threads_batch=threads, verbose=False,
        )  # fmt: skip
        chosen, vocab = random.Random(0), self.llm.n_vocab()
        self.ids = [chosen.randrange(vocab) for _ in range(positions)]
        return {"engine": f"llama-cpp-python {getattr(llama_cpp, '__version__', '?')}"}

    def measure(self, case: Case) -> float:
        if case.kind == "pp":
            return self._timed(0, case.n)
        start = case.depth if case.kind == "tg" else SMALL_CONTEXT
        self._fill(start)
        if case.kind == "tg":
            return sum(self._timed(start + i, 1) for i in range(case.n))
        self._timed(start, case.n)
        spent: list[float] = []
        while sum(spent) < ENOUGH or len(spent) < LEAST:
            spent.append(self._timed(start, case.n))
        return sum(spent) / len(spent)

    def _timed(self, start: int, count: int) -> float:
        self.llm.n_tokens = start  # the next eval drops what lies behind
        began = time.perf_counter()
        self.llm.eval(self.ids[start : start + count])
        return time.perf_counter() - began

    def _fill(self, positions: int) -> None:
        if self.llm.n_tokens < positions:
            self.llm.eval(self.ids[self.llm.n_tokens : positions])
        self.llm.n_tokens = positions
