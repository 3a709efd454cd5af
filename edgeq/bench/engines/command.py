"""Command lines, each run in a new process: seconds to the first byte of stdout, and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

from edgeq.bench.cases import Case
from edgeq.bench.engines.llama_bench import last_line

CONTEXT = 1024  # of both sides
EDGEQ = "import sys; sys.path.insert(0, sys.argv.pop(1)); from edgeq.cli import main; sys.exit(main())"


class Ran(NamedTuple):
    first: float  # seconds from the start to the first byte of stdout
    peak: int | None  # bytes; None where the system does not tell


class Engine:
    def load(self, options: dict[str, Any]) -> dict[str, Any]:
        """options: `first` and `memory`, two command lines."""
        self.lines = {"first": options["first"], "memory": options["memory"]}
        return {"engine": "command line"}

    def measure(self, case: Case) -> float:
        ran = run(self.lines[case.kind])
        if case.kind == "first":
            return ran.first
        if ran.peak is None:
            raise RuntimeError("this system does not tell the peak memory of a process")
        return float(ran.peak)


def run(words: list[str]) -> Ran:
    """Runs a program to its end. Raises RuntimeError where it fails or writes nothing."""
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        assert process.stdout is not None
        some = os.read(process.stdout.fileno(), 1)
        first = time.perf_counter() - began
        while os.read(process.stdout.fileno(), 1 << 16):
            pass
        process.stdout.close()
        peak = ended(process)
        said.seek(0)
        message = last_line(said.read().decode("utf-8", "replace"))
    if process.returncode or not some:
        code = f"exit code {process.returncode}" if process.returncode else "nothing written to stdout"
        raise RuntimeError(f"{os.path.basename(words[0])}: {code}: {message}")
    return Ran(first, peak)


def ended(process: subprocess.Popen[bytes]) -> int | None:
    """Waits; the most bytes that the process had in memory. This process is small: what it had counts at exec."""
    if not hasattr(os, "wait4"):
        process.wait()
        return None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)


def ours(home: str, model: str, variant: dict[str, Any], short: str, long: str) -> dict[str, list[str]]:
    """Command lines of `edgeq run` from the package below `home`, as its script is.

    `short` is the prompt of `first`, `long` a file with that of `memory`."""
    words = [sys.executable, "-c", EDGEQ, home, "run", model, "--raw", "--temp", "0", "-n", "4", "-q"]
    words += ["--ignore-end", "-c", str(CONTEXT)]
    for option in ("threads", "backend", "isa", "kv"):
        words += [f"--{option}", str(variant[option])] if variant.get(option) else []
    return {"first": [*words, short], "memory": [*words, "-f", long]}


def llama(program: str, model: str, threads: int, more: list[str], short: str, long: str) -> dict[str, list[str]]:
    """The same of `llama-completion`, or of an older `llama-cli`."""
    words = [program, "-m", model, "-t", str(threads), "-c", str(CONTEXT), "-n", "4", "--temp", "0", "--ignore-eos",
             "-no-cnv", "--no-display-prompt", *more]  # fmt: skip
    return {"first": [*words, "-p", short], "memory": [*words, "-f", long]}
