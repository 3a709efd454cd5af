/* The executor: turns a program into stages once, and runs a step of it on all threads of the pool. */
#include "exec.h"

#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "guard.h"
#include "memory.h"
#include "quant/formats.h"

/* How many weights `op` multiplies, and which; all of them by the buffer x. */
static int linear_weights(const eq_op *op, int32_t *x, int32_t *weights) {
    switch (op->kind) {
        case EQ_OP_LINEAR: *x = op->u.linear.x, weights[0] = op->u.linear.weight; return 1;
        case EQ_OP_LINEAR_ADD: *x = op->u.linear_add.x, weights[0] = op->u.linear_add.weight; return 1;
        case EQ_OP_GATE_UP: *x = op->u.gate_up.x, weights[0] = op->u.gate_up.gate, weights[1] = op->u.gate_up.up; return 2;
        case EQ_OP_QKV:
            *x = op->u.qkv.x, weights[0] = op->u.qkv.wq, weights[1] = op->u.qkv.wk, weights[2] = op->u.qkv.wv;
            return 3;
        default: return 0;
    }
}

int32_t eq_written(const eq_op *op) {
    switch (op->kind) {
        case EQ_OP_EMBED: return op->u.embed.out;
        case EQ_OP_RMS_NORM: return op->u.rms_norm.out;
        case EQ_OP_LINEAR: return op->u.linear.out;
        case EQ_OP_ROPE_TABLE: return op->u.rope_table.out;
        case EQ_OP_ROPE: return op->u.rope.out;
        case EQ_OP_ATTEND: return op->u.attend.out;
        case EQ_OP_GLU: return op->u.glu.out;
        case EQ_OP_ADD: return op->u.add.out;
        case EQ_OP_SCALE: return op->u.scale.out;
        case EQ_OP_SOFTCAP: return op->u.softcap.out;
        case EQ_OP_TAKE_ROWS: return op->u.take_rows.out;
        case EQ_OP_NORM_ADD: return op->u.norm_add.out;
        case EQ_OP_LINEAR_ADD: return op->u.linear_add.out;
        case EQ_OP_GATE_UP: return op->u.gate_up.out;
        case EQ_OP_QKV: return op->u.qkv.q;
        case EQ_OP_MOMENTS: return op->u.moments.out;
        default: return -1;
    }
}

/* Marks how `op` reads its buffers: rounded for quantized weights, as the kernels want it (EQ_READS_*), or their floats. */
static void mark_reads(const eq_exec *e, const eq_op *op, char *floats) {
    const eq_program *p = &e->program;
    int32_t x = -1, weights[3];
    const int n = linear_weights(op, &x, weights);
    for (int i = 0; i < n; i++) {
        const int32_t type = p->tensors[weights[i]].type;
        if (eq_format_group(type)) e->readers[x] |= (char)e->kernels->reads(type);
        else floats[x] = 1;
    }
#define FLOATS(x) floats[x] = 1
    switch (op->kind) {
        case EQ_OP_EMBED: case EQ_OP_ROPE_TABLE: case EQ_OP_LINEAR: case EQ_OP_GATE_UP: break;
        case EQ_OP_RMS_NORM: FLOATS(op->u.rms_norm.x); break;
        case EQ_OP_ROPE: FLOATS(op->u.rope.x), FLOATS(op->u.rope.table); break;
        case EQ_OP_KV_WRITE: FLOATS(op->u.kv_write.k), FLOATS(op->u.kv_write.v); break;
        case EQ_OP_ATTEND: FLOATS(op->u.attend.q); break;
        case EQ_OP_GLU: FLOATS(op->u.glu.gate), FLOATS(op->u.glu.up); break;
        case EQ_OP_ADD: FLOATS(op->u.add.a), FLOATS(op->u.add.b); break;
        case EQ_OP_SCALE: FLOATS(op->u.scale.x); break;
        case EQ_OP_SOFTCAP: FLOATS(op->u.softcap.x); break;
        case EQ_OP_TAKE_ROWS: FLOATS(op->u.take_rows.x); break;
        case EQ_OP_NORM_ADD: FLOATS(op->u.norm_add.x), FLOATS(op->u.norm_add.residual); break;
        case EQ_OP_LINEAR_ADD: FLOATS(op->u.linear_add.residual); break;
        case EQ_OP_QKV: FLOATS(op->u.qkv.table); break;
        case EQ_OP_MOMENTS: FLOATS(op->u.moments.x); break;
        default: memset(floats, 1, (size_t)p->n_buffers); /* whatever it reads is there */
    }
#undef FLOATS
}

