/* What each op does, cut into units. A thread claims those of its own share one after the other, so that it reads weights
 * in a stream of its own, and then what is left of the others' shares. */
#include <math.h>
#include <string.h>

#include "exec.h"
#include "quant/formats.h"

#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define MIN(a, b) ((a) < (b) ? (a) : (b))

typedef struct { /* one thread at one stage */
    const eq_step_context *c;
    const eq_program *p;
    const eq_kernels *k;
    const eq_op *op;
    int32_t stage, thread, threads, tokens;
    int32_t *done;  /* shares that are used up, from the thread's own on */
    float *tile;    /* outputs of a linear, [rows][tokens] */
    void *scratch;
} site;

/* The next of `units` units for this thread, or `units` when all are taken. */
static int32_t claim(const site *s, int32_t units) {
    for (; *s->done < s->threads; ++*s->done) {
        int64_t owner = (s->thread + *s->done) % s->threads;
        int32_t first = (int32_t)(units * owner / s->threads), end = (int32_t)(units * (owner + 1) / s->threads);
        int32_t i = first + atomic_fetch_add_explicit(eq_claims(s->c->exec, (int32_t)owner) + s->stage, 1, memory_order_relaxed);
        if (i < end) return i;
    }
    return units;
}
static int32_t first_unit(const site *s, int32_t units) { return (int32_t)((int64_t)units * s->thread / s->threads); }

/* The same for a run of units, the end of which is returned: long ones first, single ones last, so that claims are few and
 * threads end together (guided self-scheduling, Polychronopoulos and Kuck 1987). No unit is left: 0. */
static int32_t claim_run(const site *s, int32_t units, int32_t *first) {
    for (; *s->done < s->threads; ++*s->done) {
        int64_t owner = (s->thread + *s->done) % s->threads;
        int32_t at = (int32_t)(units * owner / s->threads), end = (int32_t)(units * (owner + 1) / s->threads);
        int32_t i = atomic_fetch_add_explicit(eq_claims(s->c->exec, (int32_t)owner) + s->stage, 1, memory_order_relaxed);
        for (; i >= 0 && at < end; i--) *first = at, at += MAX(1, (end - at) / 4);
        if (i < 0) return at;
    }
    return 0;
}
static int32_t parts_of(int64_t rows, int64_t step) { return (int32_t)((rows + step - 1) / step); }
static float *at(const site *s, int32_t buffer) { return s->c->buffers[buffer]; }
static int64_t width(const site *s, int32_t buffer) { return s->p->buffers[buffer].width; }
static int32_t rows_of(const site *s, int32_t buffer) { return eq_rows_of(s->c, buffer); }
static const float *constants(const site *s, int32_t tensor) { return tensor < 0 ? NULL : s->p->tensors[tensor].data; }

/* Whether the rows that a stage writes, or only rounds, are rounded whole, behind the op. */
static int rounds_whole(const eq_step_context *c, const eq_stage *s) { return s->few_later && !eq_rounded(c, s->rounds).packed; }

/* Rounds columns [k0, k1) of rows [t0, t1) of the stage's buffer, if it is to: of rows that begin at x, `stride` floats apart. */
static void round_from(const site *s, const float *x, int64_t stride, int64_t t0, int64_t t1, int64_t k0, int64_t k1) {
    const eq_stage *stage = &s->c->exec->stages[s->stage];
    if (stage->rounds < 0 || (stage->op && rounds_whole(s->c, stage))) return;
    eq_act a = eq_rounded(s->c, stage->rounds);
    a.x = x, a.stride = stride;
    s->k->quantize(&a, t0, t1, k0, k1);
}
static void round_out(const site *s, int64_t t0, int64_t t1, int64_t k0, int64_t k1) {
    int32_t buffer = s->c->exec->stages[s->stage].rounds;
    if (buffer >= 0) round_from(s, at(s, buffer), width(s, buffer), t0, t1, k0, k1);
}

/* --- row by row ------------------------------------------------------------------------------------------------- */

static void embed_row(const site *s, int32_t t) {
    const eq_op_embed *o = &s->op->u.embed;
    const eq_tensor *table = &s->p->tensors[o->table];
    int64_t n = table->cols, bytes = n / eq_format_block(table->type) * eq_format_block_bytes(table->type);
    float *out = at(s, o->out) + t * n;
    eq_dequantize_row(table->type, (const char *)table->data + s->c->batch->tokens[t] * bytes, n, out);
    for (int64_t i = 0; i < n && o->scale != 1.0f; i++) out[i] *= o->scale;
}

