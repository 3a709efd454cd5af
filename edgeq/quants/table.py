"""The table of tensor formats: one row per GGML tensor type that GGUF files use.

Owns names, ids, block sizes and where the scales of a block lie. Imports no NumPy: the GGUF reader needs
this at start-up. What the bytes mean is in the modules next door (legacy, kquants, iquants, ternary, fp4).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeq.errors import FormatError, UsageError, shown
from edgeq.record import Record


class Format(Record):
    """One tensor format.

    `block` weights are stored in `nbytes` bytes. `linear` says whether a tensor of this format may be the
    weight of a linear op; the others are read, written and dequantized only. `scales` lists the fields of
    a block that hold floating point numbers, as (kind, byte offset); see `scale_fields`.
    """

    name: str
    id: int
    block: int
    nbytes: int
    linear: bool
    scales: tuple[tuple[str, int], ...] = ()

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.nbytes / self.block

    def row_bytes(self, n: int) -> int:
        """Bytes of a row of `n` weights; FormatError if `n` is no multiple of the block."""
        if n < 0 or n % self.block:
            raise FormatError(
                f"{self.name}: a row must have a multiple of {self.block} weights, found {n}; "
                f"use a format with a smaller block for this tensor"
            )
        return n // self.block * self.nbytes


_D = (("F16", 0),)  # one fp16 scale opens the block
_DM = (("F16", 0), ("F16", 2))  # scale and min (or scale and sum)

_ROWS = (
    # name, id, weights, bytes, linear, floating point fields
    Format("F32", 0, 1, 4, True, (("F32", 0),)),
    Format("F16", 1, 1, 2, True, (("F16", 0),)),
    Format("Q4_0", 2, 32, 18, True, _D),
    Format("Q4_1", 3, 32, 20, True, _DM),
    Format("Q5_0", 6, 32, 22, True, _D),
    Format("Q5_1", 7, 32, 24, True, _DM),
    Format("Q8_0", 8, 32, 34, True, _D),
    Format("Q8_1", 9, 32, 36, False, _DM),
    Format("Q2_K", 10, 256, 84, True, (("F16", 80), ("F16", 82))),
    Format("Q3_K", 11, 256, 110, True, (("F16", 108),)),
    Format("Q4_K", 12, 256, 144, True, _DM),
    Format("Q5_K", 13, 256, 176, True, _DM),
    Format("Q6_K", 14, 256, 210, True, (("F16", 208),)),
    Format("Q8_K", 15, 256, 292, False, (("F32", 0),)),
    Format("IQ2_XXS", 16, 256, 66, True, _D),
    Format("IQ2_XS", 17, 256, 74, True, _D),
    Format("IQ3_XXS", 18, 256, 98, True, _D),
    Format("IQ1_S", 19, 256, 50, True, _D),
    Format("IQ4_NL", 20, 32, 18, True, _D),
    Format("IQ3_S", 21, 256, 110, True, _D),
    Format("IQ2_S", 22, 256, 82, True, _D),
    Format("IQ4_XS", 23, 256, 136, True, _D),
    Format("I8", 24, 1, 1, False),
    Format("I16", 25, 1, 2, False),
    Format("I32", 26, 1, 4, False),
    Format("I64", 27, 1, 8, False),
    Format("F64", 28, 1, 8, False, (("F64", 0),)),
    Format("IQ1_M", 29, 256, 56, True, (("IQ1_M", 48),)),
    Format("BF16", 30, 1, 2, True, (("BF16", 0),)),
    Format("TQ1_0", 34, 256, 54, True, (("F16", 52),)),
    Format("TQ2_0", 35, 256, 66, True, (("F16", 64),)),
    Format("MXFP4", 39, 32, 17, True, (("E8M0", 0),)),
    Format("NVFP4", 40, 64, 36, True, tuple(("UE4M3", i) for i in range(4))),
    Format("Q1_0", 41, 128, 18, True, _D),
    Format("Q2_0", 42, 64, 18, True, _D),
)

_REMOVED = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip

FORMATS: Mapping[str, Format] = MappingProxyType({f.name: f for f in _ROWS})
_BY_ID = {f.id: f for f in _ROWS}


def by_id(id: int) -> Format:
    """The format with this GGML type id; FormatError if GGUF has none."""
    found = _BY_ID.get(id)
    if found is not None:
        return found
    if id in _REMOVED:
        raise FormatError(
            f"tensor type {id} ({_REMOVED[id]}) was removed from GGUF; convert or quantize the model again"
        )
    raise FormatError(
        f"unknown tensor type {shown(id)}: known ids are 0 to {max(_BY_ID)} with gaps; "
        "the file is broken, or newer than this edgeq"
    )


def by_name(name: str | Format) -> Format:
    """The format with this name, in any case; UsageError if there is none."""
    if isinstance(name, Format):
        return name
    found = FORMATS.get(str(name).upper())
    if found is None:
        raise UsageError(f"unknown format {shown(name)}: expected one of {', '.join(FORMATS)}")
    return found


def scale_fields(fmt: str | Format) -> tuple[tuple[str, int], ...]:
    """The floating point fields of one block as (kind, byte offset), empty for integers.

    Kinds: F16, BF16, F32, F64 (little endian; NaN and Inf possible), E8M0 (one byte, 0xFF is NaN in the
    OCP specification, GGML reads it as 2^128), UE4M3 (one byte, 0x7F and 0xFF are NaN in the specification,
    GGML reads 0x7F as 0), and IQ1_M: an fp16 whose four nibbles are, lowest first, the top nibbles of the
    four little-endian 16-bit words at the offset. `scales` turns them into numbers.
    """
    return by_name(fmt).scales
