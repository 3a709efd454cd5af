"""Builds GGUF files byte by byte, right ones and wrong ones. Shares no code with edgeq.gguf on purpose."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    U64: "Q",
    I64: "q",
    F64: "d",
    BOOL: "B",
}

F32_TYPE, F16_TYPE, Q4_0_TYPE, Q8_0_TYPE, Q4_K_TYPE = 0, 1, 2, 8, 12
SIZES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 24: (1, 1), 28: (1, 8)}


def u32(n: int) -> bytes:
    return struct.pack("<I", n % (1 << 32))


def u64(n: int) -> bytes:
    return struct.pack("<Q", n % (1 << 64))


def text(s: str | bytes) -> bytes:
    raw = s.encode() if isinstance(s, str) else s
    return u64(len(raw)) + raw


def scalar(kind: int, value: object) -> bytes:
    if kind == STRING:
        return text(value)  # type: ignore[arg-type]
    return struct.pack("<" + CODES[kind], value)


def kv(key: str | bytes, kind: int, value: object) -> bytes:
    return text(key) + u32(kind) + scalar(kind, value)


def array(key: str | bytes, kind: int, values: list[object]) -> bytes:
    return text(key) + u32(ARRAY) + u32(kind) + u64(len(values)) + b"".join(scalar(kind, v) for v in values)


def pad(raw: bytes, alignment: int) -> bytes:
    return raw + bytes(-len(raw) % alignment)


@dataclass
class T:
    """A tensor: `ne` in GGML's order (fastest first). `offset` None means where it belongs."""

    name: str | bytes
    ne: tuple[int, ...] = (4,)
    type: int = F32_TYPE
    offset: int | None = None
    n_dims: int | None = None
    data: bytes | None = None

    def nbytes(self) -> int:
        block, size = SIZES.get(self.type, (1, 4))
        n = 1
        for d in self.ne:
            n *= d
        return n // block * size


@dataclass
class G:
    """A file. Fields left at None are computed so that the file is valid."""

    kvs: list[bytes] = field(default_factory=list)
    tensors: list[T] = field(default_factory=list)
    alignment: int = 32
    magic: bytes = b"GGUF"
    version: bytes = u32(3)
    n_tensors: int | None = None
    n_kv: int | None = None
    last_pad: bool = True
    tail: bytes = b""

    def head(self) -> bytes:
        """Everything before the data, without padding."""
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_kv = len(self.kvs) if self.n_kv is None else self.n_kv
        out = self.magic + self.version + u64(n_tensors) + u64(n_kv) + b"".join(self.kvs)
        offset = 0
        for t in self.tensors:
            at = offset if t.offset is None else t.offset
            n_dims = len(t.ne) if t.n_dims is None else t.n_dims
            out += text(t.name) + u32(n_dims) + b"".join(u64(d) for d in t.ne) + u32(t.type) + u64(at)
            offset += len(pad(bytes(min(t.nbytes(), 1 << 20)), self.alignment))
        return out

    def build(self) -> bytes:
        out = self.head()
        for i, t in enumerate(self.tensors):
            data = bytes(i + 1 for _ in range(min(t.nbytes(), 1 << 20))) if t.data is None else t.data
            out = pad(out, self.alignment) + data
        if self.last_pad:
            out = pad(out, self.alignment)
        return out + self.tail


def every_type() -> list[bytes]:
    """One key of every type, scalar and array."""
    samples: dict[int, list[object]] = {
        U8: [0, 255], I8: [-128, 127], U16: [0, 65535], I16: [-32768, 32767], U32: [0, 2**32 - 1],
        I32: [-(2**31), 2**31 - 1], F32: [0.5, -2.0], BOOL: [0, 1], STRING: ["", "a ☃"], U64: [0, 2**64 - 1],
        I64: [-(2**63), 2**63 - 1], F64: [0.1, -1e300],
    }  # fmt: skip
    out = []
    for kind, values in samples.items():
        out += [
            kv(f"scalar.{kind}", kind, values[1]),
            array(f"array.{kind}", kind, values),
            array(f"none.{kind}", kind, []),
        ]
    return out


def small() -> G:
    """A small valid file with every metadata type and three tensors of different formats."""
    return G(
        kvs=[kv("general.architecture", STRING, "llama"), *every_type()],
        tensors=[T("a", (4, 3)), T("b", (64, 2), Q4_0_TYPE), T("c.weight", (256,), Q4_K_TYPE)],
    )