static void norm_row(const site *s, int32_t t) {
    const eq_op_rms_norm *o = &s->op->u.rms_norm;
    int64_t n = width(s, o->x);
    for (int64_t i = 0; i < n; i += o->width)
        s->k->rms_norm(at(s, o->x) + t * n + i, constants(s, o->weight), at(s, o->out) + t * n + i, o->width, o->eps);
}

static void norm_add_row(const site *s, int32_t t) {
    const eq_op_norm_add *o = &s->op->u.norm_add;
    int64_t n = width(s, o->x);
    float *out = at(s, o->out) + t * n;
    s->k->rms_norm(at(s, o->x) + t * n, constants(s, o->weight), out, n, o->eps);
    s->k->add(at(s, o->residual) + t * n, out, out, n);
}

static void rope_table_row(const site *s, int32_t t) {
    const eq_op_rope_table *o = &s->op->u.rope_table;
    int64_t half = width(s, o->out) / 2;
    const float *freqs = constants(s, o->freqs);
    float *out = at(s, o->out) + t * 2 * half;
    for (int64_t i = 0; i < half; i++) {
        double angle = (double)s->c->batch->positions[t] * (double)freqs[i];
        out[i] = (float)(cos(angle) * o->mscale);
        out[half + i] = (float)(sin(angle) * o->mscale);
    }
}

static void rope_row(const site *s, int32_t t) {
    const eq_op_rope *o = &s->op->u.rope;
    int64_t n = width(s, o->x), rot = width(s, o->table);
    float *out = at(s, o->out) + t * n;
    memmove(out, at(s, o->x) + t * n, (size_t)n * 4);
    for (int64_t i = 0; i < n; i += o->head_dim) s->k->rope(out + i, at(s, o->table) + t * rot, rot, o->style);
}

static void store_head(const site *s, int32_t cache, int32_t head, int32_t t, const float *k, const float *v) {
    const eq_state *state = s->c->state;
    const eq_cache *c = &s->p->caches[cache];
    int64_t ring = state->rings[cache], bytes = ring * eq_kv_row_bytes(state->kv_type, c->head_dim);
    int64_t place = ((int64_t)s->c->batch->sequences[t] * c->kv_heads + head) * bytes;
    s->k->kv_store(k, v, state->keys[cache] + place, state->values[cache] + place,
                   (int32_t)(s->c->batch->positions[t] % ring), c->head_dim, state->kv_type);
}

static void kv_write_row(const site *s, int32_t t) {
    const eq_op_kv_write *o = &s->op->u.kv_write;
    const eq_cache *c = &s->p->caches[o->cache];
    int64_t n = width(s, o->k);
    for (int32_t h = 0; h < c->kv_heads; h++)
        store_head(s, o->cache, h, t, at(s, o->k) + t * n + (int64_t)h * c->head_dim, at(s, o->v) + t * n + (int64_t)h * c->head_dim);
}

static void glu_row(const site *s, int32_t t) {
    const eq_op_glu *o = &s->op->u.glu;
    int64_t n = width(s, o->out);
    s->k->glu(at(s, o->gate) + t * n, at(s, o->up) + t * n, at(s, o->out) + t * n, n, o->act);
}

static void add_row(const site *s, int32_t t) {
    const eq_op_add *o = &s->op->u.add;
    int64_t n = width(s, o->out);
    s->k->add(at(s, o->a) + t * n, at(s, o->b) + t * n, at(s, o->out) + t * n, n);
}

static void scale_row(const site *s, int32_t t) {
    const eq_op_scale *o = &s->op->u.scale;
    int64_t n = width(s, o->out);
    float scale = *constants(s, o->scale);
    for (int64_t i = 0; i < n; i++) at(s, o->out)[t * n + i] = scale * at(s, o->x)[t * n + i];
}

static void softcap_row(const site *s, int32_t t) {
    const eq_op_softcap *o = &s->op->u.softcap;
    int64_t n = width(s, o->out);
    s->k->softcap(at(s, o->x) + t * n, at(s, o->out) + t * n, n, o->cap);
}

