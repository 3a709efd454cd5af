"""Files of importance matrices, in both formats of llama.cpp (October 2026): which one it is, and GGUF.

GGUF: `imatrix.datasets`, `.chunk_count`, `.chunk_size`; for each weight `<name>.in_sum2` F32 [matrices, n], sums of
squares, and `<name>.counts` F32 [matrices, 1]; newer files add `<name>.in_sum`, sums of the inputs, and `<name>.stats`,
which can be computed from these and is not read. The older format is datfile's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgeq import gguf
from edgeq.errors import GGUFError, UsageError, shown
from edgeq.imatrix import datfile
from edgeq.imatrix.matrix import CHUNK_SIZE, Entry, ImportanceMatrix

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("gguf", "dat")
SUFFIXES = (".in_sum2", ".counts", ".in_sum")  # of tensors, behind the name of the weight
LIMIT = (1 << 32) - 1  # of chunks, and of tokens in one


def is_gguf(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as GGUF files do. FormatError if it is no file that can be read."""
    with datfile.opened(os.fsdecode(path)) as file:
        return bool(file.read(4) == b"GGUF")


def load(path: str | os.PathLike[str], chunk_size: int | None = None) -> ImportanceMatrix:
    """Reads a file of either format.

    A .dat file counts chunks and does not say how long they were: `chunk_size` does, 512 tokens if it is None.
    Raises FormatError (GGUFError for GGUF) naming the entry and what is wrong with it."""
    if chunk_size is not None and not 0 < chunk_size <= LIMIT:
        raise UsageError(f"chunk_size {chunk_size}: expected 1 to {LIMIT}")
    name = os.fsdecode(path)
    if not is_gguf(name):
        return datfile.load(name, chunk_size or CHUNK_SIZE)
    with gguf.open(name) as file:
        return _read(file)


def _read(file: gguf.GGUFFile) -> ImportanceMatrix:
    where, metadata = shown(file.path), file.metadata
    kind = metadata.get("general.type")
    if kind != "imatrix":
        found = "missing" if kind is None else repr(shown(kind, 40))
        raise GGUFError(f"{where}: general.type is {found}, expected 'imatrix': this is no importance matrix")
    datasets = metadata.get("imatrix.datasets", ())
    if "imatrix.datasets" in metadata and metadata.type("imatrix.datasets") != "array[string]":
        raise GGUFError(f"{where}: imatrix.datasets is {metadata.type('imatrix.datasets')}, expected array[string]")
    weights: dict[str, dict[str, gguf.Tensor]] = {}
    for name, tensor in file.tensors.items():
        suffix = next((s for s in SUFFIXES if name.endswith(s)), None)
        if suffix:
            weights.setdefault(name.removesuffix(suffix), {})[suffix] = tensor
    if not weights:
        raise GGUFError(f"{where}: no tensor ends in .in_sum2; expected one for each weight")
    entries = {name: _entry(where, name, found) for name, found in weights.items()}
    return ImportanceMatrix(
        entries, [str(d) for d in datasets], _number(where, metadata, "chunk_count", 0),
        _number(where, metadata, "chunk_size", CHUNK_SIZE) or CHUNK_SIZE,
    )  # fmt: skip


def _number(where: str, metadata: gguf.Metadata, key: str, default: int) -> int:
    value = metadata.get(f"imatrix.{key}", default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LIMIT:
        raise GGUFError(f"{where}: imatrix.{key} is {shown(value, 40)}, expected a number from 0 to {LIMIT}")
    return value


def _entry(where: str, name: str, tensors: dict[str, gguf.Tensor]) -> Entry:
    if not name:
        raise GGUFError(f"{where}: a tensor is named {shown(next(iter(tensors)))} alone, without its weight")
    for suffix in SUFFIXES[:2]:
        if suffix not in tensors:
            raise GGUFError(f"{where}: tensor {shown(name)}{suffix} is missing; every weight has sums and counts")
    for tensor in tensors.values():
        if tensor.format.name != "F32":
            raise GGUFError(f"{where}: tensor {shown(tensor.name)} is {tensor.format.name}, expected F32")
    sums, counts, *signed = (_floats(tensors[s]) if s in tensors else None for s in SUFFIXES)
    try:
        entry = Entry(sums, counts, *signed)
        entry.floats()  # counts under 1 can make means larger than any float32
    except UsageError as e:
        raise GGUFError(f"{where}: {shown(name)}: {e}") from None
    return entry


def _floats(tensor: gguf.Tensor) -> np.ndarray:
    import numpy as np

    return np.frombuffer(b"".join(tensor.pieces()), "<f4")


def save(
    matrix: ImportanceMatrix, path: str | os.PathLike[str], format: str | None, overwrite: bool,
    sources: tuple[str, ...],
) -> None:  # fmt: skip
    """Writes the file; see ImportanceMatrix.save."""
    name = os.fsdecode(path)
    if format not in (None, *FORMATS):
        raise UsageError(f"format {shown(format, 40)!r}: expected gguf or dat")
    if not matrix.entries:
        raise UsageError(f"{shown(name)}: an importance matrix without entries; expected at least one")
    for key, value in (("chunk_count", matrix.chunk_count), ("chunk_size", matrix.chunk_size)):
        if not 0 <= value <= LIMIT:
            raise UsageError(f"{shown(name)}: {key} is {value}, expected 0 to {LIMIT}")
    if (format or ("dat" if name.endswith(".dat") else "gguf")) == "dat":
        datfile.save(matrix, name, overwrite, sources)
    else:
        _write(matrix, name, overwrite, sources)


def _write(matrix: ImportanceMatrix, name: str, overwrite: bool, sources: tuple[str, ...]) -> None:
    metadata = {
        "general.type": "imatrix",
        "imatrix.datasets": gguf.Value("array[string]", matrix.datasets),
        "imatrix.chunk_count": gguf.Value("u32", matrix.chunk_count),
        "imatrix.chunk_size": gguf.Value("u32", matrix.chunk_size),
    }
    tensors: list[tuple[str, np.ndarray]] = []
    for weight, entry in sorted(matrix.entries.items()):
        tensors += [(weight + ".in_sum2", entry.sums), (weight + ".counts", entry.counts[:, None])]
        if entry.signed_sums is not None:
            tensors.append((weight + ".in_sum", entry.signed_sums))
    table = [(tensor, values.shape, "F32") for tensor, values in tensors]
    with gguf.Writer(name, metadata, table, overwrite=overwrite, sources=sources) as out:
        for tensor, values in tensors:
            out.write(tensor, datfile.as_floats(tensor, values))
