/* Hostile input for the native library, one target per entry of `targets`, as libFuzzer wants it (fuzz_native.py builds
 * and runs it, fuzz_seeded.c runs the same targets on random bytes). The bytes decide formats, shapes, variant, weights
 * and damage; behind their end a generator goes on. Every array has its exact size, so that a sanitizer sees what is
 * read behind it. EDGEQ_FUZZ names the target. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "quant/formats.h"
#include "scan.h"

enum { MESSAGE = 200, MOST = 64, VOCABULARY = 7, CHUNK = 48, BYTES = 1 << 26 /* of buffers or caches that a case may use */ };

typedef struct { const uint8_t *at, *end; uint64_t seed; } source;

static void *held[256]; /* memory of the case that runs */
static int n_held;
static long refused, ran; /* cases that the library refused, and that it ran */

static void fail(const char *what) {
    fprintf(stderr, "fuzz_native: %s\n", what);
    abort();
}
static void *exact(size_t n) {
    void *p = malloc(n ? n : 1);
    if (!p || n_held == (int)(sizeof held / sizeof *held)) fail("out of memory");
    return held[n_held++] = p;
}
static void *copy(const void *from, size_t n) { return memcpy(exact(n), from, n); }
static void let_go(int kept) { while (n_held > kept) free(held[--n_held]); }

/* --- what the bytes say --------------------------------------------------------------------------------------------- */

static uint64_t next(source *s) {
    s->seed ^= s->seed << 13, s->seed ^= s->seed >> 7, s->seed ^= s->seed << 17;
    return s->seed;
}
static int32_t byte(source *s) { return s->at < s->end ? *s->at++ : (int32_t)(next(s) >> 24 & 255); }
static int32_t below(source *s, int32_t n) {
    int32_t low = byte(s);
    return n > 0 ? (low | byte(s) << 8) % n : 0;
}
static int64_t any64(source *s) {
    uint64_t x = 0;
    for (int i = 0; i < 8; i++) x = x << 8 | (uint64_t)byte(s);
    return (int64_t)x;
}
static int64_t odd64(source *s) { /* a number that a check may have forgotten */
    static const int64_t odd[] = {-1, 0, 1, 31, 32, 33, 63, 64, 65, 255, 256, 512, 513, 1 << 16, (1 << 16) + 1, 1 << 20, 1 << 30,
                                  INT32_MAX, INT32_MIN, (int64_t)1 << 32, (int64_t)1 << 40, (int64_t)1 << 62, INT64_MAX, INT64_MIN};
    int kind = below(s, 4);
    if (kind == 0) return any64(s);
    if (kind == 1) return below(s, 300) - 20;
    return (int64_t)((uint64_t)odd[below(s, sizeof odd / sizeof *odd)] + (uint64_t)(kind == 2 ? 0 : below(s, 5) - 2));
}
static int32_t odd32(source *s) { return (int32_t)(uint32_t)odd64(s); }

/* Bytes of a weight: anything; infinities, NaN and denormals of 16 and 32 bits; a pattern of the input; or tame numbers. */
static void fill(source *s, void *to, size_t n) {
    static const uint16_t odd[] = {0x7C00, 0xFC00, 0x7E00, 0xFFFF, 1, 0x8000, 0x7BFF, 0x0400, 0, 0x7F80, 0xFF80, 0x7F7F, 0x0080};
    uint8_t *p = to, pattern[16];
    int kind = below(s, 4);
    for (int i = 0; i < 16; i++) pattern[i] = (uint8_t)byte(s);
    for (size_t i = 0; i < n; i++) {
        uint64_t r = next(s) >> 20;
        if (kind == 1 && i + 2 <= n && r % 3) {
            memcpy(p + i, &odd[(r >> 8) % (sizeof odd / sizeof *odd)], 2);
            i++;
        } else {
            p[i] = (uint8_t)(kind == 2 ? pattern[i % 16] : kind == 3 ? r & 0xBB : r);
        }
    }
}

