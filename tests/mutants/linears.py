"""Mutants of linears for many tokens (panel.inc.h) and of rows in fours of blocks (quads.inc.h)."""

from __future__ import annotations

from tests.mutants.kernels import AVX2, FEW, LINEARS, OPS, WIDE
from tests.mutants.mutant import In, Mutant

MANY = "test_linear and (Q4_1 or Q4_K or Q2_K or IQ2_S or Q6_K)"


def avx2(test: str, file: str = "panel.inc.h") -> In:
    asked = (f"{OPS} {LINEARS} -k 'avx2 and ({test})'",)
    return In("kernels: many tokens", f"native/kernels/{file}", asked, AVX2, ("avx2",))


def scalar(test: str, file: str = "panel.inc.h") -> In:
    asked = (f"{OPS} {LINEARS} -k 'scalar and ({test})'",)
    return In("kernels: many tokens", f"native/kernels/{file}", asked, ("native/isa/scalar.c",))


def wide(file: str, *tests: str) -> In:
    group = "kernels: quads" if file == "quads.inc.h" else "kernels: many tokens"
    return In(group, f"native/kernels/{file}", tests, WIDE, ("avx512vnni",))


UNPACK: list[Mutant] = [
    *avx2(MANY)(
        ("panel_unpack", "per * g, *m = p->m[r] + per * g", "per * g, *m = p->m[r] + g", "place of the mins"),
        ("panel_unpack", "data + k / span", "data + (k - k0) / span", "later panels repeat the first one's weights"),
        ("panel_unpack", "k - k0 + 32 * j;", "k - k0 + 32 * (j ^ 1);", "groups swapped"),
        ("panel_words", "p->w[row]", "p->w[0]", "first row for all"),
        ("panel_unpack", "EQ_STORED(f.offset));", "0);", "offset not added"),
    ),
    *avx2("").asking("tests/backends/test_op_corners.py -k 'avx2 and panels'")(
        ("panel_unpack", "(row + r) * stride", "(row + r - (r > 90)) * stride", "last rows of a panel"),
    ),
]  # fmt: skip

