"""Mutants of every op: its reference, the native stage and what that stands on; and of the passes."""

from __future__ import annotations

from tests.mutants.kernels import CORNERS, FEW, LINEARS, OPS
from tests.mutants.mutant import In, Mutant

GOLDEN = "tests/test_golden.py -k 'transformers and (llama-spm or gemma3 or qwen3 or qwen2)'"
PASSES = "tests/passes"
MOMENTS = "tests/backends/test_moments.py"
SESSION = "tests/test_session.py"
MODELS = "tests/test_golden.py -k 'nearer and native and (llama3 or gemma3 or llama-bias or qwen3)'"
BEST = "avx2"
KEPT = (f"{OPS} {CORNERS} -k '{BEST} and (rounded_keys or cache_keeps)'", f"{CORNERS} -k copies", SESSION)


def native(file: str, match: str, session: bool = False) -> In:
    asked = (f"{OPS} {CORNERS} {LINEARS} {FEW} -k '{BEST} and ({match})'", *((MODELS, SESSION) if session else ()))
    return In("ops: native stages", f"native/{file}", asked, None, (BEST,))


def reference(*tests: str) -> In:
    return In("ops: reference", "edgeq/backends/reference.py", tests)


WHOLE = f"{FEW} -k 'avx2 and (gates or attention)'"  # rows that are rounded as a whole
BY_NATIVE = f"{OPS} -k '{BEST} and not test_linear'"

