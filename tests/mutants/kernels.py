"""Mutants of the algorithms in native/kernels. Each is compiled for one variant first: enough to be caught."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant

OPS = "tests/backends/test_native_ops.py"
CORNERS = "tests/backends/test_op_corners.py"
LINEARS = "tests/backends/test_linear_corners.py"
AVX2 = ("native/isa/avx2.c",)
WIDE = ("native/isa/avx512vnni.c",)
SCALAR = ("native/isa/scalar.c",)
FEW = "tests/backends/test_few_tokens.py"


def avx2(file: str, *tests: str) -> In:
    asked = tuple(f"{OPS} -k 'avx2 and ({test})'" for test in tests)
    return In("kernels: native", f"native/kernels/{file}", asked, AVX2, ("avx2",))


def corners(file: str, test: str) -> In:
    return avx2(file).asking(f"{CORNERS} -k 'avx2 and ({test})'")


def linear(file: str, fmt: str) -> In:
    return avx2(file, f"test_linear and {fmt}")


FORMATS = "formats.inc.h"

LAYOUTS: list[Mutant] = [
    *linear(FORMATS, "Q4_0")(
        ("q4_0_values", "8)", "7)", "offset off by one"),
        ("q4_0_scales", "v_half(b)", "v_half(b) * 1.001f", "scale a little off")),
    *linear(FORMATS, "Q4_1")(
        ("q4_1_values", "b + 4", "b + 3", "weights one byte early"),
        ("q4_1_scales", "v_half(b + 2)", "-v_half(b + 2)", "sign of the min (panel)")),
    *linear(FORMATS, "Q5_0")(
        ("q5_0_values", "u32(b + 2), 16", "u32(b + 2), 15", "offset off by one"),
        ("q5_0_scales", "v_half(b)", "v_half(b + 2)", "fifth bits taken for the scale"),
        ("w_sub_unless", "w_mask(mask, n)), n)", "w_mask(~mask, n)), n)", "bits inverted")),
    *linear(FORMATS, "Q5_1")(
        ("q5_1_values", "u32(b + 4), 16", "u32(b + 4), 8", "fifth bit one place too low"),
        ("q5_1_scales", "m[0] = v_half(b + 2)", "m[0] = v_half(b)", "scale taken for the min (panel)"),
        ("w_add_if", "w_mask(mask, n)", "w_mask(mask >> 1, n)", "bits of the next weight")),
    *linear(FORMATS, "Q8_0")(
        ("q8_0_values", "b + 2", "b + 1", "weights one byte early"),
        ("q8_0_scales", "v_half(b)", "-v_half(b)", "sign of the scale (panel)")),
    *linear(FORMATS, "IQ4_NL")(
        ("iq4_nl_values", "b + 2", "b + 1", "weights one byte early"),
        ("iq4_nl_scales", "v_half(b)", "-v_half(b)", "sign of the scale (panel)"),
        ("", "-127, -104, -83, -65, -49", "-127, -104, -83, -65, -50", "one level of IQ4")),
    *linear(FORMATS, "IQ4_XS")(
        ("iq4_xs_values", "16 * j", "16 * (j ^ 1)", "groups swapped"),
        ("iq4_xs_scales", "v_half(b)", "-v_half(b)", "sign"),
        ("iq4_xs_scales", ", 32)", ", 31)", "offset off by one"),
        ("iq4_xs_scales", "b[3] << 8)", "b[3] << 8 & 0x5500)", "highest bits of the last four scales lost"),
        ("iq4_xs_scales", "<< 4, 32", "<< 3, 32", "high bits one place too low"),
        ("less", "(bytes | sign)", "bytes", "borrows across bytes"),
        ("nibbles_apart", "x | x << 8", "x | x << 12", "nibbles from the wrong place"),
        ("pairs_apart", "x | x << 12", "x | x << 8", "pairs from the wrong place"),
        ("pairs_apart", "0x0303030303030303", "0x0303030103030303", "one high bit lost")),
    *linear(FORMATS, "Q4_K")(
        ("q4_k_values", "4 * (j & 1)", "4 * (~j & 1)", "nibbles swapped"),
        ("k4_bytes", "x >> 2 & 0x30303030", "x >> 2 & 0x10101010", "highest bit of scales 4 to 7 lost"),
        ("k4_scales", "-v_half(b + 2)", "v_half(b + 2)", "sign of the mins"),
        ("k4_min_bytes", "(z >> 4 & 0x0F0F0F0F)", "(z & 0x0F0F0F0F)", "low bits of mins 4 to 7")),
    *linear(FORMATS, "Q5_K")(
        ("q5_k_values", "15), 4, b", "15), 3, b", "fifth bit too low"),
        ("k4_scales", "k4_min_bytes(b)", "k4_bytes(b)", "scales taken for the mins")),
    *In("kernels: native", f"native/kernels/{FORMATS}", (f"{OPS} -k 'scalar and test_linear and Q5_K'",), SCALAR)(
        ("w_join", "w_shl(w_bits(p, from, mask), to)", "w_bits(p, from, mask)", "high bits not shifted")),
    *linear(FORMATS, "Q6_K")(
        ("q6_k_values", "2 * k, 3), 32)", "2 * k, 3), 31)", "offset off by one"),
        ("q6_k_values", "32 * (k & 1)", "32 * (k / 2)", "which low bytes"),
        ("q6_k_scales", "u64(b + 200)", "u64(b + 192)", "scales 8 to 15")),
    *linear(FORMATS, "Q2_K")(
        ("q2_k_values", "32 * (j / 4)", "32 * (j & 1)", "which bytes"),
        ("q2_k_scales", "-v_half", "v_half", "sign of the mins"),
        ("q2_k_scales", "first >> 4 &", "first &", "scales taken for the mins")),
    *linear(FORMATS, "Q3_K")(
        ("q3_k_values", "j, 1), 4)", "j, 1), 3)", "offset off by one"),
        ("q3_k_signed", "(pairs << 2 & 0x30303030) << 32", "(pairs & 0x30303030) << 32",
         "high bits of scales 4 to 7"),
        ("q3_k_signed", "<< 32, 32)", "<< 32, 31)", "offset of scales off by one"),
        ("q3_k_scales", "q3_k_signed(b, 1)", "q3_k_signed(b, 0)", "scales 8 to 15")),
]  # fmt: skip

ANY = "test_linear and (Q4_1 or Q4_K or Q2_K or IQ2_S or NVFP4 or Q6_K)"


def rows(variant: str, *tests: str) -> In:
    """linear.inc.h, asked by tests of one variant."""
    units = (f"native/isa/{variant}.c",)
    asked = tuple(f"{OPS} {LINEARS} {FEW} -k '{variant} and ({test})'" for test in tests)
    return In("kernels: native", "native/kernels/linear.inc.h", asked, units, (variant,))


def common(test: str) -> In:
    asked = (f"{OPS} {FEW} -k 'avx2 and ({test})'",)
    return In("kernels: native", "native/isa/common.h", asked, AVX2, ("avx2",))


ROWS: list[Mutant] = [
    *rows("scalar", ANY)(
        ("s_times8", "s[i] * xs[i]", "s[i ^ 1] * xs[i]", "scales of neighbouring groups swapped"),
        ("s_times16", "s[i] * xs[i / 2]", "s[i ^ 1] * xs[i / 2]", "scales of halves swapped"),
        ("w_fma8", "s.v[j]", "s.v[j ^ 1]", "scales of neighbouring groups swapped"),
        ("w_fma16", "s.v[2 * j], s.v[2 * j + 1]", "s.v[2 * j + 1], s.v[2 * j]", "scales of halves swapped"),
        ("rows_block", "if (f.mins) minimum[r][t]", "if (0) minimum[r][t]", "mins of simple blocks left out"),
        ("rows_block", "if (f.mins && !f.halves) minima", "if (0) minima", "mins of Q4_K left out"),
        ("rows_block", "h < 2 && f.mins && f.halves", "h < 1 && f.mins && f.halves",
         "half of the mins of Q2_K left out"),
        ("rows_block", "s[2 * j + 1] * a->scale[at]", "s[2 * j] * a->scale[at]", "one scale for both halves"),
        ("rows_block", "v_set(m[j])", "v_set(s[j])", "scale taken for the min"),
        ("rows_block", "v8_sum(minima[r][t])", "0 * v8_sum(minima[r][t])", "mins not added"),
        ("rows_block", "tile[r * a->tokens + token(a, first + t)]", "tile[r * a->tokens + t]",
         "outputs of later tokens"),
        ("rows_block", "from[t] = token(a, first + t) * groups", "from[t] = t * groups", "which activations"),
        ("rows_block", "v_add(part[0][t], part[1][t])", "part[0][t]", "odd groups left out"),
    ),
    *rows("avx2", f"{ANY} or sixteen")(
        ("token", "t < a->tokens ? t : a->tokens - 1", "t", "tokens behind the last one"),
        ("token", "t < a->tokens ?", "t <= a->tokens ?", "one token behind the last one"),
        ("batches", "float *out = tile + (row - row0) * a->tokens",
         "float *out = tile + (row - row0) * (a->tokens - (row > 4))", "outputs of later rows"),
        ("batches", "EQ_ROWS, t, 2, out), t += 2", "EQ_ROWS, t, 1, out), t += 2", "second of two tokens left out"),
        ("batches", "row, EQ_ROWS, t, 4, out)", "row, EQ_ROWS, t, 2, out)", "third and fourth token left out"),
        ("batches", "row, EQ_ROWS, t, 1, out)", "row, 3, t, 1, out)", "fourth row of single tokens"),
        ("batches", "row, 1, t, 4, out)", "row, 1, t, 1, out)", "rows that are left over: three of four tokens"),
        ("batches", "row, 1, t, 1, out)", "row0, 1, t, 1, out)", "rows that are left over: one token"),
    ),
    *rows("avx512vnni", f"{ANY} or sixteen")(
        ("token", "t < a->tokens ? t : a->tokens - 1", "t", "tokens behind the last one of eight"),
    ),
    *rows("avx2", f"{ANY} or activation or scale or gates")(
        ("float_scales", "both.dmin, m", "both.d, m", "scale taken for the min (panel)"),
        ("float_scales", "both.s[h]", "both.s[0]", "first eight scales twice (panel)"),
        ("reads", " && type != 23", "", "activations of IQ4_XS rounded for others"),
    ),
    *rows("scalar", f"{ANY} or activation or scale")(
        ("round_group", "scale * (float)sums[h]", "scale * (float)sums[0]", "sum of the first half for both"),
        ("round_group", "(float)(sums[0] + sums[1])", "(float)sums[0]", "sum of one half for 32"),
        ("round_group", "a->q + t * a->width + k, q", "a->q + t * a->width + (k & ~63), q", "places of two groups"),
        ("round_group", "at = t * all + g", "at = t * all + (g & ~1)", "scales of two groups"),
    ),
    *rows("avx2", f"{ANY} or activation or scale")(
        ("round_group", "scale = largest / 32512.0f", "scale = largest / 32511.0f", "scale a little off"),
        ("round_group", "32512.0f / largest", "32511.0f / largest", "activations a little off"),
        ("round_group", "scale >= 1.17549435e-38f", "scale >= 1e-4f", "small activations taken for none"),
        ("quantize", "k += 32", "k += 64", "every other group left out"),
        ("quantize", "if (a->packed) pack(a, t, next, k)", "if (a->packed) pack(a, t, next, k0)",
         "all groups in the first one's place"),
    ),
    *rows("avx512vnni", "number_of_blocks or missing")(
        ("round_group", "x_place(q, scale, (int)(g % 4)", "x_place(q, scale, (int)(g / 2 % 4)",
         "two groups in one place"),
    ),
    *rows("avx2", "missing")(
        ("round_group", "g + 1 == all && behind % 4", "0 && behind % 4", "what groups that are not there held before"),
    ),
    *common("not_finite or any_group or test_linear and Q4_0")(
        ("eq_finite", "bits >= 0x7F800000", "bits > 0x7F800000", "infinite values lost"),
        ("eq_finite", "bits = 0x7FC00000", "bits = 0", "values that are not finite taken for zero"),
    ),
    *common("test_linear and (Q5_1 or Q6_K)")(
        ("u32", "memcpy(&x, p, 4)", "memcpy(&x, p, 4), x &= ~1u", "lowest bit"),
        ("u64", "memcpy(&x, p, 8)", "memcpy(&x, p, 8), x &= ~1ull", "lowest bit"),
    ),
    *rows("scalar", "reproducible or sixteen")(
        ("rows_block", "v_sum(acc[r][t]) +", "v_sum(acc[r][t]) * (count == 4 ? 1.0000002f : 1.0f) +",
         "four tokens rounded otherwise than one"),
    ),
    *avx2("linear.inc.h", "test_linear")(
        ("linear", "EQ_CASE(21, iq3_s) EQ_CASE(22, iq2_s)", "EQ_CASE(21, iq2_s) EQ_CASE(22, iq3_s)",
         "kernels of two formats swapped"),
    ),
]  # fmt: skip

ATTENTION: list[Mutant] = [
    *avx2("attend.inc.h", "test_attention and not segments")(
        ("kv_store", "EQ_TILE * n + cell % EQ_TILE", "EQ_TILE * n + (cell + 1) % EQ_TILE",
         "place of a key in its tile"),
        ("kv_store", "memcpy((float *)values + cell * n", "memcpy((float *)values + cell / 2 * n",
         "place of a value, F32"),
        ("score", "kv_load(tile->keys, EQ_TILE * e, at", "kv_load(tile->keys, EQ_TILE * e, 0 * at",
         "first positions for all"),
        ("score", "v_fma(x[r][i], k[r], acc[i][v])", "v_fma(x[r][0], k[r], acc[i][v])", "first query for all"),
        ("score", "start ? v_load(scores[i] + at + v * EQ_VL) : v_zero()", "v_zero()", "last rows of keys alone"),
        ("soften", "v_set((float)(job->low[i] - base))", "v_set((float)(job->low[i] - base + 1))",
         "window one too short"),
        ("soften", "v_set((float)(job->high[i] - base))", "v_set((float)(job->high[i] - base + 1))",
         "sees the next position"),
        ("soften", "v_set(1.0f / job->softcap)", "v_set(job->softcap)", "softcap multiplied"),
        ("soften", "job->l[i] * factor + v_sum(sum)", "job->l[i] + v_sum(sum)",
         "sum of earlier tiles not scaled"),
        ("soften", "if (m < before) m = before", "if (m > before) m = before",
         "running maximum becomes a minimum"),
        ("weigh_some", "v_mul(v_load(o[i] + at[v]), v_set(factor[i]))", "v_load(o[i] + at[v])",
         "output of earlier tiles not scaled"),
        ("weigh_some", "v_set(p[i][j])", "v_set(p[0][j])", "weights of the first query for all"),
        ("weigh_some", "v / pair * EQ_VL", "0 * v", "first vector of values for all"),
        ("weigh", "n, factor, o, e, least)", "n, factor, o, 0, least)", "narrow heads: first values again"),
        ("weigh", "acc = o[i][e] * factor[i]", "acc = o[i][e]",
         "output of earlier tiles not scaled, odd heads"),
        ("weigh", "at = j * n + e", "at = j * n", "odd heads: first value for all"),
        ("attend_some", "low - base : 0", "low - base + 1 : 0",
         "first position of the window unweighed"),
        ("attend_some", "high - base :", "high - base - 1 :", "own position unweighed"),
        ("attend_some", "weigh_one(scores + c, first[c], last[c]", "weigh_one(scores, first[c], last[c]",
         "scores of the first query for all"),
        ("attend_some", "from - 1, tile", "from - 2, tile", "a position that not all queries see"),
        ("attend_some", "o + c), factor[c] = 1.0f", "o + c)", "earlier tiles scaled twice"),
        ("attend_some", "to + 1, last[c], tile", "to + 2, last[c], tile", "first position that not all queries see"),
        ("attend_tile", "i += EQ_QB", "i += EQ_QB - 1", "queries summed twice"),
        ("attend", "job->keys + base % job->ring", "job->keys + base % (job->ring - EQ_TILE)",
         "ring turns too early"),
    ),
    *corners("attend.inc.h", "cache_keeps")(
        ("kv_load", "v_load_half((const uint16_t *)p + i", "v_load_half((const uint16_t *)p + (i & 511)",
         "halves: place of later numbers"),
        ("weigh", "(const uint16_t *)tile->values)[at]", "(const uint16_t *)tile->values)[at & 255]",
         "odd heads in F16, few queries: place of later values"),
    ),
    *corners("attend.inc.h", "rounded_keys")(
        ("score", "v_load(scales + v * EQ_VL)", "v_load(scales)", "scales of the first positions for all keys"),
        ("score", "start / 32 * EQ_TILE + at", "at", "scales of the first 32 rows for all keys"),
        ("score", "q[i][e + rows - 1]", "q[i][e]", "Q4_0: even rows of the query twice"),
        ("weigh_some", "byte % 16 + v % 2 * 16", "byte % 16 + v % 2 * 8", "Q4_0: where high nibbles belong"),
        ("weigh_some", "v * EQ_VL / 32 * EQ_TILE + j", "v * EQ_VL / 32 * EQ_TILE", "scale of the first value for all"),
        ("weigh_one", "weigh(p, 1, first, last, tile, KV_Q4_0", "weigh(p, 1, first, first, tile, KV_Q4_0",
         "Q4_0: first value alone"),
        ("kv_numbers", "v_load(tile->key_scales + e / 32 * EQ_TILE + j)", "v_load(tile->key_scales + j)",
         "scales of the first 32 rows for all keys"),
        ("kv_numbers", "tile->value_scales[e / 32 * EQ_TILE + j]", "tile->value_scales[e / 32 * EQ_TILE]",
         "scale of the first value for all"),
        ("kv_numbers", "e + lane + 16 * r, v_mul", "e + lane + 8 * r, v_mul", "Q4_0: where high nibbles belong"),
        ("kv_halves", "(const uint16_t *)from + i", "(const uint16_t *)from + i / 2", "halves twice"),
        ("attend", "kv_halves(v, scales, floats + scales);", "kv_halves(k, scales, floats + scales);",
         "scales of keys for values"),
        ("attend", "EQ_TILE * (n / 32) : 0", "EQ_TILE * (n / 64) : 0", "scales taken for codes"),
    ),
    *In("kernels: native",
         "native/kernels/attend.inc.h", (f"{OPS} -k 'avx512vnni and test_attention and not segments'",), WIDE,
        ("avx512vnni",))(
        ("attend_tile", "EQ_LEFT(5)", "", "five queries that are left"),
        ("attend_tile", "attend_some(job, i, n, base", "attend_some(job, i, n - (n == 7), base",
         "the last of seven queries"),
        ("attend_tile", "job->queries - i", "job->queries", "queries that are left are taken for many"),
    ),
]  # fmt: skip

ROUNDING: list[Mutant] = [
    *corners("attend.inc.h", "cache_keeps or rounded_keys")(
        ("kv_round", "top / -8.0f", "top / 8.0f", "Q4_0: sign of the scale"),
        ("kv_round", "top = high > low ? high : -low", "top = high", "largest negative number overlooked"),
        ("kv_round", "v_load(x + i), v_set(inverse)", "v_load(x), v_set(inverse)", "first numbers for all"),
        ("kv_round", "? 127.0f : 7.0f", "? 127.0f : 8.0f", "Q4_0: nibble too large"),
        ("kv_quantize", "(codes[a] + 8) | (codes[b] + 8) << 4", "(codes[b] + 8) | (codes[a] + 8) << 4",
         "Q4_0: nibbles swapped"),
        ("kv_quantize", "2 * i + 1", "2 * i", "Q4_0: even rows of keys for both"),
        ("kv_quantize", "to[(k + i) * apart]", "to[(k + (i ^ 1)) * apart]", "Q8_0: neighbours swapped"),
        ("kv_store_codes", "codes + i * n / part", "codes + i / 2 * n / part", "place of a value, quantized"),
        ("kv_store_codes", "(keys + start) + i", "(keys + start)", "scale of the first position for all keys"),
        ("kv_store", "((uint16_t *)keys)[at + EQ_TILE * e]", "((uint16_t *)keys)[at + EQ_TILE * (e ^ 1)]",
         "F16 keys transposed wrongly"),
        ("kv_row_bytes", "34 * (int64_t)(head_dim / 32)", "18 * (int64_t)(head_dim / 32)",
         "Q8_0 rows overlap"),
        ("half_row", "out[i] = eq_to_half(x[i])", "out[i] = eq_to_half(x[i]) & 0xFF00",
         "odd heads in F16 cut to 8 bits"),
    ),
    *corners("attend.inc.h", "kept_as_zero")(
        ("kv_round", "v_below(a, v_set(INFINITY), a, v_zero())", "v_below(v_set(-INFINITY), a, a, v_set(9.0f))",
         "a NaN becomes a number"),
    ),
]  # fmt: skip

ELEMENTWISE: list[Mutant] = [
    *avx2("elementwise.inc.h", "elementwise or gates or rope")(
        ("v_load_part", "(size_t)n * 4", "(size_t)(n - 1) * 4", "last value of a tail"),
        ("v_store_part", "(size_t)n * 4", "(size_t)(n - 1) * 4", "last value of a tail"),
        ("rms_norm", "s1 = v_fma(b, b, s1)", "s1 = v_fma(a, b, s1)", "squares of the second half"),
        ("rms_norm", "sum += (double)x[i] * x[i]", "sum += (double)x[i]", "tail not squared"),
        ("rms_norm", "sum / (double)n + (double)eps", "sum / (double)n", "eps left out"),
        ("rms_norm", "v_mul(v_mul(a, scale), w)", "v_mul(a, scale)", "weight left out"),
        ("add", "v_add)", "v_sub)", "difference instead of sum"),
        ("v_silu_gate", "v_sub(v_zero(), g)", "g", "sign of the exponent"),
        ("v_gelu_gate", "0.044715f", "0.0447f", "cubic coefficient a little off"),
        ("v_gelu_gate", "0.797884561f", "0.8f", "sqrt(2 / pi) rounded"),
        ("glu", "if (act == 0)", "if (act != 0)", "activations swapped"),
        ("softcap", "inverse = v_set(1.0f / cap)", "inverse = v_set(cap)", "multiplied instead of divided"),
        ("rope", "*sine = table + half", "*sine = table", "cosine taken for the sine"),
        ("rope", "v_sub(v_mul(a, c), v_mul(b, s))", "v_fma(b, s, v_mul(a, c))",
         "turns the other way (halves, vectors)"),
        ("rope", "head[half + i] = a * sine[i] + b * cosine[i]",
         "head[half + i] = a * sine[i] - b * cosine[i]", "sign (halves, tail)"),
        ("rope", "head[2 * i + 1] = a * sine[i] + b * cosine[i]",
         "head[2 * i + 1] = a * cosine[i] + b * sine[i]", "sine and cosine swapped (pairs)"),
    ),
    *avx2("elementwise.inc.h", "elementwise")(
        ("rms_norm", "+ (double)eps", "+ 10 * (double)eps", "eps ten times too large"),
    ),
    *avx2("elementwise.inc.h").asking(f"{LINEARS} -k 'avx2 and residuals'")(
        ("turned", "bias + i", "bias", "bias of the first rows for all"),
        ("turned", "add + at", "add + i", "residual of the first token for all"),
        ("turned", "add ? v_add(v_load(add + at), x) : x", "x", "residual lost"),
        ("turn", "v_load(tile + (i + j) * from + t)", "v_load(tile + (i + j) * from)",
         "first tokens for all"),
        ("turn", "v_turn(x);\n            for (int j", "for (int j", "not turned"),
        ("turn", "v_turn(x);\n            for (int64_t j", "for (int64_t j", "last tokens: not turned"),
        ("turn", "out + (t + j) * to + i, turned", "out + (t + j) * to, turned",
         "place of the first rows for all"),
        ("turn", "bias, add, i, (t + j) * to + i)", "bias, NULL, i, (t + j) * to + i)",
         "residual lost in whole squares"),
        ("turn", "at = (i + j) * from + t,", "at = i * from + t,",
         "last tokens: first row for all"),
        ("turn", "turned(x[j - t], bias,", "turned(x[j - t], NULL,", "last tokens: bias lost"),
        ("turn", "v_load(tile + i), bias, add", "v_load(tile + i), bias, NULL", "one token: residual lost"),
        ("turn", "v_load(tile + i), bias", "v_load(tile + i), NULL", "one token: bias lost"),
        ("turn", "if (bias) x += bias[i]", "if (bias) x += bias[0]", "last rows: first bias for all"),
        ("turn", "add ? add[t * to + i] + x : x", "x", "last rows: residual lost"),
        ("turn", "tile[i * from + t];\n            if", "tile[i * to + t];\n            if",
         "last rows: stride of the output"),
    ),
    *avx2("math.inc.h", "elementwise or gates or test_exp")(
        ("v_exp", "-0.693145752f", "-0.693f", "ln 2 rounded"),
        ("v_exp", "1.0f / 24", "1.0f / 20", "coefficient of the polynomial"),
        ("v_exp", "v_below(x, v_set(-87.3f), v_zero(), ", "v_below(x, v_set(-10.0f), v_zero(), ",
         "zero too early"),
        ("v_exp", "-1.42860677e-6f", "1.42860677e-6f", "low part of ln 2"),
        ("v_tanh", "v_set(-10.0f)", "v_set(-1.0f)", "clipped too early"),
        ("v_tanh", "v_add(clipped, clipped)", "clipped", "argument not doubled"),
    ),
]  # fmt: skip

MEASURE = "tests/bench/test_bench_measure.py"
PEAK: list[Mutant] = [
    *avx2("peak.inc.h").asking(f"{MEASURE} -k 'avx2 or limit'")(
        ("peak_bytes", "memset(w, 2", "memset(w, 1", "products of 3"),
        ("peak_bytes", "PEAK_X; j++) sum[i][j] = i_dot", "PEAK_X - 1; j++) sum[i][j] = i_dot",
         "a third left out"),
        ("peak_bytes", "* EQ_VL * 4;", "* EQ_VL * 2;", "half of the products counted"),
        ("peak_floats", "w[i] = 0.5f", "w[i] = 0.25f", "products of a half"),
        ("peak_floats", "i < PEAK_W; i++) {", "i < PEAK_W - 1; i++) {", "a fourth left out"),
        ("peak", "kind == EQ_PEAK_INT8", "kind != EQ_PEAK_INT8", "kinds swapped"),
    ),
    *In("kernels: native", "native/measure.c", (MEASURE,), ("native/measure.c",))(
        ("read_part", "h += p[7]", "h += p[6]", "a word of eight read twice"),
        ("read_part", "(thread + 1) / threads * LINE", "thread / threads * LINE + LINE",
         "one line of each part"),
        ("eq_measure_read", "(uintptr_t)data % 8", "(uintptr_t)data % 4", "words that are not aligned"),
        ("eq_measure_read", "nbytes < 0 || ", "", "negative sizes"),
        ("eq_measure_read", "nbytes % (8 * LINE)", "nbytes % LINE", "part of a line left out"),
        ("eq_measure_peak", "rounds < 0 || ", "", "negative rounds"),
        ("eq_measure_peak", "rounds > EQ_PEAK_ROUNDS", "rounds > 2 * EQ_PEAK_ROUNDS",
         "sums that are not exact"),
        ("eq_measure_peak", "products += call.products[t]", "products = call.products[t]",
         "the last thread's alone"),
        ("peak_part", "call->rounds,", "call->rounds / (thread + 1),", "other threads do less"),
        ("eq_measure_chain", "x += x >> 3 | 1", "x += x >> 3", "stays at its start"),
    ),
]  # fmt: skip

MUTANTS = [*LAYOUTS, *ROWS, *ATTENTION, *ROUNDING, *ELEMENTWISE, *PEAK]
