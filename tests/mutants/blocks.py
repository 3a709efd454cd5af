"""Mutants of rows in blocks of 256 with integer scales, and of spans of activations that several complete."""

from __future__ import annotations

from tests.mutants.kernels import FEW, LINEARS, OPS, WIDE
from tests.mutants.mutant import In, Mutant

FORMATS = "Q2_K or Q3_K or Q4_K or Q5_K or Q6_K or IQ4_XS"


def wide(file: str, test: str) -> In:
    asked = (f"{OPS} {LINEARS} {FEW} -k 'avx512vnni and ({test})'",)
    return In("kernels: blocks", f"native/{file}", asked, WIDE, ("avx512vnni",))


ALL = f"(test_linear or sixteen or larger_blocks) and ({FORMATS})"

BLOCKS: list[Mutant] = [
    *wide("kernels/blocks.inc.h", ALL)(
        ("blocks_block", "token(a, first + t) * blocks", "t * blocks", "activations of the first tokens for all"),
        ("blocks_block", "data + r * stride + b * f.block_bytes, &s[r]", "data + b * f.block_bytes, &s[r]",
         "scales of the first row for all"),
        ("blocks_block", "data + r * stride + b * f.block_bytes, &s[r]", "data + r * stride, &s[r]",
         "scales of the first block for all"),
        ("blocks_block", "data + (r + i) * stride", "data + r * stride", "weights of the first of two rows for both"),
        ("blocks_block", "+ b * f.block_bytes, half)", ", half)", "weights of the first block for all"),
        ("blocks_block", "b) + half) *", "b)) *", "activations of the first half for both"),
        ("blocks_block", "q_times2(part, s[r + i], half)", "q_times2(part, s[r + i], 0)",
         "scales of the first half for both, 16 of them"),
        ("blocks_block", "q_times(part, s[r + i], half)", "q_times(part, s[r + i], 0)",
         "scales of the first half for both, 8 of them"),
        ("blocks_block", "q_times(part, s[r + i], half)", "q_times(part, s[r], half)",
         "scales of the first of two rows for both"),
        ("blocks_block", "q_sums(sum[r + i][t], v[i], x)", "q_sums(sum[r + i][t], v[0], x)",
         "first of two rows twice"),
        ("blocks_block", "half < 2", "half < 1", "half of each block"),
        ("blocks_block", "a->scale[8 * (at[t] + b)]", "a->scale[8 * at[t]]", "scale of the first activations for all"),
        ("blocks_block", "a->scale[8 * (at[t] + b)]", "a->scale[8 * (at[0] + b)]", "scale of the first token for all"),
        ("blocks_block", "d[r] * a->scale", "d[0] * a->scale", "scale of the first row for all"),
        ("blocks_block", "a->sum + 16 * (at[t] + b)", "a->sum + 16 * at[t]", "first sums of 16 for all"),
        ("blocks_block", "a->sum32 + 8 * (at[t] + b)", "a->sum32 + 8 * at[t]", "first sums of 32 for all"),
        ("blocks_block", "v_fma(m[r], v_load8", "v_fma(m[0], v_load8", "mins of the first row for all, 8 of them"),
        ("blocks_block", "v_fma(m[r], v_load(", "v_fma(m[0], v_load(", "mins of the first row for all, 16 of them"),
        ("blocks_block", "tile[r * a->tokens + token(a, first + t)]", "tile[r * a->tokens + t]",
         "outputs of later tokens"),
        ("q2_k_part", "32 * half", "0 * half", "first half twice"),
        ("q2_k_part", "q_each(p + 16)", "q_each(p)", "first 16 twice"),
        ("q3_k_part", "2 - 4 * half", "2 + 0 * half", "third bits of the first half twice"),
        ("q3_k_part", "q_less(last, 4)", "q_less(last, 3)", "offset of the last 16"),
        ("q3_k_part", "q_each(b + 16)", "q_each(b)", "third bits of the first 16 twice"),
        ("q4_k_part", "q_last2(x)", "q_first2(x)", "first 16 twice"),
        ("q4_k_part", "64 * half", "0 * half", "first half twice"),
        ("q5_k_part", "q_each(b + 32)", "q_each(b + 16)", "fifth bits of the first 16 twice"),
        ("q5_k_part", "4 - 4 * half", "4 + 0 * half", "fifth bits of the first half twice"),
        ("q6_k_part", "q_odds(x)", "q_evens(x)", "first 16 twice"),
        ("q6_k_part", "48), 32),", "48), 31),", "offset of the first 16"),
        ("q6_k_part", "b + 128 + 32 * half", "b + 128", "high bits of the first half twice"),
        ("iq4_xs_part", "q_table(x, 4", "q_table(x, 0", "low nibbles for both"),
    ),
    *wide("simd/avx512_blocks.h", ALL)(
        ("q_four", "c, c, c, c, b", "d, c, c, c, b", "one lane has what belongs to the next"),
        ("s_choose", "0x01000100 * c", "0x01000100 * b", "second scale for the third group"),
        ("q_scaled", "_mm512_slli_epi16(w.last, 8), last", "_mm512_slli_epi16(w.last, 8), first",
         "scales of the first 16 for the last"),
        ("q_scaled", "_mm512_slli_epi16(w.last, 8)", "_mm512_slli_epi16(w.last, 7)", "every other weight halved"),
        ("q_times", "4 * half + 3", "4 * half + 2", "third scale for the fourth group"),
        ("q_times2", "i + 5", "i + 3", "second scale of the last 16 for the third"),
        ("q_load", "loadu_si512(p)", "loadu_si512(p - 1)", "one byte early"),
        ("q_each", "*)p", "*)(p + 1)", "one byte late"),
        ("q_first2", "0xA0", "0xF0", "last lanes"),
        ("q_last2", "0xF5", "0xA5", "last lanes"),
        ("q_evens", "0x88", "0xC8", "last lane"),
        ("q_odds", "0xDD", "0x9D", "last lane"),
        ("q_field", "q_four(a, b, c, d)", "q_four(a, b, c, c)", "shift of the last group"),
        ("q_join", "b & 31", "a & 31", "shift of the second group"),
        ("q_join", "0xF8", "0xFC", "bits beside the mask"),
        ("q_less", "(char)n", "(char)(n - 1)", "offset off by one"),
        ("v_load8", "loadu_ps(p)", "loadu_ps(p + 1)", "one float late"),
        ("m_load16", "*)p", "*)(p + 1)", "one byte late"),
        ("m_first", "return _mm", "return -_mm", "sign"),
        ("m_minus_second", "_mm_movehdup_ps(x)", "x", "scale taken for that of the mins"),
        ("q2_k_integers", "_mm_srli_epi16(x, 4)", "x", "scales taken for the mins"),
        ("q3_k_integers", "set_epi64x(4, 0)", "set_epi64x(0, 0)", "low nibbles for all"),
        ("q3_k_integers", "(30, 0, 2, 4)", "(0, 0, 2, 4)", "high bits of the last four"),
        ("q3_k_integers", "_mm_set1_epi8(32)", "_mm_set1_epi8(31)", "offset off by one"),
        ("q4_k_integers", "set_epi32(4, 0, 0, 0)", "set_epi32(0, 0, 0, 0)", "low bits of mins 4 to 7"),
        ("q4_k_integers", "_mm_srli_epi32(high, 2)", "_mm_srli_epi32(high, 1)", "high bits one place too high"),
        ("q4_k_integers", "_mm_srli_si128(low, 8)", "low", "scales taken for the mins"),
        ("q6_k_integers", "b + 192", "b + 191", "scales one byte early"),
        ("iq4_xs_integers", "_mm_set1_epi16(32)", "_mm_set1_epi16(31)", "offset off by one"),
        ("iq4_xs_integers", "(14, 12, 10, 8,", "(14, 12, 12, 8,", "high bits of a scale"),
        ("iq4_xs_integers", "0x00040000", "0x00030000", "low nibbles of odd scales"),
    ),
    *wide("simd/avx512_blocks.h", "largest_sums")(
        ("q_scaled", "_mm512_and_si512(w.last, high)", "w.last", "weights that the byte below makes larger"),
    ),
]  # fmt: skip

SPANS: list[Mutant] = [
    *In("kernels: blocks", "native/stages.c", (f"{FEW} -k 'avx2 and (gates or attention)'",), ("native/stages.c",),
        ("avx2",))(
        ("round_out", "k0 / span * span", "k0", "spans begin where columns do"),
        ("round_out", "MIN(k1, k + span) - MAX(k0, k)", "MIN(k1, k + span) - k0",
         "columns of a head in two spans counted twice"),
        ("round_out", "k0 % span == 0 && k1 % span == 0", "k0 % span == 0", "rounded with its first columns"),
        ("round_out", "k0 % span == 0 && k1 % span == 0", "1", "every column rounded alone"),
        ("round_out", "atomic_store(ready, 0)", "(void)0", "counted on from the stage before"),
        ("round_out", "[t * (a.width / span) + k / span]", "[k / span]", "one count for all tokens"),
        ("round_out", "t + 1, k, k + span)", "t + 1, k0, k0 + span)", "spans begin where their last columns do"),
        ("round_out", "part != span", "part < span - 32", "rounded before the last columns are there"),
    ),
]  # fmt: skip

MUTANTS = [*BLOCKS, *SPANS]
