"""Mutants of few tokens by planes of bytes (planes.inc.h, parts.inc.h) and of their vocabulary."""

from __future__ import annotations

from tests.mutants.kernels import FEW, LINEARS, OPS, WIDE
from tests.mutants.mutant import In, Mutant

BLOCKS = "Q2_K or Q3_K or Q4_K or Q5_K or Q6_K or IQ4_XS"
SMALL = "Q4_0 or Q4_1 or Q5_0 or Q5_1 or Q8_0 or IQ4_NL or MXFP4"
ALL = f"(test_linear or sixteen or larger_blocks) and ({BLOCKS} or {SMALL} or IQ2_S or TQ1_0 or NVFP4)"
LEFT = "number_of_blocks or missing or larger_blocks"


def wide(file: str, test: str) -> In:
    asked = (f"{OPS} {LINEARS} {FEW} -k 'avx512vnni and ({test})'",)
    return In("kernels: planes", f"native/{file}", asked, WIDE, ("avx512vnni",))


MEET: list[Mutant] = [
    *wide("kernels/planes.inc.h", ALL)(
        ("meet_sums", "64 * (f.halves ? h : 2)", "64 * h", "sums of the first 16 for all 32"),
        ("meet_sums", "part), f.offset)", "part), f.offset + 1)", "offset off by one"),
        ("meet_sums", "v_mul(scale->s[h], xs)", "scale->s[h]", "scale of activations left out"),
        ("meet_sums", "v_fma(scale->m[h]", "v_fma(scale->m[0]", "mins of the first 16 for the last"),
        ("meet_sums", "h < 1 + f.halves", "h < 1", "last 16 left out"),
        ("meet_block", "f.codes(b[r]", "f.codes(b[0]", "codes of the first row for all"),
        ("meet_step", "f.part(block, part)", "f.part(b[0], part)", "weights of the first row for all"),
        ("meet_step", "f.vectors(&m->codes[r], half)", "f.vectors(&m->codes[r], 0)", "first half of a block twice"),
        ("meet_step", "f.vectors(&m->codes[r], half)", "f.vectors(&m->codes[0], half)", "codes of the first row"),
        ("meet_step", "f.offset) : f.part", "f.offset + 1) : f.part", "offset off by one"),
        ("meet_step", "q_sums(w[r], x[0] + at", "q_sums(w[r], x[0]", "first activations for all"),
        ("meet_step", "x[t] + at", "x[t]", "first activations for all tokens"),
        ("meet_step", "f.halves, f.mins)", "0, f.mins)", "8 scales where there are 16"),
        ("meet_step", "q_scales(m->scales, half", "q_scales(m->scales, 0", "scales of the first half for both"),
        ("meet", "b[r] = data + (r < rows ? r : rows - 1) * stride", "b[r] = data", "first row four times"),
        ("meet", "token(a, first + t) * steps", "t * steps", "activations of the first tokens for all"),
        ("meet", "b[r] += step", "b[r] += 0", "first blocks of a row for all"),
        ("meet", "b, 1, 4, &m", "b, 0, 4, &m", "first half of a block twice"),
        ("meet", "s * EQ_QUAD_BYTES + EQ_QUAD_BYTES", "s * EQ_QUAD_BYTES", "activations of the first half for both"),
        ("meet", "tile[r * a->tokens + token(a, first + t)]", "tile[r * a->tokens + t]", "outputs of later tokens"),
        ("planes_linear", "(row - row0) * a->tokens", "(row - row0)", "place of later rows"),
        ("planes_linear", "row, rows, t, 4", "row, rows, 0, 4", "first four tokens for all"),
        ("planes_linear", "row, rows, t, 2", "row, rows, 0, 2", "first two tokens for the last"),
    ),
    *wide("kernels/planes.inc.h", LEFT)(
        ("meet", "steps = (groups + 3) / 4", "steps = groups / 4", "where tokens' activations begin"),
        ("meet", "groups % 4 == 1", "groups % 4 == 5", "one block that is left over"),
        ("meet", "0, 2, NULL", "0, 1, NULL", "second of two blocks that are left over"),
        ("meet", "0, 2, NULL", "0, 4, NULL", "blocks behind the last one"),
        ("meet", "0, 3, NULL", "0, 2, NULL", "third of three blocks that are left over"),
        ("meet", "0, 3, NULL", "0, 4, NULL", "a block behind the last one"),
        ("meet", "r < rows ? r : rows - 1", "r", "rows behind the last one"),
        ("planes_linear", "row1 - row < 4 ? row1 - row : 4", "4", "rows that are not there"),
    ),
]  # fmt: skip

