"""Mutants of the numba backend: every format, kernels, attention, vector verbs, the plan, state and pool."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant

FILE = "tests/backends/test_numba.py"
CORNERS = "tests/backends/test_op_corners.py"
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
        ("q2_k", "-(least * F(u8(b + j) >> 4))", "least * F(u8(b + j) >> 4)", "sign of the min"),
        ("q2_k", "32 * (j // 4)", "32 * (j % 2)", "which bytes")),
    *unpack("Q3_K")(
        ("q3_k", "scale - 32", "scale - 31", "offset of scales off by one"),
        ("q3_k", "bits(b, j, 1), 2", "bits(b, j, 1), 1", "third bit too low")),
    *unpack("Q4_K")(
        ("q4_k", "4 * (j % 2)", "4 * (1 - j % 2)", "nibbles swapped"),
        ("scales_mins", "z & 15 | x >> 6 << 4", "z & 15 | y >> 6 << 4",
         "high bits of scales 4 to 7 from the mins"),
        ("scales_mins", "z >> 4 | y >> 6 << 4", "z >> 4 | y >> 6 << 3", "high bits of mins 4 to 7 too low")),
    *unpack("Q5_K")(
        ("q5_k", "bits(b + 16, j, 1), 4", "bits(b + 16, j, 1), 3", "fifth bit too low"),),
    *unpack("Q6_K")(
        ("q6_k", "32 * (k % 2)", "32 * (k // 2)", "which low bytes"),
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
        ("even_signs", "(parity & 1) << 7", "(~parity & 1) << 7", "odd instead of even number of signs")),
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
    *numba("_kernels", "test_linear and (Q4_1 or Q2_K or Q6_K)")(
        ("round_rows", "scale * np.float32(s0 + s1)", "scale * np.float32(s0)", "sum of one half"),
        ("round_rows", "2 * g + 1), scale * np.float32(s1)", "2 * g + 1), scale * np.float32(s0)",
         "sum of the first half for both"),
        ("round_rows", "vabs(a), vabs(b)", "vabs(a), vabs(a)", "largest of the first half"),
        ("products", "vload(m + g)", "vload(s + g)", "scales taken for mins"),
        ("products", "vload(scale + g)", "vload(scale)", "one scale of activations"),
        ("factor", "f32(p + 8 * g + 4)", "f32(p + 8 * g)", "one scale for both halves"),
        ("one_token", "q + 64 * g + 64", "q + 64 * g", "odd groups see the even group's activations"),
        ("one_token", "if groups % 2:", "if False:", "last of an odd number of groups left out"),
        ("four_tokens", "o2 = fma(vfloat(dot(y, q2", "o2 = fma(vfloat(dot(y, q1", "third token"),
        ("four_tokens", "vsum(e3 + o3)", "vsum(e3 + o2)", "fourth token"),
        ("four_tokens", "groups % 2", "0", "last of an odd number of groups left out"),
        ("finish", "f32(bias + 4 * row)", "f32(bias)", "first bias for all"),
        ("linear", "4 * padded * (t + i)", "4 * padded * t", "scales of the first of four tokens"),
        ("linear", "f32(out + 4 * i) + f32(out + 16 + 4 * i)", "f32(out + 4 * i) + f32(out + 16)",
         "mins of the first of four tokens"),
        ("linear", "range(first, last)", "range(first, last - (last > 60))", "last row of a claim"),
    ),
    *numba("_kernels", "not_finite")(("round_rows", "vsum(a * zero + b * zero)", "ZERO", "infinite values lost"),),
    *numba("_kernels", "test_linear and F32")(
        ("float_linear", "vload(at + 4 * i + 64), odd", "vload(at + 4 * i), odd", "second half of 32"),
        ("float_linear", "range(k // 32 * 32, k)", "range(k // 32 * 32 + 1, k)", "first of the rest"),
    ),
    *numba("_kernels", "fused or models_are_near")(
        ("finish", "f32(residual + 4 * (t * width + row))", "f32(residual + 4 * row)",
         "residual of the first token for all"),
        ("norm", "vload(residual + base + 4 * i) + v", "vload(residual + 4 * i) + v",
         "residual of the first run for all"),
        ("norm", "f64(args + 40)", "100 * f64(args + 40)", "eps a hundred times too large"),
    ),
    *numba("_kernels", "embed")(
        ("embed", "f64(args + 72)", "f64(args + 72) * 0 + 1", "scale left out"),
        ("embed", "16 if word(args, 7) else 32", "32", "one scale for both halves"),
        ("take_rows", "i64(i64(ctx + 24) + 8 * row)", "i64(i64(ctx + 24))", "first wanted row for all"),
    ),
    *numba("_kernels", "elementwise or gates or rope or nan or test_exp")(
        ("norm", "fma(v, v, b)", "fma(u, v, b)", "squares of the second half"),
        ("norm", "range(n // 16 * 16, n)", "range(n // 16 * 16 + 1, n)", "first of the rest"),
        ("rope_table", "math.sin(angle)", "math.cos(angle)", "cosine for both"),
        ("rope_table", "scale * math.cos", "math.cos", "mscale left out of the cosine"),
        ("rope", "a * c - b * s", "a * c + b * s", "turns the other way (vectors)"),
        ("rope", "u * sine + v * cosine", "u * cosine + v * sine", "sine and cosine swapped (rest)"),
        ("rope", "range(2 * n, e)", "range(2 * n + 1, e)", "first component that does not turn"),
        ("rope", "item // heads", "item", "position of another token"),
        ("vexp", "-0.693145752", "-0.693", "ln 2 rounded"),
        ("vexp", "1 / 24", "1 / 20", "coefficient of the polynomial"),
        ("vtanh", "clipped + clipped", "clipped", "argument not doubled"),
        ("mapped", "fma(x * x * x", "fma(x * x", "square instead of cube"),
        ("mapped", "splat(ZERO) - x", "x", "sign of the exponent"),
        ("mapped", "x / splat(cap)", "x * splat(cap)", "multiplied instead of divided"),
        ("elementwise", "range(done, n):\n                set_f32(out",
         "range(done, n - 1):\n                set_f32(out", "last value left out"),
    ),
    *numba("_kernels", "threads or cancelled or models_are_near")(
        ("run", "waits * threads", "waits * (threads - 1)", "does not wait for all threads"),
        ("run", "publish(sync + 8, waits)", "relax()", "cancelling ignored"),
        ("run", "first + claim, items", "first + claim - 1, items", "last item of every claim"),
    ),
]  # fmt: skip

ATTENTION: list[Mutant] = [
    *numba("_attend", "").asking(ATTENTION_TESTS)(
        ("kv_write", "position % ring", "position % (ring - 1)", "place in the ring"),
        ("kv_write", "store_row(v + 4 * e * item", "store_row(k + 4 * e * item", "keys for values"),
        ("scores", "c, d = fma(x, vload(k + 128), c), fma(x, vload(k + 192), d)",
         "c, d = fma(x, vload(k + 128), c), fma(x, vload(k + 128), d)", "last quarter of a tile"),
        ("soften", "splat(np.float32(low)), splat(MINUS_INF)", "splat(np.float32(low + 1)), splat(MINUS_INF)",
         "window one too short"),
        ("soften", "vtanh(x / splat(cap))", "vtanh(x)", "softcap not divided by"),
        ("weigh", "a, b = vload(o + 4 * i) * f", "a, b = vload(o + 4 * i)", "earlier output not scaled"),
        ("weigh", "a = vload(o + 4 * i) * f", "a = vload(o + 4 * i)",
         "earlier output not scaled, narrow heads"),
        ("attend", "item % heads", "0", "first key head for all"),
        ("attend", "word(sequences, t + n) == word(sequences, t)", "True", "runs across sequences"),
        ("attend_run", "f32(state + 8 * i + 4) * shrink", "f32(state + 8 * i + 4)", "earlier sum not scaled"),
        ("attend_run", "max(p - window + 1 - base, 0)", "max(p - window - base, 0)", "window one too long"),
        ("attend_run", "high = min(p - base, TILE - 1)", "high = min(p - base - 1, TILE - 1)",
         "does not see its own position"),
        ("load_tile", "TILE * i + j", "TILE * i + (j ^ 1)", "neighbouring keys swapped"),
        ("store_row", "out + 4 * i, f32(x + 4 * i)", "out + 4 * i, f32(x)", "F32: first value for all"),
        ("load_row", "out + 4 * i, f32(row + 4 * i)", "out + 4 * i, f32(row)", "F32: first value for all"),
    ),
    *numba("_attend", "").asking("tests/backends/test_op_corners.py -k 'numba and cache_keeps'")(
        ("rounded", "np.rint(x)", "np.floor(x)", "down"),
        ("store_block", "top / np.float32(-8)", "top / np.float32(8)", "Q4_0: sign of the scale"),
        ("store_block", "set_u8(out + 2 + i, min(low, 15) | min(high, 15) << 4)",
         "set_u8(out + 2 + i, min(high, 15) | min(low, 15) << 4)", "Q4_0: nibbles swapped"),
        ("store_block", "abs(f32(x + 4 * i)) > abs(top)", "f32(x + 4 * i) > top",
         "largest instead of largest magnitude"),
        ("load_row", "- wset(8)", "- wset(7)", "Q4_0: offset off by one"),
        ("load_row", "34 if kind == Q8_0 else 18", "18 if kind == Q8_0 else 18", "Q8_0 rows overlap"),
    ),
]  # fmt: skip

VERBS: list[Mutant] = [
    *numba("_vectors", "test_linear and (Q5_0 or Q4_1 or Q6_K or IQ2_S or IQ3_S or IQ1_S)")(
        ("nibbles", "[4] * 16", "[3] * 16", "high nibbles one bit too low"),
        ("bits", "b.lshr(load(b, p, IR[W]), broadcast(b, b.trunc(shift, I8), 32))", "load(b, p, IR[W])",
         "not shifted"),
        ("_chosen", "1 << i for i in range(lanes)", "1 << lanes - 1 - i for i in range(lanes)",
         "bits in reverse"),
        ("flags", "broadcast(b, b.trunc(n, I8), 32), zero", "zero, broadcast(b, b.trunc(n, I8), 32)",
         "inverted"),
        ("_signed", "b.neg(x), x", "x, b.neg(x)", "signs inverted"),
        ("shifted8", "b.add", "b.sub", "sign"),
        ("split2", "list(range(8)) + list(range(24, 32))", "list(range(16))", "first number in all lanes"),
        ("fold", "list(range(n, 2 * n))", "list(range(n))", "first half twice"),
        ("wshl", "b.shl", "b.lshr", "shifted down"),
        ("vsum", "b.fadd(u, v)", "b.fsub(u, v)", "sign"),
        ("isum", "b.add(u, v)", "b.sub(u, v)", "sign"),
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
    ),
    *numba("_vectors", "rounded_keys or (test_linear and (F16 or BF16))")(
        ("vstore_half", "b.fptrunc(x, vector(HALF, 16))", "b.fptrunc(b.fneg(x), vector(HALF, 16))", "sign"),
        ("vload_half", "b.fpext(load(b, p, vector(HALF, 16)), IR[VF])",
         "b.fneg(b.fpext(load(b, p, vector(HALF, 16)), IR[VF]))", "sign"),
        ("vload_bf16", "[16] * 16", "[15] * 16", "one bit too low"),
        ("whigh", "range(16, 32)", "range(16)", "lower half twice"),
    ),
]  # fmt: skip

PLAN: list[Mutant] = [
    *numba("_plan", "models_are_near or fused or qkv or embed or elementwise")(
        ("Plan.linear", "self._rounded != x", "self._rounded == NONE",
         "rounded activations of another buffer"),
        ("Plan.linear", "(self.scale16, self.sum16) if halves", "(self.scale32, self.sum32) if halves",
         "scales of 32 for formats of 16"),
        ("embed", "float(op.scale)", "1.0", "scale left out"),
        ("rms_norm", "op.width, p.widths[op.out]", "p.widths[op.out], p.widths[op.out]",
         "heads normalized together"),
        ("norm_add", "p.items_of(op.out)[0], op.residual", "p.items_of(op.out)[0], op.x",
         "residual taken from x"),
        ("gate_up", "1 + op.act, op.out, p.temp", "1 + op.act, p.temp, op.out", "gate and up swapped"),
        ("qkv", "p.temp, op.k_norm, p.temp", "p.temp, op.q_norm, p.temp",
         "weight of the query norm for keys"),
        ("qkv", "p.linear(op.x, op.wv, op.bv", "p.linear(op.x, op.wv, op.bk", "bias of keys for values"),
        ("qkv", "p.rope(p.temp, op.table, p.temp, c.kv_heads, op.head_dim, op.style)",
         "p.rope(op.q, op.table, op.q, 0, op.head_dim, op.style)", "keys not turned"),
        ("scale", "factor = float(", "factor = 2 * float(", "doubled"),
        ("MAKE[ops.Linear]", "op.bias", "NONE", "bias left out"),
        ("MAKE[ops.Rope]", "p.widths[op.x] // op.head_dim", "1", "first head only"),
        ("MAKE[ops.KvWrite]", "op.k, op.v", "op.k, op.k", "keys for values"),
        ("MAKE[ops.Glu]", "1 + op.act", "2 - op.act", "activations swapped"),
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
        ("MAKE[ops.Scale]", "scale", "lambda p, op: p.elementwise(ADD, op.x, op.x, op.out)", "doubled"),
        ("MAKE[ops.NormAdd]", "norm_add", "lambda p, op: norm_add(p, op.replace(eps=100 * op.eps))",
         "eps a hundred times too large"),
        ("MAKE[ops.GateUp]", "gate_up", "lambda p, op: gate_up(p, op.replace(gate=op.up))", "up for both"),
        ("MAKE[ops.Qkv]", "qkv", "lambda p, op: qkv(p, op.replace(style=1 - op.style))", "styles swapped"),
    ),
    *numba("_plan", "").asking(f"{CORNERS} -k 'numba and written_again'")(
        ("Plan.__init__", "if self._rounded in op.handles(\"Out\")", "if False",
         "rounded form of a buffer that was overwritten"),
    ),
    *numba("_state", "").asking(f"{CORNERS} -k 'numba and copies'")(
        ("NumbaState._parts", "for pair in self.arrays for a in pair",
         "for pair in self.arrays for a in pair[:1]", "values not kept"),
        ("NumbaState.copy", "new[...] = old", "new[:1] = old[:1]", "only the first head copied"),
        ("NumbaState.restore", "at += part.nbytes", "at += 0", "first part for all"),
    ),
    *numba("", "cancelled or threads or chunks")(
        ("NumbaExecutable._step", "-(-t // self._block)", "t // self._block",
         "last block of tokens left out"),
        ("NumbaExecutable._step", "if sync[1] != NEVER", "if False",
         "a cancelled step passes for a finished one"),
        ("NumbaExecutable._step", "self._phases[:, 5] = 0", "pass", "claims not set back"),
    ),
    *numba("_pool", "").asking("tests/test_interrupts.py")(
        ("Pool.run", "interrupt()", "pass", "Ctrl-C does not end a step"),
        ("Pool.close", "queue.put(None)", "pass", "threads never end"),
    ),
]  # fmt: skip

MUTANTS = [*UNPACK, *KERNELS, *ATTENTION, *VERBS, *PLAN]
