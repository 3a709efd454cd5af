"""Collects an importance matrix with edgeq's own runtime: the model's program, tapped where linears read.

Text is cut as llama-imatrix cuts it (October 2026): tokens of all of it with what the file puts in front, in chunks of
one size, the rest left out; BOS replaces the first token of each chunk where the vocabulary wants one. A chunk is a
sequence of its own, and all of its positions count.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from edgeq.backends.base import Batch, Cancel
from edgeq.errors import BackendError, ModelError, UsageError, shown
from edgeq.imatrix.matrix import CHUNK_SIZE, Entry, ImportanceMatrix
from edgeq.ops import Moments
from edgeq.passes.fuse import fuse
from edgeq.passes.tap import tap

if TYPE_CHECKING:
    import numpy as np

    from edgeq.model import Model

HEAD = ("output.weight", "token_embd.weight")  # of the logits; the second where the file has no first
Text = str | bytes


class Collector:
    """Sums up the inputs of a model's weights, chunk by chunk. Close it, or use it as a context manager.

    The weights of layers alone are watched, as in llama.cpp, and with `output_weight` that of the logits.
    Its memory does not grow: two float64 for each input column."""

    def __init__(self, model: Model, chunk_size: int = CHUNK_SIZE, *, output_weight: bool = False) -> None:
        import numpy as np

        if not 0 < chunk_size <= model.context:
            raise UsageError(f"chunks of {chunk_size} tokens: expected 1 to {model.context}, the context of the model")
        own = model.file.tensors  # an adapter's matrices are read too, but nobody quantizes them
        program, self._output_of = tap(
            model.plain, lambda name: name in own and (name.startswith("blk.") or (output_weight and name in HEAD))
        )
        if not self._output_of:
            raise ModelError(f"{model!r}: no linear reads a weight named blk.*; there is nothing to collect")
        formats = model.weights.formats(program)
        if not model.backend.supports(Moments, formats):
            raise BackendError(f"backend {model.backend.name} cannot collect an importance matrix; use native")
        fused = fuse(program, lambda op: model.backend.supports(op, formats))
        self.model, self.chunk_size, self.chunks = model, chunk_size, 0
        self._executable = model.backend.compile(fused, model.weights, model.options)
        self._state = self._executable.new_state(1, chunk_size, model.kv_type)
        widths = [program.buffers[h].width for h in program.outputs]
        self._sums: list[np.ndarray] = [np.zeros(w) for w in widths]  # of x, then of x²
        self._names = {i: name for name, i in self._output_of.items()}

    def add(self, tokens: Sequence[int], *, cancel: Cancel | None = None) -> None:
        """Runs one chunk of exactly `chunk_size` tokens from position 0, and adds what was read.

        Raises UsageError for other lengths, ModelError where an input is not finite, Cancelled; then nothing of the
        chunk is added."""
        import numpy as np

        if len(tokens) != self.chunk_size:
            raise UsageError(f"a chunk of {len(tokens)} tokens: expected {self.chunk_size}")
        chunk = [np.zeros_like(s) for s in self._sums]
        for at in range(0, self.chunk_size, self.model.options.chunk):
            part = tokens[at : at + self.model.options.chunk]
            batch = Batch.single(part, at, outputs=range(len(part)))
            for total, found in zip(chunk, self._executable.step(self._state, batch, cancel=cancel)):
                total += np.asarray(found)[0]
        for i, total in enumerate(chunk):
            if not np.isfinite(total).all():
                raise ModelError(
                    f"{self._names[i]}: an input is not finite, or too large to be summed, in chunk {self.chunks + 1}; "
                    "`edgeq gguf verify` tells whether the file is damaged"
                )
        for kept, total in zip(self._sums, chunk):
            kept += total
        self.chunks += 1

    def matrix(self, datasets: Sequence[str] = ()) -> ImportanceMatrix:
        """What was added so far."""
        entries, tokens = {}, [self.chunks * self.chunk_size]
        for name, i in self._output_of.items():
            signed, squares = self._sums[i].reshape(2, -1)
            entries[name] = Entry(squares, tokens, signed)
        return ImportanceMatrix(entries, datasets, self.chunks, self.chunk_size)

    def close(self) -> None:
        """Gives back what the runtime holds; the model stays open."""
        self._executable.close()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def collect(
    model: Model, text: Text | Sequence[int] | Iterable[Text], chunk_size: int = CHUNK_SIZE, *,
    chunks: int | None = None, from_chunk: int = 0, output_weight: bool = False, parse_special: bool = False,
    datasets: Sequence[str] = (), after: Callable[[Collector, int, int], object] | None = None,
    cancel: Cancel | None = None,
) -> ImportanceMatrix:  # fmt: skip
    """The importance matrix of a model over a text, several texts, or token ids.

    chunks, from_chunk  at most so many chunks, after leaving out so many
    output_weight       also for the weight of the logits
    parse_special       text that spells a special token becomes that token
    datasets            names of the texts, kept in the file
    after               called after each chunk with the collector, the chunks done and those to do

    Raises UsageError for less than one chunk of tokens, ModelError, BackendError, Cancelled."""
    tokens = tokenize(model, text, parse_special)
    done = chunks_of(model, tokens, chunk_size, chunks, from_chunk)
    with Collector(model, chunk_size, output_weight=output_weight) as collector:
        for i in done:
            collector.add(_chunk(model, tokens, i, chunk_size), cancel=cancel)
            if after is not None:
                after(collector, i - done.start + 1, len(done))
        return collector.matrix(datasets)


def tokenize(model: Model, text: Text | Sequence[int] | Iterable[Text], parse_special: bool = False) -> Sequence[int]:
    """Ids of all texts in a row, four bytes each; ids stay what they are. UsageError for an id that is none."""
    parts: Iterable[Text | int] = [text] if isinstance(text, (str, bytes)) else text
    out = array("i")
    for part in parts:
        if isinstance(part, (str, bytes)):
            out.extend(model.tokenize(part, parse_special=parse_special))
        elif hasattr(part, "__index__") and 0 <= operator.index(part) < model.vocab:
            out.append(operator.index(part))
        else:
            raise UsageError(f"token id {shown(part, 40)}: expected a text, or 0 to {model.vocab - 1}")
    return out


def chunks_of(model: Model, tokens: Sequence[int], size: int, count: int | None, first: int) -> range:
    """Which chunks of the tokens to run. UsageError if there is none."""
    for what, value, low in (("chunk_size", size, 1), ("from_chunk", first, 0), ("chunks", count, 1)):
        if value is not None and value < low:
            raise UsageError(f"{what} {value}: expected {low} or more")
    whole = len(tokens) // size
    if whole <= first:
        behind = f" behind the first {first} chunks" if first else ""
        left = max(0, len(tokens) - first * size)
        raise UsageError(f"{left} tokens of text{behind}, a chunk has {size}; more text is needed, or smaller chunks")
    return range(first, whole if count is None else min(whole, first + count))


def _chunk(model: Model, tokens: Sequence[int], index: int, size: int) -> Sequence[int]:
    chunk = tokens[index * size : (index + 1) * size]
    bos = model.tokenizer.bos_id if model.tokenizer.add_bos else None
    return chunk if bos is None else [bos, *chunk[1:]]
