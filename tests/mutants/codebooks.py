"""Mutants of what reads codebooks, ternary weights, single bits and pairs, and 4-bit floats."""

from __future__ import annotations

from tests.mutants.kernels import AVX2, FEW, LINEARS, OPS, WIDE
from tests.mutants.mutant import In, Mutant
from tests.mutants.simd import Vocabulary, arm

GROUP = "kernels: codebooks and small formats"
SCALES = "tests/backends/test_scale_corners.py"
SMALL = "MXFP4 or NVFP4 or Q1_0 or Q2_0 or TQ1_0 or TQ2_0"
BOOKS = "IQ1 or IQ2 or IQ3"


def avx2(file: str, fmt: str) -> In:
    asked = (f"{OPS} -k 'avx2 and test_linear and ({fmt})'",)
    return In(GROUP, f"native/kernels/{file}", asked, AVX2, ("avx2",))


def scalar(file: str, fmt: str) -> In:
    asked = (f"{OPS} -k 'scalar and test_linear and {fmt}'",)
    return In(GROUP, f"native/kernels/{file}", asked, ("native/isa/scalar.c",))


def wide(file: str, test: str) -> In:
    asked = (f"{OPS} {LINEARS} {FEW} {SCALES} -k 'avx512vnni and ({test})'",)
    return In(GROUP, f"native/{file}", asked, WIDE, ("avx512vnni",))


LAYOUTS: list[Mutant] = [
    *avx2("formats.inc.h", SMALL)(
        ("mxfp4_scales", "eq_e8m0_half(b[0])", "2 * eq_e8m0_half(b[0])", "scale doubled (panel)"),
        ("mxfp4_values", "b + 1", "b", "weights one byte early"),
        ("nvfp4_scales", "eq_ue4m3_half(b[i])", "eq_ue4m3_half(b[i / 2])", "one scale for 32 (panel)"),
        ("nvfp4_values", "16 * j", "0 * j", "first group twice"),
        ("q1_0_scales", "v_half(b)", "-v_half(b)", "sign (panel)"),
        ("q1_0_values", "4 * j", "0 * j", "first group for all"),
        ("q2_0_scales", "v_half(b)", "-v_half(b)", "sign (panel)"),
        ("q2_0_values", "8 * j", "0 * j", "first group twice"),
        ("all_ones", "{0x01", "{0x02", "last scale doubled"),
        ("tq1_0_scales", "b + 52", "b + 50", "one number early"),
        ("tq1_0_values", "j < 5", "j < 4", "fifth digits of 32 bytes"),
        ("tq1_0_values", "j < 7 ? second : four", "second", "digits of the last four bytes"),
        ("", "EQ_TIMES(9, 27, 27, 27, 27)", "EQ_TIMES(27, 9, 9, 9, 9)", "third and fourth digits swapped"),
        ("tq2_0_scales", "b + 64", "b + 62", "one number early"),
        ("tq2_0_values", "32 * (j / 4)", "0 * j", "first 32 bytes twice"),
        ("", "18, 20, 24, 12,", "18, 20, 22, 12,", "largest number 5 instead of 6"),
    ),
    *scalar("formats.inc.h", "MXFP4")(("w_levels", "table), offset)", "table), offset - 1)", "offset off by one"),),
    *scalar("formats.inc.h", "Q2_0")(("w_pairs", "x >> 16 &", "x >> 17 &", "one bit too low"),),
    *scalar("codebooks.inc.h", f"({BOOKS})")(
        ("w_signs_all", "u32(p)", "u32(p + 1)", "signs one byte late"),
        ("w_signs_even", "eq_even_signs[d]", "eq_even_signs[c]", "third signs twice"),
        ("w_fours", "c | (uint64_t)d", "d | (uint64_t)d", "fourth vector twice"),
        ("w_places", "ninth >> i & 1", "ninth >> (i | 1) & 1", "ninth bit of even vectors"),
        ("w_add_four", "* 255", "* 127", "last of 8 weights"),
    ),
    *wide("kernels/formats.inc.h", "test_linear and MXFP4")(
        ("", "6, 8, 12, 0, -1", "6, 8, 10, 0, -1", "largest number 5 instead of 6 (few tokens)"),
    ),
    *avx2("codebooks.inc.h", BOOKS)(
        ("odd_bytes", "2 * bytes", "4 * bytes", "scales doubled"),
        ("words_together", "x >> 16", "x >> 8", "last two of four"),
        ("w_signs28", "codes >> 14", "codes >> 13", "third code one bit too low"),
        ("top_nibbles", ">> 4)", ">> 3)", "one bit too low"),
        ("iq2_xxs_scales", "b + 6", "b + 5", "one byte early"),
        ("iq2_xxs_values", "p[3]", "p[2]", "third vector twice"),
        ("iq2_scales", "u32(p + 4)", "u32(p)", "first eight scales twice"),
        ("iq2_xs_scales", "b + 66", "b + 65", "one byte early"),
        ("iq2_xs_values", "x >> 48 & 511", "x >> 48 & 255", "ninth bit of the fourth index"),
        ("iq2_s_scales", "b + 74", "b + 73", "one byte early"),
        ("iq2_s_values", "high >> 6 & 0x300", "high >> 6 & 0x100", "tenth bit of the fourth index"),
        ("iq3_xxs_scales", "0.25f", "0.5f", "doubled"),
        ("iq3_xxs_values", "grid[p[7]]", "grid[p[6]]", "last but one vector twice"),
        ("iq3_s_scales", "b + 106", "b + 105", "one byte early"),
        ("iq3_s_values", "grid[at[6]]", "grid[at[7]]", "last vector twice"),
        ("iq1_s_scales", "u64(b + 42)", "u64(b + 34)", "first four scales twice"),
        ("iq1_s_values", "? 9 : 7", "? 7 : 9", "shift by an eighth inverted"),
        ("iq1_m_scale", "x >> 24", "x >> 20", "highest byte"),
        ("iq1_m_bytes", "x << 5", "x << 4", "odd fields one bit too low"),
        ("iq1_m_scales", "u32(b + 52)", "u32(b + 48)", "first eight scales twice"),
        ("iq1_m_values", "high >> 12", "high >> 11", "high bits of the fourth index"),
    ),
]  # fmt: skip

