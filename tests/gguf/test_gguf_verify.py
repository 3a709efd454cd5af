"""verify: what it finds, where, and that it finds it in every format."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import ggufbytes as b
import numpy as np
import pytest
from ggufbytes import G, T

from edgeq import gguf, quants
from edgeq.gguf import checks
from edgeq.quants import FORMATS

FLOATS = [f for f in FORMATS.values() if quants.scale_fields(f)]
BAD = {
    "F16": [0x7C00, 0xFC00, 0x7E00, 0xFFFF], "BF16": [0x7F80, 0xFF80, 0x7FC0],
    "F32": [0x7F800000, 0xFF800000, 0x7FC00000], "F64": [0x7FF0 << 48, 0xFFF8 << 48],
    "E8M0": [0xFF], "UE4M3": [0x7F],
}  # fmt: skip
WIDTH = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "E8M0": 1, "UE4M3": 1}


def spoil(block: bytearray, kind: str, at: int, code: int) -> None:
    """Writes a bad number into one field of a block."""
    if kind == "IQ1_M":  # an fp16 in the top nibbles of four words
        for i in range(4):
            block[at + 2 * i + 1] = (block[at + 2 * i + 1] & 0x0F) | ((code >> (4 * i)) & 15) << 4
    else:
        block[at : at + WIDTH[kind]] = code.to_bytes(WIDTH[kind], "little")


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda f: f.name)
def test_a_bad_scale_is_found_in_every_format(fmt: quants.Format, tmp_path: Path) -> None:
    rows, per_row = 3, 5
    path = tmp_path / "m.gguf"
    clean = bytes(fmt.nbytes * rows * per_row)
    for kind, at in quants.scale_fields(fmt):
        for code in BAD.get(kind, BAD["F16"]):
            data = bytearray(clean)
            where = 2 * per_row + 1  # row 2, block 1
            block = bytearray(fmt.nbytes)
            spoil(block, kind, at, code)
            data[where * fmt.nbytes : (where + 1) * fmt.nbytes] = block
            gguf.write(
                path,
                {},
                [("ok", (4,), "F32", bytes(16)), ("w", (rows, per_row * fmt.block), fmt, data)],
                overwrite=True,
            )
            (found,) = gguf.verify(path)
            assert (found.severity, found.where) == ("error", "tensor w")
            if fmt.block == 1:
                assert "1 of 15 weights are NaN or infinite; the first is number 11" in found.text
            else:
                assert f"1 of 15 {fmt.name} blocks" in found.text and f"block {where} (row 2, block 1" in found.text
                assert f"{kind} at byte {at}" in found.text


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_clean_weights_of_every_format(fmt: quants.Format, tmp_path: Path) -> None:
    gguf.write(tmp_path / "m.gguf", {"k": 1}, [("w", (2, 3 * fmt.block), fmt, bytes(6 * fmt.nbytes))])
    assert gguf.verify(tmp_path / "m.gguf") == []


def test_first_block_and_count_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_CHUNK", 1000)  # 29 blocks of Q8_0
    blocks = np.zeros((100, 34), np.uint8)
    blocks[[41, 42, 99], 1] = 0x7C
    gguf.write(tmp_path / "m.gguf", {}, [("w", (10, 320), "Q8_0", blocks)])
    (found,) = gguf.verify(tmp_path / "m.gguf")
    assert (
        found.text.startswith("3 of 100 Q8_0 blocks") and "block 41 (row 4, block 1 in it, F16 at byte 0" in found.text
    )
    assert str(found).startswith("error: tensor w: 3 of 100")


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A tensor of 128 MiB (a hole in the file) is looked at with 64 MiB."""
    import subprocess
    import sys

    path = tmp_path / "m.gguf"
    head = b.pad(G(tensors=[T("a", (1 << 25,))]).head(), 32)
    path.write_bytes(head)
    os.truncate(path, len(head) + (1 << 27))
    code = f"""
import resource, numpy
from edgeq import gguf, quants
quants.dequantize(numpy.zeros((1, 4), numpy.uint8), "F32")
size = int(open("/proc/self/statm").read().split()[0]) * 4096
limit = (64 << 20) + (128 << 20)  # the map of the file is address space too
resource.setrlimit(resource.RLIMIT_AS, (size + limit, -1))
assert gguf.verify({str(path)!r}) == []
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, timeout=120)
    path.unlink()


def test_a_broken_container_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b.small().build()[:300])
    (found,) = gguf.verify(tmp_path / "m.gguf")
    assert found.severity == "error" and found.where == "file" and "cut short" in found.text
    assert gguf.verify(tmp_path)[0].text.endswith("expected a GGUF file")


def test_odd_but_harmless_things_are_warnings(tmp_path: Path) -> None:
    g = G(kvs=[b.kv("general.name", b.STRING, b"ok\xff")], tensors=[T("a", (1,)), T("b", (1,))])
    data = bytearray(g.build())
    data[len(g.head())] = 1
    data[-1] = 1
    data[-33] = 1
    (tmp_path / "m.gguf").write_bytes(bytes(data) + b"tail")
    found = gguf.verify(tmp_path / "m.gguf")
    assert {f.severity for f in found} == {"warning"}
    assert [(f.where, f.text) for f in found] == [
        ("key general.name", "not UTF-8 (byte 2 of the string)"),
        ("header", "the padding before the first tensor is not zero"),
        ("tensor a", "the padding after it is not zero"),
        ("tensor b", "the padding after it is not zero"),
        ("end of file", "4 bytes after the last tensor"),
    ]


def test_missing_padding_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(G(tensors=[T("a", (1,))], last_pad=False).build())
    (found,) = gguf.verify(tmp_path / "m.gguf")
    assert found.severity == "warning" and "0 of 28 bytes of padding" in found.text


def test_every_part_of_a_split_model_is_looked_at(tmp_path: Path) -> None:
    bad = struct.pack("<f", float("nan"))
    rows = [("a", (1,), "F32", bytes(4)), ("b", (1,), "F32", bad), ("c", (1,), "F32", bad)]
    paths = gguf.write(tmp_path / "m.gguf", {}, rows, max_tensors=1)
    assert [f.where for f in gguf.verify(paths[0])] == ["tensor b", "tensor c"]


def test_a_file_that_shrinks_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    gguf.write(path, {}, [("a", (64, 64), "F32", bytes(16384))])
    real = checks.oddities

    def shrinking(part: gguf.Part) -> object:
        os.truncate(path, 8192)
        return real(part)

    monkeypatch.setattr(checks, "oddities", shrinking)
    texts = [f.text for f in gguf.verify(path)]
    assert any("became shorter" in t for t in texts) and any("was changed" in t for t in texts)
