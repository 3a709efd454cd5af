"""What differs between two models: metadata, tensors, and how far apart the numbers of the tensors are.

The keys that say how a model is split, and the order of keys and tensors, are no difference.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeq.errors import GGUFError, UsageError, shown
from edgeq.gguf.editing import Change
from edgeq.gguf.metadata import Metadata, Value
from edgeq.gguf.reader import Tensor, open
from edgeq.gguf.split import KEYS as SPLIT_KEYS

if TYPE_CHECKING:
    import numpy as np

    from edgeq.gguf.reader import StrPath

_PIECE = 1 << 19  # weights compared at once: a multiple of every format's block


class Distance(NamedTuple):
    """How far the numbers of B are from those of A, over the places where both are finite.

    `rms` is the root mean square of B - A over that of A (infinite if A is all zero and B is not), `largest` the
    largest |B - A|, `cosine` that of the angle between them (None if one is all zero, or their squares overflow);
    `finite` counts the places where both are finite, `odd` those where one or both are NaN or infinite and they are
    not the same infinity or both NaN.
    """

    rms: float
    largest: float
    cosine: float | None
    finite: int
    odd: int


class TensorChange(NamedTuple):
    """A tensor that differs: one of `old` and `new` is None if that side has none. `distance` is None if shapes
    differ, a side is missing, or data was not looked at."""

    name: str
    old: Tensor | None
    new: Tensor | None
    distance: Distance | None


class Comparison(NamedTuple):
    """`metadata` and `tensors` that differ, by name in the order of A and then of B; `same` counts tensors that
    agree in format, shape and, if data was looked at, every byte."""

    metadata: tuple[Change, ...]
    tensors: tuple[TensorChange, ...]
    same: int

    @property
    def differ(self) -> bool:
        return bool(self.metadata or self.tensors)


def compare(
    a: StrPath,
    b: StrPath,
    *,
    data: bool = True,
    tensors: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compares the models at `a` and `b`, all parts of split ones.

    With `data` every byte of tensors of one shape is compared, and where they differ or their formats do, the
    numbers; memory stays bounded. `tensors` is a regular expression that a tensor's name must contain a match of;
    `progress` is called with the tensors compared so far and those there are.
    Raises UsageError for a bad expression or one that is found in no name, GGUFError for files that cannot be read or
    change meanwhile.
    """
    try:
        wanted = re.compile(tensors or "")
    except (re.error, RecursionError, OverflowError) as e:
        raise UsageError(f"regular expression {shown(tensors, 60)!r}: {shown(e, 100)}") from None
    with open(a) as old, open(b) as new:
        metadata = tuple(_metadata(old.metadata, new.metadata))
        changes, same = [], 0
        names = [*old.tensors, *(n for n in new.tensors if n not in old.tensors)]
        names = [n for n in names if wanted.search(n)]
        if tensors and not names:
            raise UsageError(f"tensors {shown(tensors, 60)!r}: found in no name of a tensor of either model")
        for done, name in enumerate(names):
            if progress is not None:
                progress(done, len(names))
            found = _tensor(name, old.tensors.get(name), new.tensors.get(name), data)
            if found is None:
                same += 1
            else:
                changes.append(found)
        for g in (old, new):
            if g.changed():
                raise GGUFError(f"{shown(g.path)}: the file was changed while it was read; compare again")
        return Comparison(metadata, tuple(changes), same)


def _metadata(old: Metadata, new: Metadata) -> Iterator[Change]:
    for key in [*old, *(k for k in new if k not in old)]:
        if key in SPLIT_KEYS:
            continue
        if key in old and key in new and old.type(key) == new.type(key) and old.raw(key) == new.raw(key):
            continue
        yield Change(key, *(Value(m.type(key), m[key]) if key in m else None for m in (old, new)))


def _tensor(name: str, old: Tensor | None, new: Tensor | None, data: bool) -> TensorChange | None:
    """How a tensor differs; None if it does not."""
    if old is None or new is None or old.shape != new.shape:
        return TensorChange(name, old, new, None)
    if not data:
        return TensorChange(name, old, new, None) if old.format != new.format else None
    if old.format == new.format and all(x == y for x, y in _pieces(old, new)):
        return None
    return TensorChange(name, old, new, _distance(old, new))


def _pieces(old: Tensor, new: Tensor) -> Iterator[tuple[bytes, bytes]]:
    """The bytes of the same weights in both, piece by piece."""
    weights = math.prod(old.shape)
    for at in range(0, weights, _PIECE):
        yield _read(old, at, min(_PIECE, weights - at)), _read(new, at, min(_PIECE, weights - at))


def _read(t: Tensor, at: int, n: int) -> bytes:
    """`n` weights from number `at` on: rows hold whole blocks, so that a tensor is one run of blocks."""
    block, nbytes = t.format.block, t.format.nbytes
    return t.read(at // block * nbytes, n // block * nbytes)


def _distance(old: Tensor, new: Tensor) -> Distance:
    import numpy as np

    from edgeq.quants import dequantize

    def numbers(raw: bytes, t: Tensor) -> np.ndarray:
        return dequantize(np.frombuffer(raw, np.uint8), t.format).astype(np.float64)

    sums: Any = np.zeros(4)  # of A², B², A·B, (B - A)²
    largest, finite, odd = 0.0, 0, 0
    with np.errstate(all="ignore"):  # squares of large numbers may overflow; infinity is then the answer
        for one, other in _pieces(old, new):
            x, y = numbers(one, old), numbers(other, new)
            good = np.isfinite(x) & np.isfinite(y)
            if not good.all():
                odd += int((~good & (x != y) & ~(np.isnan(x) & np.isnan(y))).sum())
                x, y = x[good], y[good]
            d = y - x
            sums += (x @ x, y @ y, x @ y, d @ d)
            largest = max(largest, float(np.abs(d).max(initial=0.0)))
            finite += len(x)
        aa, bb, ab, dd = (float(s) for s in sums)
        rms = math.sqrt(dd / aa) if aa else math.inf if dd else 0.0
        length = math.sqrt(aa) * math.sqrt(bb)
        cosine = ab / length if 0 < length < math.inf and math.isfinite(ab) else None
        return Distance(rms, largest, cosine, finite, odd)