static void take_row(const site *s, int32_t n) {
    const eq_op_take_rows *o = &s->op->u.take_rows;
    int64_t w = width(s, o->out);
    memmove(at(s, o->out) + n * w, at(s, o->x) + s->c->batch->outputs[n] * w, (size_t)w * 4);
}

static void no_row(const site *s, int32_t t) { (void)s, (void)t; } /* only rounded */

typedef void (*row_fn)(const site *s, int32_t row);

static void each_row(const site *s, int32_t rows, row_fn row) {
    int32_t rounds = s->c->exec->stages[s->stage].rounds, step = rows > 32 * s->threads ? 16 : rows > 4 * s->threads ? 4 : 1;
    for (int32_t i; (i = claim(s, parts_of(rows, step)) * step) < rows;) {
        for (int32_t t = i; t < MIN(i + step, rows); t++) row(s, t);
        if (rounds >= 0) round_out(s, i, MIN(i + step, rows), 0, width(s, rounds));
    }
}

/* --- linears ------------------------------------------------------------------------------------------------------ */

/* tile [row1 - row0][tokens] = rows of the weight times x; more rows than a kernel takes are done in turn. */
static void multiply(const site *s, int32_t weight, int32_t x, int64_t row0, int64_t row1, float *tile) {
    const eq_tensor *w = &s->p->tensors[weight];
    eq_act a = eq_rounded(s->c, x);
    eq_linear_fn kernel = s->k->linear(w->type, a.packed);
    for (int64_t r = row0; r < row1; r += EQ_ROW_STEP)
        kernel(w, &a, r, MIN(r + EQ_ROW_STEP, row1), tile + (r - row0) * a.tokens, s->scratch);
}

/* Outputs that a unit of a linear has; of gates, they are rounded together. */
static int64_t unit_rows(const site *s) {
    if (s->op->kind == EQ_OP_GATE_UP) return 32;
    return rows_of(s, eq_written(s->op)) <= EQ_SMALL_BATCH ? 8 : EQ_ROW_STEP / 2;
}

/* Outputs [r, r + n) of the stage's linear. */
typedef void (*outputs_fn)(const site *s, int64_t r, int64_t n);

/* All outputs: runs of units go to `some` in parts that kernels take. */
static void outputs(const site *s, outputs_fn some) {
    const int64_t rows = width(s, eq_written(s->op)), unit = unit_rows(s);
    for (int32_t first, end; (end = claim_run(s, parts_of(rows, unit), &first)) > 0;)
        for (int64_t r = first * unit, to = MIN(end * unit, rows); r < to; r += EQ_ROW_STEP) some(s, r, MIN(EQ_ROW_STEP, to - r));
}

static void linear(const site *s, int32_t x, int32_t weight, int32_t bias, int32_t residual, int32_t out, int64_t r, int64_t n) {
    int64_t rows = width(s, out), tokens = rows_of(s, out);
    const float *b = constants(s, bias), *add = residual < 0 ? NULL : at(s, residual);
    multiply(s, weight, x, r, r + n, s->tile);
    s->k->turn(s->tile, tokens, n, tokens, b ? b + r : NULL, add ? add + r : NULL, at(s, out) + r, rows);
}
static void linear_outputs(const site *s, int64_t r, int64_t n) {
    const eq_op_linear *o = &s->op->u.linear;
    linear(s, o->x, o->weight, o->bias, -1, o->out, r, n);
}
static void linear_add_outputs(const site *s, int64_t r, int64_t n) {
    const eq_op_linear_add *o = &s->op->u.linear_add;
    linear(s, o->x, o->weight, o->bias, o->residual, o->out, r, n);
}

static void gate_up_outputs(const site *s, int64_t r, int64_t n) {
    const eq_op_gate_up *o = &s->op->u.gate_up;
    int64_t tokens = rows_of(s, o->out);
    float *gate = s->tile, *up = s->tile + EQ_ROW_STEP * tokens;
    multiply(s, o->gate, o->x, r, r + n, gate);
    multiply(s, o->up, o->x, r, r + n, up);
    s->k->glu(gate, up, gate, n * tokens, o->act);
    const eq_stage *stage = &s->c->exec->stages[s->stage]; /* are floats kept, or only near when they are rounded? */
    const int kept = stage->floats || rounds_whole(s->c, stage);
    if (!kept && s->k->quantize_outputs) {
        const eq_act a = eq_rounded(s->c, stage->rounds);
        if (a.packed) {
            s->k->quantize_outputs(&a, gate, r, r + n);
            return;
        }
    }
    float *out = kept ? at(s, o->out) + r : up;
    const int64_t to = kept ? width(s, o->out) : n;
    s->k->turn(gate, tokens, n, tokens, NULL, NULL, out, to);
    round_from(s, out - r, to, 0, tokens, r, r + n);
}

