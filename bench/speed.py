"""Decode and prefill of edgeq against llama.cpp, in turn, in one run.

    python -m bench.speed MODEL… --peer LLAMA_BENCH [--threads 2 --rounds 7 --prompt 512 --generate 64]

A round is: edgeq decodes, edgeq prefills, llama-bench does both; decode starts behind a prompt of 16 tokens, as
llama-bench's begins with an empty cache. Medians, paired ratios with 95 % intervals. The same run measures what the
machine can do (bench/machine.c, compiled with the C compiler at hand): reading as many bytes as the weights have,
and int8 multiply-adds. The column "of limit" is the share of the read bandwidth that decode uses.
The exit status is 1 where edgeq is slower.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import edgeq
from bench.paired import ratio, row
from edgeq.backends.base import Batch


def machine(threads: int, megabytes: int) -> tuple[float, float]:
    """Read bandwidth in GB/s and int8 operations in G/s, with all threads."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "machine")
        source = Path(__file__).with_name("machine.c")
        subprocess.run(["cc", "-O3", "-march=native", "-pthread", str(source), "-o", str(program)], check=True)
        words = subprocess.run([program, str(threads), str(megabytes)], check=True, capture_output=True, text=True)
    read, int8 = map(float, words.stdout.split())
    return read, int8


class Ours:
    """edgeq with its caches, ready to be timed."""

    def __init__(self, path: str, threads: int, prompt: int, generate: int) -> None:
        self.model = edgeq.load(path, threads=threads, context=max(2048, prompt + generate))
        self.ids = [int(i) for i in np.random.default_rng(0).integers(300, self.model.vocab // 2, prompt)]
        self.generate = generate
        self.state = self.model.executable.new_state(1, max(2048, prompt + generate))

    def decode(self) -> float:
        """Tokens a second, one at a time."""
        step = self.model.executable.step
        step(self.state, Batch.single(self.ids[:16], 0))
        began = time.perf_counter()
        for i in range(self.generate):
            step(self.state, Batch.single([self.ids[i % len(self.ids)]], 16 + i))
        return self.generate / (time.perf_counter() - began)

    def prefill(self) -> float:
        """Tokens a second, in steps of the usual size."""
        began, chunk = time.perf_counter(), self.model.options.chunk
        for at in range(0, len(self.ids), chunk):
            self.model.executable.step(self.state, Batch.single(self.ids[at : at + chunk], at))
        return len(self.ids) / (time.perf_counter() - began)


def theirs(program: str, path: str, threads: int, prompt: int, generate: int, more: list[str]) -> tuple[float, float]:
    """Decode and prefill of llama-bench, tokens a second."""
    words = [program, "-m", path, "-t", str(threads), "-p", str(prompt), "-n", str(generate), "-r", "1", "-o", "json"]
    found: list[dict[str, Any]] = json.loads(
        subprocess.run([*words, *more], check=True, capture_output=True, text=True).stdout
    )
    by_kind = {bool(entry["n_gen"]): float(entry["avg_ts"]) for entry in found}
    return by_kind[True], by_kind[False]


def measure(path: str, given: argparse.Namespace) -> dict[str, Any]:
    """All rounds of one model."""
    ours = Ours(path, given.threads, given.prompt, given.generate)
    ours.decode(), ours.prefill()  # both engines' files are in the page cache from here on
    out: dict[str, Any] = {"model": Path(path).name, "decode": ([], []), "prefill": ([], [])}
    for _ in range(given.rounds):
        decode, prefill = ours.decode(), ours.prefill()
        for kind, pair in zip(
            ("decode", "prefill"),
            zip((decode, prefill), theirs(given.peer, path, given.threads, given.prompt, given.generate, given.more)),
        ):
            out[kind][0].append(pair[0])
            out[kind][1].append(pair[1])
    used = sum(ours.model.weights[t.name].nbytes for t in ours.model.plain.tensors if t.values is None)
    embedding = ours.model.weights["token_embd.weight"].nbytes
    tied = "output.weight" not in ours.model.weights
    out["bytes_per_token"] = used if tied else used - embedding
    ours.model.close()
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--peer", required=True, help="a llama-bench program")
    parser.add_argument("--more", nargs="*", default=[], help="further words for it, as --more=-nr 1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--json", help="write all figures to this file")
    given = parser.parse_args()
    results, slower = [], False
    for path in given.models:
        found = measure(path, given)
        read, int8 = machine(given.threads, max(64, found["bytes_per_token"] >> 20))
        found |= {"read_gb_s": read, "int8_gop_s": int8}
        results.append(found)
        share = median(found["decode"][0]) * found["bytes_per_token"] / (read * 1e9)
        print(f"\n{found['model']}: reads {read:.1f} GB/s, int8 {int8:.0f} Gop/s, decode {share:.0%} of the read limit")
        print("| | | edgeq | llama.cpp | ratio |\n|---|---|---|---|---|")
        for kind in ("decode", "prefill"):
            print(row(f"{kind}", "tokens/s", *found[kind]), flush=True)
            slower |= ratio(*found[kind])[0] < 1.0
    if given.json:
        Path(given.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
