"""Mutants of spans of activations that several stages complete."""

from __future__ import annotations

from tests.mutants.kernels import FEW
from tests.mutants.mutant import In, Mutant

SPANS: list[Mutant] = [
    *In("kernels: planes", "native/stages.c", (f"{FEW} -k 'avx2 and (gates or attention)'",), ("native/stages.c",),
        ("avx2",))(
        ("round_out", "k0 / span * span", "k0", "spans begin where columns do"),
        ("round_out", "MIN(k1, k + span) - MAX(k0, k)", "MIN(k1, k + span) - k0",
         "columns of a head in two spans counted twice"),
        ("round_out", "k0 % span == 0 && k1 % span == 0", "k0 % span == 0", "rounded with its first columns"),
        ("round_out", "k0 % span == 0 && k1 % span == 0", "1", "every column rounded alone"),
        ("round_out", "atomic_store(ready, 0)", "(void)0", "counted on from the stage before"),
        ("round_out", "[t * (a.width / span) + k / span]", "[k / span]", "one count for all tokens"),
        ("round_out", "t + 1, k, k + span)", "t + 1, k0, k0 + span)", "spans begin where their last columns do"),
        ("round_out", "part != span", "part < span - 32", "rounded before the last columns are there"),
    ),
]  # fmt: skip

MUTANTS = SPANS
