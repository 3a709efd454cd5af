"""Calls that the library must refuse: each was once a crash, a hang or undefined behaviour under fuzzing.

fuzz_native.c looks for more of them; sanitized.py runs it with the sanitizers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq import _lib, ops
from edgeq.backends.base import Options
from edgeq.ops import In, Out
from edgeq.program import Builder
from tests.backends.single import program
from tests.blocks import filled
from tests.native.driver import Packed

pytestmark = pytest.mark.skipif(not _lib.available(), reason="no native library")
INVALID = 3
INT64_MAX = 2**63 - 1


def chain(b: Builder) -> tuple[list[int], list[int]]:
    """embed, two linears, attention, wanted rows: buffers e, q, k, a, y, z."""
    e = b.embed(b.tensor("table", 7, 32), 32)
    q = b.linear("q", e, b.tensor("wq", 32, 32), 32)
    k = b.linear("k", e, b.tensor("wk", 32, 32), 32)
    cache = b.cache(1, 32)
    b.kv_write(k, k, cache)
    a = b.attend("a", q, cache, 1, 0.2)
    return [], [b.take_rows("z", a)]


class Case:
    """The packed program, to be damaged, and calls with it."""

    def __init__(self) -> None:
        weights = filled(np.random.default_rng(1), [(n, (32, 32)) for n in ("wq", "wk")], {}, "Q8_0", 1.0)
        weights |= filled(np.random.default_rng(2), [("table", (7, 32)), ("small", (3, 32))], {}, "F32", 1.0)
        self.packed = Packed(program(chain), weights, Options(threads=1, chunk=8))
        self.small = weights["small"]
        self.c = self.packed.c
        self.ffi, self.lib = _lib.ffi, _lib.lib
        self.text = self.ffi.new("char[]", 200)
        self.pool = self.ffi.gc(self.lib.eq_pool_new(1, self.text, 200), self.lib.eq_pool_free)

    def table(self, name: str, count: int | None = None) -> Any:
        """A writable copy of a table of the program, longer if asked, put in its place."""
        old, n = getattr(self.c, name), getattr(self.c, f"n_{name}")
        new = self.ffi.new(f"{self.ffi.typeof(old).item.cname}[]", max(n, count or 0))
        for i in range(n):
            new[i] = old[i]
        setattr(self.c, name, new)
        setattr(self.c, f"n_{name}", len(new))
        self.packed._keep.append(new)
        return new

    def compiled(self) -> Any:
        handle = self.lib.eq_exec_new(self.c, self.pool, self.ffi.NULL, self.text, 200)
        return self.ffi.gc(handle, self.lib.eq_exec_free) if handle else None

    def state(self, exe: Any, context: int = 64, ring: int = 64) -> Any:
        handle = self.lib.eq_state_new(exe, 1, context, [ring], 1, self.text, 200)
        return self.ffi.gc(handle, self.lib.eq_state_free) if handle else None

    def step(self, exe: Any, state: Any, tokens: list[int]) -> int:
        n = len(tokens)
        columns = [self.ffi.new("int32_t[]", c) for c in (tokens, list(range(n)), [0] * n, [n - 1])]
        batch = self.ffi.new("eq_batch *", [*columns, n, 1])
        out = self.ffi.new("float[]", 32 * n)
        outputs = self.ffi.new("float *[]", [out] * max(1, self.c.n_outputs))
        inputs = self.ffi.new("float *[]", [self.ffi.new("float[]", 32 * n)] * max(1, self.c.n_inputs))
        null = self.ffi.NULL
        return int(self.lib.eq_step(exe, state, batch, self.ffi.cast("float const *const *", inputs), outputs, null,
                                    self.text, 200))  # fmt: skip

    def refused(self, words: str) -> None:
        assert self.compiled() is None
        assert words in self.ffi.string(self.text).decode()


@pytest.fixture
def case() -> Case:
    return Case()


def test_the_program_of_these_tests_runs(case: Case) -> None:
    exe = case.compiled()
    assert case.step(exe, case.state(exe), [1, 2, 6]) == 0


@pytest.mark.parametrize("table", ["ops", "buffers", "tensors", "caches", "inputs", "outputs"])
@pytest.mark.parametrize("count", [-1, -(2**31), 2**31 - 1])
def test_a_table_of_less_than_nothing_is_not_allocated(case: Case, table: str, count: int) -> None:
    setattr(case.c, f"n_{table}", count)
    case.refused(f"number of {table}")


@pytest.mark.parametrize("offset", [INT64_MAX - 31, 2**40, -2, -(2**63)])
def test_an_offset_that_overflows_with_its_width_is_refused(case: Case, offset: int) -> None:
    case.table("buffers")[0].offset = offset
    case.refused("offset of a buffer")


@pytest.mark.parametrize("offset", [1, 32, 64, 127])
def test_an_offset_inside_four_groups_of_activations_is_refused(case: Case, offset: int) -> None:
    """Buffers of kernels that take four groups together would overlap."""
    case.table("buffers")[0].offset += offset
    case.refused("offset of a buffer")


def test_more_inputs_to_be_rounded_than_ops_do_not_write_past_the_stages(case: Case) -> None:
    inputs = case.table("inputs", 500)
    for i in range(500):
        inputs[i] = 0  # read by two quantized linears
    exe = case.compiled()
    assert case.step(exe, case.state(exe), [1, 2]) == 0


def test_a_rounded_buffer_outside_of_the_arena_is_refused(case: Case) -> None:
    case.table("buffers")[0].offset = -1
    case.table("outputs", 2)[1] = 0
    case.refused("offset of a buffer that is rounded")


@pytest.mark.parametrize("buffer", [0, 1, 2, 3])
def test_rows_of_tokens_are_not_written_where_only_wanted_rows_have_room(case: Case, buffer: int) -> None:
    case.table("buffers")[buffer].outputs = 1
    case.refused("kind of rows")


def test_wanted_rows_are_taken_from_rows_of_tokens_only(case: Case) -> None:
    case.table("buffers")[case.c.outputs[0]].outputs = 0
    case.refused("kind of rows")


def test_tokens_are_checked_against_the_smallest_table(case: Case) -> None:
    ops_table, tensors = case.table("ops", case.c.n_ops + 1), case.table("tensors", case.c.n_tensors + 1)
    n, t = case.c.n_ops, case.c.n_tensors
    for i in range(n - 1, 0, -1):
        ops_table[i] = ops_table[i - 1]
    tensors[t - 1] = tensors[ops_table[1].u.embed.table]
    tensors[t - 1].data, tensors[t - 1].rows = case.ffi.cast("void *", case.small.address), 3
    tensors[t - 1].nbytes = case.small.nbytes
    ops_table[0].u.embed.table = t - 1  # the first op embeds from 3 rows, the second from 7
    exe = case.compiled()
    assert case.step(exe, case.state(exe), [2]) == 0
    assert case.step(exe, case.state(exe), [6]) == INVALID


@pytest.mark.parametrize(
    ("field", "value"), [("kv_heads", 2**30), ("kv_heads", 0), ("head_dim", 2**20), ("window", -1)]
)
def test_a_cache_of_absurd_size_is_refused(case: Case, field: str, value: int) -> None:
    setattr(case.table("caches")[0], field, value)
    case.refused("of a cache")


def test_rows_times_columns_that_overflow_are_refused(case: Case) -> None:
    tensor = case.table("tensors")[1]
    tensor.rows, tensor.cols, tensor.type, tensor.nbytes = 2**40, 2**24, 19, INT64_MAX  # IQ1_S: more weights than bytes
    case.refused("rows of a tensor")


def test_float_weights_at_an_odd_address_are_refused(case: Case) -> None:
    tensors = case.table("tensors")
    at = next(i for i in range(case.c.n_tensors) if tensors[i].type == 0)
    tensors[at].data = case.ffi.cast("char *", tensors[at].data) + 1
    case.refused("address of a tensor")


@pytest.mark.parametrize("context", [2**31 - 1, 2**30 + 1, 0, -1])
def test_a_context_that_loops_cannot_count_is_refused(case: Case, context: int) -> None:
    assert case.state(case.compiled(), context, 2**31 - 64) is None
    assert b"positions" in case.ffi.string(case.text)


def test_a_ring_that_forgets_what_attention_reads_is_refused(case: Case) -> None:
    assert case.state(case.compiled(), context=65, ring=64) is None
    case.table("caches")[0].window = 58
    assert case.state(case.compiled(), context=65, ring=64) is None  # window and chunk of 8, less one, are 65
    case.table("caches")[0].window = 57
    assert case.state(case.compiled(), context=65, ring=64) is not None


@pytest.mark.parametrize("length", [-1, 65, 2**31 - 1])
def test_a_snapshot_of_minus_one_byte_is_not_loaded(case: Case, length: int) -> None:
    state = case.state(case.compiled())
    assert case.lib.eq_state_snapshot_bytes(state, length) == -1
    data = case.ffi.new("char[]", 64)
    assert case.lib.eq_state_load(state, 0, length, data, -1) == INVALID
    assert case.lib.eq_state_save(state, 0, length, data, -1) == INVALID


def test_a_snapshot_of_nothing_needs_no_memory(case: Case) -> None:
    state = case.state(case.compiled())
    assert case.lib.eq_state_save(state, 0, 0, case.ffi.NULL, 0) == 0
    assert case.lib.eq_state_load(state, 0, 0, case.ffi.NULL, 0) == 0


@pytest.mark.parametrize(
    ("rows", "cols", "first", "wanted"),
    [(4, 32, INT64_MAX, 1), (4, 32, 2, INT64_MAX), (4, 32, 1, 4), (4, 32, -1, 1), (4, 32, 0, -1), (-(2**63), 32, 0, 1),
     (INT64_MAX, 0, 0, INT64_MAX), (1, INT64_MAX - 31, 0, 1), (2**62, 32, 0, 1), (4, -32, 0, 1), (4, 33, 0, 1)],
)  # fmt: skip
def test_rows_that_are_not_there_are_neither_read_nor_counted_for_ever(
    case: Case, rows: int, cols: int, first: int, wanted: int
) -> None:
    data, out = case.ffi.new("char[]", 4 * 34), case.ffi.new("float[]", 4 * 32)
    tensor = case.ffi.new("eq_tensor *", {"data": data, "nbytes": 4 * 34, "rows": rows, "cols": cols, "type": 8})
    assert case.lib.eq_dequantize(tensor, first, wanted, out) == INVALID


def test_gate_and_up_of_wanted_rows_only() -> None:
    """The rows of its output count, not those of the step."""
    from edgeq.backends.base import Batch
    from tests.backends.single import near, run

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x = b.buffer("x", 32)
        few = b.take_rows("few", x)
        out = b.buffer("y", 64, outputs=True)
        b.add(ops.GateUp(In(few), b.tensor("g", 64, 32), b.tensor("u", 64, 32), Out(out), int(ops.Act.SILU)))
        return [x], [out]

    rng = np.random.default_rng(3)
    weights = filled(rng, [("g", (64, 32)), ("u", (64, 32))], {}, "Q8_0", 1.0)
    x = rng.standard_normal((20, 32)).astype(np.float32)
    wanted = Batch([0] * 20, range(20), [0] * 20, [19, 3])
    made = program(build)
    near(run(made, weights, [x], wanted, isa="scalar")[0], run(made, weights, [x], wanted)[0], 1e-3)