/* --- a model with every kind of op ------------------------------------------------------------------------------------ */

typedef struct {
    eq_op ops[MOST];
    eq_buffer buffers[MOST];
    eq_tensor tensors[MOST];
    eq_cache caches[4];
    int32_t inputs[8], outputs[8];
    eq_program p;
} model;

typedef struct { int32_t type[4], unit, width, kv_heads, heads, head_dim, rot, ffn, style, act; } shape;

static int32_t format(source *s) { /* one that a linear may have */
    int32_t type;
    do type = below(s, 64);
    while (!eq_format_block(type));
    return type;
}
static int32_t buffer(model *m, int32_t width, int outputs) {
    m->buffers[m->p.n_buffers] = (eq_buffer){m->p.arena, width, outputs};
    m->p.arena += (width + 127) / 128 * 128;
    return m->p.n_buffers++;
}
static int32_t tensor(model *m, source *s, int32_t type, int64_t rows, int64_t cols) {
    size_t n = (size_t)(rows * (cols / eq_format_block(type)) * eq_format_block_bytes(type));
    void *data = exact(n);
    fill(s, data, n);
    m->tensors[m->p.n_tensors] = (eq_tensor){data, (int64_t)n, rows, cols, type, 0};
    return m->p.n_tensors++;
}
static int32_t vector(model *m, source *s, int64_t n) { return tensor(m, s, EQ_F32, 1, n); }
static int32_t maybe(model *m, source *s, int64_t n) { return below(s, 2) ? vector(m, s, n) : -1; }
static float number(source *s) {
    float x;
    fill(s, &x, 4);
    return below(s, 2) ? x : 0.5f;
}

#define ADD(name, KIND, ...) \
    m->ops[m->p.n_ops].kind = EQ_OP_##KIND, m->ops[m->p.n_ops++].u.name = (eq_op_##name){__VA_ARGS__}

static int32_t linear(model *m, source *s, int32_t x, int32_t type, int32_t rows) {
    int32_t out = buffer(m, rows, m->buffers[x].outputs), w = tensor(m, s, type, rows, m->buffers[x].width);
    ADD(linear, LINEAR, x, w, maybe(m, s, rows), out);
    return out;
}
static int32_t norm(model *m, source *s, int32_t x, int32_t width) {
    int32_t out = buffer(m, m->buffers[x].width, m->buffers[x].outputs);
    ADD(rms_norm, RMS_NORM, x, vector(m, s, width), out, width, number(s));
    return out;
}
static int32_t add(model *m, int32_t a, int32_t b) {
    int32_t out = buffer(m, m->buffers[a].width, 0);
    ADD(add, ADD, a, b, out);
    return out;
}

