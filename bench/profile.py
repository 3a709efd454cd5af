"""Where the time of a step goes, as shares of what the machine can do.

    python -m bench.profile MODEL [--tokens N] [--depth N] [--rounds N] [--threads N] [--isa NAME] [--json FILE]

A step of N tokens at a depth is run over and over, in turn with plain reads of the model's own bytes and with the peak
of int8 products (of bf16 ones where the variant has tiles). Ops of one kind with weights of one format are a line: how
often, time at work and waiting, share of the step, bytes and products of their weights, and both as shares of the
limits. What ops of one row take lies in the waits of those before them. All values are means of the rounds but for the
first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import edgeq
from edgeq import machine
from edgeq.backends.base import Batch
from edgeq.backends.native import NativeExecutable
from edgeq.bench.cases import Case
from edgeq.bench.engines.limits import Engine
from edgeq.program import Program


def lines(model: edgeq.Model, program: Program, tokens: int) -> list[dict[str, Any]]:
    """What each op is, reads and multiplies in a step of `tokens` tokens with one output."""
    out = []
    for op in program.ops:
        weights = [program.tensors[h] for h in op.handles("Weight")]
        tensors = [model.weights[t.name] for t in weights if t.values is None and len(t.shape) == 2]
        if op.word == "embed":
            tensors = []
        rows = 1 if any(program.buffers[h].outputs for h in op.handles("Out")) else tokens
        formats = dict.fromkeys(t.format.name for t in tensors)  # in order
        out.append({
            "op": op.word, "weights": "+".join(formats), "bytes": sum(t.nbytes for t in tensors),
            "products": rows * sum(t.nbytes // t.format.nbytes * t.format.block for t in tensors),
        })  # fmt: skip
    return out


def profile(path: str, tokens: int, depth: int, rounds: int, threads: int, isa: str | None) -> dict[str, Any]:
    """Times in seconds, bytes, products; limits in bytes and operations a second. Raises edgeq's errors."""
    model = edgeq.load(path, backend="native", threads=threads, context=depth + tokens + 1, isa=isa)
    executable = model.executable
    assert isinstance(executable, NativeExecutable)
    limits = Engine()
    limits.load({"model": path, "threads": [threads]})
    state = executable.new_state(1, depth + tokens + 1)
    for at in range(0, depth, executable.chunk):
        executable.step(state, Batch.single(_ids(model, min(executable.chunk, depth - at)), at))
    step = Batch.single(_ids(model, tokens), depth)
    kind = "tiles" if executable.isa == "amx" and tokens > executable.small_batch else "int8"
    steps = 32 if tokens <= executable.small_batch else 1
    reads: list[float] = []
    peaks: list[float] = []
    taken: list[list[tuple[int, int]]] = []
    watch = executable.watch()
    for _ in range(rounds + 1):
        reads.append(limits.measure(Case("read", threads)))
        peaks.append(limits.measure(Case(kind, threads, isa=executable.isa)))
        before = watch()
        for _ in range(steps):
            executable.step(state, step)
        taken.append([(a - c, b - d) for (a, b), (c, d) in zip(watch(), before)])
    found = lines(model, executable.program, tokens)
    for i, line in enumerate(found):
        for name, part in (("work", 0), ("wait", 1)):
            line[name] = sum(t[i][part] for t in taken[1:]) / (rounds * steps * 1e9)
    return {
        "model": Path(path).name, "isa": executable.isa, "threads": threads, "tokens": tokens, "depth": depth,
        "read": sum(reads[1:]) / rounds, "peak": sum(peaks[1:]) / rounds, "unit": kind, "ops": found,
    }  # fmt: skip


def _ids(model: edgeq.Model, n: int) -> list[int]:
    return [(300 + 7919 * i) % model.vocab for i in range(n)]


def merged(ops: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ops of one kind and format together, those that take the most first."""
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for line in ops:
        whole = out.setdefault((line["op"], line["weights"]), {"op": line["op"], "weights": line["weights"], "n": 0})
        whole["n"] += 1
        for name in ("bytes", "products", "work", "wait"):
            whole[name] = whole.get(name, 0) + line[name]
    return sorted(out.values(), key=lambda line: -line["work"] - line["wait"])


def table(result: dict[str, Any]) -> str:
    """The result as text."""
    ops = merged(result["ops"])
    whole = sum(line["work"] + line["wait"] for line in ops)
    out = [
        f"{result['model']}, {result['isa']}, {result['threads']} threads: "
        f"{result['tokens']} tokens at {result['depth']}, {1e3 * whole:.3f} ms",
        f"limits: {result['read'] / 1e9:.1f} GB/s, {result['peak'] / 1e9:.0f} Gop/s ({result['unit']})",
        f"{'op':12} {'weights':14} {'n':>4} {'work ms':>9} {'wait ms':>9} {'of step':>8} "
        f"{'GB/s':>7} {'of limit':>9} {'Gop/s':>7} {'of peak':>8}",
    ]
    matrices = [line for line in ops if line["products"]]
    total = {name: sum(line[name] for line in matrices) for name in ("n", "bytes", "products", "work", "wait")}
    for line in [*ops, {"op": "all", "weights": "", **total}]:
        took, share = line["work"] or 1e-12, (line["work"] + line["wait"]) / whole
        text = (
            f"{line['op']:12} {line['weights'][:14]:14} {line['n']:4} "
            f"{1e3 * line['work']:9.3f} {1e3 * line['wait']:9.3f} {share:8.1%}"
        )
        if line["products"]:
            rate, speed = line["bytes"] / took, 2 * line["products"] / took
            text += f" {rate / 1e9:7.1f} {rate / result['read']:9.0%} {speed / 1e9:7.0f} {speed / result['peak']:8.0%}"
        out.append(text)
    return "\n".join(out)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Where the time of a step goes.")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--tokens", type=int, default=1, help="of a step")
    parser.add_argument("--depth", type=int, default=64, help="positions before it")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--isa", help="a variant, as in EDGEQ_ISA")
    parser.add_argument("--json", type=Path, help="write the result here")
    args = parser.parse_args(words)
    threads = args.threads or machine.threads_to_use()
    result = profile(args.model, args.tokens, args.depth, args.rounds, threads, args.isa)
    print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