/* Whether an op's threads write rows in parts. */
static int writes_parts(const eq_op *op) { return op->kind == EQ_OP_GATE_UP || op->kind == EQ_OP_ATTEND; }

/* Whether an op can round what it writes in the same pass: it owns whole groups of 32. */
static int rounds_itself(const eq_program *p, const eq_op *op) {
    switch (op->kind) {
        case EQ_OP_RMS_NORM: case EQ_OP_NORM_ADD: case EQ_OP_GLU: case EQ_OP_GATE_UP: case EQ_OP_TAKE_ROWS: return 1;
        case EQ_OP_ATTEND: return p->caches[op->u.attend.cache].head_dim % 32 == 0;
        default: return 0;
    }
}

static int plan(eq_exec *e) {
    const eq_program *p = &e->program;
    e->stages = calloc(2 * (size_t)p->n_ops + (size_t)p->n_inputs + 1, sizeof *e->stages);
    e->readers = calloc((size_t)p->n_buffers + 1, 1);
    char *floats = calloc((size_t)p->n_buffers + 1, 1); /* whether they are read */
    if (!e->stages || !e->readers || !floats) {
        free(floats);
        return EQ_MEMORY;
    }
    for (int32_t i = 0; i < p->n_outputs; i++) floats[p->outputs[i]] = 1;
    for (int32_t i = 0; i < p->n_ops; i++) mark_reads(e, &p->ops[i], floats);
    for (int32_t i = 0; i < p->n_inputs; i++)
        if (e->readers[p->inputs[i]]) e->stages[e->n_stages++] = (eq_stage){NULL, 0, p->inputs[i], 1, 0};
    for (int32_t i = 0; i < p->n_ops; i++) {
        int32_t out = eq_written(&p->ops[i]), rounds = out >= 0 && e->readers[out] ? out : -1;
        int itself = rounds >= 0 && rounds_itself(p, &p->ops[i]);
        int few_later = itself && writes_parts(&p->ops[i]) && e->readers[out] & EQ_READS_LONG;
        e->stages[e->n_stages++] = (eq_stage){&p->ops[i], i, itself ? rounds : -1, out < 0 || floats[out] || !itself, few_later};
        if (rounds >= 0 && (!itself || few_later)) e->stages[e->n_stages++] = (eq_stage){NULL, i, rounds, 1, few_later};
    }
    free(floats);
    return EQ_OK;
}

static void *copied(const void *from, int64_t count, int64_t size) {
    void *to = malloc((size_t)(count * size) + 1);
    if (to && count) memcpy(to, from, (size_t)(count * size));
    return to;
}

static int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static int64_t claims_row(const eq_exec *e) { return padded(e->n_stages, 64 / (int64_t)sizeof(atomic_int)); }

/* Rows that kernels for few tokens can be given. */
static int64_t quad_rows(const eq_exec *e) { return e->program.reproducible ? e->rows : EQ_SMALL_BATCH; }

int64_t eq_tile_bytes(const eq_exec *e) {
    int64_t rows = e->max_head_dim > 2 * EQ_ROW_STEP ? e->max_head_dim : 2 * EQ_ROW_STEP;
    int64_t linear = rows * e->rows + EQ_SMALL_BATCH * (int64_t)e->max_head_dim, attention = (int64_t)EQ_MAX_QUERIES * e->max_head_dim;
    return padded(4 * (linear > attention ? linear : attention), 64);
}