ROWS: list[Mutant] = [
    *wide("kernels/codes.inc.h", f"(test_linear or sixteen or larger_blocks) and ({BOOKS})")(
        ("iq2_xxs_codes", "(words, 28)", "(words, 27)", "scales one bit too low"),
        ("iq2_xxs_vectors", "0x002B1908", "0x002B1808", "second level"),
        ("iq2_numbers", "c_odd(c_nibbles(", "c_odd((", "nibbles not apart"),
        ("iq2_xs_codes", "(x, 9)", "(x, 8)", "sign codes one bit too low"),
        ("iq2_s_codes", "b + 66), 8)", "b + 66), 7)", "high bits one place too low"),
        ("iq2_s_vectors", "c, half)", "c, 0)", "first half twice"),
        ("iq3_xxs_codes", "32 * i", "0 * i", "first half twice"),
        ("iq3_xxs_vectors", "0x3E34", "0x3C34", "largest level"),
        ("iq3_s_codes", "66 + 4 * i", "66 + 0 * i", "ninth bits of the first half twice"),
        ("iq3_s_vectors", "0x0F0D", "0x0E0D", "largest level"),
        ("iq1_s_codes", "x, 1)", "x, 2)", "high bits of every fourth index"),
        ("iq1_s_vectors", "c, half)", "c, 0)", "first half twice"),
        ("iq1_m_codes", "_mm512_slli_epi32(x, 12)", "_mm512_slli_epi32(x, 11)", "odd nibbles one bit too low"),
    ),
    *avx2("quads.inc.h", SMALL)(
        ("quads_step", "s * f.block_bytes * 4 / f.groups", "s * f.block_bytes * 4",
         "four blocks where there are fewer"),
    ),
]  # fmt: skip