PARTS: list[Mutant] = [
    *wide("kernels/parts.inc.h", ALL)(
        ("", "(at) + 2 <= 64", "(at) + 2 <= 32", "which load a word is taken from"),
        ("", "EQ_BYTES(q4_1_nibbles, 20, 4, 16)", "EQ_BYTES(q4_1_nibbles, 20, 2, 16)", "nibbles one word early"),
        ("", "EQ_BITS(q5_1_bits, 24, 4, 32)", "EQ_BITS(q5_1_bits, 24, 2, 32)", "fifth bits one word early"),
        ("", "EQ_HEADS(q8_0, 34, 68)", "EQ_HEADS(q8_0, 34, 66)", "scales of later blocks"),
        ("", "EQ_OVER, bytes, 2, second)}", "EQ_OVER, bytes, 0, second)}", "scales taken for the mins"),
        ("q4_0_part", "q4_0_nibbles", "q4_1_nibbles", "nibbles of another format"),
        ("q4_1_part", "q4_1_begin", "q4_0_begin", "loads of another format"),
        ("q5_0_part", "q5_0_bits", "q5_0_nibbles", "nibbles taken for the fifth bits"),
        ("q5_1_part", "q5_1_bits", "q5_1_nibbles", "nibbles taken for the fifth bits"),
        ("q8_0_part", "b + 18, 34", "b + 2, 34", "first 16 twice"),
        ("iq4_nl_part", "q_table(x, 4,", "q_table(x, 0,", "low nibbles for both"),
        ("mxfp4_part", "q_table(x, 4,", "q_table(x, 0,", "low nibbles for both"),
        ("mxfp4_heads", "q_e8m0(b, blocks)", "q_e8m0(b, 1)", "scale of the first block for all"),
        ("nvfp4_heads", "groups > 2 ? 36 : 0", "0", "scales of the first block for both"),
        ("q1_0_heads", "q_halves(b, 0)", "q_halves(b, 1)", "scale one byte late"),
        ("q2_0_part", "groups > 2 ? 18 : 0", "0", "weights of the first block for both"),
        ("nvfp4_part", "_mm512_unpackhi", "_mm512_unpacklo", "first 16 twice"),
        ("q1_0_part", "b + 2", "b + 1", "bits one byte early"),
        ("q2_0_heads", "groups > 2 ? 18 : 0", "0", "the first scale for both blocks"),
        ("q2_k_part", "32 * half", "0 * half", "first half twice"),
        ("q2_k_part", "q_each(p + 16)", "q_each(p)", "first 16 twice"),
        ("q3_k_part", "2 - 4 * half", "2 + 0 * half", "third bits of the first half twice"),
        ("q3_k_part", "q_each(b + 16)", "q_each(b)", "third bits of the first 16 twice"),
        ("q4_k_part", "q_last2(x)", "q_first2(x)", "first 16 twice"),
        ("q4_k_part", "64 * half", "0 * half", "first half twice"),
        ("q5_k_part", "q_each(b + 32)", "q_each(b + 16)", "fifth bits of the first 16 twice"),
        ("q5_k_part", "4 - 4 * half", "4 + 0 * half", "fifth bits of the first half twice"),
        ("q6_k_part", "q_odds(x)", "q_evens(x)", "first 16 twice"),
        ("q6_k_part", "b + 128 + 32 * half", "b + 128", "high bits of the first half twice"),
        ("iq4_xs_part", "q_table(x, 4,", "q_table(x, 0,", "low nibbles for both"),
        ("tq1_0_part", "b + 48", "b + 47", "last four bytes one early"),
        ("tq1_0_block", "52", "50", "one number early"),
    ),
    *wide("kernels/parts.inc.h", "test_linear and TQ2_0")(
        ("tq2_0_part", "32 * half", "0 * half", "first half twice"),
        ("tq2_0_block", "64", "62", "one number early"),
    ),
]  # fmt: skip

