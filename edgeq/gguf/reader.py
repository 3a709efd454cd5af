"""GGUFFile: the open model file (or files) with metadata and tensors as zero-copy views."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeq.errors import UsageError, shown
from edgeq.gguf.header import TensorInfo
from edgeq.gguf.metadata import Metadata
from edgeq.gguf.part import Fingerprint, Part
from edgeq.gguf.split import open_parts
from edgeq.quants import Format

if TYPE_CHECKING:
    import numpy as np

    StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_PIECE = 8 << 20  # bytes


class Tensor:
    """A tensor in the file. `shape` is row-major (the last axis is contiguous), `part` indexes `parts`,
    `offset` the bytes before it in that part's file."""

    __slots__ = ("_part", "format", "name", "nbytes", "offset", "part", "shape")

    def __init__(self, info: TensorInfo, index: int, part: Part) -> None:
        self.name: str = info.name
        self.shape: tuple[int, ...] = info.shape
        self.format: Format = info.format
        self.nbytes: int = info.nbytes
        self.offset: int = info.offset
        self.part: int = index
        self._part = part

    @property
    def data(self) -> np.ndarray:
        """uint8 [rows, bytes_per_row], read-only, over the map of the file; it keeps the map alive."""
        import numpy as np

        flat = np.frombuffer(self._part.map, np.uint8, self.nbytes, self.offset)
        return flat.reshape(-1, self.format.row_bytes(self.shape[-1] if self.shape else 1))

    @property
    def raw(self) -> memoryview:
        """The same bytes side by side, read-only; it keeps the map alive."""
        return memoryview(self._part.map)[self.offset : self.offset + self.nbytes]

    def read(self, at: int, n: int) -> bytes:
        """Bytes [at, at + n) of the tensor through read(2): GGUFError if the file shrank. One thread at a time."""
        return self._part.read(self.offset + at, n)

    def pieces(self) -> Iterator[bytes]:
        """All its bytes in pieces of at most 8 MiB, read in the same way."""
        for at in range(0, self.nbytes, _PIECE):
            yield self.read(at, min(_PIECE, self.nbytes - at))

    @property
    def address(self) -> int:
        """Where the first byte lies in memory; valid until the file is closed."""
        return self._part.address + self.offset

    def __repr__(self) -> str:
        return f"<Tensor {shown(self.name)} {self.format.name} {list(self.shape)}>"


class GGUFFile:
    """An open GGUF model. Immutable; may be shared between threads.

    `metadata` and `version`, `alignment` are those of the first part; `tensors` are the ones of all parts, in
    order; `warnings` name what is odd but harmless. Close it, or use it as a context manager.
    """

    def __init__(self, path: str, parts: tuple[Part, ...]) -> None:
        self.path = path
        self.parts = parts
        first = parts[0].header
        self.version: int = first.version
        self.alignment: int = first.alignment
        self.metadata: Metadata = first.metadata
        self.tensors: Mapping[str, Tensor] = MappingProxyType(
            {info.name: Tensor(info, i, part) for i, part in enumerate(parts) for info in part.header.tensors}
        )
        self.warnings: list[str] = [w for part in parts for w in _warnings(part)]

    @property
    def fingerprint(self) -> tuple[Fingerprint, ...]:
        """Per part: device, inode, size, mtime in ns, as they were when the file was opened."""
        return tuple(part.fingerprint for part in self.parts)

    def changed(self) -> bool:
        """Whether a file was written or cut since it was opened. One fstat per part."""
        return any(part.changed() for part in self.parts)

    def close(self) -> None:
        """Closes all files; arrays handed out stay valid, addresses do not."""
        for part in self.parts:
            part.close()

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<GGUFFile {shown(self.path)}: {len(self.metadata)} keys, {len(self.tensors)} tensors>"


def open(path: StrPath) -> GGUFFile:
    """Opens a GGUF file, with the first part of a split model all its parts; checks all but the weights.

    Reads the header only: milliseconds, whatever the size of the file. Raises GGUFError if the file cannot be
    opened, is no GGUF file, or breaks a rule of the format; the message names the object and the place.
    """
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise UsageError(f"path: expected str, bytes or os.PathLike, found {type(path).__name__}") from None
    return GGUFFile(name, open_parts(name))


def _warnings(part: Part) -> list[str]:
    header = part.header
    extra = part.size - -(-header.data_end // header.alignment) * header.alignment
    if extra <= 0:
        return []
    return [f"{part.shown}: {extra} bytes after the last tensor are ignored (from byte {part.size - extra})"]