REFERENCE: list[Mutant] = [
    *reference(GOLDEN)(
        ("ReferenceExecutable.weight", "np.asarray(ref.values, np.float32)",
         "np.asarray(ref.values, np.float16)", "constants rounded to halves"),
        ("embed", "* s.dtype(op.scale)", "* s.dtype(1)", "scale left out"),
        ("rms_norm", "np.mean(runs * runs, axis=-1", "np.mean(runs, axis=-1", "mean instead of mean square"),
        ("rms_norm", "+ x.dtype.type(eps)", "+ x.dtype.type(100 * eps)", "eps a hundred times too large"),
        ("rms_norm", "x.shape[1] // width, width)", "1, x.shape[1])", "heads normalized together"),
        ("linear", "y + s.weight(bias)", "y", "bias left out"),
        ("rope_table", "[np.cos(angles), np.sin(angles)]", "[np.sin(angles), np.cos(angles)]",
         "sine and cosine swapped"),
        ("rope", "a * cos - b * sin, a * sin + b * cos", "a * cos + b * sin, b * cos - a * sin",
         "turns the other way"),
        ("rope", "if style == RopeStyle.HALVES", "if style != RopeStyle.HALVES", "styles swapped"),
        ("kv_write", "values[cache][s.sequences, cells] = v", "values[cache][s.sequences, cells] = k",
         "keys for values"),
        ("attend", "s.positions[mine]", "s.positions[mine] - 1", "does not see its own position"),
        ("attend", "seen <= p[:, None] - spec.window", "seen < p[:, None] - spec.window",
         "window one too long"),
        ("attend", 'np.einsum("tkge,nke->tkgn", q[mine], k',
         'np.einsum("tkge,nke->tkgn", q[mine], k[:, ::-1]', "key heads in reverse"),
        ("attend", "* s.dtype(op.scale)", "* s.dtype(op.scale * 1.01)", "scale a little off"),
        ("glu", "np.exp(-gate)", "np.exp(gate)", "sign of the exponent"),
        ("glu", "np.sqrt(2 / np.pi)", "np.sqrt(1 / np.pi)", "factor of the tanh form"),
        ("RUN[ops.TakeRows]", "[s.outputs]", "[s.outputs - 1]", "row before the wanted one"),
        ("ReferenceExecutable._run", "s.buffers[h].astype(np.float32)",
         "s.buffers[h].astype(np.float16).astype(np.float32)", "outputs rounded to halves"),
    ),
    *reference(PASSES)(
        ("RUN[ops.Linear]", "op.bias", "NONE", "bias left out"),
        ("RUN[ops.Rope]", "op.style", "1 - op.style", "styles swapped"),
        ("RUN[ops.Add]", "+ s.buffers[op.b]", "+ s.buffers[op.a]", "first operand twice"),
        ("RUN[ops.KvWrite]", "s.buffers[op.v]", "s.buffers[op.k]", "keys for values"),
        ("RUN[ops.Glu]", "s.buffers[op.gate], s.buffers[op.up]", "s.buffers[op.up], s.buffers[op.gate]",
         "gate and up swapped"),
    ),
    *reference(BY_NATIVE)(
        ("rope_table", "s.positions[:, None]", "(s.positions[:, None] + 1)", "position off by one"),
        ("rms_norm", "(eps)", "(0 * eps)", "eps left out"),
        ("glu", "0.044715", "0.0447", "cubic coefficient a little off"),
        ("attend", "np.tanh(scores / s.dtype(op.softcap))", "np.tanh(scores)", "softcap not divided by"),
        ("RUN[ops.Softcap]", "/ s.dtype(op.cap)", "* s.dtype(op.cap)", "multiplied instead of divided"),
        ("RUN[ops.Scale]", "* s.weight(op.scale)", "/ s.weight(op.scale)", "divided instead of multiplied"),
        ("RUN[ops.RmsNorm]", "s.weight(op.weight)", "1 + s.weight(op.weight)", "one added to the weight"),
        ("RUN[ops.NormAdd]", "s.buffers[op.residual]\n        +", "s.buffers[op.residual]\n        -",
         "residual minus norm"),
        ("RUN[ops.LinearAdd]", "s.buffers[op.residual] +", "s.buffers[op.residual] -",
         "residual minus product"),
        ("RUN[ops.LinearAdd]", "op.bias", "NONE", "bias left out"),
        ("RUN[ops.GateUp]", "op.gate, NONE", "op.up, NONE", "up for both"),
        ("RUN[ops.Qkv]", "qkv", "lambda s, op: qkv(s, op.replace(bq=NONE))", "bias of queries left out"),
        ("qkv", "op.wv, op.bv", "op.wv, NONE", "bias of values left out"),
        ("qkv", "k = rms_norm(k, s.weight(op.k_norm)", "k = rms_norm(k, s.weight(op.q_norm)",
         "weight of the query norm for keys"),
        ("qkv", "rope(k, table", "rope(k, 0 * table + 1", "keys turned by 45 degrees"),
        ("RUN[ops.Embed]", "embed", "lambda s, op: embed(s, op.replace(scale=1.0))", "scale left out"),
        ("RUN[ops.RopeTable]", "rope_table", "lambda s, op: rope_table(s, op.replace(mscale=1.0))",
         "mscale left out"),
        ("RUN[ops.Attend]", "attend", "lambda s, op: attend(s, op.replace(softcap=0.0))", "softcap left out"),
    ),
    *reference(MOMENTS)(
        ("RUN[ops.Moments]", "moments", "lambda s, op: moments(s, op.replace(x=min(s.buffers)))", "of another buffer"),
        ("moments", "(x * x).sum(0)", "x.sum(0) ** 2", "squares of the sums"),
        ("moments", ".astype(np.float64)", "", "sums in the arithmetic of the step"),
        ("ReferenceExecutable.step", "any(self.program.buffers[h].single", "any(False", "sums of one token alone"),
    ),
]  # fmt: skip

