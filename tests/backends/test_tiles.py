"""The variant with tiles (AMX) on processors without them: its program with tiles made of AVX-512 BF16.

Every test of test_native_ops runs here again. Left out, with the reason, where the processor lacks AVX-512 BF16 or
the compiler AMX; where there are tiles, the other tests use the real ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from native.toolchain import NoCompiler, find_compiler
from tests.backends import test_native_ops
from tests.native.driver import Driver, build, name

globals().update({k: t for k, t in vars(test_native_ops).items() if k.startswith("test_")})


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    try:
        made = build(find_compiler(), "run_program.c", more=["-DEQ_EMULATE_TILES", "-I."])
    except NoCompiler as reason:
        pytest.skip(f"tiles are not tested here: {reason}")
    running = Driver(made)
    if running.ask("i", name("amx"))[-1] != b"amx":
        assert running.close() == 0
        pytest.skip("tiles are not tested here: the processor has neither AMX nor AVX-512 BF16")
    yield running
    assert running.close() == 0


def test_peak_products_are_counted(isa: Driver) -> None:
    """Four tiles of 16 x 16 sums; more rounds than a float32 counts."""
    for rounds in (0, 3, (1 << 19) + 1):
        answer = isa.ask("m", name("amx"), struct.pack("<2q", 2, rounds))
        products, total = struct.unpack("<qd", b"".join(answer))
        assert products == 2 * rounds * 4 * 16 * 16 * 32
        assert total == products


@pytest.fixture(params=["amx"])
def isa(request: pytest.FixtureRequest, driver: Driver) -> Driver:
    driver.isa = str(request.param)
    return driver
