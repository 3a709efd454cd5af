"""Mutants of the numba backend: every format, kernels, attention, vector verbs, the plan, state and pool."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant

FILE = "tests/backends/test_numba.py"
CORNERS = "tests/backends/test_op_corners.py"
PROMPTS = "tests/backends/test_numba_prompts.py"
CACHE = "tests/backends/test_numba_cache.py"
MOMENTS = "tests/backends/test_moments.py -k numba"
ATTENTION_TESTS = (
    f"{FILE} {CORNERS} -k '(test_numba and test_attention) or (numba and (rings or segments or sequences))'"
)


def unpack(fmt: str) -> In:
    return In("formats: numba", "edgeq/backends/numba_unpack.py", (f"{FILE} -k 'test_linear and {fmt}'",))


def numba(file: str, match: str) -> In:
    return In("ops: numba", f"edgeq/backends/numba{file}.py", (f"{FILE} -k '{match}'",))


UNPACK: list[Mutant] = [
    *unpack("F32")(
        ("f32_row", "f32(row + 4 * i)", "f32(row + 4 * i - 4)", "last weights one early"),
        ("f32_row", "vload(row + 4 * i)", "vload(row + 4 * i + 4)", "one weight late")),
    *unpack("F16")(
        ("f16_row", ", half(row + 2 * i)", ", half(row + 2 * i - 2)", "last weights one early"),
        ("f16_row", "vload_half(row + 2 * i)", "vload_half(row + 2 * i + 2)", "one weight late")),
    *unpack("BF16")(
        ("bf16_row", "<< 16", "<< 15", "last weights one bit too low"),
        ("bf16_row", "vload_bf16(row + 2 * i)", "vload_bf16(row + 2 * i + 2)", "one weight late")),
    *unpack("Q4_0")(
        ("q4_0", "wset(8)", "wset(7)", "offset off by one"),),
    *unpack("Q4_1")(
        ("q4_1", "half(b + 2)", "half(b)", "scale taken for the min"),),
    *unpack("Q5_0")(
        ("q5_0", "flags(u32(b + 2), 16)", "flags(u32(b + 2), 8)", "fifth bit one place too low"),),
    *unpack("Q5_1")(
        ("q5_1", "u32(b + 4)", "u32(b + 3)", "fifth bits one byte early"),),
    *unpack("Q8_0")(
        ("q8_0", "wload(b + 2)", "wload(b + 1)", "weights one byte early"),),
    *unpack("Q1_0")(
        ("q1_0", "+ 2 + 4 * j), 2)", "+ 2 + 4 * (j & 1)), 2)", "third and fourth group"),),
    *unpack("Q2_0")(
        ("q2_0", "2 * (j % 4)", "2 * (3 - j % 4)", "highest bits first"),),
    *unpack("Q2_K")(
        ("q2_k_scales", "half(b + 82)) * -1", "half(b + 82))", "sign of the min"),
        ("q2_k", "32 * (j // 4)", "32 * (j % 2)", "which bytes")),
    *unpack("Q3_K")(
        ("q3_k_scales", "- 32", "- 31", "offset of scales off by one"),
        ("q3_k_scales", "10 + i % 4", "10 + i % 2", "high bits of every other scale"),
        ("q3_k", "bits(b, j, 1), 2", "bits(b, j, 1), 1", "third bit too low")),
    *unpack("Q4_K")(
        ("q4_k", "4 * (j % 2)", "4 * (1 - j % 2)", "nibbles swapped"),
        ("scales_mins", "*range(4, 8), *range(4, 8), *range(8, 12)", "*range(4, 8), *range(8, 12), *range(8, 12)",
         "high bits of scales 4 to 7 from the mins"),
        ("scales_mins", ">> 6 << 4", ">> 6 << 3", "high bits of scales and mins 4 to 7 too low")),
    *unpack("Q5_K")(
        ("q5_k", "bits(b + 16, j, 1), 4", "bits(b + 16, j, 1), 3", "fifth bit too low"),),
    *unpack("Q6_K")(
        ("q6_k", "32 * (k % 2)", "32 * (k // 2)", "which low bytes"),
        ("q6_k", "isigned(b + 192)", "isigned(b + 191)", "scales one byte early"),
        ("q6_k", "wset(32)", "wset(31)", "offset off by one")),
    *unpack("TQ1_0")(
        ("tq1_0", "power *= 3", "power *= 2", "later digits"),),
    *unpack("TQ2_0")(
        ("tq2_0", "32 * (j // 4)", "32 * (j // 2 % 2)", "which bytes"),),
    *unpack("MXFP4")(
        ("mxfp4", "e - 1 << 23", "e << 23", "exponent off by one"),),
    *unpack("NVFP4")(
        ("nvfp4", "e + 116", "e + 117", "exponent off by one"),
        ("nvfp4", "by_eights(nibbles(b + 4 + 16 * j))", "nibbles(b + 4 + 16 * j)", "runs of 16 bytes")),
    *unpack("IQ4_NL")(
        ("iq4_nl", "nibbles(b + 2)", "nibbles(b + 1)", "weights one byte early"),),
    *unpack("IQ4_XS")(
        ("iq4_xs", "2 * j & 3", "2 * j & 1", "highest scale bit lost"),),
    *unpack("IQ2_XXS")(
        ("iq2_xxs", "7 * k & 127", "7 * k & 63", "seventh sign lost"),
        ("even_signs", "parity >> 1", "parity >> 3", "eighth sign")),
    *unpack("IQ2_XS")(
        ("iq2_xs", "code & 511", "code & 255", "ninth index bit lost"),),
    *unpack("IQ2_S")(
        ("iq2_s", "& 3) << 8", "& 1) << 8", "tenth index bit lost"),),
    *unpack("IQ3_XXS")(
        ("iq3_xxs", "signs >> 4", "signs", "signs of the first vector for both"),),
    *unpack("IQ3_S")(
        ("iq3_s", "& 15) + 1)", "& 15) + 0)", "plus one left out of the scale"),),
    *unpack("IQ1_S")(
        ("iq1_s", "1 - 2 * (word >> 15)", "2 * (word >> 15) - 1", "shift by an eighth inverted"),),
    *unpack("IQ1_M")(
        ("iq1_m", "<< 4 * j", "<< 4 * (3 - j)", "nibbles of d in reverse"),
        ("table", "8 * iquants", "4 * iquants", "vectors of IQ1 halved")),
]  # fmt: skip

KERNELS: list[Mutant] = [
    *numba("_kernels", "test_linear and (Q4_1 or Q2_K or Q6_K) or threads or cancelled or models_are_near")(
        ("run", "waits * threads", "waits * (threads - 1)", "does not wait for all threads"),
        ("run", "publish(sync + 8, waits)", "relax()", "cancelling ignored"),
        ("run", "first + claim, items", "first + claim - 1, items", "last item of every claim"),
    ),
    *numba("_kernels", "fused or models_are_near or elementwise")(
        ("norm_run", "return [fma(v, v, total)]", "return [fma(v, v, v)]", "squares of the last vector only"),
        ("norm_run.square", "x + i * 64", "x", "squares of the first vector"),
        ("norm_run.finish", "[vload_some(residual + at, left) + v]", "[vload_some(residual, left) + v]",
         "residual of the first vector for all"),
        ("norm_run", "n, eps))", "n + 16, eps))", "mean of sixteen more"),
        ("norm", "residual + at if residual", "residual if residual", "residual of the first run for all"),
        ("norm", "f64(args + 40)", "100 * f64(args + 40)", "eps a hundred times too large"),
    ),
    *numba("_kernels", "embed")(
        ("embed", "np.float32(f64(args + 64))", "np.float32(1)", "scale left out"),
        ("embed", "word(args, 7)", "0", "one scale for both halves, and floats as bytes"),
        ("take_rows", "word(word(ctx, 3), row)", "word(word(ctx, 3), 0)", "first wanted row for all"),
        ("scale_row", "splat(factor) * x", "x", "not scaled"),
    ),
    *numba("_kernels", "elementwise or gates or rope or nan or test_exp")(
        ("rope_table", "math.sin(angle)", "math.cos(angle)", "cosine for both"),
        ("rope_table", "scale * math.cos", "math.cos", "mscale left out of the cosine"),
        ("turn.sixteen", "a * c - b * s", "a * c + b * s", "turns the other way (vectors)"),
        ("turn.pair", "a * s + b * c", "a * c + b * s", "sine and cosine swapped (pairs)"),
        ("turn", "repeat(e - n * 2, lambda i: set_f32(out + (n * 2 + i)",
         "repeat(e - n * 2, lambda i: set_f32(out + (n * 2 + 1 + i)", "what does not turn, one further on"),
        ("rope", "item // word(args, 3)", "item", "position of another token"),
        ("vexp", "-0.693145752", "-0.693", "ln 2 rounded"),
        ("vexp", "1 / 24", "1 / 20", "coefficient of the polynomial"),
        ("vtanh", "clipped + clipped", "clipped", "argument not doubled"),
        ("gelu", "fma(x * x * x", "fma(x * x", "square instead of cube"),
        ("silu", "splat(0) - x", "x", "sign of the exponent"),
        ("softened", "x / splat(cap)", "x * splat(cap)", "multiplied instead of divided"),
        ("of_row.row", "(n + 15) >> 4", "n >> 4", "last values left out"),
        ("of_row.row.sixteen", "vload_some(y + at, left)", "vload_some(y, left)", "first of y for all"),
        ("add_row", "x + y", "x + x", "first operand twice"),
        ("silu_row", "silu(x) * y", "silu(x)", "not gated"),
        ("gelu_row", "gelu(x) * y", "gelu(y) * x", "operands swapped"),
        ("softcap_row", "softened(x, cap)", "x", "no cap"),
        ("add", "n * (last - first)", "n * (last - first) - 1", "last number left out"),
        ("silu_gate", "buffer(args, 1) + at", "buffer(args, 1)", "first row of y for all"),
        ("gelu_gate", "buffer(args, 0) + at", "buffer(args, 0)", "first row of x for all"),
        ("softcap", "f64(args + 32)", "2 * f64(args + 32)", "cap doubled"),
        ("scale", "buffer(args, 2) + at", "buffer(args, 2)", "all rows in the place of the first"),
    ),
    *In("ops: numba", "edgeq/backends/numba_kernels.py", (MOMENTS,))(
        ("moments", "range(rows)", "range(rows - 1)", "last row left out"),
        ("moments", "v * v", "v", "not squared"),
    ),
    *In("ops: numba", "edgeq/backends/numba_plan.py", (MOMENTS,))(
        ("moments", "p.items_of(op.x)[1]", "CTX_T", "rows that are not wanted too"),
        ("moments", "FEW[False] + MANY[False]", "FEW[False]", "nothing of long prompts"),
        ("MAKE[ops.Moments]", "moments", "lambda p, op: moments(p, op.replace(x=op.out))", "of what it writes"),
    ),
]  # fmt: skip

LINEAR: list[Mutant] = [
    *numba("_linear", "test_linear and (Q4_1 or Q2_K or Q6_K)")(
        ("round_rows", "sum16 + of_16)", "sum16 + of_32)", "sums of 16 in the places of those of 32"),
        ("round32", "scale * number(s0 + s1)", "scale * number(s0)", "sum of one half"),
        ("round32", "scale * number(s))", "scale * number(s0))", "sum of the first half for both"),
        ("round32", "vabs(a), vabs(b)", "vabs(a), vabs(a)", "largest of the first half"),
        ("sums_of", "chains[r] + chains[4 + r]", "chains[r] + chains[4]", "odd groups of the first row for all"),
        ("sums_of.sums.factor", "f32(at + 4)", "f32(at)", "one scale for both halves"),
        ("sums_of.sums.step", "apart * r + g * 32), q + g * 64", "apart * r + g * 32), q + i * 128",
         "odd groups see the even group's activations"),
        ("(sums_of_32, sums_of_16)", "sums_of(False), sums_of(True)", "sums_of(False), sums_of(False)",
         "scales of 32 for formats of 16"),
        ("factors.scales", "* x)", "* vload(scale))", "one scale of activations"),
        ("factors.least", "at + vectors * 64 + g * 64", "at + g * 64", "scales taken for mins"),
        ("factors", "out + 4 * r, sum_", "out, sum_", "mins of the first row only"),
        ("linear", "f32(bias + 4 * (row + r))", "f32(bias)", "first bias for all"),
        ("linear", "(k // 32 + 1) // 2", "k // 64", "last of an odd number of groups left out"),
        ("linear", "imin(4, last - row)", "imin(3, last - row)", "every fourth row left out"),
    ),
    *numba("_linear", "not_finite")(
        ("round32", "vsum(a * splat(ZERO) + b * splat(ZERO))", "ZERO", "infinite values lost"),
    ),
    *numba("_linear", "test_linear and F32")(
        ("float_linear", "vload(at + 4 * i + 64), odd", "vload(at + 4 * i), odd", "second half of 32"),
        ("float_linear", "range(k // 32 * 32, k)", "range(k // 32 * 32 + 1, k)", "first of the rest"),
    ),
    *numba("_linear", "fused or models_are_near")(
        ("linear", "f32(residual + to)", "f32(residual + 4 * (row + r))", "residual of the first token for all"),
        ("float_linear", "f32(residual + 4 * (width * t + row))", "f32(residual + 4 * row)",
         "residual of the first token for all"),
    ),
    *numba("_linear", "").asking(f"{PROMPTS} -k scratch")(
        ("scratch", "256 * vectors", "64 * vectors", "room for factors of one row"),
    ),
    *numba("_panel", "").asking(f"{PROMPTS} -k 'not test_code'")(
        ("unpacked", "+ 8 *", "+ 4 *", "no room for mins"),
        ("panel_rows", "rows >= 4 * threads * n", "rows >= 0", "always the most"),
        ("lay", "imin(t + i, tokens - 1)", "imin(t + i, tokens - 2)", "last token missing"),
        ("lay.sixteen", "if_less(i, left, 16, 0)", "16", "lanes of the next tokens overwritten"),
        ("lay_lanes", "16 * item", "0", "first sixteen tokens for all"),
        ("floats_of", "vstore(m + i * 64, splat(0))", "vstore(m + i * 64, splat(1))", "mins of formats without"),
        ("floats_of.group", "f32(s + at + second)", "f32(s + at)", "scale of the first half for both"),
        ("of_panel", "(rows * v + r) * 64", "(rows * v + (r ^ 1)) * 64", "neighbouring rows swapped"),
        ("of_panel.step", "(k * v + i) * 64", "i * 64", "first vector of tokens for all"),
        ("unpack_panel", "at // word(args, 15) * word(args, 16)", "0", "first weights of a row for all"),
        ("put", "(rows + 15) >> 4", "rows >> 4", "rows that fill no vector"),
        ("put.sixteen", "c + b * 1024", "c", "first sixteen rows for all"),
        ("put.sixteen.one", "vload_some(residual + at, left)", "vload_some(residual + here * 4, left)",
         "residual of the first token for all"),
        ("panel_linear", "turn // 16 + v", "v", "first 512 tokens for all"),
        ("panel_linear", "imin(CHUNK, k - at), c +", "CHUNK, c +", "weights behind the row"),
    ),
]  # fmt: skip

ATTENTION: list[Mutant] = [
    *numba("_attend", "").asking(ATTENTION_TESTS)(
        ("kv_write", "position % ring", "position % (ring - 1)", "place in the ring"),
        ("kv_write", "buffer(args, i) + 4", "buffer(args, 0) + 4", "keys for values"),
        ("lowest", "position - window + 1", "position - window", "window one too long"),
        ("highest", "position - base, TILE - 1", "position - base - 1, TILE - 1", "does not see its own position"),
        ("fetch_queries", "repeat(count, one)", "repeat(count - 1, one)", "last query left out"),
        ("fetch_queries.one", "e * (i % group) * 4", "0", "first query head for all"),
        ("fetch_tile", "keys + row * (first + j)", "keys + row * j", "keys from the beginning of the tile"),
        ("fetch_tile", "(v * TILE + block + b) * 64", "(v * TILE + b) * 64", "keys in the place of the first ones"),
        ("scores", "imin(count - 1, j)", "0", "first query for all four"),
        ("scores.step", "sums[len(made) :]", "sums", "sums of the first query for all four"),
        ("soften.mask", "below(at, splat(number(low))", "below(at, splat(number(low + 1))", "window one too short"),
        ("soften.mask", "[softened(x, cap)]", "[x]", "no cap"),
        ("soften.weight", "[total + x]", "[x]", "sum of the last sixteen"),
        ("soften", "f32(state + 4) * less", "f32(state + 4)", "earlier sum not scaled"),
        ("weigh", "shrink[i // columns]", "shrink[0]", "all shrink like the first"),
        ("weigh.one", "4 * TILE * i", "0", "weights of the first query for all"),
        ("meet", "(wide * COLUMNS + i) * 64", "i * 64", "last vectors of wide heads"),
        ("put_outputs", "repeat(count, one)", "repeat(count - 1, one)", "last query left out"),
        ("put_outputs.one", "state + i * 8 + 4", "state + 4", "sum of the first query for all"),
        ("attend", "head, run = item % heads", "head, run = 0", "first key head for all"),
        ("attend", "base % word(cache, 2)", "base", "rings that have turned"),
        ("attend", "lowest(position + (i + m) // group, window, base) == low", "True",
         "neighbours with other windows together"),
    ),
    *numba("_attend", "").asking(f"{PROMPTS} -k 'not test_code'")(
        ("runs", "np.diff(sequences) != 0", "False", "runs across sequences"),
        ("runs", "range(a, b, BLOCK)", "range(a, b, 2 * BLOCK)", "runs of twice the length"),
        ("scratch", "(2 * queries + 1)", "(queries + 1)", "no room for outputs"),
    ),
    *numba("_kv", "").asking(ATTENTION_TESTS)(
        ("store_f32", "f32(x + 4 * i)", "f32(x)", "first value for all"),
        ("load_f32", "f32(row + 4 * i)", "f32(row)", "first value for all"),
    ),
    *numba("_kv", "").asking("tests/backends/test_op_corners.py -k 'numba and cache_keeps'")(
        ("store_f16", "set_half(row + 2 * i, f32(x + 4 * i))", "set_half(row + 2 * i, f32(x))", "the rest"),
        ("load_f16", "vload_half(row + 2 * i)", "vload_half(row)", "first sixteen for all"),
        ("rounded", "np.rint(x)", "np.floor(x)", "down"),
        ("largest", "abs(f32(x + 4 * i)) > abs(top)", "f32(x + 4 * i) > top", "largest instead of largest magnitude"),
        ("store_q8_0", "row + 34 * g", "row + 18 * g", "rows overlap"),
        ("load_q8_0", "whigh(w)", "wlow(w)", "first half for both"),
        ("store_q4_0", "np.float32(-8)", "np.float32(8)", "sign of the scale"),
        ("store_q4_0", "set_u8(out + 2 + i, min(low, 15) | min(high, 15) << 4)",
         "set_u8(out + 2 + i, min(high, 15) | min(low, 15) << 4)", "nibbles swapped"),
        ("load_q4_0", "- wset(8)", "- wset(7)", "offset off by one"),
    ),
]  # fmt: skip

KEPT: list[Mutant] = [
    *numba("_cache", "").asking(f"{CACHE} -k 'where_files or come_back'")(
        ("folder", '"EDGEQ_CACHE"', '"EDGEQ_NO_CACHE"', "EDGEQ_CACHE ignored"),
        ("load", "if hashlib.sha256(content).digest() == data[:DIGEST] else None", "or None", "damage not noticed"),
        ("save", "part.replace(place / name)", "pass", "nothing is kept"),
    ),
    *numba("_compile", "").asking(f"{CACHE} -k 'another'")(
        ("Kernel.file", "{processor} ", "", "code of one processor for all"),
        ("Kernel.file", "{numba.__version__} ", "", "code of another Numba"),
        ("Kernel.file", " {_sources()}", "", "code of other sources"),
        ("Kernel.load_overload", "return None", "raise", "content that does not load is an error"),
    ),
    *numba("_compile", "").asking("tests/test_interrupts.py -k compiled")(
        ("compiled", "_COMPILER.submit(_compiled, key, function).result()", "_compiled(key, function)",
         "Ctrl-C is lost while kernels are compiled"),
    ),
    *numba("", "").asking(f"{CACHE} -k only_what")(
        ("NumbaExecutable._count", "& (phases[:, 2] > 0)", "", "all kernels are compiled at once"),
    ),
]  # fmt: skip

VERBS: list[Mutant] = [
    *numba("_vectors", "test_linear and (Q5_0 or Q4_1 or Q6_K or IQ2_S or IQ3_S or IQ1_S)")(
        ("nibbles", "[4] * 16", "[3] * 16", "high nibbles one bit too low"),
        ("bits", "b.lshr(load(b, p, IR[W]), broadcast(b, b.trunc(shift, I8), 32))", "load(b, p, IR[W])",
         "not shifted"),
        ("_chosen", "b.trunc(word, ir.IntType(lanes))", "b.not_(b.trunc(word, ir.IntType(lanes)))", "inverted"),
        ("flags", "broadcast(b, b.trunc(n, I8), 32), zero", "zero, broadcast(b, b.trunc(n, I8), 32)",
         "inverted"),
        ("_signed", "b.neg(x), x", "x, b.neg(x)", "signs inverted"),
        ("shifted8", "b.add", "b.sub", "sign"),
        ("split2", "list(range(8)) + list(range(24, 32))", "list(range(16))", "first number in all lanes"),
        ("fold", "list(range(n, 2 * n))", "list(range(n))", "first half twice"),
        ("wshl", "b.shl", "b.lshr", "shifted down"),
        ("vsum", "b.fadd(u, v)", "b.fsub(u, v)", "sign"),
        ("isum", "b.add(u, v)", "b.sub(u, v)", "sign"),
        ("isigned", "b.sext", "b.zext", "no sign"),
        ("totals", "for d in (2, 1)", "for d in (2, 2)", "every other lane twice"),
        ("turned", "rows[i], rows[i + d] = shuffle(b, *pair, low), shuffle(b, *pair, high)",
         "rows[i + d], rows[i] = shuffle(b, *pair, low), shuffle(b, *pair, high)", "halves swapped"),
        ("picked", "x.code, x.code, lanes", "x.code, x.code, list(range(16))", "as they are"),
        ("vstore_halves", "((p, 0), (q, 8))", "((p, 0), (q, 0))", "first half twice"),
        ("istore16", "b.trunc(x, vector(I16, 16))", "b.trunc(b.neg(x), vector(I16, 16))", "sign"),
    ),
    *numba("_vectors", "test_linear and (IQ4_NL or NVFP4 or MXFP4)")(
        ("wtable", "parts[0], parts[1], list(range(32))", "parts[1], parts[0], list(range(32))",
         "halves swapped"),
        ("by_eights", "*range(16, 24), *range(8, 16)", "*range(8, 16), *range(16, 24)", "as they are"),
    ),
    *numba("_vectors", "elementwise or gates or test_attention or test_exp")(
        ("below", '"<", x, limit', '"<=", x, limit', "equal counts as below"),
        ("pow2", "[127] * 16", "[128] * 16", "doubled"),
        ("iota", "float(i)", "float(i ^ 1)", "neighbours swapped"),
        ("vround", '"rint"', '"floor"', "down"),
        ("larger", '">", x, y', '"<", x, y', "smaller one"),
        ("vmin", '"<", x, y', '">", x, y', "larger one"),
        ("some", 'b.icmp_signed("<", constant', 'b.icmp_signed("<=", constant', "one lane more"),
        ("inverse_root", "b.sitofp(n, IR[D])", "ir.Constant(IR[D], 16.0)", "mean of sixteen"),
    ),
    *numba("_vectors", "rounded_keys or (test_linear and (F16 or BF16))")(
        ("vstore_half", "b.fptrunc(x, vector(HALF, 16))", "b.fptrunc(b.fneg(x), vector(HALF, 16))", "sign"),
        ("vload_half", "b.fpext(load(b, p, vector(HALF, 16)), IR[VF])",
         "b.fneg(b.fpext(load(b, p, vector(HALF, 16)), IR[VF]))", "sign"),
        ("vload_bf16", "[16] * 16", "[15] * 16", "one bit too low"),
        ("whigh", "range(16, 32)", "range(16)", "lower half twice"),
    ),
]  # fmt: skip

TRACED: list[Mutant] = [
    *numba("_verbs", "test_linear and (Q4_0 or Q3_K)")(
        ("repeat", "b.store(given(new, x.kind), place)", "b.store(x.code, place)", "state of a loop does not change"),
        ("given", "else [value] * count", "else [0] * count", "one number for all lanes is zero"),
    ),
    *numba("_vectors", "").asking(f"{PROMPTS} -k knows_nothing")(
        ("_one_by_one", "b.add(target, at)", "target", "lanes one by one in the place of the first"),
        ("dot", "for odd in (0, 1)", "for odd in (0, 0)", "every other product twice"),
    ),
]  # fmt: skip

PLAN: list[Mutant] = [
    *numba("_plan", "models_are_near or fused or qkv or embed or elementwise")(
        ("Plan._few", "self._rounded != x", "self._rounded == NONE", "rounded activations of another buffer"),
        ("Plan._few", "if m.name in unpack.HALVES else (self.scale32, self.sum32)", "",
         "scales of 16 for formats of 32"),
        ("Plan._many", "self._lanes != x", "self._lanes == NONE", "lanes of another buffer"),
        ("embed", "float(op.scale)", "1.0", "scale left out"),
        ("rms_norm", "op.width, p.widths[op.out]", "p.widths[op.out], p.widths[op.out]",
         "heads normalized together"),
        ("norm_add", "p.items_of(op.out)[0], op.residual", "p.items_of(op.out)[0], op.x",
         "residual taken from x"),
        ("gate_up", "GATES[op.act], op.out, p.temp", "GATES[op.act], p.temp, op.out", "gate and up swapped"),
        ("qkv", "p.temp, op.k_norm, p.temp", "p.temp, op.q_norm, p.temp",
         "weight of the query norm for keys"),
        ("qkv", "p.linear(op.x, op.wv, op.bv", "p.linear(op.x, op.wv, op.bk", "bias of keys for values"),
        ("qkv", "p.rope(p.temp, op.table, p.temp, c.kv_heads, op.head_dim, op.style)",
         "p.rope(op.q, op.table, op.q, 0, op.head_dim, op.style)", "keys not turned"),
        ("scale", "factor = float(", "factor = 2 * float(", "doubled"),
        ("MAKE[ops.Linear]", "op.bias", "NONE", "bias left out"),
        ("MAKE[ops.Rope]", "p.widths[op.x] // op.head_dim", "1", "first head only"),
        ("MAKE[ops.KvWrite]", "op.k, op.v", "op.k, op.k", "keys for values"),
        ("MAKE[ops.Glu]", "GATES[op.act]", "GATES[1 - op.act]", "activations swapped"),
        ("MAKE[ops.Add]", "op.a, op.b", "op.a, op.a", "first operand twice"),
        ("MAKE[ops.Softcap]", "op.cap", "2 * op.cap", "cap doubled"),
        ("MAKE[ops.LinearAdd]", "op.out, op.residual", "op.out, NONE", "residual left out"),
        ("MAKE[ops.Embed]", "embed", "lambda p, op: embed(p, op.replace(scale=1.0))", "scale left out"),
        ("MAKE[ops.TakeRows]", "take_rows",
         "lambda p, op: p.add(kernels.take_rows, [p.at(op.x), p.at(op.out), p.widths[op.out] - 1], OUTPUTS)",
         "last column left out"),
    ),
    *numba("_plan", "test_attention or qkv or elementwise or rope or fused")(
        ("rope_table", "float(op.mscale)", "1.0", "mscale left out"),
        ("attend", "float(op.softcap)", "0.0", "softcap left out"),
        ("Plan.kv_write", "c.kv_heads * TOKENS", "TOKENS", "only the first head"),
        ("Plan.rope", "self.widths[table] // 2, style", "self.widths[table] // 2, 1 - style",
         "styles swapped"),
        ("MAKE[ops.Attend]", "attend", "lambda p, op: attend(p, op.replace(scale=1.0))", "scale left out"),
        ("MAKE[ops.RopeTable]", "rope_table", "lambda p, op: rope_table(p, op.replace(mscale=1.0))",
         "mscale left out"),
        ("MAKE[ops.RmsNorm]", "rms_norm", "lambda p, op: rms_norm(p, op.replace(eps=10 * op.eps))",
         "eps ten times too large"),
        ("MAKE[ops.Scale]", "scale", "lambda p, op: p.elementwise(kernels.add, op.x, op.x, op.out)", "doubled"),
        ("MAKE[ops.NormAdd]", "norm_add", "lambda p, op: norm_add(p, op.replace(eps=100 * op.eps))",
         "eps a hundred times too large"),
        ("MAKE[ops.GateUp]", "gate_up", "lambda p, op: gate_up(p, op.replace(gate=op.up))", "up for both"),
        ("MAKE[ops.Qkv]", "qkv", "lambda p, op: qkv(p, op.replace(style=1 - op.style))", "styles swapped"),
    ),
    *numba("_plan", "").asking(f"{CORNERS} -k 'numba and written_again'")(
        ("Plan.__init__", "if self._rounded in op.handles(\"Out\")", "if False",
         "rounded form of a buffer that was overwritten"),
        ("Plan.__init__", "if self._lanes in op.handles(\"Out\")", "if False",
         "lanes of a buffer that was overwritten"),
    ),
    *numba("_state", "").asking(f"{CORNERS} -k 'numba and copies'")(
        ("NumbaState._parts", "for pair in self.arrays for a in pair",
         "for pair in self.arrays for a in pair[:1]", "values not kept"),
        ("NumbaState.copy", "new[...] = old", "new[:1] = old[:1]", "only the first head copied"),
        ("NumbaState.restore", "at += part.nbytes", "at += 0", "first part for all"),
    ),
    *numba("", "cancelled or threads or chunks")(
        ("NumbaExecutable._step", "if sync[1] != NEVER", "if False",
         "a cancelled step passes for a finished one"),
        ("NumbaExecutable._count", "phases[:, 5] = 0", "pass", "claims not set back"),
        ("NumbaExecutable.__init__", "NEVER if options.reproducible", "FEW if options.reproducible",
         "reproducible prompts like others"),
    ),
    *numba("_pool", "").asking("tests/test_interrupts.py")(
        ("Pool.run", "interrupt()", "pass", "Ctrl-C does not end a step"),
        ("Pool.close", "queue.put(None)", "pass", "threads never end"),
    ),
]  # fmt: skip

MUTANTS = [*UNPACK, *KERNELS, *LINEAR, *ATTENTION, *VERBS, *TRACED, *KEPT, *PLAN]