eq_exec *eq_exec_new(const eq_program *program, eq_pool *pool, const char *isa, char *message, int64_t message_size) {
    const eq_kernels *kernels = eq_select(isa);
    if (!kernels) {
        snprintf(message, (size_t)message_size, "ISA %s: not known, or this processor cannot run it", isa ? isa : "(any)");
        return NULL;
    }
    if (eq_check_program(program, kernels, message, message_size) != EQ_OK) return NULL;
    eq_exec *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->program = *program;
    e->pool = pool;
    e->kernels = kernels;
    eq_program *p = &e->program;
    p->ops = copied(program->ops, p->n_ops, sizeof *p->ops);
    p->buffers = copied(program->buffers, p->n_buffers, sizeof *p->buffers);
    p->tensors = copied(program->tensors, p->n_tensors, sizeof *p->tensors);
    p->caches = copied(program->caches, p->n_caches, sizeof *p->caches);
    p->inputs = copied(program->inputs, p->n_inputs, 4);
    p->outputs = copied(program->outputs, p->n_outputs, 4);
    int ok = p->ops && p->buffers && p->tensors && p->caches && p->inputs && p->outputs && plan(e) == EQ_OK;
    for (int32_t i = 0; ok && i < p->n_ops; i++) {
        if (p->ops[i].kind != EQ_OP_ATTEND) continue;
        int32_t heads = p->ops[i].u.attend.heads, group = heads / p->caches[p->ops[i].u.attend.cache].kv_heads;
        if (heads > e->max_heads) e->max_heads = heads;
        if (group > e->max_group) e->max_group = group;
    }
    for (int32_t i = 0; ok && i < p->n_caches; i++)
        if (p->caches[i].head_dim > e->max_head_dim) e->max_head_dim = p->caches[i].head_dim;
    e->rows = padded(p->chunk, 64);
    e->arena_bytes = padded(p->arena, 32) * e->rows * (4 + 2) + padded(p->arena, 32) / 32 * e->rows * 24 + 4096
                     + (padded(p->arena, 128) / 128 + 1) * quad_rows(e) * EQ_QUADS_ROOM;
    int64_t attend = EQ_ATTEND_SCRATCH(e->max_head_dim) + EQ_MAX_QUERIES * ((int64_t)e->max_head_dim * 4 + 64);
    int64_t extra = attend > EQ_LINEAR_SCRATCH ? attend : EQ_LINEAR_SCRATCH;
    e->thread_bytes = eq_tile_bytes(e) + padded(extra, 64) + 4096;
    e->max_segments = 1 + (int32_t)((1 << 20) / EQ_SEGMENT);
    e->partial_bytes = (int64_t)EQ_SMALL_BATCH * e->max_heads * e->max_segments * (e->max_head_dim + 2) * 4;
    e->n_finished = (int64_t)EQ_SMALL_BATCH * (e->max_heads + 1);
    if (ok) {
        e->arena = eq_pages_new(e->arena_bytes);
        e->threads_bytes = e->thread_bytes * eq_pool_threads(pool);
        e->threads = eq_pages_new(e->threads_bytes);
        e->partial = eq_pages_new(e->partial_bytes + 64);
        e->buffers = calloc((size_t)p->n_buffers + 1, sizeof *e->buffers);
        e->spans = calloc((size_t)p->chunk + 1, sizeof *e->spans);
        e->claims = calloc((size_t)(eq_pool_threads(pool) + 1) * (size_t)claims_row(e), sizeof *e->claims);
        e->finished = calloc((size_t)e->n_finished, sizeof *e->finished);
        ok = e->arena && e->threads && e->partial && e->buffers && e->spans && e->claims && e->finished;
    }
    if (ok) return e;
    snprintf(message, (size_t)message_size, "no memory for %lld bytes of buffers",
             (long long)(e->arena_bytes + e->thread_bytes * eq_pool_threads(pool)));
    eq_exec_free(e);
    return NULL;
}

