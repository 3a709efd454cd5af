"""What mixes lose, made by edgeq and by llama-quantize: the KL divergence from the float model, by llama-perplexity.

    python -m bench.mixes F16.gguf --tools FOLDER --text TEXT --imatrix FILE [--mixes Q4_K_M …] [--chunks 32]

FOLDER holds llama-quantize and llama-perplexity. Both quantizers get the same importance matrix, which should come
from another text. For every mix: whether types and sizes of all tensors are the same, the mean divergences, and a
paired test over chunks of 512 tokens (t below -2: edgeq loses less, above 2: more). `python -m bench.permuted` makes a
float model of a quantized one. Files go to --work, by default the current folder, and are removed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeq import gguf, imatrix
from edgeq.quantize import quantize

MIXES = ("Q2_K", "Q3_K_M", "Q3_K_L", "IQ3_M", "IQ4_XS", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K")
CHUNK = re.compile(r"\s*(\d+)\s+[\d.]+ ±\s+[\d.]+\s+-?[\d.]+ ±\s+[\d.]+\s+(-?[\d.]+) ±")


def per_chunk(log: str) -> NDArray[np.float64]:
    """The divergence of each chunk, [chunks], in nats a token: llama-perplexity prints the mean of those so far."""
    means = np.array([float(found[2]) for line in log.splitlines() if (found := CHUNK.match(line))])
    return np.diff(means * np.arange(1, len(means) + 1), prepend=0.0)


class Compared(NamedTuple):
    """Mean divergences; t of the paired test, below 0 where edgeq's is smaller; chunks where that is so, of all."""

    theirs: float
    ours: float
    t: float
    smaller: int
    chunks: int


def compare(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> Compared:
    """Of divergences [chunks] of the same text. ValueError unless there are as many of both, at least two."""
    if len(theirs) != len(ours) or len(ours) < 2:
        raise ValueError(f"divergences: expected as many of both and at least 2, found {len(theirs)} and {len(ours)}")
    d = ours - theirs
    spread = float(d.std(ddof=1)) / len(d) ** 0.5
    t = float(d.mean()) / spread if spread else 0.0
    return Compared(float(theirs.mean()), float(ours.mean()), t, int((d < 0).sum()), len(d))


def alike(a: str, b: str) -> bool:
    """Whether two files have the same tensors in the same formats."""
    with gguf.open(a) as first, gguf.open(b) as second:
        return {t.name: (t.shape, t.format) for t in first.tensors.values()} == {
            t.name: (t.shape, t.format) for t in second.tensors.values()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="What mixes lose, against llama-quantize")
    parser.add_argument("model")
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--imatrix", required=True)
    parser.add_argument("--mixes", nargs="+", default=MIXES)
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path())
    args = parser.parse_args()
    base, theirs, ours = (str(args.work / f"{Path(args.model).stem}.{end}") for end in ("base", "llama", "edgeq"))
    options = ["-c", "512", "--chunks", str(args.chunks), "-t", str(args.threads), "--kl-divergence-base", base]

    def run(tool: str, *command: str) -> str:
        done = subprocess.run([args.tools / tool, *command], capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(f"{tool} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
        return done.stdout.decode(errors="replace")

    def divergence(file: str) -> NDArray[np.float64]:
        return per_chunk(run("llama-perplexity", *options, "-m", file, "--kl-divergence"))

    matrix = imatrix.load(args.imatrix)
    run("llama-perplexity", *options, "-m", args.model, "-f", args.text)
    print("| mix | alike | llama-quantize | edgeq | t | chunks where edgeq's is smaller |\n|---|---|---|---|---|---|")
    for mix in args.mixes:
        run("llama-quantize", "--imatrix", args.imatrix, args.model, theirs, mix, str(args.threads))
        quantize(args.model, ours, mix, importance=matrix, importance_file=args.imatrix, overwrite=True)
        c = compare(divergence(theirs), divergence(ours))
        same = "yes" if alike(theirs, ours) else "no"
        print(f"| {mix} | {same} | {c.theirs:.5f} | {c.ours:.5f} | {c.t:.1f} | {c.smaller} of {c.chunks} |", flush=True)
    for file in (base, theirs, ours):
        Path(file).unlink()


if __name__ == "__main__":
    main()
