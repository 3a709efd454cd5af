"""Arrays that encoders are tried on, and the formats that have one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from edgeq.quants.encoders import ENCODERS

FORMATS = tuple(ENCODERS)
COLUMNS = 512


def importance(n: int) -> np.ndarray:
    """Mean squares of inputs as they are in models: a few columns matter much more than others."""
    return np.exp(np.random.default_rng(5).standard_normal(n) * 1.2).astype(np.float32)


def gaps(n: int) -> np.ndarray:
    """The same, with columns and a run of columns that no input reaches."""
    w = importance(n)
    w[::7], w[70:110] = 0, 0
    return w


def massive(n: int) -> np.ndarray:
    """The same, with a few columns that count a million times the others, as first tokens make them."""
    w = importance(n)
    w[10::96] *= 1e6
    return w


def gauss() -> np.ndarray:
    return (np.random.default_rng(1).standard_normal((24, COLUMNS)) * 0.02).astype(np.float32)


def heavy() -> np.ndarray:
    return (np.random.default_rng(2).standard_t(2.5, (24, COLUMNS)) * 0.02).astype(np.float32)


def positive() -> np.ndarray:
    return np.abs(gauss()) * 50


def one_sided() -> np.ndarray:
    return np.maximum(gauss(), 0)


def sparse() -> np.ndarray:
    rng = np.random.default_rng(3)
    return (rng.standard_normal((24, COLUMNS)) * (rng.random((24, COLUMNS)) < 0.05)).astype(np.float32)


def outliers() -> np.ndarray:
    x = gauss()
    x[:, ::50] *= 100
    return x


def ramp() -> np.ndarray:
    return np.outer(np.linspace(0.1, 3, 24), np.linspace(-1, 1, COLUMNS)).astype(np.float32)


def small() -> np.ndarray:
    return gauss() * np.float32(1e-4)


def constants() -> np.ndarray:
    """A row for each constant."""
    rng = np.random.default_rng(4)
    values = [0, 1, -1, 0.5, 0.1, -0.1, 1 / 3, 2, 7, 1000, 1e-3, -1e-4, *rng.standard_normal(12)]
    return np.repeat(np.array(values, np.float32)[:, None], COLUMNS, axis=1)


@cache
def permuted() -> np.ndarray:
    """Products of heavy and Gaussian numbers, columns of different size: much like weights of a model."""
    rng = np.random.default_rng(6)
    rows, columns = np.exp(rng.standard_normal((24, 1)) * 0.3), np.exp(rng.standard_normal((1, COLUMNS)) * 0.3)
    return (rng.standard_t(6, (24, COLUMNS)) * rows * columns * 0.03).astype(np.float32)


ARRAYS: dict[str, Callable[[], np.ndarray]] = {
    "gauss": gauss, "heavy": heavy, "positive": positive, "one_sided": one_sided, "sparse": sparse,
    "outliers": outliers, "ramp": ramp, "small": small, "constants": constants, "permuted": permuted,
}  # fmt: skip