void eq_exec_free(eq_exec *e) {
    if (!e) return;
    eq_program *p = &e->program;
    const void *copies[] = {p->ops, p->buffers, p->tensors, p->caches, p->inputs, p->outputs};
    for (int i = 0; i < 6; i++) free((void *)(uintptr_t)copies[i]);
    eq_pages_free(e->arena, e->arena_bytes);
    eq_pages_free(e->threads, e->threads_bytes); /* the pool may be gone by now */
    eq_pages_free(e->partial, e->partial_bytes + 64);
    free(e->stages);
    free(e->readers);
    free(e->buffers);
    free(e->spans);
    free(e->claims);
    free(e->finished);
    free(e);
}

void eq_exec_watch(eq_exec *e, int64_t *nanoseconds) { e->watch = nanoseconds; }
const char *eq_exec_isa(const eq_exec *e) { return e->kernels->name; }
int64_t eq_exec_bytes(const eq_exec *e) { return e->arena_bytes + e->thread_bytes * eq_pool_threads(e->pool); }
atomic_int *eq_claims(const eq_exec *e, int32_t thread) {
    char *aligned = (char *)(((uintptr_t)e->claims + 63) / 64 * 64);
    return (atomic_int *)(void *)aligned + thread * claims_row(e);
}
char *eq_thread_scratch(const eq_exec *e, int32_t thread) { return e->threads + thread * e->thread_bytes; }

eq_act eq_rounded(const eq_step_context *c, int32_t buffer) {
    const eq_exec *e = c->exec;
    const eq_buffer *b = &e->program.buffers[buffer];
    int64_t floats = padded(e->program.arena, 32) * e->rows, at = b->offset * e->rows;
    char *q = e->arena + 4 * floats;
    int32_t rows = eq_rows_of(c, buffer);
    float *scale = (float *)(q + 2 * floats) + at / 32, *sum = (float *)(q + 2 * floats) + floats / 32 + at / 16;
    float *sum32 = scale + 3 * (floats / 32), *lost = sum32 + floats / 32, *power = lost + floats / 32;
    int8_t *quads = (int8_t *)(q + 2 * floats + 24 * (floats / 32)) + b->offset / 128 * quad_rows(e) * EQ_QUADS_ROOM;
    eq_act a = {c->buffers[buffer], (int16_t *)q + at, scale, sum, sum32, lost, power, quads, rows, b->width, 0, 0, b->width};
    a.packed = rows > EQ_SMALL_BATCH && !e->program.reproducible;
    a.readers = e->readers[buffer];
    return a;
}

/* Between two stages: those of one row that lie between them, and weights that the thread will read first. */
typedef struct {
    eq_step_context *c;
    int32_t first, next, thread, asks; /* asks: whether `ahead` and `end` are still to be found, by those who wait */
    const char *ahead, *end;
} between_stages;

static void one_row_stages(void *argument) {
    const between_stages *b = argument;
    for (int32_t i = b->first; i < b->next; i++) eq_run_stage(b->c, i, b->thread);
}

static int ask_ahead(void *argument) {
    between_stages *b = argument;
    if (b->asks) eq_first_weights(b->c, b->next, b->thread, &b->ahead, &b->end);
    b->asks = 0;
    for (int i = 0; i < 4 && b->ahead < b->end; i++, b->ahead += 64) EQ_PREFETCH(b->ahead);
    return b->ahead < b->end;
}