static int32_t plain_layer(model *m, source *s, const shape *f, int32_t x, int32_t table) {
    int32_t h = norm(m, s, x, f->width), wide = f->heads * f->head_dim, narrow = f->kv_heads * f->head_dim;
    int32_t q = linear(m, s, h, f->type[0], wide), k = linear(m, s, h, f->type[1], narrow), v = linear(m, s, h, f->type[2], narrow);
    int32_t qn = norm(m, s, q, f->head_dim), qr = buffer(m, wide, 0), kr = buffer(m, narrow, 0), a = buffer(m, wide, 0);
    ADD(rope, ROPE, qn, table, qr, f->head_dim, f->style);
    ADD(rope, ROPE, k, table, kr, f->head_dim, f->style);
    ADD(kv_write, KV_WRITE, kr, v, 0);
    ADD(attend, ATTEND, qr, a, 0, f->heads, number(s), number(s));
    int32_t x1 = add(m, x, linear(m, s, a, f->type[3], f->width)), h2 = norm(m, s, x1, f->width);
    int32_t gate = linear(m, s, h2, f->type[0], f->ffn), up = linear(m, s, h2, f->type[1], f->ffn), y = buffer(m, f->ffn, 0);
    ADD(glu, GLU, gate, up, y, f->act);
    int32_t x2 = add(m, x1, linear(m, s, y, f->type[2], f->width)), out = buffer(m, f->width, 0);
    ADD(scale, SCALE, x2, vector(m, s, 1), out);
    return out;
}
static int32_t fused_layer(model *m, source *s, const shape *f, int32_t x, int32_t table) {
    int32_t h = norm(m, s, x, f->width), wide = f->heads * f->head_dim, narrow = f->kv_heads * f->head_dim, e = f->head_dim;
    int32_t q = buffer(m, wide, 0), a = buffer(m, wide, 0), x1 = buffer(m, f->width, 0), x2 = buffer(m, f->width, 0);
    int32_t y = buffer(m, f->ffn, 0), out = buffer(m, f->width, 0);
    int32_t wq = tensor(m, s, f->type[0], wide, f->width), wk = tensor(m, s, f->type[1], narrow, f->width);
    int32_t wv = tensor(m, s, f->type[2], narrow, f->width);
    ADD(qkv, QKV, h, table, wq, maybe(m, s, wide), wk, maybe(m, s, narrow), wv, maybe(m, s, narrow), maybe(m, s, e), maybe(m, s, e),
        q, 1, f->heads, e, f->style, number(s));
    ADD(attend, ATTEND, q, a, 1, f->heads, number(s), number(s));
    ADD(linear_add, LINEAR_ADD, a, tensor(m, s, f->type[3], f->width, wide), maybe(m, s, f->width), x, x1);
    ADD(norm_add, NORM_ADD, x1, vector(m, s, f->width), x, x2, number(s));
    ADD(gate_up, GATE_UP, x2, tensor(m, s, f->type[0], f->ffn, f->width), tensor(m, s, f->type[1], f->ffn, f->width), y, f->act);
    ADD(linear_add, LINEAR_ADD, y, tensor(m, s, f->type[2], f->width, f->ffn), -1, x2, out);
    return out;
}

static shape shape_of(source *s, int small) {
    static const int32_t dims[] = {32, 64, 16, 96, 8, 128, 20, 256};
    shape f = {.unit = 1};
    for (int i = 0; i < 4; i++) {
        f.type[i] = small ? (below(s, 2) ? EQ_Q8_0 : EQ_F32) : i && below(s, 3) ? f.type[0] : format(s);
        int32_t block = eq_format_block(f.type[i]), unit = block > 1 && block < 32 ? 32 : block;
        if (unit > f.unit) f.unit = unit;
    }
    int32_t least = f.unit == 1 ? 9 + below(s, 60) : f.unit;
    f.width = least * (f.unit < 64 ? 1 + below(s, 2) : 1);
    f.ffn = f.unit == 1 ? 5 + below(s, 90) : f.unit * (f.unit < 64 ? 1 + below(s, 4) : 1);
    f.head_dim = dims[below(s, small ? 2 : 8)];
    f.kv_heads = 1 + below(s, 2);
    int32_t group = 1 + below(s, 3);
    while (f.kv_heads * group * f.head_dim % f.unit) group++;
    f.heads = f.kv_heads * group;
    f.rot = 2 + 2 * below(s, f.head_dim / 2);
    f.style = below(s, 2);
    f.act = below(s, 3);
    return f;
}

