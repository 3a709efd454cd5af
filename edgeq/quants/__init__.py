"""Tensor formats: the table (no NumPy) and the NumPy definition of each format.

    FORMATS["Q4_K"].row_bytes(4096)      by_id(12).name      dequantize(data, "Q4_K") -> float32

Encoders (float to format) do not live here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.quants.table import FORMATS, Format, by_id, by_name, scale_fields

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FORMATS", "Format", "by_id", "by_name", "dequantize", "scale_fields", "scales", "unpack"]


def dequantize(data: np.ndarray, fmt: str | Format) -> np.ndarray:
    """The numbers in `data`, uint8 [..., bytes_per_row], as float32 [..., n].

    F64 gives float64 and I8, I16, I32, I64 give integers of their width. Equal bit for bit to llama.cpp.
    UsageError for an unknown format or data that is not uint8, FormatError if a row is not whole blocks.
    """
    from edgeq.quants import decode

    return decode.dequantize(data, by_name(fmt))


def unpack(data: np.ndarray, fmt: str | Format) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The parts of quantized `data`, uint8 [..., bytes_per_row]: weights, scales, mins.

    Weights int16 [..., n]; scales float32 [..., n / 16], one for each 16 weights; mins alike, or None if the
    format has none. `dequantize` is float32(scale * weight) + min. UsageError for a format without integers.
    """
    from edgeq.quants import decode

    return decode.unpack(data, by_name(fmt))


def scales(data: np.ndarray, fmt: str | Format) -> np.ndarray:
    """The floating point fields of `data`, uint8 [..., bytes_per_row], as float64 [..., blocks, fields].

    In the order of `scale_fields`. E8M0 and UE4M3 codes that their specifications call NaN come as NaN here.
    To scan a tensor for NaN and Inf: `np.isfinite(scales(data, fmt)).all()`, a few million blocks at a time.
    """
    from edgeq.quants import decode

    return decode.scales(data, by_name(fmt))
