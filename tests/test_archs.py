"""What a file may say of its architecture in two ways, or leave out: both files give the same logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq import ops
from tests import families
from tests.small import BACKEND, tiny
from tests.test_model_hostile import Change, key, remade, without

IDS = [int(i) for i in np.random.default_rng(1).integers(0, 300, 48)]


def both(*changes: Change) -> Change:
    def change(metadata: dict[str, Any], rows: list[Any]) -> None:
        for each in changes:
            each(metadata, rows)

    return change


def times(factor: float, wanted: Callable[[str], bool]) -> Change:
    """Multiplies float32 weights; exact for powers of two."""

    def change(metadata: dict[str, Any], rows: list[Any]) -> None:
        for i, (name, shape, fmt, data) in enumerate(rows):
            if wanted(name):
                assert fmt == "F32"
                rows[i] = (name, shape, fmt, (np.frombuffer(data, np.float32) * np.float32(factor)).tobytes())

    return change


def scale_of(name: str, value: float) -> Change:
    def change(metadata: dict[str, Any], rows: list[Any]) -> None:
        rows.append((f"{name}.scale", (1,), "F32", np.float32(value).tobytes()))

    return change


def locals_of(*local: bool) -> Change:
    return key("gemma3.attention.sliding_window_pattern", "array[bool]", list(local))


LLAMA_SCALE = 2.0 / math.sqrt(16)  # twice the usual one
NOTHING: Change = both()
SAME: dict[str, tuple[str, Change, Change]] = {
    "attention.scale": ("llama3", key("llama.attention.scale", "f32", LLAMA_SCALE),
                        times(2.0, lambda name: name.endswith("attn_q.weight"))),
    "second_level_scale": ("llama3", scale_of("blk.1.ffn_down", 0.25),
                           times(0.25, lambda name: name == "blk.1.ffn_down.weight")),
    "old_name_of_the_linear_factor": ("llama-linear", both(without("llama.rope.scaling.factor"),
                                                           key("llama.rope.scale_linear", "f32", 4.0)), NOTHING),
    "a_factor_without_a_scaling": ("llama-spm", both(key("llama.rope.scaling.type", "string", "none"),
                                                     key("llama.rope.scaling.factor", "f32", 4.0)), NOTHING),
    "default_rotary_base": ("llama-spm", without("llama.rope.freq_base"), key("llama.rope.freq_base", "f32", 10000.0)),
    "windows_by_layer": ("gemma3", locals_of(*[True, True, False] * 2, True),
                         key("gemma3.attention.sliding_window_pattern", "u32", 3)),
}  # fmt: skip
DIFFER = ("attention.scale", "second_level_scale", "windows_by_layer")  # from the file as it was


def logits(path: Path) -> np.ndarray:
    with edgeq.load(path, backend=BACKEND, threads=1, context=64, kv_type="F32") as model:
        return model.logits(IDS)


@pytest.mark.parametrize("case", SAME)
def test_two_ways_to_say_the_same(case: str, tmp_path: Path) -> None:
    name, first, second = SAME[case]
    one = logits(remade(tmp_path / "one.gguf", first, name))
    two = logits(remade(tmp_path / "two.gguf", second, name))
    np.testing.assert_allclose(one, two, atol=1e-4, rtol=0)
    plain = logits(tiny(name))
    assert (np.abs(one - plain).max() > 0.1) == (case in DIFFER)


@pytest.mark.parametrize("layers", [61, 62])
def test_gemma_of_27b_alone_scales_queries_by_its_width_per_head(layers: int) -> None:
    program = families.lower("gemma3", block_count=layers)
    width = families.WIDTH // families.HEADS if layers == 62 else families.FAMILIES["gemma3"]["attention.key_length"]
    scales = {op.scale for op in program.ops if isinstance(op, ops.Attend)}
    assert scales == {1.0 / math.sqrt(width)}