/* Tables with room for MOST entries; `packed` cuts them to their sizes. */
static model *build(source *s, int small) {
    model *m = memset(exact(sizeof *m), 0, sizeof *m);
    shape f = shape_of(s, small);
    for (int i = 0; i < 2; i++) m->caches[i] = (eq_cache){f.kv_heads, f.head_dim, below(s, 2) ? 1 + below(s, 80) : 0, i};
    m->p.n_caches = 2;
    m->p.chunk = CHUNK;
    m->p.reproducible = below(s, 4) == 0;
    int32_t e = buffer(m, f.width, 0), in = buffer(m, f.width, 0), table = buffer(m, f.rot, 0);
    ADD(embed, EMBED, tensor(m, s, f.type[3], VOCABULARY, f.width), e, number(s));
    ADD(rope_table, ROPE_TABLE, vector(m, s, f.rot / 2), table, number(s));
    int32_t x = fused_layer(m, s, &f, plain_layer(m, s, &f, add(m, e, in), table), table), last = buffer(m, f.width, 1);
    ADD(take_rows, TAKE_ROWS, x, last);
    int32_t logits = linear(m, s, norm(m, s, last, f.width), f.type[0], 11), out = buffer(m, 11, 1);
    ADD(softcap, SOFTCAP, logits, out, number(s));
    int32_t sums = buffer(m, 2 * f.width, EQ_ROWS_ONE);
    ADD(moments, MOMENTS, below(s, 2) ? x : last, sums);
    m->buffers[out].offset = m->buffers[sums].offset = -1;
    m->inputs[m->p.n_inputs++] = in;
    m->outputs[m->p.n_outputs++] = out;
    m->outputs[m->p.n_outputs++] = x;
    m->outputs[m->p.n_outputs++] = sums;
    return m;
}
static eq_program packed(const model *m) {
    eq_program p = m->p;
#define CUT(table) p.table = copy(m->table, p.n_##table > 0 ? (size_t)p.n_##table * sizeof *m->table : 0)
    CUT(ops), CUT(buffers), CUT(tensors), CUT(caches), CUT(inputs), CUT(outputs);
    return p;
}

/* --- running it ------------------------------------------------------------------------------------------------------- */