STAGES: list[Mutant] = [
    *In("ops: native stages", "native/stages.c", (f"{MOMENTS} -k {BEST}",), None, (BEST,))(
        ("moments", "t < rows", "t < rows - (rows > 16)", "last row left out"),
        ("moments", "squares[k] += v * v", "squares[k] += v", "not squared"),
        ("moments", "const double v = (double)", "const float v = ", "squares in single precision"),
        ("moments", "MIN(COLUMNS, n - first)", "MIN(COLUMNS, n - first - 1)", "last column left out"),
    ),
    *native("stages.c", "embed")(
        ("embed_row", "out[i] *= o->scale", "out[i] *= 1.0f", "scale left out"),
        ("embed_row", "tokens[t] * bytes", "tokens[t] / 2 * 2 * bytes", "odd tokens"),
        ("take_row", "outputs[n] * w", "outputs[0] * w", "first wanted row for all"),
    ),
    *native("stages.c", "elementwise or qkv or heads", session=True)(
        ("norm_row", "i += o->width", "i += o->width * 2", "every other head"),
        ("norm_row", "at(s, o->out) + t * n + i, o->width", "at(s, o->out) + i, o->width",
         "all rows in the first one's place"),
        ("norm_add_row", "at(s, o->residual) + t * n", "at(s, o->residual)",
         "residual of the first token for all"),
        ("glu_row", "o->act", "1 - o->act", "activations swapped"),
        ("add_row", "at(s, o->b) + t * n", "at(s, o->b)", "second operand of the first token for all"),
        ("scale_row", "scale * at(s, o->x)[t * n + i]", "scale + at(s, o->x)[t * n + i]",
         "added instead of multiplied"),
        ("softcap_row", "o->cap", "2 * o->cap", "cap doubled"),
        ("each_row", "t < MIN(i + step, rows)", "t < MIN(i + step, rows - 1)", "last row left out"),
        ("each_row", "0, width(s, rounds)", "0, width(s, rounds) - 32", "last group not rounded"),
        ("each_row", "MIN(i + step, rows), 0, width", "MIN(i + step, rows - 1), 0, width", "last row not rounded"),
        ("constants", "tensor < 0 ? NULL", "tensor <= 0 ? NULL", "tensor 0 taken for an absent one"),
    ),
    *native("stages.c", "rope", session=True)(
        ("rope_table_row", "(cos(angle) * o->mscale)", "cos(angle)", "mscale left out of the cosine"),
        ("rope_table_row", "(double)s->c->batch->positions[t] * (double)freqs[i]",
         "(float)s->c->batch->positions[t] * freqs[i]", "angle in single precision"),
        ("rope_row", "i += o->head_dim", "i += 2 * o->head_dim", "every other head"),
    ),
    *native("stages.c", "test_attention or segments or rings or query_heads")(
        ("store_head", "positions[t] % ring", "positions[t] % (ring - 1)", "place in the ring"),
        ("store_head", "c->kv_heads + head", "c->kv_heads + 0 * head", "all heads in the first one's place"),
        ("kv_write_row", "at(s, o->v) + t * n + (int64_t)h * c->head_dim", "at(s, o->v) + t * n",
         "values of the first head for all"),
        ("attend_segment", "p - h->cache->window + 1", "p - h->cache->window", "window one too long"),
        ("attend_segment", "segment * EQ_SEGMENT + EQ_SEGMENT - 1", "segment * EQ_SEGMENT + EQ_SEGMENT - 2",
         "last position of a segment"),
        ("attend_segment", "h->head + i % h->heads) * e", "h->head + i % 1) * e", "first query head for all"),
        ("attend_segment", "h->cache->kv_heads + h->kv_head) * ring",
         "h->cache->kv_heads + 0 * h->kv_head) * ring", "first key head for all"),
        ("merge", "*l = *l * a + l2 * b", "*l = *l + l2 * b", "earlier sum not scaled"),
        ("merge", "o2[i] * b", "o2[i]", "later output not scaled"),
        ("finish", "/ l[i]", "/ l[0]", "sum of the first query for all"),
        ("claim", "units * (owner + 1) / s->threads", "units * (owner + 1) / s->threads - (units > 20)",
         "last unit of a share"),
        ("attend_share", "g < h->segments", "g < 2", "segments from the third on left out"),
        ("attend_part", "float *slot = base + (int64_t)i * e->max_segments * each",
         "float *slot = base + (int64_t)i * each", "slots of later heads"),
        ("attend", "count > EQ_MAX_QUERIES", "count > 2 * EQ_MAX_QUERIES",
         "more queries than a job may have"),
        ("attend", "kv_head * group + part * each", "kv_head * group + part", "which query heads a part has"),
        ("attend", "MIN(each, group - part * each)", "MIN(each, group)", "more heads than a group has"),
        ("attend", "p0 - c->window + 1) / EQ_SEGMENT", "p1 - c->window + 1) / EQ_SEGMENT",
         "first segment of a window"),
    ),
    *native("stages.c", "test_linear or gates or fused or panels or residuals or full_step", session=True)(
        ("multiply", "r + EQ_ROW_STEP, row1)", "r + EQ_ROW_STEP - 1, row1)", "last row of a step"),
        ("linear", "b ? b + r : NULL", "b", "bias of the first rows for all"),
        ("linear", "add ? add + r : NULL", "add", "residual of the first rows for all"),
        ("linear", "at(s, out) + r, rows", "at(s, out), rows", "all rows in the place of the first"),
        ("linear_outputs", "o->bias, -1", "-1, -1", "bias left out"),
        ("linear_add_outputs", "o->residual, o->out", "-1, o->out", "residual left out"),
        ("gate_up_outputs", "s->k->glu(gate, up", "s->k->glu(up, gate", "gate and up swapped"),
        ("gate_up_outputs", "s->k->turn(gate,", "s->k->turn(up,", "up not gated"),
        ("gate_up_outputs", "at(s, o->out) + r :", "at(s, o->out) :", "all rows in the place of the first"),
        ("gate_up_outputs", "out - r, to", "out, to", "later columns rounded in the place of others"),
        ("gate_up_outputs", "EQ_ROW_STEP * tokens", "EQ_ROW_STEP / 2 * tokens", "gates over what they gate"),
        ("stage_rows", "eq_rows_of(c, out)", "eq_rows_of(c, out) - c->exec->program.buffers[out].outputs",
         "last wanted row left out"),
        ("unit_rows", "return 32", "return 16", "half a group rounded"),
        ("outputs", "MIN(end * unit, rows)", "end * unit", "rows behind the last"),
        ("outputs", "r += EQ_ROW_STEP)", "r += 2 * EQ_ROW_STEP)", "every other part of a long run left out"),
        ("claim_run", "at += MAX(1, (end - at) / 4)", "at += MAX(1, (end - at) / 4) + (i == 2)",
         "a unit between two runs"),
        ("claim_run", "units * (owner + 1) / s->threads", "units * (owner + 1) / s->threads - (owner > 0)",
         "last unit of a share"),
        ("rows_of", "return eq_rows_of(s->c, buffer)", "return s->c->batch->n_tokens + 0 * buffer",
         "wanted rows counted as tokens"),
    ),
    *native("stages.c", "qkv", session=True)(
        ("qkv", "bias ? bias + head * e : NULL", "bias", "bias of the first head for all"),
        ("qkv", "t % EQ_SMALL_BATCH == 0", "t == 0", "tokens behind the first sixteen not turned"),
        ("qkv", "s->tile + t,", "s->tile,", "the first sixteen tokens again"),
        ("qkv", "some + t % EQ_SMALL_BATCH * e", "some + t % 8 * e", "keys of other tokens"),
        ("qkv", "MIN(tokens - t, EQ_SMALL_BATCH), bias", "MIN(tokens - t, 15), bias", "one in sixteen tokens"),
        ("qkv", "kind == 0 ? q_width : e);", "e);", "stride of queries"),
        ("qkv", "kind == 1 ? o->k_norm : -1", "kind == 1 ? o->q_norm : -1",
         "weight of the query norm for keys"),
        ("qkv", "if (kind < 2) s->k->rope", "if (kind < 1) s->k->rope", "keys not turned"),
        ("qkv", "t * rot, rot, o->style", "0 * t, rot, o->style", "position of the first token for all"),
        ("qkv", "o->heads + 2 * c->kv_heads", "o->heads + 2 * c->kv_heads - 1", "last value head left out"),
        ("round_from", "rounds < 0", "rounds <= 0", "buffer 0 not rounded"),
        ("eq_run_stage", "c->batch->n_tokens,", "c->batch->n_tokens - (c->batch->n_tokens > 20),",
         "last token of long steps"),
    ),
    *native("exec.c",
            "test_linear or gates or fused or qkv or rounded or mixed or narrow or normalized or reproducible",
            session=True)(
        ("linear_weights",
         "case EQ_OP_LINEAR_ADD: *x = op->u.linear_add.x, weights[0] = op->u.linear_add.weight; return 1;", "",
         "input of a linear with a residual not rounded"),
        ("linear_weights", "return 3;", "return 1;", "only the format of the queries counts"),
        ("mark_reads", "else floats[x] = 1", "else (void)x", "floats of a linear's input not kept"),
        ("eq_written", "case EQ_OP_RMS_NORM: return op->u.rms_norm.out;", "", "output of norms not rounded"),
        ("rounds_itself", "head_dim % 32 == 0", "head_dim % 32 == 0 || 1", "narrow heads rounded in part"),
        ("plan", "if (e->readers[p->inputs[i]])", "if (0)", "inputs not rounded"),
        ("plan", "floats[p->outputs[i]] = 1", "floats[p->outputs[i]] = 0", "floats of gates that are outputs not kept"),
        ("mark_reads", "FLOATS(op->u.add.b)", "(void)0", "floats of gates that are added not kept"),
        ("eq_rounded", "rows > EQ_SMALL_BATCH && !e->program.reproducible", "rows > EQ_SMALL_BATCH",
         "reproducible ignored"),
        ("eq_rounded", "b->offset * e->rows;", "(b->offset & ~255) * e->rows;",
         "places of rounded buffers overlap"),
        ("step", "n_stages; i++)\n                atomic_store",
         "n_stages - 1; i++)\n                atomic_store", "claims of the last stage not set back"),
        ("padded", "(n + to - 1) / to * to", "n / to * to", "rounded down"),
    ),
    *In("ops: native stages", "native/exec.c", (WHOLE,), None, ("avx2",))(
        ("writes_parts", "op->kind == EQ_OP_GATE_UP ||", "", "what gates wrote rounded in part"),
        ("writes_parts", "|| op->kind == EQ_OP_ATTEND", "", "what attention wrote rounded in part"),
        ("plan", "e->readers[out] & EQ_READS_LONG", "0", "no rows rounded as a whole"),
    ),
    *In("ops: native stages", "native/stages.c", (WHOLE,), None, ("avx2",))(
        ("gate_up_outputs", "rounds_whole(s->c, stage)", "0",
         "floats not kept for those who round rows as a whole"),
        ("stage_rows", "!rounds_whole(c, s)", "0", "prompts rounded once more, from what is not kept"),
    ),
    *native("exec.c", "full_step or memory_of_a_step")(
        ("quad_rows", "e->program.reproducible ? e->rows : EQ_SMALL_BATCH", "EQ_SMALL_BATCH",
         "no room for reproducible prompts"),
        ("eq_tile_bytes", "? e->max_head_dim : 2 * EQ_ROW_STEP", "? 2 * EQ_ROW_STEP : 2 * EQ_ROW_STEP",
         "no room for wide heads"),
        ("eq_tile_bytes", "? e->max_head_dim : 2 * EQ_ROW_STEP", "? e->max_head_dim : EQ_ROW_STEP",
         "no room for what is gated"),
        ("eq_exec_new", "* (4 + 2)", "* (4 + 1)", "no room for the low bytes"),
        ("eq_exec_new", "/ 32 * e->rows * 24", "/ 32 * e->rows * 20", "no room for lengths"),
        ("eq_exec_new", "(padded(p->arena, 128) / 128 + 1)", "(padded(p->arena, 128) / 256 + 1)", "no room for quads"),
        ("eq_rounded", "4 * floats;", "2 * floats;", "rounded over the floats"),
        ("eq_rounded", "(q + 2 * floats) + floats / 32", "(q + 2 * floats) + floats / 64", "sums over the scales"),
        ("eq_rounded", "scale + 3 * (floats / 32)", "scale + 2 * (floats / 32)", "sums of 32 over those of 16"),
        ("eq_rounded", "*power = lost + floats / 32", "*power = lost + floats / 64", "lengths over what is lost"),
    ),
    *In("ops: native stages", "native/exec.c", (f"{LINEARS} -k 'avx512vnni and full_step'",), None, ("avx512vnni",))(
        ("eq_rounded", "24 * (floats / 32)", "12 * (floats / 32)", "quads over sums"),
        ("eq_rounded", "b->offset / 128 * quad_rows(e)", "b->offset / 256 * quad_rows(e)", "quads of two buffers"),
    ),
    *In("ops: native stages", "native/check.c", ("tests/native/test_hostile_calls.py",), ("native/check.c",))(
        ("check_buffer", "b->offset % 128", "b->offset % 32", "buffers whose quads overlap"),
    ),
    *native("exec.c", "test_attention or two_sequences", session=True)(
        ("find_spans", "b->sequences[t + n] == b->sequences[t]", "1", "spans across sequences"),
        ("find_spans", "EQ_MAX_QUERIES / group", "2 * EQ_MAX_QUERIES / group",
         "more queries than a job may have"),
        ("work", "eq_pool_barrier(c->exec->pool, &between);", "one_row_stages(&b);", "no barrier between stages"),
        ("work", "eq_is_one_row(c, b.next)", "(eq_is_one_row(c, b.next) || 1)", "all stages by one thread"),
        ("one_row_stages", "i = b->first", "i = b->first + 1", "the first stage of one row left out"),
    ),
    *In("ops: native stages", "native/exec.c", (f"{CORNERS} -k checks_batches", SESSION), None, (BEST,))(
        ("check_batch", "b->tokens[t] >= vocabulary", "0", "tokens not checked"),
        ("check_batch", "b->positions[t] >= s->context", "0", "positions not checked"),
        ("check_batch", "b->outputs[i] >= b->n_tokens", "0", "wanted rows not checked"),
        ("work", "atomic_store(&c->stop_after, i)", "(void)i", "cancelling ignored"),
    ),
]  # fmt: skip