BYTES: list[Mutant] = [
    *avx2(MANY)(
        ("packed_high", "2 * block *", "block *", "place of later blocks"),
        ("packed_low", "EQ_BLOCK_TOKENS * (int64_t)a->width", "EQ_BLOCK_TOKENS * (int64_t)a->width / 2",
         "low bytes begin among the high ones"),
        ("panel_meet", "p->both[g - k0 / 32] = !(v_sum(sum) <= share)", "p->both[g - k0 / 32] = 0", "low bytes never"),
        ("panel_meet", "p->both[g - k0 / 32] = !(v_sum(sum) <= share)", "p->both[g - k0 / 32] = 1", "low bytes always"),
        ("panel_meet", "p->both[g - k0 / 32] =", "p->both[(g - k0 / 32) ^ 1] =", "neighbouring groups swapped"),
        ("panel_meet", "tokens < EQ_BLOCK_TOKENS ? tokens : EQ_BLOCK_TOKENS", "EQ_BLOCK_TOKENS",
         "a block that is not full may lose more"),
        ("panel_meet", "f.halves ? 1 : 2", "f.halves ? 2 : 2", "sums of 32 where scales are for 16"),
        ("panel_meet", "sums[t] + sums[EQ_BLOCK_TOKENS + t]", "sums[t]", "sums of the first half"),
        ("panel_meet", "(sum - low) / 65536", "sum / 65536", "borrow of the low bytes' sum lost"),
        ("panel_meet", "256 * high + both * low", "256 * high + low", "low bytes counted that are not multiplied"),
        ("panel_meet", "256 * high + both * low", "256 * high", "low bytes not counted"),
        ("panel_meet", "groups + at / 2) *", "groups) *", "scale of the first group for all"),
        ("panel_meet", "p->both[per * g / 2]", "p->both[g / 2]", "which group has both bytes"),
        ("panel_meet", "= -offset * high, p->start[1][g][t] = -offset * low",
         "= -offset * high, p->start[1][g][t] = -offset * high", "offset of the low bytes"),
        ("panel_meet", "k0 / 16 + per * g;", "per * g;", "sums of the first panel for all"),
    ),
    *avx2("very_different")(
        ("panel_meet", "/ (float)groups *", "*", "a group may lose what all may"),
        ("panel_meet", "(block * groups + g) * EQ_BLOCK_TOKENS + n * EQ_VL", "(block * groups + g) * EQ_BLOCK_TOKENS",
         "what the first tokens lose for all"),
        ("panel_meet", "v_load(inverse + n * EQ_VL)", "v_load(inverse)", "lengths of the first tokens for all"),
        ("panel_inverse", "* groups + n * EQ_VL", "* groups", "lengths of the first tokens for all"),
        ("panel_inverse", "power + g * EQ_BLOCK_TOKENS", "power", "length of the first group for all"),
        ("panel_inverse", "v_div(v_set(1.0f), sum)", "v_div(v_set(1.0f), v_mul(sum, sum))", "length squared"),
        ("panel_linear", "p->inverse[b]", "p->inverse[0]", "lengths of the first block for all"),
        ("", "#define EQ_PRECISION 0.01f", "#define EQ_PRECISION 0.012f", "a fifth more may be lost"),
    ),
    *avx2("zeros")(("panel_inverse", "v_set(1e-30f)", "v_zero()", "divided by zero"),),
    *avx2("not_finite")(
        ("panel_meet", "!(v_sum(sum) <= share)", "(v_sum(sum) > share)", "high bytes alone beside a NaN"),
    ),
    *avx2("thousand")(
        ("panel_inverse", "(block + b) * EQ_BLOCK_TOKENS", "b * EQ_BLOCK_TOKENS",
         "lengths of the first thousand tokens"),
        ("panel_linear", "panel_inverse(a, first,", "panel_inverse(a, 0,", "lengths of the first thousand tokens"),
        ("panel_linear", "panel_meet(f, a, first + b", "panel_meet(f, a, b", "sums of the first thousand tokens"),
        ("panel_linear", "panel_block(f, p, rows, k0, k1, a, first + b", "panel_block(f, p, rows, k0, k1, a, b",
         "the first thousand tokens again"),
        ("panel_linear", "blocks - first < EQ_TURN_BLOCKS ? blocks - first : EQ_TURN_BLOCKS",
         "blocks < EQ_TURN_BLOCKS ? blocks : EQ_TURN_BLOCKS - 1", "last block of a turn"),
    ),
]  # fmt: skip

