"""A `llama-bench` program, of llama.cpp or of a fork of it: one process per slot, timed by the program itself."""

from __future__ import annotations

import json
import subprocess
from statistics import fmean
from typing import Any

from edgeq.bench.cases import Case

REPEATS = 20  # of a small batch


class Engine:
    def load(self, options: dict[str, Any]) -> dict[str, Any]:
        """options: model, threads, program, words (more arguments). The first run shows whether they are right."""
        self.options = options
        return {"engine": "llama-bench"}

    def measure(self, case: Case) -> float:
        words = [self.options["program"], *arguments(case, self.options["model"], self.options["threads"])]
        done = subprocess.run(
            [*words, *self.options["words"]], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {last_line(done.stderr or done.stdout)}")
        return seconds(done.stdout, case)


def arguments(case: Case, model: str, threads: int) -> list[str]:
    words = ["-m", model, "-t", str(threads), "-o", "json", "-r", str(REPEATS if case.kind == "batch" else 1)]
    words += ["-p", "0", "-n", str(case.n)] if case.kind == "tg" else ["-p", str(case.n), "-n", "0"]
    return words + (["-d", str(case.depth)] if case.depth else [])


def seconds(text: str, case: Case) -> float:
    """Of one repetition. Raises ValueError for an output that does not speak of the case."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("[")), None)
    if start is None:
        raise ValueError(f"expected JSON, found {last_line(text)!r}")
    entries: list[dict[str, Any]] = json.loads("\n".join(lines[start:]))
    wanted = (0, case.n) if case.kind == "tg" else (case.n, 0)
    for entry in entries:
        if (entry["n_prompt"], entry["n_gen"]) == wanted and entry.get("n_depth", 0) == case.depth:
            return fmean(entry.get("samples_ns") or [entry["avg_ns"]]) / 1e9
    raise ValueError(f"{case.name} is not in the output")


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"
