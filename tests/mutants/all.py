"""All mutants, group by group."""

from __future__ import annotations

from tests.mutants import (
    blocks,
    codebooks,
    container,
    dots,
    floats,
    formats,
    kernels,
    linears,
    numba,
    ops,
    pretokenizers,
    samplers,
    sessions,
    simd,
    speculation,
    tiles,
    tokenizers,
)
from tests.mutants.mutant import Mutant

GROUPS = (
    formats,
    kernels,
    linears,
    floats,
    blocks,
    codebooks,
    simd,
    dots,
    ops,
    numba,
    tokenizers,
    pretokenizers,
    samplers,
    container,
    sessions,
    speculation,
    tiles,
)
MUTANTS: list[Mutant] = [mutant for group in GROUPS for mutant in group.MUTANTS]