PRODUCTS: list[Mutant] = [
    *avx2(MANY)(
        ("panel_micro", "k0 == 0 ? v_zero()", "k0 >= 0 ? v_zero()", "sums of earlier panels lost"),
        ("panel_micro", "f.halves ? 16 : 32", "f.halves ? 32 : 32", "one scale for both halves"),
        ("panel_micro", "p->both[(k - k0) / 32]", "p->both[0]", "what the first group has for all"),
        ("panel_micro", "1 + p->both[(k - k0) / 32]", "1", "low bytes not multiplied"),
        ("panel_micro", "p->start[plane][g]", "p->start[plane][0]", "offset of the first group for all"),
        ("panel_micro", "p->start[plane][g]", "p->start[0][g]", "offset of the high bytes twice"),
        ("panel_micro", "(plane ? low : high) + k *", "(plane ? low : high) + (k - k0) *",
         "activations of the first panel for all"),
        ("panel_micro", "(plane ? low : high)", "(plane ? high : high)", "high bytes twice"),
        ("panel_micro", "plane ? 1.0f : 256.0f", "plane ? 1.0f : 255.0f", "high bytes a little off"),
        ("panel_micro", "n < EQ_NV && f.mins", "n < EQ_NV - 1 && f.mins", "mins of the last tokens left out"),
        ("panel_micro", "p->m[row + r][g]", "p->m[row][g]", "mins of the first row for all"),
        ("panel_micro", "p->words[(k - k0) / 2]", "p->words[0]", "first activations for all, as int16"),
        ("panel_meet", "p->words[(k - k0) / 2 + 1]", "p->words[(k - k0) / 2]", "first two of four, as int16"),
        ("panel_meet", "p->both[(k - k0) / 32] ? low + i : NULL", "low + i", "low bytes always, as int16"),
        ("panel_meet", "p->both[(k - k0) / 32] ? low + i : NULL", "NULL", "low bytes never, as int16"),
        ("panel_micro", "scale + k / 32 *", "scale + (k - k0) / 32 *", "scales of the first panel for all"),
        ("panel_micro", "p->s[row + r][g]", "p->s[row + r][0]", "one scale for the panel"),
        ("panel_micro", "v_load(p->sum[g] +", "v_load(p->sum[0] +", "sum of the first group for all"),
        ("panel_block", "tile + r * to + first;", "tile + r * to + first - (first > 16);", "place of later tokens"),
        ("panel_block", "memcpy(p->part[i], c + i * to", "memcpy(p->part[i], c",
         "earlier panels of the first row for all"),
        ("panel_block", "whole ? to : EQ_BLOCK_TOKENS", "to", "stride of a block that is not full"),
        ("panel_block", "first, p->part[i]", "first, p->part[0]", "a block that is not full: first row for all"),
        ("panel_linear", "k0 += width) {", "k0 += width) {\n            if (k0 > width / 2) break;",
         "long rows cut off"),
        ("panel_linear", "(a->tokens + EQ_BLOCK_TOKENS - 1) /", "a->tokens /", "a last block that is not full"),
    ),
    *avx2("").asking("tests/backends/test_op_corners.py -k 'avx2 and left_over'")(
        ("panel_block", "panel_micro(f, p, r + i, 2,", "panel_micro(f, p, r + i, 1,", "second of two rows left out"),
    ),
    *wide("panel.inc.h", "tests/backends/test_op_corners.py -k 'avx512vnni and left_over'")(
        ("panel_block", "panel_micro(f, p, r + i, 1,", "panel_micro(f, p, r, 1,", "third of three rows"),
    ),
    *avx2("left_over")(
        ("panel_block", "first + EQ_BLOCK_TOKENS <= to;", "first + EQ_BLOCK_TOKENS <= to + 1;",
         "a block that lacks one token taken for whole"),
    ),
    *avx2("largest and (Q5_1 or Q6_K)", "dots.inc.h")(
        ("dots_bytes", "f.bits == 5 ? 16", "f.bits <= 6 ? 16", "more sums than int16 holds"),),
    *avx2(MANY, "dots.inc.h")(
        ("dots_bytes", "i > 0 ? dot[r][n] :", "0 ? dot[r][n] :", "sums of earlier weights lost"),
        ("dots_bytes", "w + r * EQ_KC + i + j", "w + i + j", "first row for all"),
        ("dots_bytes", "w + r * EQ_KC + i + j", "w + r * EQ_KC + j", "first weights for all"),
        ("dots_bytes", "4 * n * EQ_VL", "0 * n", "first tokens for all"),
        ("dots_words", "j == 0 ?", "j == i ?", "sums of earlier weights lost"),
        ("dots_words", "w + r * EQ_KC / 2 + j", "w + j", "first row for all"),
        ("dots_words", "2 * n * EQ_VL", "0 * n", "first tokens for all"),
    ),
    *scalar(MANY, "dots.inc.h")(
        ("", "x_four(w + r * EQ_KC + i)", "x_four(w + i)", "first row for all, where bytes have dot products"),
        ("", "x_load(x + i * EQ_BLOCK_TOKENS + 4", "x_load(x + 4", "first activations for all, likewise"),
    ),
]  # fmt: skip

