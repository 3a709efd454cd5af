"""All mutants, group by group."""

from __future__ import annotations

from tests.mutants import (
    codebooks,
    container,
    convert,
    dots,
    floats,
    formats,
    imatrix,
    kernels,
    linears,
    lora,
    numba,
    ops,
    planes,
    pretokenizers,
    quantize,
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
    planes,
    codebooks,
    simd,
    dots,
    ops,
    numba,
    tokenizers,
    pretokenizers,
    samplers,
    container,
    convert,
    imatrix,
    lora,
    quantize,
    sessions,
    speculation,
    tiles,
)
MUTANTS: list[Mutant] = [mutant for group in GROUPS for mutant in group.MUTANTS]
