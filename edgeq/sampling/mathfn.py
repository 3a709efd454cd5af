"""exp, log, power and sum with one result everywhere: what decides a token is computed here.

Only IEEE 754 binary64 add, subtract, multiply, divide, compare, rint and integer operations are
used; each is correctly rounded or exact, so its result does not depend on libm, on the vector unit
or on NumPy's build. Two rules keep that true. An operation is one NumPy ufunc call or one Python
operator: no compiler sees a multiply and an add together to make an FMA of them. And the order of
every sum is spelled out: np.sum's is not documented, np.add.accumulate's is (r[i] = r[i-1] + a[i]).
Not here: anything about tokens.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

LN2 = 0.6931471805599453
FLOAT32_MAX = 3.4028234663852886e38
# exp(-690) = 2e-300: divided by any sum of weights it is still normal, so flush-to-zero cannot show.
EXP_CUT = -690.0

# ln 2 = high + low; high has 32 bits, so k * high is exact for |k| < 2^21.
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_STEPS = 128  # exp(x) = 2^e * 2^(j/128) * exp(r), |r| <= ln2/256
_BLOCK = 8192  # 64 KiB of float64: the passes over one block stay in cache
_SUM_LEAF = 256


def _powers_of_two() -> Vector:
    """2^(j/128), j = 0..127, correctly rounded: integer square roots and 160-bit fixed point."""
    bits = 160
    root = 1 << (bits * _STEPS + 1)
    for _ in range(7):  # each halves the exponent: 2^(160 * 128 + 1) becomes 2^160 * 2^(1/128)
        root = math.isqrt(root)
    table, value = [], 1 << bits
    for _ in range(_STEPS):
        table.append(value / (1 << bits))  # int / int is correctly rounded
        value = value * root >> bits
    return np.array(table)


_TABLE = _powers_of_two()


def _exp_block(x: Vector) -> Vector:
    clipped = np.maximum(x, EXP_CUT - 1.0)
    k = np.rint(clipped * (_STEPS / LN2))
    r = clipped - k * (_LN2_HIGH / _STEPS)
    r -= k * (_LN2_LOW / _STEPS)
    p = r * (1.0 / 120.0)  # Taylor to r^5: the next term is below 2^-60 for |r| <= ln2/256
    for coefficient in (1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0):
        p += coefficient
        p *= r
    index = k.astype(np.int64)
    y = _TABLE.take(index & (_STEPS - 1))
    p *= y
    y += p
    index >>= 7
    index <<= 52
    bits = y.view(np.int64)
    bits += index  # adds e to the exponent field: y * 2^e, exact because the result is normal
    y[x < EXP_CUT] = 0.0
    return y


def exp(x: Vector) -> Vector:
    """e^x for float64 x <= 700, elementwise, within 1.1 ulp; 0 below EXP_CUT. NaN is not allowed."""
    if x.size <= _BLOCK:
        return _exp_block(x)
    out = np.empty(x.size)
    for start in range(0, x.size, _BLOCK):
        out[start : start + _BLOCK] = _exp_block(x[start : start + _BLOCK])
    return out


def log(x: float) -> float:
    """Natural logarithm of a positive, finite, normal float; within 2 ulp.

    x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1), as a series in
    s^2 <= 0.0295.
    """
    m, e = math.frexp(x)  # exact
    if m < 0.7071067811865476:
        m, e = m * 2.0, e - 1
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    series = 0.0
    for odd in range(25, 1, -2):
        series = (series + 1.0 / odd) * square
    return e * _LN2_HIGH + (2.0 * s + (2.0 * s * series + e * _LN2_LOW))


def power(base: float, n: int) -> float:
    """base^n for base >= 1, n >= 0 by squaring; at most FLOAT32_MAX, whatever n is."""
    result = 1.0
    while n:
        if n & 1:
            result = min(result * base, FLOAT32_MAX)
        base = min(base * base, FLOAT32_MAX)
        n >>= 1
    return result


def total(w: Vector) -> float:
    """Sum in a fixed order: halves added elementwise until 256 are left, those one by one."""
    while w.size > _SUM_LEAF:
        half = w.size // 2
        odd = w[2 * half :]
        w = w[:half] + w[half : 2 * half]
        w[: odd.size] += odd
    return float(np.add.accumulate(w)[-1])