PACK: list[Mutant] = [
    *avx2(MANY)(
        ("pack", "lane = t % EQ_BLOCK_TOKENS", "lane = (t + 1) % EQ_BLOCK_TOKENS", "lanes of tokens"),
        ("pack", "+ 4 * first", "", "second vector of tokens over the first"),
        ("pack", "fours + 4 * from, some + from", "fours, some", "tokens that begin within a vector"),
        ("pack", "if (many == EQ_VL)", "if (many > 1)", "lanes of other tokens"),
        ("pack", "k * EQ_BLOCK_TOKENS + 4", "(k & ~32) * EQ_BLOCK_TOKENS + 4", "place of every other group"),
        ("pack", "(c + i) / 8 * plane", "(c + i) / 16 * plane", "low bytes over the high ones"),
        ("pack", "(c + i) % 8 * 4", "(c + i) % 4 * 4", "second half of a group over the first"),
        ("pack", "h * EQ_BLOCK_TOKENS + lane, &sums[h]", "h * EQ_BLOCK_TOKENS + lane, &sums[0]",
         "sum of the first half for both"),
        ("pack", "scale * scale * (float)sums[3]", "scale * scale * (float)sums[2]", "loss of the high bytes"),
    ),
    *avx2("very_different")(
        ("pack", "scale * scale * (float)sums[2]", "scale * (float)sums[2]", "scale of lengths not squared"),
        ("pack", "(float)sums[2] * 65536.0f", "(float)sums[2] * 256.0f", "lengths too small"),
    ),
    *avx2("forgets")(
        ("pack", "a->lost[at + i] = a->power", "a->power", "what earlier tokens lost counts"),
        ("pack", "a->lost[at + i] = a->power[at + i] = 0.0f", "a->lost[at + i] = 0.0f",
         "a NaN of an earlier step counts"),
    ),
    *scalar(f"largest or very_different or {MANY}")(
        ("w_split", "l < -127 ? -127 : l", "l", "-128 kept"),
        ("w_split", "(q[i] + 128) >> 8", "q[i] >> 8", "high byte not rounded"),
        ("w_split", "sums[i / 16]", "sums[i / 17]", "sums of the halves"),
        ("w_split", "65536 * h + l", "65536 * h", "low bytes not counted"),
        ("w_split", "sums[2] += h * h", "sums[2] += h", "high bytes not squared"),
        ("w_split", "sums[3] += l * l", "sums[3] += l", "low bytes not squared"),
    ),
]  # fmt: skip

LEFT = "number_of_blocks or (sixteen and (Q4_0 or Q5_1)) or missing"

QUADS: list[Mutant] = [
    *In("kernels: quads", "native/kernels/quads.inc.h", (f"{OPS} {LINEARS} {FEW} -k 'avx2 and ({LEFT})'",), AVX2,
        ("avx2",))(
        ("quads_step", "x[t] + s * EQ_QUAD_BYTES", "x[t]", "activations of the first four blocks for all"),
        ("quads_step", "stride + at;", "stride + s * f.block_bytes;", "which blocks"),
        ("quads_step", "data + (r + i) * stride", "data + r * stride", "first of two rows for both"),
        ("quads_step", "offset)), v_mul(d[i], x_scale(record))", "offset)), d[i]", "scale of activations left out"),
        ("quads_step", "offset)), v_mul(d[i],", "offset)), v_mul(d[0],", "scale of the first of two rows for both"),
        ("quads_step", "v_fma(m[i],", "v_fma(m[0],", "min of the first of two rows for both"),
        ("quads_step", "if (f.mins) acc", "if (f.mins && r == 0) acc", "mins of later rows left out"),
        ("quads_block", "quad_record(a, token(a, first + t), 0)", "quad_record(a, t, 0)",
         "activations of the first tokens for all"),
        ("quads_block", "tile[r * a->tokens + token(a, first + t)]", "tile[r * a->tokens + t]",
         "outputs of later tokens"),
        ("quads_block", "s < whole;", "s < whole - (whole > 1);", "last four whole blocks left out"),
        ("quads_block", "groups % 4 == 1", "groups % 4 == 5", "one block that is left over"),
        ("quads_block", "whole, 0, 2, rows", "whole, 0, 1, rows", "second of two blocks that are left over"),
        ("quads_block", "whole, 0, 2, rows", "whole, 0, 3, rows", "a block more than are left over"),
        ("quads_block", "whole, 0, 3, rows", "whole, 0, 2, rows", "third of three blocks that are left over"),
        ("quads_block", "whole, 0, 3, rows", "whole, 0, 4, rows", "a block behind the last one"),
        ("quads_block", "+ row * stride", "+ row / 4 * 4 * stride", "rows that are left over"),
    ),
    *In("kernels: quads", "native/kernels/quads.inc.h", (f"{OPS} {LINEARS} -k 'avx2 and number_of_blocks'",), AVX2,
        ("avx2",))(
        ("quad", "i < blocks ? i : blocks - 1", "i", "reads behind the last block"),
        ("quad", "v_halves(p + 2,", "v_halves(p,", "scale taken for the min"),
    ),
    *In("kernels: quads", "native/kernels/linear.inc.h", (f"{OPS} -k 'avx2 and test_linear and Q4_K'",), AVX2,
        ("avx2",))(
        ("rows_linear", "f.groups < 8 ||", "f.groups < 9 ||", "blocks of 256 as smaller ones"),
    ),
    *In("kernels: quads", "native/kernels/quads.inc.h", (f"{OPS} -k 'avx2 and test_linear and IQ4_XS'",), AVX2,
        ("avx2",))(
        ("quad", ">> 32 * half", ">> 0", "first four scales twice"),
        ("quad", "+ 4 * half", "", "first half twice"),
        ("quads_step", "half * (f.block_bytes / 2)", "0", "which block the second half is in"),
    ),
    *In("kernels: quads", "native/simd/avx2.h", (f"{OPS} -k 'avx2 and test_linear and IQ4_XS'",), AVX2, ("avx2",))(
        ("v_four", "cvtepi8_epi32", "cvtepu8_epi32", "signs lost"),
    ),
]  # fmt: skip

