/* A program is checked once, whoever made it: after this, no op reads or writes outside of what it was given. */
#include <stdio.h>
#include <string.h>

#include "exec.h"
#include "memory.h"
#include "quant/formats.h"

#define MOST_ENTRIES (1 << 24) /* of a table of the program */
#define MOST_HEADS 4096        /* of an attention: units of work are counted in 32 bits */

typedef struct {
    const eq_program *p;
    const eq_kernels *k;
    char *message;
    int64_t size;
    int32_t op;
    int32_t failed;
} check;

static void wrong(check *c, const char *what, int64_t found, int64_t expected) {
    if (c->failed) return;
    c->failed = 1;
    snprintf(c->message, (size_t)c->size, "program op %d: %s is %lld, expected %lld", (int)c->op, what, (long long)found,
             (long long)expected);
}
static void expect(check *c, const char *what, int64_t found, int64_t expected) {
    if (found != expected) wrong(c, what, found, expected);
}
static int64_t buffer(check *c, int32_t handle) { /* its width, or 0 */
    if (handle >= 0 && handle < c->p->n_buffers) return c->p->buffers[handle].width;
    wrong(c, "buffer handle", handle, c->p->n_buffers - 1);
    return 0;
}
static void has_rows(check *c, int32_t handle, int32_t rows) {
    if (buffer(c, handle)) expect(c, "kind of rows", c->p->buffers[handle].outputs, rows);
}
static void by_token(check *c, int32_t handle) { /* ops that go by the tokens of a step; fewer outputs would not hold them */
    has_rows(c, handle, EQ_ROWS_TOKENS);
}
static void like(check *c, int32_t a, int32_t b) {
    if (buffer(c, a) && buffer(c, b)) {
        expect(c, "width", c->p->buffers[a].width, c->p->buffers[b].width);
        expect(c, "kind of rows", c->p->buffers[a].outputs, c->p->buffers[b].outputs);
    }
}
static const eq_tensor *tensor(check *c, int32_t handle) {
    if (handle >= 0 && handle < c->p->n_tensors) return &c->p->tensors[handle];
    wrong(c, "tensor handle", handle, c->p->n_tensors - 1);
    return NULL;
}
static void vector(check *c, int32_t handle, int64_t n) { /* float32 [n] */
    const eq_tensor *t = tensor(c, handle);
    if (!t) return;
    expect(c, "type of a vector", t->type, EQ_F32);
    expect(c, "length of a vector", t->rows * t->cols, n);
}
static void optional(check *c, int32_t handle, int64_t n) {
    if (handle != -1) vector(c, handle, n);
}
static void matrix(check *c, int32_t handle, int64_t rows, int64_t cols) {
    const eq_tensor *t = tensor(c, handle);
    if (!t) return;
    expect(c, "rows of a weight", t->rows, rows);
    expect(c, "columns of a weight", t->cols, cols);
    if (!c->k->linear(t->type, 0)) wrong(c, "type of a weight (no linear has it)", t->type, EQ_F32);
    if (eq_format_group(t->type) && cols % 32) wrong(c, "columns of a quantized weight modulo 32", cols % 32, 0);
}
static void product(check *c, int32_t weight, int32_t x, int64_t rows) { /* rows of a weight times a buffer */
    matrix(c, weight, rows, buffer(c, x));
    if (!c->failed && eq_format_group(c->p->tensors[weight].type) && c->p->buffers[x].offset < 0)
        wrong(c, "offset of a buffer that is rounded", c->p->buffers[x].offset, 0); /* only the arena has room for that */
}
static void linear(check *c, int32_t weight, int32_t bias, int32_t x, int32_t out) {
    product(c, weight, x, buffer(c, out));
    optional(c, bias, buffer(c, out));
    if (!c->failed) expect(c, "kind of rows", c->p->buffers[x].outputs, c->p->buffers[out].outputs);
}
static const eq_cache *cache(check *c, int32_t handle) {
    if (handle >= 0 && handle < c->p->n_caches) return &c->p->caches[handle];
    wrong(c, "cache handle", handle, c->p->n_caches - 1);
    return NULL;
}
static void turning(check *c, int32_t table, int32_t head_dim, int32_t style) {
    int64_t rot = buffer(c, table);
    by_token(c, table);
    if (rot % 2 || rot > head_dim) wrong(c, "width of a rotary table", rot, head_dim);
    if (style != 0 && style != 1) wrong(c, "rotary style", style, 1);
}

