"""The bench of mixes: permuted models compute the same, and divergences are read and compared rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgeq
from bench import mixes, permuted
from edgeq import gguf
from edgeq.backends.reference import ReferenceBackend
from edgeq.errors import ModelError
from edgeq.quantize import quantize
from tests.small import tiny


@pytest.mark.parametrize("name", ["llama-spm", "llama3", "qwen2", "qwen3", "gemma3"])
def test_another_order_of_channels_changes_no_logit(name: str, tmp_path: Path) -> None:
    source, target = tiny(name), tmp_path / "permuted.gguf"
    permuted.write(str(source), str(target), kind="F32")
    ids = list(range(5, 25))
    found = []
    for path in (source, target):
        with edgeq.load(path, context=64, backend=ReferenceBackend(np.float64), kv_type="F32") as model:
            found.append(model.logits(ids))
    assert np.abs(found[0] - found[1]).max() < 1e-6 * np.abs(found[0]).max()
    with gguf.open(source) as a, gguf.open(target) as b:
        for part in ("attn_v", "attn_output", "ffn_down"):
            first, second = (file.tensors[f"blk.1.{part}.weight"].data.tobytes() for file in (a, b))
            assert first != second


def test_another_family_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected one of llama"):
        permuted.write(str(tiny("llama-mlp-bias")), str(tmp_path / "out.gguf"))
    assert not list(tmp_path.iterdir())


LOG = "chunk   PPL   ln(PPL(Q)/PPL(base))   KL Divergence   Δp RMS   Same top p\n" + "".join(
    f"   {i}      10.1234 ±    1.2345      -0.01000 ±    0.00500       {mean:.5f} ±    0.00100     3.456 ±  0.200 %\n"
    for i, mean in enumerate((0.02, 0.03, 0.05), 1)
) + "\nMean    KLD:   0.050000 ±   0.000800\n"


def test_chunks_are_taken_from_running_means() -> None:
    assert np.allclose(mixes.per_chunk(LOG), [0.02, 0.04, 0.09])


def test_the_paired_test() -> None:
    theirs, ours = np.array([0.4, 0.1, 0.3, 0.2]), np.array([0.3, 0.1, 0.1, 0.3])
    found = mixes.compare(theirs, ours)
    assert found == pytest.approx((0.25, 0.2, -0.05 / (0.1290994449 / 2), 2, 4))
    for short in (ours[:3], np.zeros(0)):
        with pytest.raises(ValueError, match="as many of both"):
            mixes.compare(theirs, short)


def test_formats_are_compared(tmp_path: Path) -> None:
    source, a, b = tiny("format-f32"), str(tmp_path / "a.gguf"), str(tmp_path / "b.gguf")
    quantize(source, a, "Q4_K_M")
    quantize(source, b, "Q4_0")
    assert mixes.alike(a, a)
    assert not mixes.alike(a, b)