WORDS: list[Mutant] = [
    *wide("simd/avx512_planes.h", ALL)(
        ("x_place", "set1_epi16(128)", "set1_epi16(127)", "high byte rounded down at the middle"),
        ("x_place", "g / 4 * EQ_QUAD_BYTES", "0 * EQ_QUAD_BYTES", "later groups in the place of the first four"),
        ("x_place", "g % 4 * 16", "g % 2 * 16", "third group in the place of the first"),
        ("x_place", "(bytes[plane], 1)", "(bytes[plane], 0)", "first 16 twice"),
        ("x_place", "sums[0] + sums[1]", "sums[0]", "sum of the first half"),
        ("x_floats", "record + at", "record", "activations taken for numbers"),
        ("x_ints", "record + at", "record", "activations taken for sums"),
        ("q_over", "_mm512_broadcast_f32x4(rows)", "_mm512_zextps128_ps512(rows)", "later groups without a scale"),
        ("q_over16", "_mm512_broadcast_i32x4(x)", "_mm512_zextsi128_si512(x)", "later rows without a pattern"),
        ("q_sums", "_mm512_slli_epi32(sum, 8)", "_mm512_slli_epi32(sum, 7)", "high bytes halved"),
        ("q_sums", "record + X_LOW + 64 * i", "record + X_LOW", "low bytes of the first 16 twice"),
        ("q_four_rows", "_mm512_unpackhi_epi64(ab, cd)", "_mm512_unpacklo_epi64(ab, cd)", "half of the sums twice"),
        ("q_four_rows", "_mm512_unpackhi_epi32(c, d)", "_mm512_unpackhi_epi32(a, d)", "first row for the third"),
        ("q_less", "_mm512_set1_epi32(offset)", "_mm512_set1_epi32(offset - 1)", "offset off by one"),
        ("v_store_rows", "(y, 1)", "(y, 0)", "even groups twice"),
        ("q_lanes", "c, c, c, c, b", "d, c, c, c, b", "one lane has what belongs to the next"),
        ("q_kept", "(uint32_t)c * each", "(uint32_t)b * each", "bits of the second lane in the third"),
        ("q_placed", "c, c, c, c, b", "b, c, c, c, b", "one lane has what belongs to the one before"),
        ("q_load", "loadu_si512(p)", "loadu_si512(p - 1)", "one byte early"),
        ("q_each", "*)p", "*)(p + 1)", "one byte late"),
        ("q_first2", "0xA0", "0xF0", "last lanes"),
        ("q_last2", "0xF5", "0xA5", "last lanes"),
        ("q_evens", "0x88", "0xC8", "last lane"),
        ("q_odds", "0xDD", "0x9D", "last lane"),
        ("q_field", "q_lanes(a, b, c, d)", "q_lanes(a, b, c, c)", "shift of the last group"),
        ("q_join", "b & 31", "a & 31", "shift of the second group"),
        ("q_join", "0xF8", "0xFC", "bits beside the mask"),
        ("q_table", "_mm_cvtsi32_si128(shift)", "_mm_cvtsi32_si128(shift / 2)", "high nibbles two bits too low"),
        ("q_table", "(char)more", "(char)(more - 1)", "offset off by one"),
        ("q_nibbles", "srli_epi16(x, 4)", "srli_epi16(x, 3)", "high nibbles one bit too low"),
        ("q_more", "(w.last, _mm512_set1_epi8((char)n))", "(w.last, _mm512_set1_epi8((char)(n - 1)))", "offset"),
        ("q_add_bits", "2, 3, 3, 3", "2, 2, 3, 3", "a bit of the last eight"),
        ("q_add_bits", "0x8040201008040201", "0x4080201008040201", "two bits swapped"),
        ("q_words", "(ends[0], _mm512_loadu_si512(words), ends[1])", "(ends[1], _mm512_loadu_si512(words), ends[0])",
         "loads swapped"),
        ("q_heads", "0x11111111u << r", "0x11111111u", "scales of the first row"),
        ("q_heads", "(all, 1)", "(all, 0)", "scales taken for the mins"),
        ("q_rows", "(b[2] + at)", "(b[1] + at)", "second row for the third"),
        ("q_lanes4", "(low), high, 1", "(low), low, 1", "first two rows twice"),
        ("q_halves", "(short)h[3], (short)h[2]", "(short)h[2], (short)h[3]", "last two rows swapped"),
        ("q_half_and_half", "0x44", "0x40", "where the second scale begins"),
        ("q_two_halves", "_mm512_set1_epi32(1)", "_mm512_set1_epi32(0)", "scale taken for that of the mins"),
        ("q_turned", "first + 3 * step", "first + 2 * step", "third group for the fourth"),
        ("q_turned", "15, 11, 7, 3, 14", "15, 11, 3, 7, 14", "first two rows swapped"),
        ("q_scales", "8 * half + i", "8 * half", "scales of the first 16 for the last"),
        ("q_scales", "h.dmin)", "h.d)", "scale taken for that of the mins"),
        ("q_even_scales", "_mm512_set1_epi8(1)", "_mm512_set1_epi8(2)", "scales doubled"),
        ("q2_k_block", "_mm512_srli_epi16(x, 4)", "x", "scales taken for the mins"),
        ("q3_k_block", "_mm_set_epi64x(4, 0)", "_mm_set_epi64x(0, 0)", "low nibbles for all"),
        ("q3_k_block", "(30, 0, 2, 4)", "(0, 0, 2, 4)", "high bits of the last four"),
        ("q3_k_block", "_mm512_set1_epi8(32)", "_mm512_set1_epi8(31)", "offset off by one"),
        ("q5_k_block", "_mm_set_epi32(4, 0, 0, 0)", "_mm_set_epi32(0, 0, 0, 0)", "low bits of mins 4 to 7"),
        ("q5_k_block", "_mm512_srli_epi32(high, 2)", "_mm512_srli_epi32(high, 1)", "high bits one place too high"),
        ("q5_k_block", "_mm512_bsrli_epi128(low, 8)", "low", "scales taken for the mins"),
        ("q4_k_block", "1.0f / 16, 1.0f, 1.0f / 16", "1.0f / 16, 1.0f, 1.0f / 8", "scale of the fourth group"),
        ("q6_k_block", "b, 192", "b, 191", "scales one byte early"),
        ("iq4_xs_block", "_mm512_set1_epi16(32)", "_mm512_set1_epi16(31)", "offset off by one"),
        ("iq4_xs_block", "(14, 12, 10, 8,", "(14, 12, 12, 8,", "high bits of a scale"),
        ("iq4_xs_block", "0x00040000", "0x00030000", "low nibbles of odd scales"),
    ),
    *wide("simd/avx512_planes.h", LEFT)(
        ("q_begin", "bytes / 2", "bytes / 2 - 1", "last word left out"),
        ("q_begin", "words < 32 ? (1u << words) - 1 : ~0u", "~0u", "reads behind the last block"),
        ("q_begin", "more < 32 ? (1u << more) - 1 : ~0u", "~0u", "second load reads behind the last block"),
        ("q_begin", "words - second / 2", "words - second", "words of the second load"),
        ("q_gather", "blocks > 1 ? bytes : 0", "bytes", "reads behind a single block"),
        ("q_gather", "blocks > 3 ? 3 * bytes : c", "3 * bytes", "reads behind three blocks"),
        ("q_gather", "0x0F00", "0x0FF0", "third block for the second"),
    ),
]  # fmt: skip

MUTANTS = [*MEET, *PARTS, *WORDS]