/* Asks for the tile of a head's keys or values that attention will read first, so that it is there by then. */
static void ask_cache(const site *s, int32_t cache, int32_t head, int values) {
    const eq_state *state = s->c->state;
    const eq_cache *c = &s->p->caches[cache];
    int64_t ring = state->rings[cache], row = eq_kv_row_bytes(state->kv_type, c->head_dim), p = s->c->batch->positions[0];
    int64_t first = c->window > 0 ? MAX(0, p - c->window + 1) / EQ_TILE * EQ_TILE % ring : 0;
    int64_t place = ((int64_t)s->c->batch->sequences[0] * c->kv_heads + head) * ring + first;
    const char *tile = (values ? state->values : state->keys)[cache] + place * row;
    for (int64_t b = 0; b < EQ_TILE * row; b += 64) EQ_PREFETCH(tile + b);
}

/* Unit of a qkv: a head of the queries (kind 0), then of the keys (1), then of the values (2). */
static int32_t qkv_head(const site *s, int32_t unit, int *kind) {
    const eq_op_qkv *o = &s->op->u.qkv;
    int32_t kv_heads = s->p->caches[o->cache].kv_heads;
    *kind = unit < o->heads ? 0 : unit < o->heads + kv_heads ? 1 : 2;
    return unit - (*kind == 0 ? 0 : *kind == 1 ? o->heads : o->heads + kv_heads);
}

/* One head: its rows, then norm and rope, then into q or the cache. */
static void qkv(const site *s) {
    const eq_op_qkv *o = &s->op->u.qkv;
    const eq_cache *c = &s->p->caches[o->cache];
    int64_t e = o->head_dim, tokens = s->tokens, rot = width(s, o->table), q_width = width(s, o->q);
    float *some = s->tile + e * tokens; /* keys or values of a few tokens */
    const int32_t units = o->heads + 2 * c->kv_heads;
    for (int32_t unit; (unit = claim(s, units)) < units;) {
        int kind;
        int32_t head = qkv_head(s, unit, &kind);
        const int32_t weights[] = {o->wq, o->wk, o->wv}, biases[] = {o->bq, o->bk, o->bv};
        const float *bias = constants(s, biases[kind]), *norm = constants(s, kind == 0 ? o->q_norm : kind == 1 ? o->k_norm : -1);
        if (kind > 0 && tokens <= EQ_SMALL_BATCH) ask_cache(s, o->cache, head, kind == 2);
        multiply(s, weights[kind], o->x, head * e, head * e + e, s->tile);
        for (int32_t t = 0; t < tokens; t++) {
            float *row = kind == 0 ? at(s, o->q) + t * q_width + head * e : some + t % EQ_SMALL_BATCH * e;
            if (t % EQ_SMALL_BATCH == 0)
                s->k->turn(s->tile + t, tokens, e, MIN(tokens - t, EQ_SMALL_BATCH), bias ? bias + head * e : NULL, NULL, row,
                           kind == 0 ? q_width : e);
            if (norm) s->k->rms_norm(row, norm, row, e, o->eps);
            if (kind < 2) s->k->rope(row, at(s, o->table) + t * rot, rot, o->style);
            if (kind == 1) store_head(s, o->cache, head, t, row, NULL);
            if (kind == 2) store_head(s, o->cache, head, t, NULL, row);
        }
    }
}

/* --- attention ------------------------------------------------------------------------------------------------------ */

typedef struct { /* what a unit of attention works on */
    const eq_op_attend *o;
    const eq_cache *cache;
    eq_span span;
    int32_t kv_head, head, heads; /* query heads [head, head + heads) */
    int32_t segment0, segments;
} share;

