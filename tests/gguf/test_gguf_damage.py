"""Damage by machine: every prefix of a file, every byte of its header changed, every field replaced."""

from __future__ import annotations

from pathlib import Path

import ggufbytes as b
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeq import gguf
from edgeq.errors import GGUFError

SMALL = b.small()
DATA = SMALL.build()
HEAD = len(SMALL.head())
END = len(b.G(SMALL.kvs, SMALL.tensors, last_pad=False).build())


def outcome(path: Path, data: bytes) -> str:
    """ "refused", or "loaded" after a look at everything in the file. Any other exception fails the test."""
    path.write_bytes(data)
    try:
        g = gguf.open(path)
    except GGUFError as e:
        text = str(e)
    else:
        look(g, data)
        return "loaded"
    assert text.isprintable() and len(text) < 800
    return "refused"


def look(g: gguf.GGUFFile, data: bytes) -> None:
    with g:
        for key in g.metadata:
            value = g.metadata[key]
            if hasattr(value, "tolist"):
                assert len(value.tolist()) == len(value)
        for tensor in g.tensors.values():
            assert tensor.offset + tensor.nbytes <= len(data)
            assert int(tensor.data.sum()) >= 0


def test_every_proper_prefix_is_refused(tmp_path: Path, scanner: str) -> None:
    path = tmp_path / "prefix.gguf"
    wrong = [n for n in range(END) if outcome(path, DATA[:n]) != "refused"]
    assert wrong == []
    for n in range(END, len(DATA) + 1):  # only padding is missing
        assert outcome(path, DATA[:n]) == "loaded"


@pytest.mark.parametrize("value", [0, 1, 0x7F, 0x80, 0xFF])
def test_header_bytes_set_to(value: int, tmp_path: Path) -> None:
    path = tmp_path / "byte.gguf"
    seen = {outcome(path, DATA[:i] + bytes([value]) + DATA[i + 1 :]) for i in range(HEAD)}
    assert seen == {"refused", "loaded"}


@pytest.mark.parametrize("power", [16, 32, 62, 63, 64])
def test_u64_fields_set_to_powers_of_two(power: int, tmp_path: Path) -> None:
    path = tmp_path / "field.gguf"
    for value in ((1 << power) % (1 << 64), (1 << power) - 1):
        for i in range(4, HEAD - 8):
            outcome(path, DATA[:i] + b.u64(value) + DATA[i + 8 :])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, HEAD), st.integers(0, 8), st.binary(max_size=12)), min_size=1, max_size=5))
def test_random_splices(tmp_path: Path, splices: list[tuple[int, int, bytes]]) -> None:
    data = DATA
    for at, cut, new in splices:
        data = data[:at] + new + data[at + cut :]
    outcome(tmp_path / "splice.gguf", data)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_random_bytes_after_the_magic(tmp_path: Path, tail: bytes) -> None:
    assert outcome(tmp_path / "random.gguf", b"GGUF" + tail) == "refused" or len(tail) >= 20
