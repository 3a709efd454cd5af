"""Mutants of linears for many tokens (panel.inc.h) and of rows in fours of blocks (quads.inc.h)."""

from __future__ import annotations

from tests.mutants.kernels import AVX2, LINEARS, OPS, PAIRED, WIDE
from tests.mutants.mutant import In, Mutant

MANY = "test_linear and (Q4_1 or Q4_K or Q2_K or IQ2_S or Q6_K)"


def avx2(test: str) -> In:
    asked = (f"{OPS} {LINEARS} -k 'avx2 and ({test})'",)
    return In("kernels: many tokens", "native/kernels/panel.inc.h", asked, AVX2, ("avx2",))


def scalar(test: str) -> In:
    asked = (f"{OPS} {LINEARS} -k 'scalar and ({test})'",)
    return In("kernels: many tokens", "native/kernels/panel.inc.h", asked, ("native/isa/scalar.c",))


def wide(file: str, *tests: str) -> In:
    group = "kernels: quads" if file == "quads.inc.h" else "kernels: many tokens"
    return In(group, f"native/kernels/{file}", tests, WIDE, ("avx512vnni",))


UNPACK: list[Mutant] = [
    *avx2(MANY)(
        ("panel_unpack", "per * g, *m = p->m[r] + per * g", "per * g, *m = p->m[r] + g", "place of the mins"),
        ("panel_unpack", "k / 32 + j", "k / 32 + (j & 6)", "groups of the general formats"),
        ("panel_unpack", "data + k / span", "data + (k - k0) / span", "later panels repeat the first one's weights"),
        ("panel_unpack", "(k - k0) + 32 * j,", "(k - k0) + 32 * (j ^ 1),", "groups swapped"),
        ("panel_unpack", "EQ_STORED(f.offset));", "0);", "offset not added"),
    ),
    *avx2("").asking("tests/backends/test_op_corners.py -k 'avx2 and panels'")(
        ("panel_unpack", "(row + r) * stride", "(row + r - (r > 90)) * stride", "last rows of a panel"),
    ),
    *wide("panel.inc.h", PAIRED)(
        ("panel_unpack_pairs", "r + 1 < rows ? r + 1 : r;", "r;", "second rows left out"),
        ("panel_unpack_pairs", "data + (other - r) * stride", "data", "first row for both"),
        ("panel_unpack_pairs", "stride + k0 / span * f.block_bytes", "stride",
         "later panels repeat the first one's weights"),
        ("panel_unpack_pairs", "p->s[other] + per * k / 32", "p->s[other] + k / 32", "place of its scales"),
        ("panel_unpack_pairs", "p->m[other] + per * k / 32", "p->m[r] + per * k / 32", "mins of the second row"),
        ("panel_unpack_pairs", "p->w[other] + k + 32 * j", "p->w[other] + k", "groups of the second row"),
    ),
    *wide("panel.inc.h", f"{LINEARS} -k 'avx512vnni and number_of_blocks'")(
        ("panel_unpack_pairs", "r + 1 < rows ? r + 1 : r;", "r + 1;", "reads behind the last row"),
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
        ("panel_micro", "i_load(p->start[0][g] +", "i_load(p->start[0][0] +", "offset of the first group for all"),
        ("panel_micro", "i_load(p->start[1][g] +", "i_load(p->start[0][g] +", "offset of the high bytes twice"),
        ("panel_micro", "high + k * EQ_BLOCK_TOKENS", "high + (k - k0) * EQ_BLOCK_TOKENS",
         "activations of the first panel for all"),
        ("panel_micro", "if (!both || x >= low) break", "if (x >= high) break", "low bytes not multiplied"),
        ("panel_micro", "i_times(dot[r][n], 256)", "i_times(dot[r][n], 255)", "high bytes a little off"),
        ("panel_micro", "both ? 1.0f : 256.0f", "both ? 1.0f : 255.0f", "high bytes alone a little off"),
        ("panel_micro", "scale + k / 32 *", "scale + (k - k0) / 32 *", "scales of the first panel for all"),
        ("panel_micro", "p->s[row + r][g]", "p->s[row + r][0]", "one scale for the panel"),
        ("panel_micro", "if (f.mins) acc", "if (f.mins && r == 0) acc", "mins of later rows left out"),
        ("panel_micro", "v_load(p->sum[g] +", "v_load(p->sum[0] +", "sum of the first group for all"),
        ("panel_block", "tile + r * to + first;", "tile + r * to + first - (first > 16);", "place of later tokens"),
        ("panel_block", "memcpy(p->part[i], c + i * to", "memcpy(p->part[i], c",
         "earlier panels of the first row for all"),
        ("panel_block", "whole ? to : EQ_BLOCK_TOKENS", "to", "stride of a block that is not full"),
        ("panel_block", "first, p->part[i]", "first, p->part[0]", "a block that is not full: first row for all"),
        ("panel_linear", "k0 += EQ_KC) {", "k0 += EQ_KC) {\n            if (k0 > EQ_KC / 2) break;",
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
    *avx2("test_linear and (Q8_0 or IQ4_XS)")(
        ("panel_dots", "f.offset == 128 ?", "f.offset == 127 ?", "signed weights taken for unsigned ones"),),
    *avx2("largest and (Q5_1 or Q6_K)")(
        ("panel_dots", "f.bits == 5 ? 16", "f.bits <= 6 ? 16", "more sums than int16 holds"),),
    *scalar(MANY)(
        ("", "x_four(w + r * EQ_KC + i)", "x_four(w + i)", "first row for all, where bytes have dot products"),
        ("", "x_load(x + i * EQ_BLOCK_TOKENS + 4", "x_load(x + 4", "first activations for all, likewise"),
    ),
]  # fmt: skip

PACK: list[Mutant] = [
    *avx2(MANY)(
        ("pack", "lane = t % EQ_BLOCK_TOKENS", "lane = (t + 1) % EQ_BLOCK_TOKENS", "lanes of tokens"),
        ("pack", "+ 4 * lane", "+ lane", "tokens' bytes overlap"),
        ("pack", "k * EQ_BLOCK_TOKENS + 4", "(k & ~32) * EQ_BLOCK_TOKENS + 4", "place of every other group"),
        ("pack", "memcpy(to_low + i * EQ_BLOCK_TOKENS, low + i, 4)", "memcpy(to_low + i * EQ_BLOCK_TOKENS, low + i, 3)",
         "every fourth low byte"),
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

QUADS: list[Mutant] = [
    *wide("quads.inc.h", f"{LINEARS} -k 'avx512vnni and number_of_blocks'")(
        ("quads_step", "((first + t) * steps + s)", "(t * steps + s)", "activations of the first tokens for all"),
        ("quads_step", "x_each(a->scale + (first + t) * groups + 4 * s", "x_each(a->scale + (first + t) * groups + s",
         "which scales of activations"),
        ("quads_step", "x_once(a->sum32 + (first + t) * groups + 4 * s", "x_once(a->sum32 + (first + t) * groups",
         "sums of the first four blocks for all"),
        ("quads_step", "data + r * stride + 4 * s", "data + r * stride + s", "which blocks"),
        ("quads_step", "steps = (groups + 3) / 4", "steps = groups / 4", "where tokens' activations begin"),
        ("quads_step", "v_mul(d, scale[t])", "d", "scale of activations left out"),
        ("quads_step", "if (f.mins) acc", "if (f.mins && r == 0) acc", "mins of later rows left out"),
        ("quads_block", "s < whole;", "s < whole - (whole > 1);", "last four whole blocks left out"),
        ("quads_block", "groups % 4 == 1", "groups % 4 == 5", "one block that is left over"),
        ("quads_block", "whole, 2, rows", "whole, 1, rows", "second of two blocks that are left over"),
        ("quads_block", "whole, 2, rows", "whole, 3, rows", "a block more than are left over"),
        ("quads_block", "whole, 3, rows", "whole, 2, rows", "third of three blocks that are left over"),
        ("quads_block", "whole, 3, rows", "whole, 4, rows", "a block behind the last one"),
        ("quads_block", "tile[r * a->tokens + first + t]", "tile[r * a->tokens + t]", "outputs of later tokens"),
        ("quads_block", "+ row * stride", "+ row / 4 * 4 * stride", "rows that are left over"),
        ("quads_linear", "f, w, a, row, EQ_ROWS, t, 2, out)", "f, w, a, row, EQ_ROWS, t, 1, out)",
         "second of two tokens left out"),
        ("quads_linear", "f, w, a, row, EQ_ROWS, t, 4, out), t += 4", "f, w, a, row, EQ_ROWS, t, 2, out), t += 4",
         "third and fourth token left out"),
        ("quads_linear", "f, w, a, row, EQ_ROWS, t, 1, out)", "f, w, a, row, 3, t, 1, out)",
         "fourth row of single tokens"),
        ("quads_linear", "f, w, a, row, 1, t, 1, out)", "f, w, a, row0, 1, t, 1, out)", "rows that are left over"),
        ("quads_linear", "(row - row0) * a->tokens", "(row - row0) * (a->tokens - 1)", "outputs of later rows"),
        ("q4_0_quads", "q_begin(p, 18, blocks, 8)", "q_begin(p, 18, blocks, 6)", "second load one word early"),
        ("q4_1_quads", "q4_1_heads", "q4_0_heads", "heads of another format"),
        ("q5_0_quads", "q5_0_fifth), 16", "q5_0_fifth), 8", "fifth bit one place too low"),
        ("q5_0_quads", "q_begin(p, 22, blocks", "q_begin(p, 18, blocks", "end of the blocks that are left over"),
        ("q5_1_quads", "q5_1_fifth", "q5_1_nibbles", "nibbles taken for the fifth bits"),
        ("q8_0_quads", "q_gather(p + 18, 34", "q_gather(p + 17, 34", "second half one byte early"),
        ("q8_0_quads", "q_gather(p + 2, 34", "q_gather(p + 2, 32", "stride of blocks"),
        ("iq4_nl_quads", "return q_table(x, iq4_unsigned)", "return x", "table left out"),
        ("", "i * bytes + 2 * word + 2 <= 64", "i * bytes + 2 * word <= 64", "a word behind the first load"),
        ("", "EQ_NIBBLES(q4_1, 20, 16, 2)", "EQ_NIBBLES(q4_1, 20, 16, 1)", "nibbles one word early"),
        ("", "EQ_FIFTH(q5_1, 24, 32, 2)", "EQ_FIFTH(q5_1, 24, 32, 1)", "mins taken for the fifth bits"),
        ("", "EQ_HEADS(q8_0, 34, 68)", "EQ_HEADS(q8_0, 34, 66)", "scales of the last blocks"),
        ("", "EQ_ALL(bytes, second, 1)}", "EQ_ALL(bytes, second, 0)}", "scales taken for the mins"),
        ("", "(word + 7))", "(word + 6))", "last word of nibbles"),
    ),
]  # fmt: skip

MUTANTS = [*UNPACK, *BYTES, *PRODUCTS, *PACK, *QUADS]
