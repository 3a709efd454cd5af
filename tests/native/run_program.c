/* Runs cases for the tests on a processor that Python does not run on. Requests come on stdin, answers go to stdout.
 *
 * A message is a list of blobs: a 64-bit count, then each blob's 64-bit length and bytes, all little-endian. A request's
 * first blob is its kind, one letter; the kinds are the functions below. Every blob gets memory of its exact size, so
 * that a sanitizer sees reads behind it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgeq.h"
#include "quant/formats.h"
#include "quant/half.h"
#include "scan.h"

enum { MESSAGE = 512, MOST_THREADS = 16 };

typedef struct { char *data; int64_t size; } blob;
typedef struct { blob *all; int64_t count, next; } message;

static void fail(const char *what) {
    fprintf(stderr, "run_program: %s\n", what);
    exit(1);
}
static char *room(int64_t n) {
    char *p = malloc(n > 0 ? (size_t)n : 1);
    if (!p) fail("out of memory");
    return p;
}
static void take(void *to, int64_t n) {
    if (n && fread(to, 1, (size_t)n, stdin) != (size_t)n) fail("request ends early");
}
static void give(const void *from, int64_t n) {
    if (n && fwrite(from, 1, (size_t)n, stdout) != (size_t)n) fail("nobody reads the answer");
}
static void give_blob(const void *from, int64_t n) {
    give(&n, 8);
    give(from, n);
}
static int next_message(message *m) { /* 0 at the end of the input */
    m->next = 0;
    size_t got = fread(&m->count, 1, 8, stdin);
    if (got == 0) return 0;
    if (got != 8 || m->count < 1 || m->count > 1 << 20) fail("not a request");
    m->all = (blob *)room(m->count * (int64_t)sizeof *m->all);
    for (int64_t i = 0; i < m->count; i++) {
        take(&m->all[i].size, 8);
        m->all[i].data = room(m->all[i].size);
        take(m->all[i].data, m->all[i].size);
    }
    return 1;
}
static void free_message(message *m) {
    for (int64_t i = 0; i < m->count; i++) free(m->all[i].data);
    free(m->all);
}
static blob *next(message *m) {
    if (m->next == m->count) fail("too few blobs");
    return &m->all[m->next++];
}
static void *next_exact(message *m, int64_t size) {
    blob *b = next(m);
    if (b->size != size) fail("a blob has the wrong size");
    return b->data;
}
static const char *next_name(message *m) { /* zero-terminated; NULL if empty */
    blob *b = next(m);
    if (b->size && b->data[b->size - 1]) fail("a name without its zero");
    return b->size ? b->data : NULL;
}
static void give_text(const char *text) { give_blob(text ? text : "", text ? (int64_t)strlen(text) : 0); }

/* --- r: a program, some steps ------------------------------------------------------------------------------------- */

static eq_pool *pool_of(int32_t threads) { /* pools live as long as this process */
    static eq_pool *pools[MOST_THREADS + 1];
    char text[MESSAGE] = "";
    if (threads < 1 || threads > MOST_THREADS) fail("number of threads");
    if (!pools[threads]) pools[threads] = eq_pool_new(threads, text, sizeof text);
    if (!pools[threads]) fail(text);
    return pools[threads];
}

static eq_program read_program(message *m) {
    eq_program p;
    memcpy(&p, next_exact(m, sizeof p), sizeof p);
    p.ops = next_exact(m, p.n_ops * (int64_t)sizeof *p.ops);
    p.buffers = next_exact(m, p.n_buffers * (int64_t)sizeof *p.buffers);
    eq_tensor *tensors = next_exact(m, p.n_tensors * (int64_t)sizeof *tensors);
    p.caches = next_exact(m, p.n_caches * (int64_t)sizeof *p.caches);
    p.inputs = next_exact(m, p.n_inputs * 4);
    p.outputs = next_exact(m, p.n_outputs * 4);
    for (int32_t i = 0; i < p.n_tensors; i++) tensors[i].data = next_exact(m, tensors[i].nbytes);
    p.tensors = tensors;
    return p;
}

