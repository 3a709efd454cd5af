"""The protocol of a backend. A backend knows ops and formats; it knows no architecture.

A third party adds one under the entry point group `edgeq.backends`: a name and a class with this protocol.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from edgeq.errors import UsageError
from edgeq.program import CacheSpec, Program
from edgeq.record import Record

if TYPE_CHECKING:
    import numpy as np

    from edgeq.backends.rows import Rows
    from edgeq.ops import Op

KV_TYPES = ("F16", "F32", "Q8_0", "Q4_0")
TILE = 64  # positions per attention tile; rings are a multiple of it, so that no tile wraps


class Options(Record):
    """How to compile. `threads` None: as many as are useful. `chunk`: most tokens of one step."""

    threads: int | None = None
    chunk: int = 512
    isa: str | None = None
    reproducible: bool = False


class WeightSource(Protocol):
    """Where a backend finds weights: GGUF tensors by name, over the mapped file."""

    def __getitem__(self, name: str) -> Any: ...

    def __contains__(self, name: object) -> bool: ...


class Batch(Record):
    """Tokens of one step, in order. All have T entries but `outputs`: the N rows whose result is wanted.

    Tokens of one sequence are consecutive positions, and follow what the state already holds of it."""

    tokens: Sequence[int]
    positions: Sequence[int]
    sequences: Sequence[int]
    outputs: Sequence[int]

    @classmethod
    def single(
        cls, tokens: Sequence[int], start: int, sequence: int = 0, outputs: Sequence[int] | None = None
    ) -> Batch:
        """Consecutive tokens of one sequence from position `start`; by default the last row is wanted."""
        n = len(tokens)
        return cls(tokens, range(start, start + n), [sequence] * n, [n - 1] if outputs is None else outputs)


class Cancel:
    """A flag that any thread may set; a running step sees it within one op. Native code polls the same word."""

    def __init__(self) -> None:
        self.word = bytearray(4)

    def set(self) -> None:
        self.word[0] = 1

    def clear(self) -> None:
        self.word[0] = 0

    def __bool__(self) -> bool:
        return bool(self.word[0])


def ring_size(cache: CacheSpec, context: int, chunk: int) -> int:
    """Positions that a layer's cache has room for: the context, or the window and one chunk, in whole tiles."""
    wanted = context if cache.window == 0 else min(context, cache.window + chunk)
    return -(-wanted // TILE) * TILE


class State(ABC):
    """Keys and values of some sequences, each with room for `context` positions. Belongs to one session."""

    program: Program
    sequences: int
    context: int
    rings: tuple[int, ...]  # positions that each cache of the program has room for

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of keys and values when full."""

    @property
    def layout(self) -> str:
        """What the bytes of a snapshot mean: a backend that lays keys and values out anew gives another name."""
        return type(self).__name__

    @abstractmethod
    def copy(self, source: int, target: int, length: int) -> None:
        """Makes `target` hold the first `length` positions of `source` (as far as its windows still have them)."""

    @abstractmethod
    def snapshot(self, sequence: int, length: int) -> bytes:
        """What the caches hold of the first `length` positions, as bytes for `restore`."""

    @abstractmethod
    def restore(self, sequence: int, data: bytes, length: int) -> None:
        """Puts a snapshot back. Raises UsageError if it was made for another program, type or context."""

    def reusable(self, length: int, wanted: int) -> int:
        """How many of `wanted` leading positions a sequence of `length` can go back to: `wanted`, or 0.

        A sliding-window layer has overwritten what lies far behind; going back further means starting over."""
        if wanted >= length:
            return length
        for cache, ring in zip(self.program.caches, self.rings):
            if cache.window and max(0, wanted - cache.window + 1) < length - ring:
                return 0
        return wanted


class Executable(ABC):
    """A compiled program. Immutable; many threads may step it at once, each with its own state.

    `small_batch`: most tokens of a step, at most the chunk, in which each gets the very bits that it gets in a step of
    its own. Where that is 1, nothing is drafted."""

    program: Program
    small_batch: int = 1

    @abstractmethod
    def new_state(self, sequences: int, context: int, kv_type: str = "F16") -> State:
        """Empty caches. Raises MemoryLimitError when they cannot be had."""

    @abstractmethod
    def step(
        self, state: State, batch: Batch, inputs: Sequence[np.ndarray] = (), cancel: Cancel | None = None
    ) -> Sequence[np.ndarray | Rows]:
        """Runs the batch. `inputs`: float32 [T, width] per program input. Gives float32 [rows, width] per output, as
        arrays; where NumPy is not loaded yet a backend may give `Rows` instead.

        Raises Cancelled (the state then holds the positions before the batch), BackendError, FileChangedError."""

    def close(self) -> None:  # noqa: B027 - not every backend holds something
        """Gives back what the executable holds (threads, device memory). It must not be used afterwards."""


class Backend(Protocol):
    """What a device has to offer. `name` is how users ask for it."""

    name: str

    def supports(self, op: type[Op], formats: frozenset[str]) -> bool:
        """Whether the op runs with weights of these formats. A declined fused op stays a sequence of plain ones."""
        ...

    def compile(self, program: Program, weights: WeightSource, options: Options) -> Executable:
        """Raises BackendError naming the op or format that cannot be run."""
        ...


def check_batch(program: Program, state: State, batch: Batch, chunk: int, vocab: int | None = None) -> None:
    """Raises UsageError unless the batch is one that a step may run; native code relies on it."""
    n = len(batch.tokens)
    if not 0 < n <= chunk:
        raise UsageError(f"batch of {n} tokens: expected 1 to {chunk}")
    if len(batch.positions) != n or len(batch.sequences) != n:
        raise UsageError(f"batch: {n} tokens, {len(batch.positions)} positions, {len(batch.sequences)} sequences")
    if not all(0 <= p < state.context for p in batch.positions):
        raise UsageError(f"batch: positions must lie in 0 to {state.context - 1}, the context of the state")
    if not all(0 <= s < state.sequences for s in batch.sequences):
        raise UsageError(f"batch: sequences must lie in 0 to {state.sequences - 1}")
    if not all(0 <= r < n for r in batch.outputs):
        raise UsageError(f"batch: wanted rows must lie in 0 to {n - 1}")
    if vocab is not None and not all(0 <= t < vocab for t in batch.tokens):
        raise UsageError(f"batch: token ids must lie in 0 to {vocab - 1}")


def program_vocab(program: Program) -> int | None:
    """Rows of the embedding table, or None for a part that has none."""
    from edgeq.ops import Embed

    return next((program.tensors[op.table].shape[0] for op in program.ops if isinstance(op, Embed)), None)