LARGE = "test_linear and (Q2_K or Q3_K or Q4_K or Q6_K or TQ2_0 or IQ1_S)"
LARGE += " or largest or not_finite or larger_blocks or gates or sixteen or same_rows"
ASKED = f"{OPS} {LINEARS} {FEW} -k 'avx2 and ({LARGE})'"

BLOCKS: list[Mutant] = [
    *In("kernels: blocks of 256", "native/kernels/blocks.inc.h", (ASKED,), AVX2, ("avx2",))(
        ("block_record", "(a->width / 256) + b", "(a->width / 256) + (b & ~1)", "places of two blocks"),
        ("block_record", "a->tokens * steps", "0 * steps", "in the place of smaller blocks' activations"),
        ("blocks_block", "both.dmin * x[t][b].scale", "both.d * x[t][b].scale", "scale taken for the min"),
        ("blocks_block", "both.d * x[t][b].scale", "both.d * x[0][b].scale", "scale of the first token for all"),
        ("blocks_block", "if (f.mins)", "if (f.mins && r == 0)", "mins of later rows left out"),
        ("blocks_block", "r * stride + b * f.block_bytes", "b * f.block_bytes", "first row for all"),
        ("blocks_block", "is_signed ? 0 : f.offset", "is_signed ? f.offset : f.offset", "offset of what has signs"),
        ("blocks_block", "tile[r * a->tokens + token(a, first + t)]", "tile[r * a->tokens + t]",
         "outputs of later tokens"),
        ("round_block", "largest == largest && ", "", "values that are not finite forgotten by later groups"),
        ("round_block", "top <= largest", "top >= largest", "smallest for the largest"),
        ("round_block", "largest / 32512.0f", "largest / 32511.0f", "scale a little off"),
        ("round_block", "32512.0f / largest", "32511.0f / largest", "activations a little off"),
        ("round_block", "to->low_sums[2 * g + h]) / 65536", "to->low_sums[2 * g]) / 65536", "low sums of the first 16"),
        ("round_block", "to->low_sums[2 * g + 1]);", "to->low_sums[2 * g]);", "first low sum twice"),
        ("round_block", "to->high_sums[2 * g + 1]);", "to->high_sums[2 * g]);", "first high sum twice"),
    ),
    *In("kernels: blocks of 256", "native/simd/avx2.h", (ASKED,), AVX2, ("avx2",))(
        ("b_scales", "(x, x, 0x11)", "(x, x, 0x00)", "scales of the first 128 twice"),
        ("b_scales", "cvtepi8_epi16(_mm_set_epi64x", "cvtepu8_epi16(_mm_set_epi64x", "signs of 16 scales lost"),
        ("b_scale", "first + 1 : j", "first : j", "scale of the first 16 for the last"),
        ("b_scale", "j < 4 ?", "j < 5 ?", "scale of a fifth group"),
        ("b_dot", "_mm256_maddubs_epi16(w.size, low)", "_mm256_maddubs_epi16(w.size, high)", "high bytes twice"),
        ("b_sums", "0x81", "0x80", "high sums for the low ones"),
        ("b_sums", "m_load(x->low_sums)", "m_load(x->high_sums)", "high sums of 16 for the low ones"),
        ("b_begin", "_mm256_mullo_epi32(sums.low, n)", "zero", "offset of low bytes"),
        ("b_fma", "256.0f", "255.0f", "what a high byte weighs"),
    ),
]  # fmt: skip

MUTANTS = [*UNPACK, *BYTES, *PRODUCTS, *PACK, *QUADS, *BLOCKS]