static int64_t rows(const eq_program *p, const eq_batch *b, int32_t buffer) {
    const int32_t kind = p->buffers[buffer].outputs;
    return kind == EQ_ROWS_ONE ? 1 : kind ? b->n_outputs : b->n_tokens;
}

/* One step of the request; its outputs are given if it is the last. */
static int32_t step(message *m, const eq_program *p, eq_exec *exec, eq_state *state, int last, char *text) {
    eq_batch b;
    const int32_t *sizes = next_exact(m, 8);
    b.n_tokens = sizes[0];
    b.n_outputs = sizes[1];
    b.tokens = next_exact(m, 4 * (int64_t)b.n_tokens);
    b.positions = next_exact(m, 4 * (int64_t)b.n_tokens);
    b.sequences = next_exact(m, 4 * (int64_t)b.n_tokens);
    b.outputs = next_exact(m, 4 * (int64_t)b.n_outputs);
    const float *inputs[16];
    float *outputs[16];
    int64_t sizes_out[16];
    if (p->n_inputs > 16 || p->n_outputs > 16) fail("too many inputs or outputs");
    for (int32_t i = 0; i < p->n_inputs; i++)
        inputs[i] = next_exact(m, 4 * rows(p, &b, p->inputs[i]) * p->buffers[p->inputs[i]].width);
    for (int32_t i = 0; i < p->n_outputs; i++) {
        sizes_out[i] = 4 * rows(p, &b, p->outputs[i]) * p->buffers[p->outputs[i]].width;
        outputs[i] = (float *)room(sizes_out[i]);
    }
    int32_t status = eq_step(exec, state, &b, inputs, outputs, NULL, text, MESSAGE);
    if (last) {
        int64_t count = 3 + p->n_outputs;
        give(&count, 8);
        give_blob(&status, 4);
        give_text(text);
        give_text(eq_exec_isa(exec));
        for (int32_t i = 0; i < p->n_outputs; i++) give_blob(outputs[i], sizes_out[i]);
    } else if (status != EQ_OK) {
        fail(text);
    }
    for (int32_t i = 0; i < p->n_outputs; i++) free(outputs[i]);
    return status;
}

/* sizes (threads, sequences, context, KV type, steps), ISA, program, rings, steps
 * -> status, its message, the ISA that ran, outputs of the last step */
static void run(message *m) {
    char text[MESSAGE] = "";
    const int32_t *sizes = next_exact(m, 20);
    const char *isa = next_name(m);
    eq_program p = read_program(m);
    const int32_t *rings = next_exact(m, 4 * p.n_caches);
    eq_exec *exec = eq_exec_new(&p, pool_of(sizes[0]), isa, text, sizeof text);
    eq_state *state = exec ? eq_state_new(exec, sizes[1], sizes[2], rings, sizes[3], text, sizeof text) : NULL;
    if (!state) fail(text);
    for (int32_t i = 0; i < sizes[4]; i++) step(m, &p, exec, state, i == sizes[4] - 1, text);
    eq_state_free(state);
    eq_exec_free(exec);
}

/* --- the rest of the interface ---------------------------------------------------------------------------------------- */

/* d: tensor without its data, data -> status, float32 [rows, cols] */
static void dequantize(message *m) {
    eq_tensor t;
    memcpy(&t, next_exact(m, sizeof t), sizeof t);
    t.data = next_exact(m, t.nbytes);
    int64_t size = 4 * t.rows * t.cols, count = 2;
    float *out = (float *)room(size);
    int32_t status = eq_dequantize(&t, 0, t.rows, out);
    give(&count, 8);
    give_blob(&status, 4);
    give_blob(out, size);
    free(out);
}