MACHINERY: list[Mutant] = [
    *In("ops: state, pool, guard", "native/state.c", KEPT, None, (BEST,))(
        ("eq_kv_row_bytes", "34 * (int64_t)(head_dim / 32)", "17 * (int64_t)(head_dim / 32)",
         "Q8_0 rows overlap"),
        ("eq_kv_row_bytes", "case 1: return 2 *", "case 1: return 1 *", "F16 rows overlap"),
        ("eq_kv_row_bytes", "18 * (int64_t)(head_dim / 32)", "16 * (int64_t)(head_dim / 32)",
         "Q4_0 rows overlap"),
        ("kept_bytes", "(int64_t)length + EQ_TILE - 1", "(int64_t)length", "last tile not kept"),
        ("eq_state_copy", "memcpy(s->values[i]", "memcpy(s->keys[i]", "values not copied"),
        ("eq_state_copy", "h < heads", "h < 1", "only the first head copied"),
        ("eq_state_save", "h % heads", "h % 1", "only the first head saved"),
        ("eq_state_load", "h < heads ? s->keys : s->values", "h <= heads ? s->keys : s->values",
         "first head of the values"),
        ("sequence_bytes", "(int64_t)c->kv_heads *", "(int64_t)1 *", "sequences overlap"),
    ),
    *In("ops: state, pool, guard", "native/pool.c",
        (f"{OPS} -k '{BEST} and (sixteen or segments)'", "tests/test_generate.py"), ("native/pool.c",), (BEST,))(
        ("eq_pool_run", "fn(argument, 0, pool->threads);\n    eq_pool_barrier(pool, NULL);",
         "fn(argument, 0, pool->threads);", "does not wait for the workers"),
        ("eq_pool_barrier", "== pool->threads - 1", "== pool->threads", "nobody is the last to arrive"),
        ("eq_pool_barrier", "between->last(between->argument)", "(void)0", "nobody does what lies between"),
        ("wait_for_run", "return !atomic_load(&pool->stopping)", "return 1", "sleeping workers do not end"),
        ("eq_pool_run", "pool->process != process_id()", "0", "pool of the parent used after a fork"),
    ),
    *In("ops: state, pool, guard", "native/guard.c", ("tests/test_model_hostile.py",), ("native/guard.c",))(
        ("eq_guard_hit_at", "return 1;", "return 0;", "a missed page is not reported"),
    ),
    *In("ops: state, pool, guard", "native/interrupt.c", ("tests/test_interrupts.py",), ("native/interrupt.c",))(
        ("on_interrupt", "*(volatile int32_t *)word = 1", "*(volatile int32_t *)word = 0",
         "Ctrl-C does not end a step"),
    ),
    *In("ops: state, pool, guard", "native/scan.c", ("tests/gguf/test_gguf_reader.py",), ("native/scan.c",))(
        ("eq_scan_strings", "stop - at < 8", "stop - at < 7", "a length cut short"),
        ("eq_scan_strings", "n > stop - at - 8", "n > stop - at", "a string that runs past the data"),
        ("load_u64", "i < 8", "i < 4", "lengths over 2^32"),
    ),
]  # fmt: skip