WORDS: list[Mutant] = [
    *wide("simd/avx512_codes.h", f"test_linear and ({BOOKS})")(
        ("c_64", "table + 32", "table", "first 32 entries twice"),
        ("c_128", "set1_epi16(64)", "set1_epi16(128)", "which half"),
        ("c_256", "set1_epi16(128)", "set1_epi16(64)", "which half"),
        ("c_512", "set1_epi16(256)", "set1_epi16(128)", "which half"),
        ("c_bytes", "*)p", "*)(p + 1)", "one byte late"),
        ("c_minus", "15, 14, 11", "15, 11, 14", "two bytes swapped"),
        ("c_even", "0x96", "0x3C", "one nibble alone"),
        ("c_sevens", "_mm256_slli_epi32(x, 1)", "_mm256_slli_epi32(x, 2)", "odd fields one bit too high"),
        ("c_odd", "_mm_set1_epi8(1)", "_mm_set1_epi8(0)", "one less"),
        ("c_nibbles", "(words, 4)", "(words, 3)", "high nibbles one bit off"),
        ("c_eighth", "(-9)", "(-8)", "shift by an eighth"),
        ("c_spread", "_mm512_permutexvar_epi16(_mm512_loadu_si512(order), codes)", "(void)order, codes", "not spread"),
        ("c_levels2", "(6, 4, 2, 0, 6", "(4, 6, 2, 0, 6", "last two pairs swapped"),
        ("c_levels4", "0x00040000", "0x00030000", "odd codes one bit off"),
        ("c_signed", ", minus,", ", ~minus,", "signs inverted"),
        ("c_pair", "i[1]", "i[0]", "first vector twice"),
        ("c_vectors", "i + 12", "i + 8", "third group twice"),
        ("c_half8", "c_eights[i + 1]", "c_eights[i]", "first 16 twice"),
        ("c_half8_of", "16 * half + 2", "16 * half", "first 16 twice"),
        ("c_half3_of", "c_eights[2 * half + 1]", "c_eights[2 * half]", "shifts of the first 16 for the last"),
        ("c_half4", "c_fours[1]", "c_fours[0]", "first 16 twice"),
    ),
    *wide("simd/avx512_small.h", f"(test_linear or number_of_blocks or scale) and ({SMALL} or mxfp4)")(
        ("q_e8m0", "p[34]", "p[17]", "scale of the second block for the third"),
        ("q_e8m0", "15, 11, 7, 3, 14", "15, 11, 7, 2, 14", "scale of the first row"),
        ("q_fours", "(b[3] + at)", "(b[2] + at)", "third row for the fourth"),
        ("m_ue4m3", "_mm256_set1_epi16(0x7F)", "_mm256_set1_epi16(0xFF)", "code 127 is not zero"),
        ("q_ue4m3", "0xDD", "0x88", "scales of the first 16 for the last"),
        ("q_ue4m3", "q_fours(b, second)", "q_fours(b, 0)", "scales of the first block for both"),
        ("q_ones", "first, bit), 2)", "first, bit), 1)", "half of what a bit stands for"),
        ("q_ones", "_mm512_set1_epi8(2))", "_mm512_set1_epi8(1))", "bits of the last 16 one byte early"),
        ("q_pairs4", "0x00060002", "0x00040002", "every fourth pair"),
        ("q_pairs", "_mm512_set1_epi8(4)", "_mm512_set1_epi8(3)", "last 16 one byte early"),
        ("q_pairs", "*)q", "*)p", "first block twice"),
        ("q_e8m0", "0x00200000", "0x00400000", "subnormal numbers doubled"),
        ("q_two", "*)q", "*)p", "first block twice"),
        ("q_digits", "set1_epi16(3)", "set1_epi16(2)", "digits to base 2"),
    ),
    *Vocabulary("avx512.h", "avx512vnni")(f"test_linear and ({SMALL} or {BOOKS})",
        ("w_mask", "(mask, (short)n)", "(~mask, (short)n)", "bits inverted"),
        ("w_signs", "x.a, mask,", "x.a, ~mask,", "signs inverted"),
        ("w_shl", "_mm_cvtsi32_si128(n)", "_mm_cvtsi32_si128(n - 1)", "one bit too low"),
        ("w_middle", "0xD8", "0xE4", "not swapped"),
        ("w_vectors", "(int64_t)d, (int64_t)c", "(int64_t)c, (int64_t)d", "last two vectors swapped"),
        ("w_pairs", "(x, 14)", "(x, 13)", "odd pairs one bit off"),
        ("w_digits", "set1_epi16(3)", "set1_epi16(2)", "digits to base 2"),
    ),
    *Vocabulary("avx2.h", "avx2")(f"test_linear and ({SMALL} or {BOOKS})",
        ("w_mask", "w_flags(mask, n)", "w_flags(~mask, n)", "bits inverted"),
        ("w_levels", ", offset}", ", offset - 1}", "offset off by one"),
        ("w_pairs", "(x, 6)", "(x, 5)", "odd pairs one bit off"),
        ("w_vectors", "(int64_t)d, (int64_t)c", "(int64_t)c, (int64_t)d", "last two vectors swapped"),
        ("w_signs", "_mm256_sign_epi8(x.b, sign)", "x.b", "signs left out (panel)"),
        ("w_signs", "x.b, sign}", "x.b, x.b}", "signs left out (few tokens)"),
        ("w_signs_all", "w_flags(u32(p), -1)", "w_flags(~u32(p), -1)", "signs inverted"),
        ("w_signs_even", "(int64_t)sign[d]", "(int64_t)sign[c]", "third signs twice"),
        ("w_fours", "(int)h, (int)g", "(int)g, (int)h", "last two vectors swapped"),
        ("w_places", "(2, 4, 8", "(4, 2, 8", "ninth bits of the last two vectors swapped"),
        ("w_places", "last >> 16 * i", "first >> 16 * i", "first four places twice"),
        ("w_add_four", "0x0303030303030303", "0x0202020202020202", "third byte twice"),
        ("b_weights", "offset - w.more", "0", "offsets of IQ1_S all the same"),
        ("b_dot", "if (w.is_signed)", "if (0)", "signs left out"),
        ("w_middle", "0xD8", "0xE4", "not swapped"),
        ("w_digits", "(odd, 8)", "(odd, 7)", "odd weights halved"),
        ("v_twice", "_mm256_castps128_ps256(x), x, 1)", "_mm256_setzero_ps(), x, 1)", "last 16 alone"),
        ("v_halves", "/ groups *", "/ 1 *", "a block for each 32"),
        ("v_ue4m3", "_mm256_set1_ps(128.0f)", "_mm256_set1_ps(64.0f)", "halved"),
    ),
    *Vocabulary("avx2.h", "avx2", SCALES)("every_scale or any_bits",
        ("v_e8m0", "0x00200000", "0x00400000", "subnormal numbers doubled"),
        ("v_ue4m3", "0x7F00", "(short)0xFF00", "code 127 is not zero"),
    ),
    *Vocabulary("scalar.h", "scalar")(f"test_linear and ({SMALL} or {BOOKS})",
        ("w_vectors", "8 * (i % 8)", "8 * (7 - i % 8)", "in reverse"),
        ("w_signs", "? -x.v[i] : x.v[i]", "? x.v[i] : -x.v[i]", "signs inverted"),
        ("w_middle", "? i + 8 :", "? i :", "third eight twice"),
        ("w_digits", "* 3 >> 8", "* 3 >> 9", "digits halved"),
    ),
    *arm(f"test_linear and ({SMALL} or {BOOKS})",
        ("w_vectors", "vcreate_s8(d)", "vcreate_s8(c)", "third vector twice"),
        ("w_middle", "vget_high_s8(x.b)", "vget_high_s8(x.a)", "last eight"),
        ("w_digit", "vdupq_n_u8(171)", "vdupq_n_u8(150)", "border of the digits"),
        ("w_digits", "powers + 16", "powers", "powers of the first 16 for the last"),
        ("w_signs", "veorq_s8(x.b, on.b), on.b", "veorq_s8(x.b, on.a), on.a", "signs of the first 16 for the last"),
    ),
]  # fmt: skip

MUTANTS = [*LAYOUTS, *ROWS, *WORDS]