/* h: float32 [n] -> the same as F16 and as BF16, uint16 [n]; every F16 as float32 [65536] */
static void halves(message *m) {
    const blob *b = next(m);
    int64_t n = b->size / 4, count = 3;
    const float *x = (const float *)(void *)b->data;
    uint16_t *f16 = (uint16_t *)room(2 * n), *bf16 = (uint16_t *)room(2 * n);
    float *all = (float *)room(4 * 65536);
    for (int64_t i = 0; i < n; i++) f16[i] = eq_to_half(x[i]), bf16[i] = eq_to_bf16(x[i]);
    for (int64_t i = 0; i < 65536; i++) all[i] = eq_half((uint16_t)i);
    give(&count, 8);
    give_blob(f16, 2 * n);
    give_blob(bf16, 2 * n);
    give_blob(all, 4 * 65536);
    free(f16);
    free(bf16);
    free(all);
}

/* s: number of strings, data -> strings that are whole, uint32 ends of those */
static void scan(message *m) {
    int64_t wanted, count = 2;
    memcpy(&wanted, next_exact(m, 8), 8);
    const blob *b = next(m);
    uint32_t *ends = (uint32_t *)room(4 * wanted);
    int64_t found = eq_scan_strings((const uint8_t *)b->data, (uint64_t)b->size, (uint64_t)wanted, ends);
    give(&count, 8);
    give_blob(&found, 8);
    give_blob(ends, 4 * found);
    free(ends);
}

/* i: names of ISAs -> build, CPU report, layout of the structs, and for each name the variant that it selects */
static void info(message *m) {
    int64_t names = m->count - m->next, count = 3 + names;
    give(&count, 8);
    give_text(eq_build_info());
    give_text(eq_cpu_report());
    give_text(eq_abi_layout());
    for (int64_t i = 0; i < names; i++) give_text(eq_isa_name(next_name(m)));
}

/* m: name of an ISA, int64 kind and rounds -> int64 products by two threads, double total */
static void measure(message *m) {
    const char *isa = next_name(m);
    int64_t given[2], count = 2;
    double total = 0.0;
    memcpy(given, next_exact(m, sizeof given), sizeof given);
    int64_t products = eq_measure_peak(pool_of(2), isa, (int32_t)given[0], given[1], &total);
    give(&count, 8);
    give_blob(&products, 8);
    give_blob(&total, 8);
}

/* e: name of an ISA, int64 type, rows, cols, float32 [rows, cols], importance float32 [cols] or nothing -> status, blocks */
static void encode(message *m) {
    const char *isa = next_name(m);
    int64_t sizes[3], count = 2;
    memcpy(sizes, next_exact(m, sizeof sizes), sizeof sizes);
    const float *x = next_exact(m, 4 * sizes[1] * sizes[2]);
    const blob *w = next(m);
    int64_t per_row = sizes[2] / eq_format_block((int)sizes[0]) * eq_format_block_bytes((int)sizes[0]);
    uint8_t *out = (uint8_t *)room(sizes[1] * per_row);
    int32_t status = eq_encode((int32_t)sizes[0], isa, x, sizes[1], sizes[2], w->size ? (const float *)(void *)w->data : NULL, out);
    give(&count, 8);
    give_blob(&status, 4);
    give_blob(out, sizes[1] * per_row);
    free(out);
}

int main(void) {
    message m;
    while (next_message(&m)) {
        switch (*(const char *)next_exact(&m, 1)) {
            case 'r': run(&m); break;
            case 'd': dequantize(&m); break;
            case 'h': halves(&m); break;
            case 's': scan(&m); break;
            case 'i': info(&m); break;
            case 'm': measure(&m); break;
            case 'e': encode(&m); break;
            default: fail("unknown kind of request");
        }
        if (m.next != m.count) fail("too many blobs");
        free_message(&m);
        fflush(stdout);
    }
    return 0;
}