static char *message(void) { return memset(exact(MESSAGE), 0, MESSAGE); }
static void said(const char *text) {
    if (!*text || !memchr(text, 0, MESSAGE)) fail("refused without a message");
}
static eq_pool *pool(source *s) {
    static eq_pool *one, *three;
    if (!one) one = eq_pool_new(1, message(), MESSAGE), three = eq_pool_new(3, message(), MESSAGE);
    return below(s, 16) ? one : three;
}
static eq_exec *compiled(source *s, const eq_program *p) { /* by any variant that works here; NULL: refused */
    const char *names[8];
    int n = 0;
    for (int i = 0; eq_variants[i]; i++)
        if (eq_variants[i]->works()) names[n++] = eq_variants[i]->name;
    const char *isa = getenv("EDGEQ_FUZZ_ISA");
    char *text = message();
    eq_exec *e = eq_exec_new(p, pool(s), isa ? isa : names[below(s, n)], text, MESSAGE);
    if (!e) said(text);
    return e;
}
static eq_state *state_of(source *s, const eq_exec *e, const eq_program *p, int32_t context) {
    static const int32_t types[] = {1, 0, 8, 2};
    int32_t *rings = exact(4 * (size_t)p->n_caches), type = types[below(s, 4)];
    for (int32_t i = 0; i < p->n_caches; i++) {
        int64_t wanted = p->caches[i].window ? (int64_t)p->caches[i].window + p->chunk : context;
        rings[i] = (int32_t)((wanted < context ? wanted : context) + 63) / 64 * 64;
        if (type > 1 && p->caches[i].head_dim % 32) type = 1;
    }
    char *text = message();
    eq_state *state = eq_state_new(e, 2, context, rings, type, text, MESSAGE);
    if (!state) said(text);
    return state;
}
static int64_t rows(const eq_program *p, const eq_batch *b, int32_t handle) {
    const int32_t kind = p->buffers[handle].outputs;
    return kind == EQ_ROWS_ONE ? 1 : kind ? b->n_outputs : b->n_tokens;
}
static int32_t step(source *s, const eq_program *p, eq_exec *e, eq_state *state, const eq_batch *b) {
    const float *in[MOST];
    float *out[MOST];
    int kept = n_held, fits = b->n_tokens >= 0 && b->n_tokens <= CHUNK && b->n_outputs >= 0 && b->n_outputs <= b->n_tokens;
    for (int32_t i = 0; i < p->n_inputs; i++) {
        size_t n = fits ? 4 * (size_t)(rows(p, b, p->inputs[i]) * p->buffers[p->inputs[i]].width) : 0;
        in[i] = exact(n);
        fill(s, (void *)(uintptr_t)in[i], n);
    }
    for (int32_t i = 0; i < p->n_outputs; i++)
        out[i] = exact(fits ? 4 * (size_t)(rows(p, b, p->outputs[i]) * p->buffers[p->outputs[i]].width) : 0);
    char *text = message();
    int32_t cancel = below(s, 16) == 0, status = eq_step(e, state, b, in, out, below(s, 2) ? &cancel : NULL, text, MESSAGE);
    if (status != EQ_OK) said(text);
    if (status != EQ_OK && status != EQ_INVALID && status != EQ_CANCELLED) fail("status of a step");
    let_go(kept);
    return status;
}
static eq_batch valid_batch(source *s, int32_t tokens, int32_t context) {
    eq_batch b = {.n_tokens = tokens, .n_outputs = below(s, tokens + 1)};
    int32_t *t = exact(4 * (size_t)tokens), *p = exact(4 * (size_t)tokens), *q = exact(4 * (size_t)tokens);
    int32_t *o = exact(4 * (size_t)b.n_outputs), start = below(s, context), jump = below(s, 4);
    for (int32_t i = 0; i < tokens; i++) {
        t[i] = below(s, VOCABULARY);
        p[i] = jump ? (start + i) % context : below(s, context);
        q[i] = jump < 2 ? below(s, 2) : 0;
    }
    for (int32_t i = 0; i < b.n_outputs; i++) o[i] = below(s, tokens);
    b.tokens = t, b.positions = p, b.sequences = q, b.outputs = o;
    return b;
}
static void save_and_load(source *s, eq_state *state, int32_t context) {
    int32_t length = below(s, context + 1), kept = n_held;
    int64_t n = eq_state_snapshot_bytes(state, length);
    void *data = exact((size_t)n);
    if (eq_state_save(state, 1, length, data, n) != EQ_OK) fail("save");
    if (below(s, 2)) fill(s, data, (size_t)n);
    if (eq_state_load(state, 0, length, data, n) != EQ_OK || eq_state_copy(state, 0, 1, length) != EQ_OK) fail("load, copy");
    let_go(kept);
}
static void run(source *s, const eq_program *p, eq_exec *e, int32_t steps) {
    static const int32_t counts[] = {1, 2, 5, 16, 17, 20};
    int32_t context = below(s, 8) ? 64 + below(s, 200) : 2100;
    eq_state *state = state_of(s, e, p, context);
    for (int32_t i = 0; state && i < steps; i++) {
        int32_t tokens = counts[below(s, 6)];
        eq_batch b = valid_batch(s, tokens < p->chunk ? tokens : p->chunk, context);
        step(s, p, e, state, &b);
        if (below(s, 3) == 0 && eq_state_bytes(state) < BYTES) save_and_load(s, state, context);
    }
    eq_state_free(state);
}

/* --- targets ------------------------------------------------------------------------------------------------------------ */

static void weights(source *s) {
    eq_program p = packed(build(s, 0));
    eq_exec *e = compiled(s, &p);
    if (!e) fail("a valid program was refused");
    run(s, &p, e, 1 + below(s, 2));
    eq_exec_free(e);
    ran++;
}