def passes(file: str) -> In:
    return In("passes", f"edgeq/passes/{file}", (PASSES,))


PASS: list[Mutant] = [
    *passes("fuse.py")(
        ("_Graph.sole", "self.reads[handle] == 1", "True", "takes parts that others read"),
        ("_Graph.__init__", "self.reads.update(program.outputs)", "pass", "outputs not counted as read"),
        ("_qkv", "op.cache == write.cache", "True", "attention of another layer"),
        ("_qkv", "k_lin.weight, k_lin.bias, v_lin.weight, v_lin.bias",
         "k_lin.weight, v_lin.bias, v_lin.weight, k_lin.bias", "biases of k and v swapped"),
        ("_head", "norm.width != rope.head_dim", "norm.width == rope.head_dim", "norms of heads not taken"),
        ("_gate_up", "a.x, a.weight, b.weight", "a.x, b.weight, a.weight", "gate and up swapped"),
        ("_linear_add", "linear.weight, linear.bias", "linear.weight, ops.Weight(NONE)", "bias lost"),
        ("_norm_add", "norm.width == g.program.buffers[norm.x].width", "True",
         "norm of heads taken for one of rows"),
        ("_norm_add", "add.out, norm.eps", "add.out, 0.1", "eps lost"),
        ("fuse", "supports(kind)", "True", "fusions that the backend declined"),
    ),
    *passes("tap.py")(
        ("tap", "Buffer(f\"{x.name}_moments\", 2 * x.width", "Buffer(f\"{x.name}_moments\", x.width", "room for half"),
        ("tap", "if op.x not in sums:", "if op.x not in sums or True:", "sums that are written twice"),
        ("tap", "inputs[name] = op.x", "inputs[name] = min(sums, default=op.x)", "sums of the first input for all"),
        ("_needed", "stored or isinstance", "isinstance", "attention without keys and values"),
        ("_needed", "op.cache in caches", "True", "keys and values that nobody reads"),
    ),
    *passes("split.py")(
        ("split", "previous < start < program.layers", "previous <= start < program.layers",
         "a part without layers"),
        ("_part", "low <= layer < high", "low <= layer <= high", "a layer in both parts"),
        ("_part", "- repeated", "", "rotary tables carried over"),
        ("_repeatable", "not isinstance(op, Embed)", "True", "embedding repeated in every part"),
    ),
    *passes("place.py")(
        ("place", "last[other] < first[h]", "last[other] <= first[h]", "an op's output over its input"),
        ("place", "(*program.inputs, *program.outputs)", "(*program.inputs,)", "outputs overwritten"),
        ("place", "offset < at + need", "offset < at", "buffers that overlap in part"),
    ),
    *passes("place.py").asking(f"{CORNERS} -k '{BEST} and two_inputs'")(
        ("", "ALIGN = 128", "ALIGN = 32", "buffers that the native backend refuses"),
    ),
]  # fmt: skip

MUTANTS = [*REFERENCE, *STAGES, *MACHINERY, *PASS]
