"""The variant with tiles (AMX) on processors without them: its program with tiles made of AVX-512 BF16.

Every test of test_native_ops runs here again, and of test_few_tokens those with gates. Left out, with the reason,
where the processor lacks AVX-512 BF16 or the compiler AMX; where there are tiles, the other tests use the real ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest

from native.toolchain import NoCompiler, find_compiler
from tests.backends import test_few_tokens, test_native_ops
from tests.backends.single import near, program, run, wanted
from tests.backends.test_native_ops import batch, linear
from tests.blocks import filled
from tests.native.driver import Driver, build, name

globals().update({k: t for k, t in vars(test_native_ops).items() if k.startswith("test_")})
globals().update({k: t for k, t in vars(test_few_tokens).items() if k.startswith("test_") and "gates" in k})


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


@pytest.mark.parametrize("fmt", ["Q4_0", "Q6_K"])
def test_panels_of_few_rows_and_more_tokens_than_one_turn(fmt: str, isa: Driver) -> None:
    rng = np.random.default_rng(14)
    for rows, cols, tokens in ((39, 768, 65), (34, 256, 1056)):
        x = rng.standard_normal((tokens, cols)).astype(np.float32)
        weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
        made = program(lambda b, r=rows, c=cols: linear(b, r, c))
        found = run(made, weights, [x], batch(tokens), isa=isa, chunk=tokens, context=tokens)[0]
        near(found, wanted(made, weights, [x], batch(tokens), isa, chunk=tokens, context=tokens)[0], 2e-6)


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
