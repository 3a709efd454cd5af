"""Against the `gguf` package, an independent implementation: each reads what the other writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import gguf
from edgeq.gguf import Value
from edgeq.quants import FORMATS

package = pytest.importorskip("gguf", reason="the gguf package is part of the test extras")

TYPES = {
    "u8": (package.GGUFValueType.UINT8, [0, 255]),
    "i8": (package.GGUFValueType.INT8, [-128, 127]),
    "u16": (package.GGUFValueType.UINT16, [0, 65535]),
    "i16": (package.GGUFValueType.INT16, [-(2**15), 2**15 - 1]),
    "u32": (package.GGUFValueType.UINT32, [0, 2**32 - 1]),
    "i32": (package.GGUFValueType.INT32, [-(2**31), 2**31 - 1]),
    "f32": (package.GGUFValueType.FLOAT32, [0.5, -2.0]),
    "bool": (package.GGUFValueType.BOOL, [True, False]),
    "string": (package.GGUFValueType.STRING, ["", "naïve ☃"]),
    "u64": (package.GGUFValueType.UINT64, [0, 2**64 - 1]),
    "i64": (package.GGUFValueType.INT64, [-(2**63), 2**63 - 1]),
    "f64": (package.GGUFValueType.FLOAT64, [0.1, -1e300]),
}
KNOWN = [f for f in FORMATS.values() if f.name in package.GGMLQuantizationType.__members__]


def test_the_format_table_agrees() -> None:
    assert len(KNOWN) >= 30
    for fmt in KNOWN:
        kind = package.GGMLQuantizationType[fmt.name]
        assert fmt.id == kind.value
        if fmt.name != "Q8_1":  # 36 bytes in GGML since its scales became fp16; the package still says 40
            assert (fmt.block, fmt.nbytes) == package.GGML_QUANT_SIZES[kind]


@pytest.mark.parametrize("alignment", [32, 8, 1024])
def test_we_read_what_it_writes(tmp_path: Path, alignment: int) -> None:
    path = tmp_path / "m.gguf"
    w = package.GGUFWriter(path, "llama")
    w.add_custom_alignment(alignment)
    for name, (kind, values) in TYPES.items():
        w.add_key_value(f"one.{name}", values[1], kind)
        w.add_key_value(f"many.{name}", values, package.GGUFValueType.ARRAY, sub_type=kind)
    rng = np.random.default_rng(1)
    arrays = {
        "f32": rng.random((3, 5), np.float32),
        "f16": rng.random((2, 2, 3)).astype(np.float16),
        "i32": np.arange(6, dtype=np.int32),
        "f64": rng.random((1, 7)),
    }
    for name, data in arrays.items():
        w.add_tensor(name, data)
    q8 = rng.integers(0, 255, (4, 68), np.uint8)
    w.add_tensor("q8", q8, raw_dtype=package.GGMLQuantizationType.Q8_0)
    for step in (w.write_header_to_file, w.write_kv_data_to_file, w.write_tensors_to_file, w.close):
        step()
    with gguf.open(path) as g:
        assert g.alignment == alignment and g.warnings == []
        assert g.metadata["general.architecture"] == "llama"
        for name, (_, values) in TYPES.items():
            assert g.metadata[f"one.{name}"] == values[1] and g.metadata.type(f"one.{name}") == name
            assert g.metadata[f"many.{name}"].tolist() == values
            assert g.metadata.type(f"many.{name}") == f"array[{name}]"
        for name, data in arrays.items():
            assert g.tensors[name].shape == data.shape and g.tensors[name].format.name == name.upper()
            assert g.tensors[name].data.tobytes() == data.tobytes()
        assert g.tensors["q8"].shape == (4, 64) and np.array_equal(g.tensors["q8"].data, q8)
    assert gguf.copy(path, tmp_path / "copy.gguf") == []
    assert (tmp_path / "copy.gguf").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("split", [None, 9])
def test_it_reads_what_we_write(tmp_path: Path, split: int | None) -> None:
    rng = np.random.default_rng(2)
    meta: dict[str, Any] = {"general.architecture": "llama", "general.alignment": 64}
    for name, (_, values) in TYPES.items():
        meta[f"one.{name}"] = Value(name, values[1])
        meta[f"many.{name}"] = Value(f"array[{name}]", values)
    rows = [
        (f.name, (2, 3, 2 * f.block), f, rng.integers(0, 60, 12 * f.nbytes, np.uint8))
        for f in KNOWN
        if f.name not in ("Q8_1", "Q8_K")
    ]
    paths = gguf.write(tmp_path / "m.gguf", meta, rows, max_tensors=split)
    found: dict[str, Any] = {}
    for i, path in enumerate(paths):
        r = package.GGUFReader(path)
        found |= {t.name: t for t in r.tensors}
        if i == 0:
            for name, (kind, values) in TYPES.items():
                one, many = r.fields[f"one.{name}"], r.fields[f"many.{name}"]
                assert one.types == [kind] and one.contents() == values[1]
                assert many.types == [package.GGUFValueType.ARRAY, kind] and many.contents() == values
        if split:
            assert r.fields["split.no"].contents() == i
    assert list(found) == [row[0] for row in rows]
    for name, _, f, data in rows:
        t = found[name]
        assert t.tensor_type.name == name and t.shape.tolist() == [2 * f.block, 3, 2]
        assert t.data.tobytes() == data.tobytes()