static void check_attend(check *c, const eq_op_attend *o) {
    const eq_cache *k = cache(c, o->cache);
    like(c, o->q, o->out);
    by_token(c, o->out);
    if (!k || !buffer(c, o->q)) return;
    expect(c, "width of the queries", c->p->buffers[o->q].width, (int64_t)o->heads * k->head_dim);
    if (o->heads > MOST_HEADS) wrong(c, "query heads", o->heads, MOST_HEADS);
    if (o->heads < 1 || o->heads % k->kv_heads) wrong(c, "query heads modulo key/value heads", o->heads % k->kv_heads, 0);
}

static void check_op(check *c, const eq_op *op) {
    switch (op->kind) {
        case EQ_OP_EMBED: matrix(c, op->u.embed.table, tensor(c, op->u.embed.table) ? c->p->tensors[op->u.embed.table].rows : 0,
                                 buffer(c, op->u.embed.out)); by_token(c, op->u.embed.out); break;
        case EQ_OP_RMS_NORM: {
            const eq_op_rms_norm *o = &op->u.rms_norm;
            like(c, o->x, o->out);
            vector(c, o->weight, o->width);
            if (o->width < 1 || buffer(c, o->x) % o->width) wrong(c, "norm width", o->width, buffer(c, o->x));
            break;
        }
        case EQ_OP_LINEAR: linear(c, op->u.linear.weight, op->u.linear.bias, op->u.linear.x, op->u.linear.out); break;
        case EQ_OP_LINEAR_ADD: {
            const eq_op_linear_add *o = &op->u.linear_add;
            linear(c, o->weight, o->bias, o->x, o->out);
            like(c, o->residual, o->out);
            break;
        }
        case EQ_OP_ROPE_TABLE: vector(c, op->u.rope_table.freqs, buffer(c, op->u.rope_table.out) / 2);
                               by_token(c, op->u.rope_table.out); break;
        case EQ_OP_ROPE: {
            const eq_op_rope *o = &op->u.rope;
            like(c, o->x, o->out);
            by_token(c, o->out);
            turning(c, o->table, o->head_dim, o->style);
            if (o->head_dim < 1 || buffer(c, o->x) % o->head_dim) wrong(c, "head width", o->head_dim, buffer(c, o->x));
            break;
        }
        case EQ_OP_KV_WRITE: {
            const eq_op_kv_write *o = &op->u.kv_write;
            const eq_cache *k = cache(c, o->cache);
            like(c, o->k, o->v);
            by_token(c, o->k);
            if (k) expect(c, "width of the keys", buffer(c, o->k), (int64_t)k->kv_heads * k->head_dim);
            break;
        }
        case EQ_OP_ATTEND: check_attend(c, &op->u.attend); break;
        case EQ_OP_GLU: like(c, op->u.glu.gate, op->u.glu.out); like(c, op->u.glu.up, op->u.glu.out); break;
        case EQ_OP_ADD: like(c, op->u.add.a, op->u.add.out); like(c, op->u.add.b, op->u.add.out); break;
        case EQ_OP_SCALE: like(c, op->u.scale.x, op->u.scale.out); vector(c, op->u.scale.scale, 1); break;
        case EQ_OP_SOFTCAP: like(c, op->u.softcap.x, op->u.softcap.out); break;
        case EQ_OP_TAKE_ROWS: expect(c, "width", buffer(c, op->u.take_rows.x), buffer(c, op->u.take_rows.out));
                              by_token(c, op->u.take_rows.x);
                              has_rows(c, op->u.take_rows.out, EQ_ROWS_OUTPUTS); break;
        case EQ_OP_NORM_ADD: {
            const eq_op_norm_add *o = &op->u.norm_add;
            like(c, o->x, o->out);
            like(c, o->residual, o->out);
            vector(c, o->weight, buffer(c, o->out));
            break;
        }
        case EQ_OP_GATE_UP: linear(c, op->u.gate_up.gate, -1, op->u.gate_up.x, op->u.gate_up.out);
                            linear(c, op->u.gate_up.up, -1, op->u.gate_up.x, op->u.gate_up.out); break;
        case EQ_OP_QKV: {
            const eq_op_qkv *o = &op->u.qkv;
            const eq_cache *k = cache(c, o->cache);
            if (!k) break;
            int64_t q = (int64_t)o->heads * o->head_dim, kv = (int64_t)k->kv_heads * k->head_dim;
            expect(c, "head width", o->head_dim, k->head_dim);
            expect(c, "width of the queries", buffer(c, o->q), q);
            if (o->heads > MOST_HEADS) wrong(c, "query heads", o->heads, MOST_HEADS);
            by_token(c, o->x), by_token(c, o->q);
            product(c, o->wq, o->x, q), product(c, o->wk, o->x, kv), product(c, o->wv, o->x, kv);
            optional(c, o->bq, q), optional(c, o->bk, kv), optional(c, o->bv, kv);
            optional(c, o->q_norm, o->head_dim), optional(c, o->k_norm, o->head_dim);
            turning(c, o->table, o->head_dim, o->style);
            break;
        }
        case EQ_OP_MOMENTS: expect(c, "width", buffer(c, op->u.moments.out), 2 * buffer(c, op->u.moments.x));
                            has_rows(c, op->u.moments.out, EQ_ROWS_ONE); break;
        default: wrong(c, "kind", op->kind, EQ_OP_COUNT - 1);
    }
}

