"""Checks that a model answers with the same bits, whatever its work is cut into. Owns no model and no test.

Every check gives the number of rows of logits that it compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgeq
from edgeq.backends.base import Batch
from edgeq.model import Model
from edgeq.session import Session

ROOT = Path(__file__).resolve().parents[1]
SMALL = range(2, 17)  # sizes of a batch that must be summed like one token
CHUNKS = (1, 7, 16, 17, 64, 512)
# Positions on both sides of attention's tiles of 64 and of its segments of 1024.
NEAR = (1, 17, 63, 64, 65, 130)
FAR = (1, 17, 63, 64, 65, 500, 960, 1022, 1023, 1024, 1025)


@dataclass(frozen=True)
class Subject:
    """A model file on a backend, a variant of its kernels, and a type of keys and values."""

    path: str
    backend: str = "native"
    isa: str | None = None
    kv_type: str = "F16"
    context: int = 1152

    def load(self, **settings: Any) -> Model:
        given = {**asdict(self), "threads": 1, **settings}
        return edgeq.load(given.pop("path"), **given)

    def __str__(self) -> str:
        return f"{Path(self.path).stem}-{self.isa or self.backend}-{self.kv_type}"


def ids(model: Model, n: int, seed: int = 0) -> list[int]:
    return list(map(int, np.random.default_rng(seed).integers(0, model.vocab, n)))


def same(found: np.ndarray, wanted: np.ndarray, what: str) -> int:
    """Rows that were compared. AssertionError unless all bits are equal and all numbers finite."""
    assert found.shape == wanted.shape, what
    assert np.isfinite(wanted).all(), what
    if found.tobytes() != wanted.tobytes():
        off = np.abs(found.astype(np.float64) - wanted)
        at = np.argwhere(found.view(np.uint32) != wanted.view(np.uint32))
        raise AssertionError(
            f"{what}: {len(at)} of {off.size} logits differ, first {at[0]}, by up to {off.max():.3g}"
        )
    return 1 if found.ndim == 1 else len(found)


def cut(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def pieces(session: Session, tokens: Sequence[int], size: int, sequence: int = 0) -> np.ndarray:
    """Logits [T, V] of tokens that are run `size` at a time."""
    return np.concatenate([session.extend(part, sequence, all_logits=True) for part in cut(tokens, size)])


# From run to run, and for any number of threads


def story(subject: Subject, threads: int, prompt: int = 70) -> tuple[str, int]:
    """SHA-256 of the logits of a prompt, single tokens, batches of tokens and of sequences; and how many rows."""
    found: list[np.ndarray] = []
    with subject.load(threads=threads) as model:
        text, session = ids(model, prompt + 21), model.session(3)
        found.extend(session.extend(text[:prompt], all_logits=True))
        found.extend(pieces(session, text[prompt : prompt + 3], 1))
        found.extend(pieces(session, text[prompt + 3 : prompt + 21], 15))
        session.fork(0, 1)
        session.extend(text[:3], 2)
        found.extend(session.decode({2: 5, 0: 6, 1: 7}).values())
    return hashlib.sha256(b"".join(row.tobytes() for row in found)).hexdigest(), len(found)


def stories_of_a_fresh_process(subjects: Sequence[Subject], threads: int, prompt: int = 70) -> list[str]:
    """`story` of every subject, told by a process of its own."""
    asked = json.dumps([[asdict(s) for s in subjects], threads, prompt])
    done = subprocess.run([sys.executable, "-m", "tests.determinism"], input=asked, capture_output=True, text=True,
                          timeout=300, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": str(threads)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def threads_change_nothing(subject: Subject, prompt: int = 70) -> int:
    told = {threads: story(subject, threads, prompt) for threads in (1, 2, 4)}
    assert len(set(told.values())) == 1, told
    return 2 * told[1][1]


# One token and small batches


def small_batches(model: Model, start: int, n: int, sizes: Sequence[int] = SMALL) -> int:
    """`n` tokens from position `start`, singly and in batches."""
    text, session, rows = ids(model, start + n), model.session(2), 0
    if start:
        session.extend(text[:start], 0)
        session.fork(0, 1)
    wanted = pieces(session, text[start:], 1, 1)
    for size in sizes:
        session.fork(0, 1)
        if not start:
            session.rewind(0, 1)
        found = pieces(session, text[start:], size, 1)
        rows += same(found, wanted, f"{n} tokens from position {start} in batches of {size}")
    return rows


def held_at(model: Model, positions: Sequence[int], copies: int = 2) -> Session:
    """A session whose sequences hold the first tokens of one text: `copies` of each of `positions`, which rise."""
    count = len(positions)
    text, session = ids(model, max(positions), 3), model.session(copies * count + 1)
    last = copies * count
    for i, (before, position) in enumerate(zip([0, *positions], positions)):
        session.extend(text[before:position], last)
        for copy in range(copies):
            session.fork(last, copy * count + i)
    return session


def sequences_together(model: Model, positions: Sequence[int], steps: int = 3) -> int:
    """A step of several sequences, at all those positions, and each alone."""
    session, count, rows = held_at(model, positions), len(positions), 0
    for step in range(steps):
        text = ids(model, count, 50 + step)
        together = session.decode({s: text[s] for s in reversed(range(count))})
        for s in range(count):
            alone = session.extend([text[s]], count + s)
            rows += same(together[s], alone, f"sequence {s} of {count} at position {positions[s] + step}")
    return rows


def mixed_batch(model: Model, sizes: Sequence[int], before: int = 60) -> int:
    """One step with runs of tokens of several sequences, and each run alone."""
    state = model.executable.new_state(2 * len(sizes), model.context, model.kv_type)
    alone: list[np.ndarray] = []
    tokens: list[int] = []
    positions: list[int] = []
    sequences: list[int] = []
    for s, size in enumerate(sizes):
        text, at = ids(model, before + size, 70 + s), before - 7 * s
        for sequence in (s, len(sizes) + s):
            for i, part in enumerate(cut(text[:at], 16)):
                model.executable.step(state, Batch.single(part, 16 * i, sequence))
        part = text[at : at + size]
        alone += model.executable.step(state, Batch.single(part, at, len(sizes) + s, range(size)))
        tokens += part
        positions += range(at, at + size)
        sequences += [s] * size
    found = model.executable.step(state, Batch(tokens, positions, sequences, range(len(tokens))))[0]
    return same(found, np.concatenate(alone), f"a batch of sequences with {list(sizes)} tokens")


# reproducible=True


def chunks_change_nothing(subject: Subject, n: int, every: bool = True, sizes: Sequence[int] = CHUNKS) -> int:
    """A prompt in chunks of each size, and three tokens after it. `every`: compare after each position."""
    wanted: np.ndarray | None = None
    rows = 0
    for size in sorted(sizes, reverse=True):
        with subject.load(chunk=size, reproducible=True) as model:
            session, text = model.session(), ids(model, n, 1)
            found = session.extend(text, all_logits=True) if every else session.extend(text)[None]
            found = np.concatenate([found, pieces(session, text[:3], 1)])
            if wanted is None:
                wanted = found
                session.rewind(0)
                parts = [text[: n // 3], text[n // 3 : n // 3 + 1], text[n // 3 + 1 :]]
                odd = [session.extend(part, all_logits=every) for part in parts]
                odd = odd if every else [odd[-1][None]]
                rows += same(
                    np.concatenate([*odd, pieces(session, text[:3], 1)]), wanted, "a prompt in three parts"
                )
            else:
                rows += same(found, wanted, f"a prompt of {n} in chunks of {size}")
    return rows


def cache_hits_change_nothing(model: Model, n: int, folder: Path, back: Sequence[int] = ()) -> int:
    """Prefix reuse, rewind, fork, a saved session; `back`: rewinds, the last ones past what a window still has."""

    def fresh(tokens: Sequence[int]) -> np.ndarray:
        return model.session().extend(tokens)

    text, other, rows = ids(model, n, 5), ids(model, n, 6), 0
    session = model.session(3)
    session.sync(text)
    half = [*text[: n - 30], *other[:40]]
    logits, kept = session.sync(half)
    assert kept == n - 30
    rows += same(logits, fresh(half), "a prompt that shares a prefix")
    session.fork(0, 1)
    session.extend(other[:9], 2)
    rows += same(session.extend([7, 8], 1), fresh([*half, 7, 8]), "a fork")
    assert session.rewind(len(half) - 13) == len(half) - 13
    again = [*half[:-13], *other[60:80]]
    rows += same(session.extend(other[60:80]), fresh(again), "a rewind")
    session.save(folder / "session")
    loaded = model.session(3)
    loaded.load(folder / "session")
    rows += same(loaded.extend([3, 4]), fresh([*again, 3, 4]), "a saved session")
    rows += same(
        loaded.extend([3, 4], 1), fresh([*half, 7, 8, 3, 4]), "the second sequence of a saved session"
    )
    for length in back:
        session.sync(text)
        wanted = [*text[:length], *other[:20]]
        logits, kept = session.sync(wanted)
        rows += same(logits, fresh(wanted), f"back to {length} of {n}, {kept} reused")
    return rows


# Without it: rounding only


@dataclass(frozen=True)
class Difference:
    """Between two arrays of logits [T, V]: the largest and the RMS difference as shares of the spread of the logits,
    the largest KL divergence of a row, rows whose highest logit is another, and the widest gap between the two
    highest there, in RMS differences of that row."""

    rows: int
    most: float
    rms: float
    divergence: float
    parted: int
    gap: float

    @classmethod
    def between(cls, found: np.ndarray, wanted: np.ndarray) -> Difference:
        a, b = found.astype(np.float64), wanted.astype(np.float64)
        spread, off = float(b.std(axis=1).mean()), a - b
        rms = np.sqrt(np.mean(off**2, axis=1))
        p, q = (x - x.max(axis=1, keepdims=True) for x in (b, a))
        p, q = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (p, q))
        parted = np.flatnonzero(a.argmax(axis=1) != b.argmax(axis=1))
        gaps = [float(np.ptp(np.sort(b[r])[-2:]) / rms[r]) for r in parted]
        return cls(len(a), float(np.abs(off).max()) / spread, float(np.sqrt(np.mean(rms**2))) / spread,
                   float((np.exp(p) * (p - q)).sum(axis=1).max()), len(parted), max(gaps, default=0.0))  # fmt: skip


def prompts_differ(subject: Subject, n: int, sizes: tuple[int, int] = (64, 16)) -> Difference:
    """A prompt in chunks of one size and the other."""
    found = []
    for size in sizes:
        with subject.load(chunk=size) as model:
            found.append(pieces(model.session(), ids(model, n, 2), size))
    return Difference.between(*found)


def neighbours_differ(model: Model, count: int) -> Difference:
    """A step of more sequences than a small batch has, and each alone."""
    session = held_at(model, range(1, count + 1))
    together = session.decode({s: s for s in range(count)})
    alone = [session.extend([s], count + s) for s in range(count)]
    return Difference.between(np.stack([together[s] for s in range(count)]), np.stack(alone))


def cache_hits_differ(model: Model, n: int) -> Difference:
    """Prompts of which more and more is held already, and fresh ones."""
    session, text, found = model.session(), ids(model, n, 4), []
    for length in (n // 3, n // 2, n - 1, n):
        session.sync(text[: length - 8])
        found.append((session.sync(text[:length])[0], model.session().extend(text[:length])))
    return Difference.between(*map(np.stack, zip(*found)))


def greedy(session: Session, prompt: Sequence[int], n: int) -> np.ndarray:
    """Logits [n, V] of a greedy continuation; its ids are their highest."""
    rows = [session.sync(prompt)[0]]
    while len(rows) < n:
        rows.append(session.extend([int(rows[-1].argmax())]))
    return np.stack(rows)


def greedy_texts(subject: Subject, prompts: Sequence[Sequence[int]], n: int) -> list[Difference]:
    """Greedy continuations of prompts run in chunks of 512 and of 16, each up to where the two texts part."""
    out = []
    with subject.load() as one, subject.load(chunk=16) as other:
        for prompt in prompts:
            found, wanted = (greedy(model.session(), prompt, n) for model in (one, other))
            differ = found.argmax(axis=1) != wanted.argmax(axis=1)
            end = int(differ.argmax()) + 1 if differ.any() else n
            out.append(Difference.between(found[:end], wanted[:end]))
    return out


if __name__ == "__main__":
    asked, count, length = json.load(sys.stdin)
    print(json.dumps([story(Subject(**fields), count, length)[0] for fields in asked]))