static void give_back(model *m, int32_t handle) { /* makes a buffer one that the caller holds */
    m->buffers[handle].offset = -1;
    if (m->p.n_outputs >= 0 && m->p.n_outputs < 8) m->outputs[m->p.n_outputs++] = handle;
}
static void keep_some(source *s, model *m) { /* a short run of the ops */
    int32_t first = below(s, m->p.n_ops), count = 1 + below(s, 3);
    if (count > m->p.n_ops - first) count = m->p.n_ops - first;
    memmove(m->ops, m->ops + first, (size_t)count * sizeof *m->ops);
    m->p.n_ops = count;
}
static void damage(source *s, model *m) {
    eq_program *p = &m->p;
    int32_t *op = (int32_t *)&m->ops[below(s, p->n_ops)];
    eq_tensor *t = &m->tensors[below(s, p->n_tensors)];
    int32_t handle = below(s, p->n_buffers);
    eq_buffer *b = &m->buffers[handle];
    eq_cache *c = &m->caches[below(s, 2)];
    switch (below(s, 24)) {
        case 0: op[below(s, sizeof(eq_op) / 4)] = odd32(s); break;
        case 1: case 2: case 3: op[2 + below(s, sizeof m->ops->u / 4)] = below(s, MOST) - 1; break;
        case 4: op[0] = below(s, EQ_OP_COUNT + 1); break;
        case 5: memcpy(op, &m->ops[below(s, p->n_ops)], sizeof(eq_op)); break;
        case 6: t->rows = odd64(s); break;
        case 7: t->cols = odd64(s); break;
        case 8: t->type = below(s, 2) ? below(s, 64) : odd32(s); break;
        case 9: t->nbytes = below(s, 2) && t->nbytes > 0 ? t->nbytes - below(s, 40) : INT64_MIN; break;
        case 10: b->offset = below(s, 2) ? odd64(s) : below(s, 2) ? -1 : 128 * below(s, 10); break;
        case 11: b->width = odd32(s); break;
        case 12: b->outputs = below(s, 4); if (below(s, 2)) give_back(m, handle); break;
        case 13: c->kv_heads = odd32(s); break;
        case 14: c->head_dim = odd32(s); break;
        case 15: c->window = odd32(s); break;
        case 16: for (p->n_inputs = below(s, 9), op = m->inputs; op < m->inputs + 8; op++) *op = below(s, p->n_buffers + 1); break;
        case 17: for (p->n_outputs = below(s, 9), op = m->outputs; op < m->outputs + 8; op++) *op = below(s, p->n_buffers + 1); break;
        case 18: if (below(s, 2)) p->arena = odd64(s); else p->chunk = odd32(s); break;
        case 19: give_back(m, handle); break;
        case 20: case 21: keep_some(s, m); break;
        case 22: b->outputs = !b->outputs; give_back(m, handle); keep_some(s, m); break;
        default: op = &p->n_ops + below(s, 6), *op = below(s, 2) ? below(s, *op + 1) : -1 - below(s, 3) * 100; break;
    }
}
static void program(source *s) {
    model *m = build(s, below(s, 4));
    if (below(s, 8)) {
        for (int i = 1 + below(s, 6); i > 0 && m->p.n_ops > 0 && m->p.n_tensors > 0 && m->p.n_buffers > 0; i--) damage(s, m);
    } else {
        fill(s, m->ops, sizeof m->ops);
    }
    eq_program p = packed(m);
    eq_exec *e = compiled(s, &p);
    if (!e) {
        refused++;
        return;
    }
    int64_t bytes = eq_exec_bytes(e);
    for (int32_t i = 0; i < p.n_outputs; i++) bytes += 4 * (int64_t)CHUNK * p.buffers[p.outputs[i]].width;
    if (bytes < BYTES) run(s, &p, e, 1);
    eq_exec_free(e);
    ran++;
}