static void work(eq_step_context *c, int32_t thread) {
    between_stages b = {c, 0, 0, thread, 0, NULL, NULL};
    const eq_between between = {one_row_stages, ask_ahead, &b};
    int few = c->batch->n_tokens <= EQ_SMALL_BATCH;
    uint64_t mode = eq_cpu_flush_denormals();
    for (int32_t i = 0; i < c->exec->n_stages; i = b.next) {
        b.first = b.next = i + 1;
        while (b.next < c->exec->n_stages && eq_is_one_row(c, b.next)) b.next++;
        int64_t *watch = thread == 0 && c->exec->watch ? c->exec->watch + 2 * c->exec->stages[i].op_index : NULL;
        int64_t began = watch ? eq_cpu_nanoseconds() : 0;
        eq_run_stage(c, i, thread);
        int64_t worked = watch ? eq_cpu_nanoseconds() : 0;
        if (thread == 0 && c->cancel && *(const volatile int32_t *)c->cancel) atomic_store(&c->stop_after, i);
        b.asks = few;
        eq_pool_barrier(c->exec->pool, &between);
        if (watch) watch[0] += worked - began, watch[1] += eq_cpu_nanoseconds() - worked;
        if (atomic_load(&c->stop_after) <= i) break;
    }
    eq_cpu_restore(mode);
}

/* Neighbouring tokens of one sequence, as long as attention's jobs allow; single tokens in a small batch. */
static void find_spans(eq_step_context *c) {
    const eq_batch *b = c->batch;
    int32_t group = c->exec->max_group > 0 ? c->exec->max_group : 1;
    int32_t most = b->n_tokens <= EQ_SMALL_BATCH || group >= EQ_MAX_QUERIES ? 1 : EQ_MAX_QUERIES / group;
    if (most > 32) most = 32;
    for (int32_t t = 0; t < b->n_tokens;) {
        int32_t n = 1;
        while (n < most && t + n < b->n_tokens && b->sequences[t + n] == b->sequences[t]
               && b->positions[t + n] == b->positions[t] + n) n++;
        c->spans[c->n_spans++] = (eq_span){t, n, b->sequences[t]};
        t += n;
    }
}

static int32_t check_batch(const eq_exec *e, const eq_state *s, const eq_batch *b, char *message, int64_t size) {
    if (s->exec != e || b->n_tokens < 1 || b->n_tokens > e->program.chunk || b->n_outputs < 0 || b->n_outputs > b->n_tokens) {
        snprintf(message, (size_t)size, "batch of %d tokens and %d outputs: expected 1 to %d, for a state of this program",
                 (int)b->n_tokens, (int)b->n_outputs, (int)e->program.chunk);
        return EQ_INVALID;
    }
    int64_t vocabulary = INT32_MAX; /* of the smallest table */
    for (int32_t i = 0; i < e->program.n_ops; i++) {
        const eq_op *op = &e->program.ops[i];
        if (op->kind == EQ_OP_EMBED && e->program.tensors[op->u.embed.table].rows < vocabulary)
            vocabulary = e->program.tensors[op->u.embed.table].rows;
    }
    for (int32_t t = 0; t < b->n_tokens; t++)
        if (b->positions[t] < 0 || b->positions[t] >= s->context || b->sequences[t] < 0 || b->sequences[t] >= s->sequences
            || b->tokens[t] < 0 || b->tokens[t] >= vocabulary) {
            snprintf(message, (size_t)size, "batch, row %d: token %d, position %d, sequence %d; limits %lld, %d, %d", (int)t,
                     (int)b->tokens[t], (int)b->positions[t], (int)b->sequences[t], (long long)vocabulary, (int)s->context,
                     (int)s->sequences);
            return EQ_INVALID;
        }
    for (int32_t i = 0; i < b->n_outputs; i++)
        if (b->outputs[i] < 0 || b->outputs[i] >= b->n_tokens) {
            snprintf(message, (size_t)size, "batch: wanted row %d of %d", (int)b->outputs[i], (int)b->n_tokens);
            return EQ_INVALID;
        }
    return EQ_OK;
}

