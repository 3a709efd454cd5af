"""Mutants of the formats: the NumPy definition, the C definition, and the table. One or more per format and side."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant

NUMPY = "formats: NumPy definition"
C = "formats: C definition"
DECODE = ("tests/quants/test_quants_decode.py",)
BY_C = ("tests/quants/test_quants_c.py",)
TABLE = ("tests/quants/test_quants_table.py",)

legacy = In(NUMPY, "edgeq/quants/legacy.py", DECODE)
kquants = In(NUMPY, "edgeq/quants/kquants.py", DECODE)
iquants = In(NUMPY, "edgeq/quants/iquants.py", DECODE)
ternary = In(NUMPY, "edgeq/quants/ternary.py", DECODE)
fp4 = In(NUMPY, "edgeq/quants/fp4.py", DECODE)
bits = In(NUMPY, "edgeq/quants/bits.py", DECODE)
decode = In(NUMPY, "edgeq/quants/decode.py", DECODE)
table = In("formats: table", "edgeq/quants/table.py", TABLE)

PYTHON: list[Mutant] = [
    *legacy(
        ("q4_0", "planes(qs, 4, 16)", "planes(qs, 4, 1)", "nibbles in neighbouring order"),
        ("q4_0", "np.int16) - 8", "np.int16) - 7", "offset off by one"),
        ("q4_1", "half(d), half(m)", "half(d), -half(m)", "sign of the min"),
        ("q4_1", "half(d), half(m)", "half(m), half(d)", "scale and min swapped"),
        ("q5_0", "planes(qh, 1, 1) << 4", "planes(qh, 1, 1) << 3", "fifth bit one place too low"),
        ("q5_0", "planes(qh, 1, 1)", "planes(qh, 1, 4)", "order of the fifth bits"),
        ("q5_1", "half(d), half(m)", "half(d), None", "min left out"),
        ("q5_1", "<< 4", "<< 5", "fifth bit one place too high"),
        ("q8_0", "qs.view(np.int8)", "qs.view(np.uint8)", "signs lost"),
        ("q8_1", "d, _, qs = split(b, 2, 2, 32)", "_, d, qs = split(b, 2, 2, 32)", "sum taken for the scale"),
        ("q8_k", "d, qs, _ = split(b, 4, 256, 32)", "d, _, qs = split(b, 4, 32, 256)",
         "sums before the weights"),
        ("q1_0", "* 2 - 1", "* -2 + 1", "bits inverted"),
        ("q2_0", "planes(qs, 2, 1)", "planes(qs, 2, 16)", "order of the fields"),
        ("q2_0", "- 1, half(d)", "- 2, half(d)", "offset off by one"),
    ),
    *kquants(
        ("q2_k", "(sm & 15)", "(sm >> 4)", "min's nibble taken for the scale"),
        ("q2_k", "-(half(dmin) * (sm >> 4))", "half(dmin) * (sm >> 4)", "sign of the min"),
        ("q2_k", "planes(qs, 2, 32)", "planes(qs, 2, 64)", "runs of 64 bytes"),
        ("q3_k", "<< 4", "<< 3", "high bits of scales one place too low"),
        ("q3_k", "astype(np.float32) - 32", "astype(np.float32) - 31", "offset of scales off by one"),
        ("q3_k", "astype(np.int16) - 4", "astype(np.int16) - 3", "offset of weights off by one"),
        ("q3_k", "planes(high, 1, 32)", "planes(high, 1, 1)", "order of the high bits"),
        ("_scales_mins", "low & 15 | s >> 6 << 4", "low & 15 | m >> 6 << 4",
         "high bits of scales 4 to 7 from the mins"),
        ("_scales_mins", "low >> 4 | m >> 6 << 4", "low >> 4 | m >> 6 << 3",
         "high bits of mins 4 to 7 too low"),
        ("q4_k", "planes(qs, 4, 32)", "planes(qs, 4, 16)", "runs of 16 bytes"),
        ("q4_k", "-(half(dmin) * least)", "-(half(d) * least)", "mins scaled by d"),
        ("q5_k", "planes(qh, 1, 32) << 4", "planes(qh, 1, 32) << 3", "fifth bit one place too low"),
        ("q5_k", "2, 2, 12, 32, 128", "2, 2, 12, 128, 32", "fields in the wrong order"),
        ("q6_k", "planes(ql, 4, 64)", "planes(ql, 4, 32)", "runs of 32 low bytes"),
        ("q6_k", "scales.view(np.int8)", "scales", "signs of the scales lost"),
        ("q6_k", "np.int16) - 32", "np.int16) - 31", "offset off by one"),
    ),
    *iquants(
        ("iq2_xxs", "word >> 28", "word >> 27", "scale one bit too low"),
        ("iq2_xxs", "np.float32(0.25)", "np.float32(0.5)", "factor doubled"),
        ("iq2_xs", "code & np.uint16(511)", "code & np.uint16(255)", "ninth index bit lost"),
        ("iq2_xs", "code >> 9", "code >> 8", "sign code one bit too low"),
        ("iq2_s", "<< 8", "<< 7", "high index bits one place too low"),
        ("iq2_s", "_signs(signs)", "-_signs(signs)", "signs inverted"),
        ("iq3_xxs", "np.float32(0.5)) * np.float32(0.5)", "np.float32(0.5)) * np.float32(0.25)",
         "factor halved"),
        ("iq3_xxs", "_seven_bit_fields(word)", "_seven_bit_fields(word >> 1)", "sign codes one bit off"),
        ("iq3_s", "(2 * planes(scales, 4, 1) + 1)", "(2 * planes(scales, 4, 1))",
         "plus one left out of the scale"),
        ("iq3_s", "planes(qh, 1, 1)", "planes(qh, 1, 8)", "order of the ninth bits"),
        ("iq1_s", "1 - 2 * (word", "-1 + 2 * (word", "shift by an eighth inverted"),
        ("iq1_s", "[0, 3, 6, 9]", "[0, 3, 6, 8]", "high index bits of the fourth vector"),
        ("iq1_m", "[0, 3, 6, 9]", "[3, 0, 6, 9]", "scales swapped"),
        ("iq1_m", "nibble & 7", "nibble & 3", "index bit lost"),
        ("iq1_m_scale", "[0, 4, 8, 12]", "[12, 8, 4, 0]", "nibbles of d in reverse"),
        ("iq4_nl", "planes(qs, 4, 16)", "planes(qs, 4, 1)", "nibbles in neighbouring order"),
        ("iq4_xs", "planes(high, 2, 1) << 4", "planes(high, 2, 1) << 3", "high scale bits too low"),
        ("iq4_xs", "np.float32) - 32", "np.float32) - 31", "offset of scales off by one"),
        ("IQ4_LEVELS", "-49", "-50", "one level"),
        ("grid", "2 if len(levels) < 5 else 4", "2", "codes of wide codebooks"),
        ("_even_signs", "(parity & 1) << 7", "(~parity & 1) << 7", "odd instead of even number of signs"),
        ("_seven_bit_fields", "[0, 7, 14, 21]", "[0, 7, 14, 20]", "fourth field one bit too low"),
    ),
    *ternary(
        ("_digits", "[1, 3, 9, 27, 81]", "[81, 27, 9, 3, 1]", "digits in reverse"),
        ("tq1_0", "_digits(e, 4, 4)", "_digits(e, 4, 1)", "order of the last 16 weights"),
        ("tq1_0", "- 1, half(d)", "- 2, half(d)", "offset off by one"),
        ("tq2_0", "planes(qs, 2, 32)", "planes(qs, 2, 64)", "runs of 64 bytes"),
    ),
    *fp4(
        ("E2M1", "12, 0", "10, 0", "largest number 5 instead of 6"),
        ("mxfp4", "planes(qs, 4, 16)", "planes(qs, 4, 1)", "nibbles in neighbouring order"),
        ("nvfp4", "planes(qs, 4, 8)", "planes(qs, 4, 16)", "runs of 16 bytes"),
    ),
    *bits(
        ("e8m0_half", "np.maximum(wide, 1) - 1", "np.maximum(wide, 1)", "exponent off by one"),
        ("e8m0_half", "wide < 2", "wide < 1", "code 1 taken for a normal number"),
        ("ue4m3_half", "exponent - 11", "exponent - 10", "exponent off by one"),
        ("ue4m3_half", "x == 0x7F", "x == 0xFF", "code 127 is not zero"),
        ("planes", "np.arange(0, 8, bits", "np.arange(8 - bits, -1, -bits", "high bits first"),
    ),
    *decode(
        ("_values", ".astype(np.uint32) << 16", ".astype(np.uint32) << 15", "BF16: one bit too low"),
        ("_values", 'blocks.view("<f2")', 'blocks.view(">f2")', "F16: bytes swapped"),
        ("_PLAIN['F32']", '"<f4"', '">f4"', "F32: bytes swapped"),
        ("_PLAIN['F64']", '"<f8"', '"<i8"', "F64 read as integers"),
        ("_PLAIN['I8']", '"i1"', '"u1"', "I8: signs lost"),
        ("_PLAIN['I16']", '"<i2"', '"<u2"', "I16: signs lost"),
        ("_PLAIN['I32']", '"<i4"', '"<u4"', "I32: signs lost"),
        ("_PLAIN['I64']", '"<i8"', '"<u8"', "I64: signs lost"),
        ("_values", "out += m[..., None]", "out -= m[..., None]", "sign of mins"),
        ("dequantize", "range(0, len(blocks), step)", "range(0, len(blocks) - step, step)",
         "last piece left out"),
        ("unpack.per_16", "fmt.block // 16 // x.shape[1], axis=1",
         "fmt.block // 16 // x.shape[1] or 1, axis=0", "scales repeated along the wrong axis"),
    ),
    *decode.asking("tests/quants/test_quants_decode.py tests/gguf/test_gguf_verify.py")(
        ("_scale", "code == 0xFF", "code == 0xFE", "E8M0: which code is NaN"),
        ("_scale", "code & 0x7F == 0x7F", "code == 0x7F", "UE4M3: code 255 is not NaN"),
        ("scales", "enumerate(fmt.scales)", "enumerate(fmt.scales[:1] * len(fmt.scales))",
         "only the first field"),
    ),
]  # fmt: skip


def _table() -> list[Mutant]:
    """For every row of the table a wrong number of bytes, id or linear flag, in turn."""
    from edgeq.quants import FORMATS

    out: list[Mutant] = []
    for i, f in enumerate(FORMATS.values()):
        old = f'Format("{f.name}", {f.id}, {f.block}, {f.nbytes}, {f.linear}'
        kind, new = (
            ("bytes of a block", f'Format("{f.name}", {f.id}, {f.block}, {f.nbytes + 2}, {f.linear}'),
            ("id", f'Format("{f.name}", {f.id + 50}, {f.block}, {f.nbytes}, {f.linear}'),
            ("linear or not", f'Format("{f.name}", {f.id}, {f.block}, {f.nbytes}, {not f.linear}'),
        )[i % 3]
        out += table(("_ROWS", old, new, f"{f.name}: {kind}"))
    return out


def c(file: str) -> In:
    """The tests compile native/quant for themselves: of the library only what shows that the mutant compiles."""
    units = (f"native/quant/{file}",) if file.endswith(".c") else ("native/quant/legacy.c", "native/quant/fp4.c")
    return In(C, f"native/quant/{file}", BY_C, units)


C_SIDE: list[Mutant] = [
    *c("legacy.c")(
        ("eq_group_q4_0", "w[i] - 8", "w[i] - 7", "offset off by one"),
        ("eq_group_q4_1", "eq_half_at(b + 2)", "eq_half_at(b)", "scale taken for the min"),
        ("add_fifth_bits", "<< 4", "<< 3", "fifth bit one place too low"),
        ("eq_group_q5_0", "eq_load32(b + 2), 16", "eq_load32(b + 2), 15", "offset off by one"),
        ("eq_group_q5_1", "eq_load32(b + 4)", "eq_load32(b + 3)", "fifth bits one byte early"),
        ("eq_group_q8_0", "(int8_t)b[2 + i]", "b[2 + i]", "signs lost"),
        ("eq_group_q1_0", "4 * (g % 4)", "4 * (g % 2)", "third and fourth group"),
        ("eq_group_q2_0", "8 * (g % 2)", "4 * (g % 2)", "second group"),
        ("eq_group_q2_0", "2 * (i % 4)", "2 * (3 - i % 4)", "highest bits first"),
    ),
    *c("kquants.c")(
        ("eq_group_q2_k", "k / 4 * 32", "k / 2 * 32 % 64", "which 32 bytes"),
        ("eq_group_q2_k", "eq_half_at(b + 80), dmin = eq_half_at(b + 82)",
         "eq_half_at(b + 82), dmin = eq_half_at(b + 80)", "d and dmin swapped"),
        ("scale_q3_k", "high << 4", "high << 3", "high scale bits too low"),
        ("scale_q3_k", "b[8 + i % 4]", "b[8 + i / 4]", "which byte has the high bits"),
        ("eq_group_q3_k", "b[i] >> k & 1", "b[i] >> (7 - k) & 1", "high bits in reverse"),
        ("set_scale_min", "sm[k - 4] >> 6 << 4", "sm[k - 4] >> 6 << 3", "high bits of scales too low"),
        ("set_scale_min", "sm[k] >> 6 << 4", "sm[k - 4] >> 6 << 4", "high bits of mins from the scales"),
        ("eq_group_q4_k", "4 * (k % 2)", "4 * (1 - k % 2)", "nibbles swapped"),
        ("eq_group_q5_k", "qh[i] >> k & 1", "qh[i] >> k / 2 & 1", "which fifth bit"),
        ("eq_group_q6_k", "k % 2 * 32", "k / 2 % 2 * 32", "which low bytes"),
        ("eq_group_q6_k", "(float)(int8_t)b[193 + 2 * k]", "(float)(int8_t)b[192 + 2 * k]",
         "one scale for both halves"),
    ),
    *c("iquants.c")(
        ("put8", "-v : v", "v : -v", "signs inverted"),
        ("put4x2", "(uint64_t)second << 32 | first", "(uint64_t)first << 32 | second", "halves swapped"),
        ("eq_group_iq2_xxs", "word >> 7 * j", "word >> 8 * j", "sign codes"),
        ("scale_iq2", "0.5f", "1.0f", "half a step of the scale"),
        ("eq_group_iq2_xs", "code & 511u", "code & 255u", "ninth index bit lost"),
        ("eq_group_iq2_s", "high >> 2 * j & 3", "high >> 2 * j & 1", "tenth index bit lost"),
        ("eq_group_iq2_s", "b + 34 + 4 * k", "b + 34 + k", "which sign bytes"),
        ("eq_group_iq3_xxs", "* 0.5f);", "* 0.25f);", "factor halved"),
        ("eq_group_iq3_s", "high >> (2 * j + 1) & 1", "high >> 2 * j & 1", "ninth bit of odd vectors"),
        ("eq_group_iq3_s", "2 * scale + 1", "2 * scale", "plus one left out of the scale"),
        ("put_iq1", "(down ? -1 : 1)", "(down ? 1 : -1)", "shift by an eighth inverted"),
        ("eq_group_iq1_s", "word >> 12 & 7u", "word >> 11 & 7u", "scale one bit too low"),
        ("eq_group_iq1_m", "<< 4 * j;", "<< 4 * (3 - j);", "nibbles of d in reverse"),
        ("eq_group_iq1_m", "scales >> 3 & 7u", "scales & 7u", "one scale for both halves"),
        ("eq_group_iq4_nl", "b + 2, iq4", "b + 1, iq4", "weights one byte early"),
        ("eq_group_iq4_xs", "- 32", "- 31", "offset of scales off by one"),
        ("eq_group_iq4_xs", ">> 2 * k & 3", ">> 2 * (7 - k) & 3", "high scale bits in reverse"),
        ("", "-127, -104, -83, -65, -49", "-127, -104, -83, -65, -50", "one level of IQ4"),
    ),
    *c("ternary.c")(
        ("digit", "* 3 >> 8", "* 3 >> 9", "digits halved"),
        ("eq_group_tq1_0", "(at - 160) % 16", "(at - 160) / 5", "which of the 16 bytes"),
        ("eq_group_tq1_0", "at < 240", "at < 239", "border of the last 16 weights"),
        ("eq_group_tq2_0", "k / 4 * 32", "k / 2 % 2 * 32", "which 32 bytes"),
    ),
    *c("fp4.c")(
        ("eq_group_mxfp4", "eq_e8m0_half(b[0])", "2 * eq_e8m0_half(b[0])", "scale doubled"),
        ("eq_group_nvfp4", "i / 8 * 16 + i % 8", "i", "runs of 16 bytes"),
        ("eq_group_nvfp4", "b[2 * k + 1]", "b[2 * k]", "one scale for both halves"),
    ),
    *c("group.h")(
        ("eq_set_scales", "s[0] = first;\n    s[1] = second", "s[0] = second;\n    s[1] = first",
         "scales swapped"),
        ("eq_set_scale", "-0.0f", "0.0f", "sign of a zero min"),
        ("eq_nibbles", "qs[i] >> 4", "qs[i] >> 3", "high nibbles one bit too low"),
        ("eq_nibble_levels", "levels[qs[i] & 15]", "levels[qs[i] & 7]", "high levels lost"),
    ),
    *c("half.h")(
        ("eq_load16", "<< 8", "<< 7", "high byte one bit too low"),
        ("eq_half_at", "eq_load16(p)", "(uint16_t)(eq_load16(p) & 0xfffe)", "lowest bit lost"),
        ("eq_load32", "<< 16", "<< 15", "high half one bit too low"),
        ("eq_half", "(112u << 23) +", "(111u << 23) +", "exponent off by one"),
        ("eq_half", "magnitude >= 0x7c00u", "magnitude > 0x7c00u", "infinity becomes 65536"),
        ("eq_half", "magnitude < 0x400u", "magnitude < 0x3ffu", "largest subnormal number taken for a normal one"),
        ("eq_half", "0x1p-24f", "0x1p-23f", "subnormal numbers doubled"),
        ("eq_to_half", "0x477ff000u", "0x477fefffu", "a number that just does not round to infinity"),
        ("eq_to_half", "+ (magnitude >> 13 & 1u)", "+ 1u", "ties away from even"),
        ("eq_to_half", "0x7e00u |", "0x7c00u |", "a NaN with low payload becomes infinity"),
        ("eq_bf16", "<< 16", "<< 15", "one bit too low"),
        ("eq_to_bf16", "(bits >> 16 & 1u)", "1u", "ties away from even"),
        ("eq_e8m0_half", "e < 2", "e < 1", "code 1 taken for a normal number"),
        ("eq_ue4m3_half", "exponent + 119", "exponent + 120", "exponent off by one"),
        ("eq_ue4m3_half", "x == 0x7f", "x == 0xff", "code 127 is not zero"),
    ),
    *c("formats.c")(
        ("dequantize_groups", "m[i / 16]", "m[0]", "one min for both halves"),
        ("dequantize_groups", "s[i / 16]", "s[i % 2]", "scales by turns"),
        ("eq_dequantize_row", "n % f->block != 0", "0", "rows that are no whole blocks"),
        ("", "[EQ_Q5_K] = {256, 176, 1", "[EQ_Q5_K] = {256, 176, 0", "Q5_K said to have no min"),
    ),
]  # fmt: skip

MUTANTS = [*PYTHON, *_table(), *C_SIDE]