static int valid(const eq_batch *b, const eq_program *p, int32_t sequences, int32_t context) {
    if (b->n_tokens < 1 || b->n_tokens > p->chunk || b->n_outputs < 0 || b->n_outputs > b->n_tokens) return 0;
    for (int32_t i = 0; i < b->n_tokens; i++)
        if ((uint32_t)b->tokens[i] >= VOCABULARY || (uint32_t)b->positions[i] >= (uint32_t)context
            || (uint32_t)b->sequences[i] >= (uint32_t)sequences) return 0;
    for (int32_t i = 0; i < b->n_outputs; i++)
        if ((uint32_t)b->outputs[i] >= (uint32_t)b->n_tokens) return 0;
    return 1;
}
static int32_t *column(source *s, int32_t n, int32_t limit) {
    int32_t *values = exact(n > 0 && n <= CHUNK ? 4 * (size_t)n : 0);
    for (int32_t i = 0; n <= CHUNK && i < n; i++) values[i] = below(s, 60) ? below(s, limit) : odd32(s);
    return values;
}
static void batch(source *s) {
    eq_program p = packed(build(s, 1));
    eq_exec *e = compiled(s, &p);
    if (!e) fail("a valid program was refused");
    int32_t context = 1 + below(s, 300);
    eq_state *state = state_of(s, e, &p, context);
    for (int i = 0; i < 4; i++) {
        eq_batch b = {.n_tokens = below(s, 4) ? below(s, CHUNK + 3) : odd32(s)};
        b.n_outputs = below(s, 4) ? below(s, (b.n_tokens > 0 ? b.n_tokens % 64 : 0) + 2) : odd32(s);
        b.tokens = column(s, b.n_tokens, VOCABULARY), b.positions = column(s, b.n_tokens, context);
        b.sequences = column(s, b.n_tokens, 2), b.outputs = column(s, b.n_outputs, b.n_tokens > 0 ? b.n_tokens : 1);
        int right = valid(&b, &p, 2, context), status = step(s, &p, e, state, &b);
        if ((status == EQ_INVALID) == right) fail("a batch was refused that is right, or taken that is wrong");
        *(right ? &ran : &refused) += 1;
    }
    eq_state_free(state);
    eq_exec_free(e);
}

static void state(source *s) {
    eq_program p = packed(build(s, 1));
    eq_exec *e = compiled(s, &p);
    if (!e) fail("a valid program was refused");
    int32_t rings[2] = {below(s, 3) ? 64 * below(s, 9) : odd32(s), below(s, 3) ? 64 * below(s, 9) : odd32(s)};
    int32_t sequences = below(s, 3) ? 1 + below(s, 5) : odd32(s), context = below(s, 3) ? below(s, 600) : odd32(s);
    char *text = message();
    eq_state *made = eq_state_new(e, sequences, context, copy(rings, sizeof rings), below(s, 2) ? below(s, 3) : odd32(s), text, MESSAGE);
    if (!made) said(text);
    *(made ? &ran : &refused) += 1;
    for (int i = 0; made && eq_state_bytes(made) < BYTES && i < 6; i++) {
        int32_t length = below(s, 2) ? below(s, 700) : odd32(s), from = below(s, 3) ? below(s, 5) : odd32(s);
        int64_t n = eq_state_snapshot_bytes(made, length), given = below(s, 4) ? n : odd64(s);
        if ((n < 0) != (length < 0 || length > context)) fail("bytes of a snapshot");
        void *data = exact(n > 0 && given == n ? (size_t)n : 0);
        fill(s, data, n > 0 && given == n ? (size_t)n : 0);
        int wrong = n < 0 || given != n || from < 0 || from >= sequences, kind = below(s, 3);
        int32_t target = below(s, 5);
        int32_t status = kind == 0 ? eq_state_load(made, from, length, data, given)
                       : kind == 1 ? eq_state_save(made, from, length, data, given) : eq_state_copy(made, from, target, length);
        if (kind == 2) wrong = n < 0 || from < 0 || from >= sequences || target >= sequences;
        if ((status == EQ_INVALID) != wrong) fail("a state took what is wrong, or refused what is right");
        if (below(s, 3) == 0) {
            eq_batch b = valid_batch(s, 1 + below(s, 18), context);
            step(s, &p, e, made, &b);
        }
    }
    eq_state_free(made);
    eq_exec_free(e);
}

