"""The importance matrix in memory: sums of squares of every weight's inputs. Owns its arithmetic, knows no file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError, shown

if TYPE_CHECKING:
    import numpy as np

CHUNK_SIZE = 512  # tokens of a chunk where nothing else is said, as in llama.cpp


class Entry:
    """Statistics of one weight's inputs, over all positions that reached it. Immutable.

    sums         float64 [matrices, n]: sums of squares of each input column; matrices are experts, else 1
    counts       float64 [matrices]: positions that were summed
    signed_sums  float64 [matrices, n]: sums of the inputs themselves, or None where they are not known

    Raises UsageError for other shapes, and for numbers that no sums of squares are."""

    __slots__ = ("counts", "signed_sums", "sums")

    sums: np.ndarray
    counts: np.ndarray
    signed_sums: np.ndarray | None

    def __init__(self, sums: Any, counts: Any, signed_sums: Any = None) -> None:
        import numpy as np

        self.counts = np.array(counts, np.float64).reshape(-1)
        self.sums = _by_matrix("sums of squares", sums, len(self.counts))
        self.signed_sums = None
        if signed_sums is not None:
            self.signed_sums = _by_matrix("sums", signed_sums, len(self.counts))
            if self.signed_sums.shape != self.sums.shape:
                raise UsageError(f"{self.signed_sums.size} sums, {self.sums.size} sums of squares; expected as many")
        for what, values in (("count", self.counts), ("sum of squares", self.sums)):
            if (values < 0).any():
                raise UsageError(f"a {what} is {values[values < 0][0]:g}; expected 0 or more")
        for what, found in (("count", self.counts), ("sum of squares", self.sums), ("sum", self.signed_sums)):
            if found is not None and not np.isfinite(found).all():
                raise UsageError(f"a {what} is not finite")

    def shaped(self, matrices: int, n: int) -> Entry | None:
        """The same statistics for `matrices` of `n` columns; None if they are of another size.

        Files with one count for all experts have one row: each expert then has that count."""
        if self.sums.shape == (matrices, n):
            return self
        if len(self.counts) != 1 or self.sums.size != matrices * n:
            return None
        signed = None if self.signed_sums is None else self.signed_sums.reshape(matrices, n)
        return Entry(self.sums.reshape(matrices, n), self.counts.repeat(matrices), signed)

    def reached(self) -> np.ndarray:
        """Of which matrices something was counted, bool [matrices]."""
        found: np.ndarray = (self.counts > 0) & self.sums.any(axis=1)
        return found

    def means(self) -> np.ndarray:
        """Mean squares, float64 [matrices, n]; ones where nothing was counted."""
        import numpy as np

        counted = self.counts[:, None] > 0
        with np.errstate(over="ignore"):  # infinite then, which `floats` refuses
            made: np.ndarray = np.divide(self.sums, self.counts[:, None], out=np.ones_like(self.sums), where=counted)
        return made

    def floats(self) -> np.ndarray:
        """The means as float32. UsageError if one is too large for that."""
        import numpy as np

        means, most = self.means(), float(np.finfo(np.float32).max)
        if means.max() > most:
            raise UsageError(f"a mean square is {means.max():g}; expected at most {most:g}, the largest float32")
        return means.astype(np.float32)

    def __repr__(self) -> str:
        return f"<Entry {list(self.sums.shape)}, {self.counts.max():g} tokens>"


def _by_matrix(what: str, values: Any, matrices: int) -> np.ndarray:
    import numpy as np

    made = np.array(values, np.float64)
    if not matrices or not made.size or made.size % matrices:
        raise UsageError(f"{made.size} {what} for {matrices} counts; expected a multiple of them, at least 1")
    return made.reshape(matrices, -1)


class ImportanceMatrix:
    """Entries by the name of their weight. Immutable, as far as nobody changes the arrays.

    `datasets`: what was read, by name; `chunk_count` chunks of `chunk_size` tokens each."""

    def __init__(
        self, entries: Mapping[str, Entry], datasets: Sequence[str] = (), chunk_count: int = 0,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:  # fmt: skip
        self.entries: dict[str, Entry] = dict(entries)
        self.datasets: list[str] = list(datasets)
        self.chunk_count = chunk_count
        self.chunk_size = chunk_size

    def importance(self, name: str, matrices: int, n: int) -> np.ndarray | None:
        """Mean squares of the inputs of weight `name`, as llama-quantize would weigh them: float32 [matrices, n], or
        [n] of one matrix. Ones for an expert that no token reached; None if there is no entry.

        Raises UsageError if the entry is of a weight of another shape, nothing was counted for it, or its means are too
        large."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        found = entry.shaped(matrices, n)
        if found is None:
            rows, columns = entry.sums.shape
            raise UsageError(
                f"importance matrix, {shown(name)}: expected {matrices} x {n} values, found {rows} x {columns}; it was "
                "made with another model"
            )
        if not found.reached().any():
            raise UsageError(
                f"importance matrix, {shown(name)}: nothing was counted for it, all counts or all sums are 0; collect "
                "the matrix over more text, or leave the entry out"
            )
        try:
            means = found.floats()
        except UsageError as e:
            raise UsageError(f"importance matrix, {shown(name)}: {e}") from None
        return means[0] if matrices == 1 else means

    def unreached(self, name: str) -> int:
        """How many matrices (experts) of weight `name` nothing was counted for."""
        return int((~self.entries[name].reached()).sum())

    def save(
        self, path: str | os.PathLike[str], format: str | None = None, *, overwrite: bool = False,
        sources: Iterable[str | os.PathLike[str]] = (),
    ) -> None:  # fmt: skip
        """Writes "gguf" or "dat"; None: "dat" for a name that ends so, else "gguf". The file appears when complete.

        Raises UsageError for what cannot be written and for a file that is there already, GGUFError if the disk
        refuses."""
        from edgeq.imatrix.files import save

        save(self, path, format, overwrite, tuple(os.fsdecode(s) for s in sources))

    def __repr__(self) -> str:
        return f"<ImportanceMatrix {len(self.entries)} weights, {self.chunk_count} chunks of {self.chunk_size}>"


def merge(matrices: Sequence[ImportanceMatrix]) -> ImportanceMatrix:
    """One matrix of all: sums and counts add. Raises UsageError if entries of one name differ in shape.

    Chunks are counted in the size of the first. Sums of inputs stay where every part has them."""
    if not matrices:
        raise UsageError("merge of no importance matrices: expected at least one")
    size = matrices[0].chunk_size
    entries: dict[str, Entry] = {}
    for matrix in matrices:
        for name, entry in matrix.entries.items():
            entries[name] = _sum(name, entries[name], entry) if name in entries else entry
    datasets = list(dict.fromkeys(d for m in matrices for d in m.datasets))
    tokens = sum(m.chunk_count * m.chunk_size for m in matrices)
    return ImportanceMatrix(entries, datasets, math.ceil(tokens / size), size)


def _sum(name: str, a: Entry, b: Entry) -> Entry:
    shape = (max(len(a.counts), len(b.counts)), max(a.sums, b.sums, key=lambda x: len(x)).shape[1])
    left, right = a.shaped(*shape), b.shaped(*shape)
    if left is None or right is None:
        found = " and ".join(" x ".join(map(str, e.sums.shape)) for e in (a, b))
        raise UsageError(f"importance matrices, {shown(name)}: {found} values; they are of different models")
    signed = None
    if left.signed_sums is not None and right.signed_sums is not None:
        signed = left.signed_sums + right.signed_sums
    return Entry(left.sums + right.sums, left.counts + right.counts, signed)
