"""Damages tiny models and runs them, each in a child process with limits: an EdgeqError, or it runs.

    python tests/fuzz_load.py FOLDER SECONDS [SEED]

A case is to stay within 10 seconds and 512 MB, end with exit code 0 and raise nothing foreign. Files that do
otherwise stay in FOLDER. Prints counts at the end; exit code 1 if there were findings.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import edgeq
from edgeq import gguf
from edgeq.errors import EdgeqError, GGUFError, ModelError
from edgeq.gguf import Value, checks
from edgeq.quants import FORMATS
from models.tiny import tiny_model

MODELS = ("llama3", "llama-spm", "llama-longrope-long", "qwen2-yarn", "qwen3", "gemma3", "gemma3-linear")
SECONDS, GROWTH = 10, 512 << 20
NUMBERS = (0, 1, 2, 3, 7, 31, 32, 33, 64, 96, 127, 128, 255, 256, 257, 4096, 65535, 65536, 2**20, 2**30, 2**31 - 1,
           2**31, 2**32 - 1)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 0.5, 1e6, 3.4e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "llama", "gemma3", "qwen2", "none", "yarn", "linear", "longrope", "gpt2", "bert", "t5", "default",
         "\x1b[2J\u202e", "a" * 5000, "\0")  # fmt: skip
ABSENT = [(f"rope.scaling.{key}", "f32") for key in ("factor", "attn_factor", "yarn_log_multiplier", "yarn_ext_factor",
          "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")]  # fmt: skip
ABSENT += [(key, "u32") for key in ("rope.scaling.original_context_length", "rope.dimension_count", "expert_count",
           "attention.sliding_window", "attention.key_length", "attention.value_length", "vocab_size")]  # fmt: skip
ABSENT += [("attn_logit_softcapping", "f32"), ("final_logit_softcapping", "f32"), ("attention.scale", "f32")]
PATTERNS = (b"\0", b"\xff", b"\0\x7c", b"\0\0\x80\x7f", b"\0\x7e", b"\0\0\xc0\x7f")  # zeros, infinities, NaN


def other_value(rng: random.Random, value: Value) -> Value:
    """Another value, mostly of the same type."""
    kind, was = value.type, value.value
    if kind.startswith("array"):
        items = list(was)
        for _ in range(rng.choice((0, 1, 1, 3, 50))):
            if items:
                at = rng.randrange(len(items))
                item = other_value(rng, Value(kind[6:-1], items[at])).value
                items[at] = rng.choice(items) if rng.random() < 0.5 else item
        if rng.random() < 0.2:
            items = items[: rng.randrange(len(items) + 1)] + items[:3]
        return Value(kind, items)
    if rng.random() < 0.1:
        kind = rng.choice(("u32", "i32", "f32", "bool", "string", "u64"))
    if kind == "string":
        kept = was if isinstance(was, str) and rng.random() < 0.3 else ""
        return Value(kind, kept + rng.choice(TEXTS))
    if kind == "bool":
        return Value(kind, rng.random() < 0.5)
    if kind.startswith("f"):
        return Value(kind, rng.choice(FLOATS))
    bits = int(kind[1:])
    number = rng.choice(NUMBERS) % (1 << bits)
    return Value(kind, number if kind[0] == "u" else number - (1 << bits - 1))


def prefix(metadata: dict[str, Any]) -> str:
    """Of the keys of this model's architecture, as long as one of them is left to tell."""
    return next((name for name in metadata if name.endswith(".block_count")), "llama.block_count").split(".")[0]


def damage_metadata(rng: random.Random, metadata: dict[str, Any]) -> None:
    """Another value of a key, a key less, or one that the model came without."""
    names = list(metadata)
    if rng.random() < 0.2:
        key, kind = rng.choice(ABSENT)
        metadata[f"{prefix(metadata)}.{key}"] = other_value(rng, Value(kind, 0))
        return
    name = rng.choice([n for n in names if not n.startswith("tokenizer")] if rng.random() < 0.6 else names)
    if rng.random() < 0.15:
        del metadata[name]
    else:
        metadata[name] = other_value(rng, metadata[name])


def damage_tensor(rng: random.Random, rows: list[Any]) -> None:
    at = rng.randrange(len(rows))
    name, shape, fmt, data = rows[at]
    kind = rng.randrange(8)
    if kind == 0:
        del rows[at]
    elif kind == 1:
        other = rng.randrange(len(rows))
        rows[at], rows[other] = (rows[other][0], *rows[at][1:]), (name, *rows[other][1:])
    elif kind == 2:
        fmt = rng.choice([f for f in FORMATS.values() if shape[-1] % f.block == 0]).name
        size = int(np.prod(shape[:-1], dtype=int)) * FORMATS[fmt].row_bytes(shape[-1])
        rows[at] = (name, shape, fmt, rng.randbytes(size))
    elif kind == 3 and len(shape) == 2:
        n = rng.choice((1, 2, shape[0] // 2 or 1, shape[0] * 2))
        rows[at] = (name, (n, shape[1]), fmt, rng.randbytes(n * FORMATS[fmt].row_bytes(shape[1])))
    elif kind == 4:
        rows[at] = (name, shape, fmt, (rng.choice(PATTERNS) * len(data))[: len(data)])
    else:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 10, 1000))):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        rows[at] = (name, shape, fmt, bytes(changed))


