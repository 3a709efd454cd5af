"""From process start to the first byte of an answer, and peak memory: `edgeq run` against llama.cpp's command line.

    python -m bench.start MODEL… --peer LLAMA_COMPLETION [--edgeq edgeq --rounds 11 --threads 2 --context 8192]

Both programs answer the same question through the file's own chat template with greedy sampling, in turn; the pages
of the model are in memory, no tokenizer cache exists. Install edgeq before (`pip install .`): byte code must be there.
Memory is the peak resident set, mapped pages of the model included; the bound is 1.15 of the file, plus keys and
values of the context, plus 120 MB. The exit status is 1 where edgeq is slower or above the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import edgeq
from bench.paired import ratio, row

QUESTION = "Why is the sky blue?"
ALLOWED = 120_000_000


def first_byte(words: Sequence[str]) -> tuple[float, float, int]:
    """Seconds to the first byte of stdout and to the end of the process, peak resident bytes."""
    began = time.perf_counter()
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    if not os.read(process.stdout.fileno(), 1):
        raise SystemExit(f"{words[0]} wrote nothing: {' '.join(words)}")
    first = time.perf_counter() - began
    while os.read(process.stdout.fileno(), 65536):
        pass
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words[0]} failed with {process.returncode}")
    return first, time.perf_counter() - began, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(path: str, given: argparse.Namespace) -> dict[str, Any]:
    """All rounds of one model; one more round before them brings the files into memory."""
    threads, context = str(given.threads), str(given.context)
    ours = [given.edgeq, "run", path, QUESTION, "-n", "8", "--temp", "0", "-t", threads, "-c", context, "-q"]
    theirs = [given.peer, "-m", path, "-p", QUESTION, "-n", "8", "--temp", "0", "-t", threads, "-c", context, "-st",
              "--no-display-prompt", *given.more]  # fmt: skip
    out: dict[str, Any] = {"model": Path(path).name, "first": ([], []), "whole": ([], []), "memory": ([], [])}
    for turn in range(given.rounds + 1):
        pair = first_byte(ours), first_byte(theirs)
        for who, (first, whole, memory) in enumerate(pair) if turn else ():
            out["first"][who].append(first)
            out["whole"][who].append(whole)
            out["memory"][who].append(memory)
    with edgeq.load(path, threads=given.threads, context=given.context) as model:
        out["bound"] = int(1.15 * os.path.getsize(path)) + model.kv_bytes(given.context) + ALLOWED
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--peer", required=True, help="a llama-completion program")
    parser.add_argument("--more", nargs="*", default=[], help="further words for it")
    parser.add_argument("--edgeq", default="edgeq", help="the installed command")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", help="write all figures to this file")
    given = parser.parse_args()
    results, missed = [], False
    for path in given.models:
        found = measure(path, given)
        results.append(found)
        print(f"\n{found['model']}: memory bound {found['bound'] / 1e6:.0f} MB")
        print("| | | edgeq | llama.cpp | ratio |\n|---|---|---|---|---|")
        ours, theirs = ([m / 1e6 for m in side] for side in found["memory"])
        for name, pair in (("first byte", found["first"]), ("whole process, 8 tokens", found["whole"])):
            print(row(name, "s", pair[0], pair[1], digits=3))
        print(row("peak memory", "MB", ours, theirs), flush=True)
        missed |= ratio(*found["first"])[0] > 1.0 or median(found["memory"][0]) > found["bound"]
    if given.json:
        Path(given.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
