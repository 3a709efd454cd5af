"""The safetensors reader: what the format allows is read as it is, everything else is refused by name."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeq.convert import safetensors
from edgeq.errors import FormatError
from models.checkpoints.writer import write_safetensors

VALID = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
         "b": {"dtype": "U8", "shape": [3], "data_offsets": [16, 19]}}  # fmt: skip


def raw(header: Any, data: int = 19) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + bytes(data)


def changed(**entry: Any) -> dict[str, Any]:
    return {**VALID, "b": {**VALID["b"], **entry}}


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError) as error:
        safetensors.read(path)
    return str(error.value)


def test_tensors_come_as_they_were_written(tmp_path: Path) -> None:
    floats = np.arange(6, dtype="<f4").reshape(2, 3)
    entries = {"f": ("F32", floats), "empty": ("F16", np.zeros((0, 4), "<f2")), "scalar": ("I64", np.array(7, "<i8"))}
    write_safetensors(tmp_path / "x.safetensors", entries)
    found = {t.name: t for t in safetensors.read(tmp_path / "x.safetensors")}
    assert {n: (t.dtype, t.shape) for n, t in found.items()} == {
        "f": ("F32", (2, 3)), "empty": ("F16", (0, 4)), "scalar": ("I64", ())}  # fmt: skip
    assert (found["f"].array() == floats).all() and found["scalar"].array() == 7
    with pytest.raises(ValueError, match="read-only"):
        found["f"].array()[0] = 1


def test_rows_in_any_order_are_those_of_the_whole(tmp_path: Path) -> None:
    numbers = np.arange(24, dtype="<i2").reshape(6, 2, 2)
    write_safetensors(tmp_path / "x.safetensors", {"a": ("I16", numbers[:1]), "b": ("I16", numbers)})
    (b,) = (t for t in safetensors.read(tmp_path / "x.safetensors") if t.name == "b")
    for rows in ([0, 1, 2, 3, 4, 5], [4, 2, 3], [5, 5, 0], [3], []):
        found = b.rows(np.array(rows, np.intp))
        assert found.dtype == np.int16 and np.array_equal(found, numbers[np.array(rows, np.intp)])


def test_a_file_that_is_cut_off_before_its_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"a": ("U8", np.zeros((4, 1 << 16), np.uint8))})
    (a,) = safetensors.read(path)
    with path.open("r+b") as file:
        file.truncate(1 << 17)
    assert not a.rows(np.array([0])).any()
    for read in (lambda: a.rows(np.array([3])), a.array):
        with pytest.raises(FormatError, match=r"x\.safetensors: became shorter while it was read"):
            read()
    path.unlink()
    with pytest.raises(FormatError, match=r"x\.safetensors: cannot be read: No such file"):
        a.array()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (struct.pack("<Q", 1 << 62), "header of 4611686018427387904 bytes"),
        (raw(VALID)[:20], "not all of it is here"),
        (raw(b"{"), "no JSON"),
        (raw(b"[" * 100000), "no JSON"),
        (raw(b"\xff\xff"), "no JSON"),
        (raw([1]), "expected a JSON object"),
        (raw(b'{"a":{},"a":{}}'), "a is there twice"),
        (raw({"b": 3}), "tensor b: expected a JSON object"),
        (raw(changed(dtype="F99")), "tensor b: dtype F99"),
        (raw(changed(dtype=[])), "tensor b: dtype"),
        (raw(changed(shape=[-3])), "tensor b: shape"),
        (raw(changed(shape=[3.0])), "tensor b: shape"),
        (raw(changed(shape=[True, 3])), "tensor b: shape"),
        (raw(changed(shape=[1] * 9)), "tensor b: shape"),
        (raw(changed(shape=[1 << 40, 1 << 40])), "tensor b: data_offsets"),
        (raw(changed(data_offsets=[16])), "tensor b: data_offsets"),
        (raw(changed(data_offsets=[19, 16])), "are -3 bytes"),
        (raw(changed(data_offsets=[15, 18])), "overlaps"),
        (raw(changed(data_offsets=[17, 20]), 20), "leaves a gap"),
        (raw(changed(data_offsets=[0, 3])), "overlaps"),
        (raw(changed(data_offsets=[16, 20]), 20), "are 4 bytes; U8 [3] has 3"),
        (raw(VALID, 18), "cut off"),
        (raw(VALID, 20), "behind the tensors"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


def test_a_header_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "MAX_HEADER", 20)
    assert "expected at most 20" in refusal(tmp_path, raw(VALID))


def test_every_prefix_is_refused(tmp_path: Path) -> None:
    whole = raw(VALID)
    for n in range(len(whole)):
        refusal(tmp_path, whole[:n])


SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda s: s != "__metadata__"), SHAPES, max_size=5))
def test_any_set_of_tensors_round_trips(tmp_path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    draw = np.random.default_rng(0)
    entries = {n: ("U8", draw.integers(0, 256, s).astype(np.uint8)) for n, s in shapes.items()}
    write_safetensors(tmp_path / "x.safetensors", entries)
    found = {t.name: t.array() for t in safetensors.read(tmp_path / "x.safetensors")}
    assert found.keys() == entries.keys()
    assert all((found[n] == a).all() and found[n].shape == a.shape for n, (_, a) in entries.items())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["dtype", "shape", "data_offsets"]), JSON, st.integers(0, 60))
def test_any_header_is_read_or_refused(tmp_path: Path, key: str, value: Any, size: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw(changed(**{key: value}), size))
    try:
        found = safetensors.read(path)
    except FormatError:
        return
    assert sum(t.nbytes for t in found) == size
    assert all(t.array().nbytes == t.nbytes for t in found)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 130), st.binary(min_size=1, max_size=9))
def test_any_bytes_in_the_file_are_read_or_refused(tmp_path: Path, at: int, splice: bytes) -> None:
    content = bytearray(raw(VALID))
    content[at : at + len(splice)] = splice
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    try:
        found = safetensors.read(path)
    except FormatError:
        return
    assert all(t.array().nbytes == t.nbytes for t in found)


def test_a_name_that_is_there_twice_is_found_at_once_among_many(tmp_path: Path) -> None:
    names = [*range(300_000), 299_999]
    header = "{" + ", ".join(f'"{n}": 0' for n in names) + "}"
    started = time.perf_counter()
    assert "299999 is there twice" in refusal(tmp_path, raw(header.encode()))
    assert time.perf_counter() - started < 10  # looked for name by name it takes an hour
