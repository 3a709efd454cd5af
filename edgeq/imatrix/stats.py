"""What an importance matrix says of its weights, and what speaks against relying on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import shown
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.imatrix.matrix import Entry, ImportanceMatrix

TOP = 0.01  # of the columns, whose share of the sum is `concentration`
FEW_TOKENS = 16384  # calibrations usually have 50,000 tokens and more
RARE = 0.1  # of the mean of its tensor: an expert that is reached less often is rarely hit
NAMED = 3  # tensors in a warning; the others are counted


class TensorStatistics(Record):
    """Of the mean squares of all columns that were counted, experts side by side.

    active         share of the columns that were ever not zero
    entropy        bits, of the distribution of the sum over the columns; at most log2(columns)
    concentration  share of the sum that the largest 1 % of the columns have (at least one column)
    coverage       share of the matrices (experts) that a token reached"""

    name: str
    matrices: int
    columns: int
    tokens: float
    sum: float
    mean: float
    minimum: float
    maximum: float
    std: float
    active: float
    entropy: float
    concentration: float
    coverage: float


class Statistics(Record):
    """Of all tensors, by name; `warnings` are sentences for people."""

    tensors: tuple[TensorStatistics, ...]
    warnings: tuple[str, ...]


def statistics(matrix: ImportanceMatrix) -> Statistics:
    """Statistics of every entry, and warnings."""
    tensors = tuple(_tensor(name, entry) for name, entry in sorted(matrix.entries.items(), key=_by_layer))
    return Statistics(tensors, tuple(_warnings(matrix, tensors)))


def _by_layer(item: tuple[str, Entry]) -> tuple[int, str]:
    """Layers in the order of their numbers, what is in none of them last."""
    first, _, rest = item[0].partition(".")
    number = rest.partition(".")[0]
    return (int(number) if first == "blk" and number.isdecimal() else 1 << 31), item[0]


def _tensor(name: str, entry: Entry) -> TensorStatistics:
    import numpy as np

    matrices, columns = entry.sums.shape
    counted = entry.counts > 0
    x = entry.means()[counted].reshape(-1) if counted.any() else np.zeros(1)
    total = float(x.sum())
    share = x[x > 0] / total if total > 0 else np.ones(1)
    top = np.sort(x)[-max(1, round(TOP * len(x))) :]
    return TensorStatistics(
        name, matrices, columns, float(entry.counts.max()), total, float(x.mean()), float(x.min()), float(x.max()),
        float(x.std()), float((x > 0).mean()), max(0.0, float(-(share * np.log2(share)).sum())),
        float(top.sum()) / total if total > 0 else 0.0, float(counted.mean()),
    )  # fmt: skip


def _warnings(matrix: ImportanceMatrix, tensors: tuple[TensorStatistics, ...]) -> list[str]:
    entries = matrix.entries
    out = []
    most = max((t.tokens for t in tensors), default=0.0)
    if most < FEW_TOKENS:
        out.append(f"{most:.0f} tokens were counted at most; with less than {FEW_TOKENS}, rare columns are noise")
    empty = {t.name: "" for t in tensors if not entries[t.name].reached().any()}
    if empty:
        out.append(f"nothing was counted for {_listed(empty)}; edgeq quantize refuses an entry that says nothing")
    counted = [t for t in tensors if t.name not in empty]
    never = {t.name: int((entries[t.name].counts == 0).sum()) for t in counted if t.coverage < 1}
    if never:
        out.append(f"no token reached {_listed({n: f'{k} of {len(entries[n].counts)}' for n, k in never.items()})}; "
                   "these matrices are weighed as if all columns were alike")  # fmt: skip
    rare = {}
    for t in tensors:
        counts = entries[t.name].counts
        if few := int(((counts > 0) & (counts < RARE * counts.mean())).sum()):
            rare[t.name] = f"{few} of {len(counts)}"
    if rare:
        out.append(f"experts are reached less than {RARE:.0%} as often as the mean in {_listed(rare)}; more text helps")
    idle = {}  # experts that were reached, but whose inputs were all zero: a quantizer takes them as not reached
    zero = {}
    for t in counted:
        entry = entries[t.name]
        reached = entry.reached()
        if none := int(((entry.counts > 0) & ~reached).sum()):
            idle[t.name] = f"{none} of {len(reached)}"
        if share := float((entry.sums[reached] == 0).mean()):
            zero[t.name] = f"{share * 100:.3g} %"
    if idle:
        out.append(f"all inputs were zero in {_listed(idle)}; these matrices are weighed as if all columns were alike")
    if zero:
        out.append(f"columns were always zero in {_listed(zero)}; a quantizer may give them up")
    return out


def _listed(found: dict[str, str]) -> str:
    rows = [shown(name, 80) + (f" ({what})" if what else "") for name, what in list(found.items())[:NAMED]]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(rows) + more