/* Attention of the share's queries to one segment; m, l and o per query (token-major). */
static void attend_segment(const site *s, const share *h, int32_t segment, float *m, float *l, float *out) {
    const eq_state *state = s->c->state;
    int32_t e = h->cache->head_dim, ring = state->rings[h->o->cache], n = h->span.count * h->heads;
    const float *q[EQ_MAX_QUERIES];
    float *o[EQ_MAX_QUERIES];
    int32_t low[EQ_MAX_QUERIES], high[EQ_MAX_QUERIES], first = INT32_MAX, last = -1;
    for (int32_t i = 0; i < n; i++) {
        int32_t t = h->span.first + i / h->heads, p = s->c->batch->positions[t];
        q[i] = at(s, h->o->q) + ((int64_t)t * h->o->heads + h->head + i % h->heads) * e;
        o[i] = out + (int64_t)i * e;
        low[i] = MAX(segment * EQ_SEGMENT, h->cache->window > 0 ? p - h->cache->window + 1 : 0);
        high[i] = MIN(segment * EQ_SEGMENT + EQ_SEGMENT - 1, p);
        m[i] = -INFINITY;
        l[i] = 0.0f;
        if (low[i] > high[i]) continue;
        first = MIN(first, low[i]);
        last = MAX(last, high[i]);
    }
    memset(out, 0, (size_t)n * (size_t)e * 4);
    int64_t place = ((int64_t)h->span.sequence * h->cache->kv_heads + h->kv_head) * ring * eq_kv_row_bytes(state->kv_type, e);
    eq_attend_job job = {q, o, m, l, low, high, state->keys[h->o->cache] + place, state->values[h->o->cache] + place,
                         n, e, ring, state->kv_type, first, last, h->o->scale, h->o->softcap};
    if (last >= 0) s->k->attend(&job, s->scratch);
}

/* Adds a later segment's result (m2, l2, o2) of one query to (m, l, o). */
static void merge(float *m, float *l, float *o, float m2, float l2, const float *o2, int32_t e) {
    if (m2 == -INFINITY) return; /* nothing was seen there */
    float top = *m > m2 ? *m : m2, a = *m == top ? 1.0f : expf(*m - top), b = m2 == top ? 1.0f : expf(m2 - top);
    *m = top;
    *l = *l * a + l2 * b;
    for (int32_t i = 0; i < e; i++) o[i] = o[i] * a + o2[i] * b;
}

static void finish(const site *s, const share *h, const float *l, const float *o) {
    int64_t e = h->cache->head_dim, w = width(s, h->o->out);
    for (int32_t i = 0; i < h->span.count * h->heads; i++) {
        int64_t t = h->span.first + i / h->heads, head = h->head + i % h->heads;
        float *out = at(s, h->o->out) + t * w + head * e;
        for (int64_t j = 0; j < e; j++) out[j] = o[i * e + j] / l[i];
    }
    for (int64_t head = h->head; head < h->head + h->heads; head++)
        round_out(s, h->span.first, h->span.first + h->span.count, head * e, head * e + e);
}

/* All segments of a share in order. */
static void attend_share(const site *s, const share *h) {
    int32_t e = h->cache->head_dim, n = h->span.count * h->heads;
    float m[EQ_MAX_QUERIES], l[EQ_MAX_QUERIES], m2[EQ_MAX_QUERIES], l2[EQ_MAX_QUERIES];
    float *first = (float *)((char *)s->scratch + EQ_ATTEND_SCRATCH(s->c->exec->max_head_dim)), *next = s->tile;
    attend_segment(s, h, h->segment0, m, l, first);
    for (int32_t g = 1; g < h->segments; g++) {
        attend_segment(s, h, h->segment0 + g, m2, l2, next);
        for (int32_t i = 0; i < n; i++) merge(&m[i], &l[i], first + (int64_t)i * e, m2[i], l2[i], next + (int64_t)i * e, e);
    }
    finish(s, h, l, first);
}