static void check_table(check *c, const char *what, int32_t count, const void *entries) {
    if (count < 0 || count > MOST_ENTRIES || (count > 0 && !entries)) wrong(c, what, count, entries ? MOST_ENTRIES : 0);
}
static void check_sizes(check *c) {
    const eq_program *p = c->p;
    check_table(c, "number of ops", p->n_ops, p->ops);
    check_table(c, "number of buffers", p->n_buffers, p->buffers);
    check_table(c, "number of tensors", p->n_tensors, p->tensors);
    check_table(c, "number of caches", p->n_caches, p->caches);
    check_table(c, "number of inputs", p->n_inputs, p->inputs);
    check_table(c, "number of outputs", p->n_outputs, p->outputs);
    if (p->chunk < 1 || p->chunk > 1 << 16) wrong(c, "chunk", p->chunk, 512);
    if (p->arena < 0 || p->arena > (int64_t)1 << 40) wrong(c, "arena", p->arena, 1);
}
static void check_buffer(check *c, int32_t handle) {
    const eq_buffer *b = &c->p->buffers[handle];
    if (b->width < 1 || b->width > 1 << 30) wrong(c, "width of a buffer", b->width, 1);
    if (b->outputs < EQ_ROWS_TOKENS || b->outputs > EQ_ROWS_ONE) wrong(c, "kind of rows", b->outputs, EQ_ROWS_ONE);
    if (b->offset >= 0 && (b->offset % 128 || b->offset > c->p->arena - b->width)) wrong(c, "offset of a buffer", b->offset, 0);
    int returned = 0;
    for (int32_t i = 0; i < c->p->n_outputs; i++) returned |= c->p->outputs[i] == handle;
    if (b->offset < -1 || (b->offset == -1 && !returned)) wrong(c, "offset of a buffer", b->offset, 0);
}
static void check_tensor(check *c, const eq_tensor *t) {
    int64_t block = eq_format_block(t->type), blocks = eq_size(t->rows, block ? t->cols / block : -1, 0);
    int64_t bytes = eq_size(blocks, eq_format_block_bytes(t->type), 0);
    if (!block || t->rows < 1 || t->cols < 1 || t->cols % block) wrong(c, "type or shape of a tensor", t->type, 0);
    else if (bytes < 0 || bytes > t->nbytes || !t->data) wrong(c, "bytes of a tensor", t->nbytes, bytes);
    else if (eq_size(t->rows, t->cols, 0) < 0) wrong(c, "rows of a tensor", t->rows, 1);
    else if (block == 1 && (uintptr_t)t->data % (uintptr_t)eq_format_block_bytes(t->type))
        wrong(c, "address of a tensor of floats, modulo their size", (int64_t)((uintptr_t)t->data % 4), 0);
}
static void check_cache(check *c, const eq_cache *k) {
    if (k->kv_heads < 1 || k->kv_heads > MOST_HEADS) wrong(c, "heads of a cache", k->kv_heads, MOST_HEADS);
    if (k->head_dim < 1 || k->head_dim > EQ_MAX_HEAD) wrong(c, "head width of a cache", k->head_dim, EQ_MAX_HEAD);
    if (k->window < 0) wrong(c, "window of a cache", k->window, 0);
}

int32_t eq_check_program(const eq_program *p, const eq_kernels *k, char *message, int64_t message_size) {
    check c = {p, k, message, message_size, -1, 0};
    check_sizes(&c);
    for (int32_t i = 0; i < p->n_buffers && !c.failed; i++) check_buffer(&c, i);
    for (int32_t i = 0; i < p->n_tensors && !c.failed; i++) check_tensor(&c, &p->tensors[i]);
    for (int32_t i = 0; i < p->n_caches && !c.failed; i++) check_cache(&c, &p->caches[i]);
    for (int32_t i = 0; i < p->n_inputs && !c.failed; i++)
        if (!buffer(&c, p->inputs[i]) || p->buffers[p->inputs[i]].offset < 0) wrong(&c, "input buffer", p->inputs[i], 0);
    for (int32_t i = 0; i < p->n_outputs && !c.failed; i++) buffer(&c, p->outputs[i]);
    for (c.op = 0; c.op < p->n_ops && !c.failed; c.op++) check_op(&c, &p->ops[c.op]);
    return c.failed ? EQ_INVALID : EQ_OK;
}