typedef struct {
    eq_step_context context;
    const float *const *inputs;
    float *const *outputs;
} eq_step_call;

static size_t row_bytes(const eq_step_context *c, int32_t buffer) {
    return (size_t)eq_rows_of(c, buffer) * (size_t)c->exec->program.buffers[buffer].width * 4;
}

/* On every thread of the pool; what only the caller does happens while the others wait at the first barrier. */
static void step(void *argument, int32_t thread, int32_t threads) {
    eq_step_call *call = argument;
    eq_step_context *c = &call->context;
    const eq_program *p = &c->exec->program;
    if (thread == 0) {
        for (int32_t i = 0; i < p->n_buffers; i++)
            c->buffers[i] = p->buffers[i].offset < 0 ? NULL : (float *)c->exec->arena + p->buffers[i].offset * c->exec->rows;
        for (int32_t i = 0; i < p->n_outputs; i++)
            if (p->buffers[p->outputs[i]].offset < 0) c->buffers[p->outputs[i]] = call->outputs[i];
        find_spans(c);
        for (int32_t i = 0; i < p->n_inputs; i++) memcpy(c->buffers[p->inputs[i]], call->inputs[i], row_bytes(c, p->inputs[i]));
        for (int32_t t = 0; t < threads; t++)
            for (int32_t i = 0; i < c->exec->n_stages; i++)
                atomic_store_explicit(eq_claims(c->exec, t) + i, 0, memory_order_relaxed);
        memset(c->exec->finished, 0, (size_t)c->exec->n_finished * sizeof *c->exec->finished);
    }
    eq_pool_barrier(c->exec->pool, NULL);
    work(c, thread);
    if (thread == 0)
        for (int32_t i = 0; i < p->n_outputs; i++)
            if (c->buffers[p->outputs[i]] != call->outputs[i])
                memcpy(call->outputs[i], c->buffers[p->outputs[i]], row_bytes(c, p->outputs[i]));
}

int32_t eq_step(eq_exec *e, eq_state *state, const eq_batch *batch, const float *const *inputs, float *const *outputs,
                const int32_t *cancel, char *message, int64_t message_size) {
    int32_t status = check_batch(e, state, batch, message, message_size);
    if (status != EQ_OK) return status;
    eq_step_call call = {{e, state, batch, e->buffers, e->spans, 0, cancel, 0}, inputs, outputs};
    atomic_init(&call.context.stop_after, INT32_MAX);
    eq_pool_run(e->pool, step, &call);
    for (int32_t i = 0; i < e->program.n_tensors; i++)
        if (eq_guard_hit_at(e->program.tensors[i].data)) {
            snprintf(message, (size_t)message_size, "the model file changed or shrank while it was in use");
            return EQ_FILE_CHANGED;
        }
    if (atomic_load(&call.context.stop_after) == INT32_MAX) return EQ_OK;
    snprintf(message, (size_t)message_size, "the step was cancelled");
    return EQ_CANCELLED;
}

int32_t eq_dequantize(const eq_tensor *t, int64_t first_row, int64_t rows, float *out) {
    int64_t block = eq_format_block(t->type);
    if (block == 0 || t->cols < 1 || t->cols % block) return EQ_INVALID;
    if (first_row < 0 || rows < 0 || rows > t->rows || first_row > t->rows - rows) return EQ_INVALID;
    int64_t row_bytes = eq_size(t->cols / block, eq_format_block_bytes(t->type), 0), bytes = eq_size(t->rows, row_bytes, 0);
    if (bytes < 0 || bytes > t->nbytes) return EQ_INVALID;
    for (int64_t r = 0; r < rows; r++)
        if (eq_dequantize_row(t->type, (const char *)t->data + (first_row + r) * row_bytes, t->cols, out + r * t->cols) != 0)
            return EQ_INVALID;
    return EQ_OK;
}
