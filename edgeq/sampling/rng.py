"""Random numbers as a pure function of (seed, counter): Philox4x32-10 in integer arithmetic.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
(doi:10.1145/2063384.2063405); the constants are those of table 2. There is no hidden state:
rewinding is setting the counter back.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio, sqrt(3) - 1
_ROUNDS = 10
_UNIT = 1 / 2**53  # integers: exact


def philox(counter: int, key: int) -> tuple[int, int, int, int]:
    """Four 32-bit words for a 128-bit counter and a 64-bit key, both least word first."""
    c0, c1, c2, c3 = (counter >> shift & _MASK for shift in (0, 32, 64, 96))
    k0, k1 = key & _MASK, key >> 32 & _MASK
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLY[0] * c0, _MULTIPLY[1] * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def uniforms(seed: int, draw: int) -> tuple[float, float]:
    """Two independent multiples of 2^-53 in [0, 1) for draw number `draw` of a 64-bit seed."""
    w0, w1, w2, w3 = philox(draw, seed)
    return ((w1 << 32 | w0) >> 11) * _UNIT, ((w3 << 32 | w2) >> 11) * _UNIT