def damage_bytes(rng: random.Random, data: bytearray) -> None:
    """The container itself: mostly its header."""
    for _ in range(rng.choice((1, 2, 8))):
        at = rng.randrange(len(data) if rng.random() < 0.2 else min(len(data), 20000))
        kind = rng.randrange(5)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + 8] = struct.pack("<Q", rng.choice((*NUMBERS, 2**62, 2**63, 2**64 - 1)))
        elif kind == 2:
            del data[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 40))
        elif rng.random() < 0.3:
            del data[at:]
        data.extend(bytes(max(0, 64 - len(data))))


def make(rng: random.Random, sources: list[tuple[Path, dict[str, Any], list[Any]]], path: Path) -> None:
    source, metadata, rows = rng.choice(sources)
    if rng.random() < 0.3:
        data = bytearray(source.read_bytes())
        damage_bytes(rng, data)
        path.write_bytes(data)
        return
    metadata, rows = dict(metadata), list(rows)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.5:
            damage_metadata(rng, metadata)
        elif rows:
            damage_tensor(rng, rows)
    gguf.write(path, metadata, rows)


def use(path: Path, seed: int) -> None:
    """All that a person would do with the file: verify it, load it, tokenize, a prompt of 20, some tokens."""
    rng = random.Random(seed)
    list(checks.verify(path))
    kv = rng.choice(("F16", "F16", "F32", "Q8_0", "Q4_0"))
    with edgeq.load(path, backend="native", threads=1, context=rng.choice((None, 64, 700)), kv_type=kv) as model:
        model.logits([rng.randrange(model.vocab) for _ in range(rng.choice((1, 3, 20)))])
        ids = model.tokenize("Hello, wörld 123 \U0001f600")
        model.detokenize(ids)
        list(model.generate("The sky", max_tokens=3, temperature=rng.choice((0.0, 1.0)), seed=1))


def child(path: Path, seed: int, pipe: int) -> None:
    """Runs one case and says how it ended; never returns."""
    text = "ran"
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        use(path, seed)
    except EdgeqError as e:
        shown = str(e)
        fit = shown.isprintable() and 0 < len(shown) < 1000
        text = f"{type(e).__name__}: {shown}" if fit else f"UNFIT MESSAGE {shown!r}"
    except BaseException as e:
        import traceback

        text = f"FOREIGN {type(e).__name__}: {e}\n{traceback.format_exc()}"
    growth = resident("VmHWM") - before
    os.write(pipe, f"{growth} {text}".encode(errors="backslashreplace")[:60000])
    os._exit(0)


def resident(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(field + ":"))


def attempt(path: Path, seed: int) -> tuple[str, int, float]:
    """What the child said, its growth in bytes, its seconds."""
    reader, writer = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        child(path, seed, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        growth, _, text = said.read().decode().partition(" ")
    status = os.waitpid(pid, 0)[1]
    if status or not growth:
        return f"DIED: exit code {os.waitstatus_to_exitcode(status)}", 0, time.monotonic() - started
    return text, int(growth), time.monotonic() - started


def main() -> int:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for name in MODELS:
        with gguf.open(tiny_model(name, folder)) as g:
            rows = [(t.name, t.shape, t.format.name, t.data.tobytes()) for t in g.tensors.values()]
            sources.append((folder / f"{name}.gguf", dict(g.metadata.typed()), rows))
    path, ends, findings = folder / "case.gguf", collections.Counter[str](), 0
    slowest, largest, case, started = 0.0, 0, 0, time.monotonic()
    while time.monotonic() - started < seconds:
        case += 1
        rng = random.Random(seed * 1_000_003 + case)
        path.unlink(missing_ok=True)
        try:
            make(rng, sources, path)
        except (GGUFError, ModelError, edgeq.errors.UsageError):
            ends["not writable"] += 1
            continue
        text, growth, took = attempt(path, case)
        ends[text.split(":")[0].split(" ")[0]] += 1
        slowest, largest = max(slowest, took), max(largest, growth)
        if text.startswith(("FOREIGN", "DIED", "UNFIT")) or growth > GROWTH or took > SECONDS:
            findings += 1
            path.replace(folder / f"finding-{seed}-{case}.gguf")
            print(f"case {case}: {took:.1f} s, {growth >> 20} MB: {text}", flush=True)
    print(f"{case} cases in {time.monotonic() - started:.0f} s: {dict(ends)}; slowest {slowest:.2f} s, "
          f"largest growth {largest >> 20} MB; {findings} findings")  # fmt: skip
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