/* One segment of a share whose segments are spread over units; who finishes last merges them in order. */
static void attend_part(const site *s, const share *h, int32_t g, int32_t counter) {
    eq_exec *e = s->c->exec;
    int32_t dim = h->cache->head_dim;
    int64_t each = dim + 2;
    float *base = e->partial + (int64_t)(h->span.first * e->max_heads + h->head) * e->max_segments * each;
    float m[EQ_MAX_QUERIES], l[EQ_MAX_QUERIES];
    float *o = (float *)((char *)s->scratch + EQ_ATTEND_SCRATCH(e->max_head_dim));
    attend_segment(s, h, h->segment0 + g, m, l, o);
    for (int32_t i = 0; i < h->heads; i++) {
        float *slot = base + ((int64_t)i * e->max_segments + g) * each;
        slot[0] = m[i];
        slot[1] = l[i];
        memcpy(slot + 2, o + (int64_t)i * dim, (size_t)dim * 4);
    }
    if (atomic_fetch_add(&e->finished[counter], 1) != h->segments - 1) return;
    atomic_store(&e->finished[counter], 0);
    for (int32_t i = 0; i < h->heads; i++) {
        float *slot = base + (int64_t)i * e->max_segments * each;
        m[i] = slot[0];
        l[i] = slot[1];
        memcpy(o + (int64_t)i * dim, slot + 2, (size_t)dim * 4);
        for (int32_t j = 1; j < h->segments; j++) {
            slot += each;
            merge(&m[i], &l[i], o + (int64_t)i * dim, slot[0], slot[1], slot + 2, dim);
        }
    }
    finish(s, h, l, o);
}

static void attend(const site *s) {
    const eq_op_attend *o = &s->op->u.attend;
    const eq_cache *c = &s->p->caches[o->cache];
    int32_t group = o->heads / c->kv_heads, spans = s->c->n_spans;
    int small = s->tokens <= EQ_SMALL_BATCH;
    int32_t most = 1; /* segments */
    for (int32_t t = 0; small && t < s->tokens; t++)
        most = MAX(most, s->c->batch->positions[t] / EQ_SEGMENT + 1);
    if (most > s->c->exec->max_segments) most = 1;
    /* query heads of a key/value head are divided where there would be too few units, or too many queries in one */
    int32_t parts = 1;
    while (parts < group && (spans * c->kv_heads * parts * most < 2 * s->threads
                             || (group + parts - 1) / parts * s->c->spans[0].count > EQ_MAX_QUERIES)) parts++;
    int32_t each = (group + parts - 1) / parts;
    const int32_t units = spans * c->kv_heads * parts * most;
    for (int32_t unit; (unit = claim(s, units)) < units;) {
        int32_t g = unit % most, rest = unit / most, part = rest % parts, kv_head = rest / parts % c->kv_heads;
        share h = {o, c, s->c->spans[rest / parts / c->kv_heads], kv_head, kv_head * group + part * each, 0, 0, 0};
        h.heads = MIN(each, group - part * each);
        if (h.heads <= 0) continue;
        int32_t p0 = s->c->batch->positions[h.span.first], p1 = s->c->batch->positions[h.span.first + h.span.count - 1];
        h.segment0 = c->window > 0 ? MAX(0, p0 - c->window + 1) / EQ_SEGMENT : 0;
        h.segments = p1 / EQ_SEGMENT - h.segment0 + 1;
        if (most == 1) attend_share(s, &h);
        else if (g < h.segments) attend_part(s, &h, g, rest);
    }
}

/* --- what only looks ------------------------------------------------------------------------------------------------- */

/* Sums go down columns in the order of rows, so that they do not depend on threads; a square of a float is exact in double. */
static void moments(const site *s) {
    enum { COLUMNS = 64 };
    const eq_op_moments *o = &s->op->u.moments;
    const int64_t n = width(s, o->x), rows = rows_of(s, o->x);
    const int32_t units = parts_of(n, COLUMNS);
    float *out = at(s, o->out);
    for (int32_t unit; (unit = claim(s, units)) < units;) {
        const int64_t first = unit * (int64_t)COLUMNS, count = MIN(COLUMNS, n - first);
        const float *x = at(s, o->x) + first;
        double sum[COLUMNS] = {0}, squares[COLUMNS] = {0};
        for (int64_t t = 0; t < rows; t++)
            for (int64_t k = 0; k < count; k++) {
                const double v = (double)x[t * n + k];
                sum[k] += v, squares[k] += v * v;
            }
        for (int64_t k = 0; k < count; k++) out[first + k] = (float)sum[k], out[n + first + k] = (float)squares[k];
    }
}

/* --- dispatch ----------------------------------------------------------------------------------------------------------- */