static void scan(source *s) {
    size_t size = (size_t)(s->end - s->at);
    uint64_t most = size / 8, count = below(s, 2) ? (uint64_t)odd64(s) : (uint64_t)below(s, 40), at = 0;
    size = (size_t)(s->end - s->at);
    const uint8_t *data = copy(s->at, size);
    uint32_t *ends = exact(4 * (size_t)(count < most ? count : most));
    int64_t found = eq_scan_strings(data, size, count, ends);
    for (int64_t i = 0; i < found; i++) {
        uint64_t n;
        memcpy(&n, data + at, 8);
        if (at + 8 + n != ends[i] || ends[i] > size) fail("the end of a string");
        at = ends[i];
    }
    uint64_t n = 0;
    if ((uint64_t)found < count && size - at >= 8 && (memcpy(&n, data + at, 8), n <= size - at - 8)) fail("a string was left out");
    uint8_t *joined = exact(size);
    int64_t written = eq_join_strings(data, size, count, '\n', joined);
    if (written != (int64_t)(at - 7 * (uint64_t)found) && (written != -1 || ((uint64_t)found == count && !memchr(data, '\n', size))))
        fail("joined strings");
    ran++;
}

static void dequantize(source *s) {
    int32_t type = below(s, 8) ? format(s) : odd32(s), block = eq_format_block(type);
    int64_t cols = below(s, 8) ? (int64_t)(block ? block : 1) * below(s, 5) : odd64(s), rows = below(s, 8) ? below(s, 6) : odd64(s);
    int64_t first = below(s, 2) ? below(s, 6) : odd64(s), wanted = below(s, 2) ? below(s, 6) : odd64(s);
    int huge = rows > BYTES || cols > BYTES || rows < -BYTES || cols < -BYTES;
    int64_t bytes = block && !huge ? rows * (cols / block) * eq_format_block_bytes(type) : 0;
    int right = block && !huge && cols >= 1 && cols % block == 0 && bytes >= 0 && bytes < BYTES && first >= 0 && wanted >= 0
                && first <= rows && wanted <= rows - first;
    size_t n = right ? (size_t)bytes : (size_t)below(s, 100);
    if (right && below(s, 8) == 0 && n > 0) n--, right = 0; /* one byte short */
    eq_tensor t = {exact(n), (int64_t)n, rows, cols, type, 0};
    fill(s, (void *)(uintptr_t)t.data, n);
    float *out = exact(right ? 4 * (size_t)(wanted * cols) : 0);
    int32_t status = eq_dequantize(&t, first, wanted, out);
    if (right && status != EQ_OK) fail("rows were refused");
    if (!right && status == EQ_OK && wanted != 0) fail("rows were read that are not there");
    *(right ? &ran : &refused) += 1;
}

static const struct { const char *name; void (*run)(source *); } targets[] = {
    {"weights", weights}, {"program", program}, {"batch", batch}, {"state", state}, {"scan", scan}, {"dequantize", dequantize},
};

static void (*chosen(void))(source *) {
    const char *name = getenv("EDGEQ_FUZZ");
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (name && strcmp(name, targets[i].name) == 0) return targets[i].run;
    fail("EDGEQ_FUZZ is none of weights, program, batch, state, scan, dequantize");
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*target)(source *);
    if (!target) target = chosen();
    source s = {data, data + size, 0x9E3779B97F4A7C15};
    for (size_t i = 0; i < size; i++) s.seed = (s.seed ^ data[i]) * 0x100000001B3 + 1;
    if (!s.seed) s.seed = 1;
    target(&s);
    let_go(0);
    return 0;
}
