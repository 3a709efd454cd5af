"""The table of formats: sizes, lookups, and that it costs no NumPy."""

from __future__ import annotations

import subprocess
import sys

import gguf
import pytest

from edgeq import quants
from edgeq.errors import FormatError, UsageError

# After ggml.h and ggml-common.h of llama.cpp: newer than some releases of the gguf package, or, as Q8_1
# (two fp16 since 2024, two floats in the package's table), wrong in it.
OWN = {
    "MXFP4": (39, 32, 17), "NVFP4": (40, 64, 36), "Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18),
    "Q8_1": (9, 32, 36),
}  # fmt: skip
NAMES = [
    "F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64",
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q1_0", "Q2_0",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K",
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS",
    "TQ1_0", "TQ2_0", "MXFP4", "NVFP4",
]  # fmt: skip


def test_every_format_is_there():
    assert sorted(quants.FORMATS) == sorted(NAMES)
    assert all(name == fmt.name for name, fmt in quants.FORMATS.items())


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_ids_are_those_of_ggml(name):
    fmt = quants.FORMATS[name]
    if name not in OWN:
        kind = gguf.GGMLQuantizationType[name]
        assert (fmt.id, fmt.block, fmt.nbytes) == (kind.value, *gguf.GGML_QUANT_SIZES[kind])
    else:
        assert (fmt.id, fmt.block, fmt.nbytes) == OWN[name]
    assert quants.by_id(fmt.id) is quants.by_name(name.lower()) is fmt
    assert fmt.bits_per_weight == 8 * fmt.nbytes / fmt.block
    assert fmt.row_bytes(3 * fmt.block) == 3 * fmt.nbytes
    assert fmt.row_bytes(0) == 0


def test_what_may_be_the_weight_of_a_linear():
    refused = {name for name, fmt in quants.FORMATS.items() if not fmt.linear}
    assert refused == {"F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K"}


@pytest.mark.parametrize("n", [-256, -1, 1, 255, 257])
def test_a_row_is_whole_blocks(n):
    with pytest.raises(FormatError, match=rf"Q4_K.*256.*{n}"):
        quants.FORMATS["Q4_K"].row_bytes(n)


@pytest.mark.parametrize("id", [4, 5, 31, 32, 33, 36, 37, 38])
def test_removed_types_are_named(id):
    with pytest.raises(FormatError, match=r"Q4_2|Q4_3|Q4_0_\d_\d|IQ4_NL_4_\d|IQ4_NL_8_8"):
        quants.by_id(id)


@pytest.mark.parametrize("id", [-1, 43, 255, 2**31, 2**63, 10**400])
def test_unknown_types_are_refused(id):
    with pytest.raises(FormatError, match="unknown tensor type") as error:
        quants.by_id(id)
    assert len(str(error.value)) < 400


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match=r"q9_x\\n.*expected one of F32"):
        quants.by_name("q9_x\n")


def test_the_table_imports_no_numpy():
    code = "import sys, edgeq.quants as q; q.by_id(12).row_bytes(256); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
