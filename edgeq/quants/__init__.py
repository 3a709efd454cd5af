"""Tensor formats: the table (no NumPy), the NumPy definition of each format, and encoders.

    FORMATS["Q4_K"].row_bytes(4096)      by_id(12).name
    dequantize(data, "Q4_K") -> float32      quantize(array, "Q4_K", importance) -> uint8      error_report(...)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.quants.table import FORMATS, Format, by_id, by_name, scale_fields

if TYPE_CHECKING:
    import numpy as np

    from edgeq.quants.encode import ErrorReport

__all__ = [
    "FORMATS", "Format", "by_id", "by_name", "dequantize", "error_report", "quantize", "scale_fields", "scales",
    "unpack",
]  # fmt: skip


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


def quantize(
    array: np.ndarray, fmt: str | Format, importance: np.ndarray | None = None, *, threads: int | None = None
) -> np.ndarray:
    """Floats [..., n] in a format of GGUF: uint8 [..., bytes_per_row], with a small sum of w (x - x̂)².

    w is the importance of a column, [n], or [..., n] with one for each matrix of a stack: the mean square of the
    input that it meets (an importance matrix), or 1. Quantization is per block: 32 to 256 neighbours in a row share
    scales. *Symmetric* formats have x̂ = d q (Q4_0 Q5_0 Q8_0 Q3_K Q6_K, the IQ4 and FP4 types); *asymmetric* ones have
    an offset too (Q4_1 Q5_1: d q + m; Q2_K Q4_K Q5_K: d s q - dmin m), which is what others call a zero point. K types
    have integer scales s below fp16 ones. The IQ1 to IQ3 types take vectors of weights from a codebook. A scale per row
    (*per channel*) is not what any of these formats store; `error_report` shows errors by row and by block.

    The same bytes for any number of threads, on every processor. Without the native library NumPy does it, slowly.
    UsageError for arguments of the wrong kind, FormatError if a row is not whole blocks or a number is NaN, infinite or
    too large.
    """
    from edgeq.quants import encode

    return encode.quantize(array, by_name(fmt), importance, threads)


def error_report(
    array: np.ndarray, data: np.ndarray, fmt: str | Format, importance: np.ndarray | None = None
) -> ErrorReport:
    """What `data`, uint8 [..., bytes_per_row], lost of floats [..., n]: see `edgeq.quants.encode.ErrorReport`.

    UsageError if the shapes differ, and for importances that `quantize` refuses; FormatError for numbers that float32
    cannot hold.
    """
    from edgeq.quants import encode

    return encode.error_report(array, data, by_name(fmt), importance)