static row_fn row_by_row(const eq_op *op) {
    if (!op) return no_row;
    switch (op->kind) {
        case EQ_OP_EMBED: return embed_row;
        case EQ_OP_RMS_NORM: return norm_row;
        case EQ_OP_ROPE_TABLE: return rope_table_row;
        case EQ_OP_ROPE: return rope_row;
        case EQ_OP_KV_WRITE: return kv_write_row;
        case EQ_OP_GLU: return glu_row;
        case EQ_OP_ADD: return add_row;
        case EQ_OP_SCALE: return scale_row;
        case EQ_OP_SOFTCAP: return softcap_row;
        case EQ_OP_TAKE_ROWS: return take_row;
        case EQ_OP_NORM_ADD: return norm_add_row;
        default: return NULL;
    }
}

/* Rows that a stage writes; keys and values have one for each token. */
static int32_t stage_rows(const eq_step_context *c, int32_t stage) {
    const eq_stage *s = &c->exec->stages[stage];
    int32_t out = s->op ? eq_written(s->op) : s->rounds;
    if (!s->op && s->few_later && !rounds_whole(c, s)) return 0;
    return out >= 0 ? eq_rows_of(c, out) : c->batch->n_tokens;
}

#define EQ_ASKED (64 * 1024) /* bytes that wait in the cache of a core */

/* The weight that the thread's share of a stage begins with, and the row; or -1. */
static int32_t first_weight(const site *s, int64_t *row) {
    int32_t weight;
    switch (s->op ? s->op->kind : EQ_OP_COUNT) {
        case EQ_OP_LINEAR: weight = s->op->u.linear.weight; break;
        case EQ_OP_LINEAR_ADD: weight = s->op->u.linear_add.weight; break;
        case EQ_OP_GATE_UP: weight = s->op->u.gate_up.gate; break;
        case EQ_OP_QKV: {
            const eq_op_qkv *o = &s->op->u.qkv;
            int kind;
            *row = qkv_head(s, first_unit(s, o->heads + 2 * s->p->caches[o->cache].kv_heads), &kind) * (int64_t)o->head_dim;
            return kind == 0 ? o->wq : kind == 1 ? o->wk : o->wv;
        }
        default: return -1;
    }
    *row = first_unit(s, parts_of(width(s, eq_written(s->op)), unit_rows(s))) * unit_rows(s);
    return weight;
}

void eq_first_weights(const eq_step_context *c, int32_t stage, int32_t thread, const char **first, const char **end) {
    const eq_exec *e = c->exec;
    int64_t row = 0;
    *first = *end = NULL;
    for (; stage < e->n_stages; stage++) {
        site s = {c, &e->program, e->kernels, e->stages[stage].op, stage, thread, eq_pool_threads(e->pool), c->batch->n_tokens,
                  NULL, NULL, NULL};
        int32_t weight = first_weight(&s, &row);
        if (weight < 0) continue;
        const eq_tensor *w = &e->program.tensors[weight];
        int64_t bytes = w->cols / eq_format_block(w->type) * eq_format_block_bytes(w->type);
        *first = (const char *)w->data + row * bytes;
        *end = *first + MIN(EQ_ASKED, (w->rows - row) * bytes);
        return;
    }
}

int eq_is_one_row(const eq_step_context *c, int32_t stage) {
    return row_by_row(c->exec->stages[stage].op) && stage_rows(c, stage) == 1;
}

void eq_run_stage(eq_step_context *c, int32_t stage, int32_t thread) {
    eq_exec *e = c->exec;
    char *scratch = eq_thread_scratch(e, thread);
    int32_t done = 0, rows = stage_rows(c, stage);
    const eq_op *op = e->stages[stage].op;
    site s = {c, &e->program, e->kernels, op, stage, thread, eq_pool_threads(e->pool), c->batch->n_tokens, &done, (float *)scratch,
              scratch + eq_tile_bytes(e)};
    row_fn row = row_by_row(op);
    if (row) {
        each_row(&s, rows, row);
        return;
    }
    if (rows == 0) return;
    switch (op->kind) {
        case EQ_OP_LINEAR: outputs(&s, linear_outputs); break;
        case EQ_OP_LINEAR_ADD: outputs(&s, linear_add_outputs); break;
        case EQ_OP_GATE_UP: outputs(&s, gate_up_outputs); break;
        case EQ_OP_QKV: qkv(&s); break;
        case EQ_OP_ATTEND: attend(&s); break;
        case EQ_OP_MOMENTS: moments(&s); break;
    }
}
