"""Mutants of linears on float weights (floats.inc.h)."""

from __future__ import annotations

from tests.mutants.kernels import AVX2, OPS
from tests.mutants.mutant import In, Mutant

FLOATS = "tests/backends/test_floats.py"


def floats(*tests: str) -> In:
    asked = tuple(f"{FLOATS} {OPS} -k 'avx2 and ({test})'" for test in tests)
    return In("kernels: float weights", "native/kernels/floats.inc.h", asked, AVX2, ("avx2",))


MUTANTS: list[Mutant] = [
    *floats("test_linear and (F32 or F16)")(
        ("f32_load", "v_load(p)", "v_load((const float *)p + 1)", "next weights"),
        ("f16_load", "v_load_half(p)", "v_load_half((const uint16_t *)p + 1)", "next weights"),
        ("bf16_load", "v_load_bf16(p)", "v_load_bf16((const uint16_t *)p + 1)", "next weights"),
    ),
    *floats("number_of_columns")(
        ("floats_load", "n >= EQ_VL", "n > 0", "weights behind the last one"),
        ("floats_load", "(size_t)(n * f.bytes)", "(size_t)((n - 1) * f.bytes)", "last weight"),
        ("floats_block", "row * stride", "row * (stride & ~7)", "rows of odd width"),
        ("floats_block", "y = v_load_part(x[t] + k, n - k)", "y = v_load(x[t] + n - EQ_VL)", "last activations"),
        ("floats_rows", "(row - row0) * a->tokens", "(row - row0 - (row > 3)) * a->tokens", "place of later rows"),
        ("floats_rows", "EQ_ROWS, t, 4, out)", "3, t, 4, out)", "fourth row of four tokens"),
        ("floats_rows", "EQ_ROWS, t, 2, out)", "EQ_ROWS, t, 1, out)", "second of two tokens"),
        ("floats_rows", "row, 1, t, 4, out)", "row, 1, t, 1, out)", "rows that are left over: three of four tokens"),
        ("floats_unpack", "k + i < k1; i++) v_store", "k + i + 1 < k1; i++) v_store", "last column of a panel"),
        ("floats_unpack", "floats_load(f, from, k1 - k)", "f.load(from)", "weights behind the last one"),
        ("floats_panel", "t + i) * n + k0", "t + i) * n", "activations of the first panel for all"),
    ),
    *floats("sixteen or bits_among")(
        ("floats_block", "v_sum(acc[r][t])", "v_sum(acc[r][t]) * (count == 4 ? 1.0000002f : 1.0f)",
         "four tokens rounded otherwise than one"),
        ("floats_block", "token(a, first + t) * n", "token(a, t) * n", "activations of the first tokens"),
    ),
    *floats("number_of_rows")(
        ("floats_unpack", "r0 + r < rows ? r0 + r : rows - 1", "r0 + r", "rows behind the last one of the panel"),
        ("floats_micro", "v < vectors; v++) acc[t][v] = v_fma", "v < 1; v++) acc[t][v] = v_fma", "one vector of rows"),
        ("floats_micro", "t < count; t++) {\n            const", "t < count - 1; t++) {\n            const",
         "last token"),
        ("floats_micro", "first ? acc[t][v] :", "0 ? acc[t][v] :", "sums of the panel before"),
        ("floats_micro", "v_add(v_load(c[t] + v * EQ_VL), acc[t][v])", "acc[t][v]", "sums of earlier weights"),
        ("floats_out", "i < EQ_VL && r + i < rows", "i < EQ_VL && r + i + 1 < rows", "last row"),
        ("floats_out", "p->c[t + i] + r", "p->c[t + i]", "first rows for all"),
        ("floats_out", "v_store_part(out + (r + i) * to + t, x[i], count - t)",
         "v_store_part(out + (r + i) * to + t, x[i], count - t - 1)", "last token"),
        ("floats_panel", "count - t <= EQ_FLOATS_TOKENS / 2", "count - t <= EQ_FLOATS_TOKENS - 1",
         "tokens that are left over"),
        ("floats_panel", "floats_micro(p, 1, EQ", "floats_micro(p, 0, EQ", "a vector of rows that is left over"),
    ),
    *floats("hundreds")(
        ("floats_panel", "(row - row0) * to + turn", "(row - row0) * to", "place of later tokens"),
        ("floats_panel", "(int)turn + t + i", "t + i", "activations of the first tokens"),
        ("floats_panel", "to < FLOATS_FEW", "to % 33 == 0", "few tokens summed in another order"),
    ),
    *floats("finite")(
        ("floats_load", "part[EQ_VL] = {0}", "part[EQ_VL] = {0, 0, 0, 0, 0, 0, 0, 0x7F807F80}",
         "infinite weights behind"),
    ),
]  # fmt: skip
