/* Calls every kernel of every variant that this processor can run on buffers of the exact size: malloc under a
 * sanitizer, else memory that ends where a page begins that nobody may touch. Prints how many calls each variant passed;
 * what they compute is tested elsewhere, here every output only has to be written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "quant/formats.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

enum { MOST = 32 };
static struct { void *start; size_t size; } held[MOST]; /* buffers of the call that is made */
static int n_held, calls;

#ifdef __SANITIZE_ADDRESS__
static void *fenced(size_t n) { return malloc(n); }
static void unfence(void *p, size_t n) { (void)n, free(p); }
#else
#include <sys/mman.h>
enum { PAGE = 65536 }; /* the largest that aarch64 has */
static size_t pages(size_t n) { return (n + PAGE - 1) / PAGE * PAGE; }
static void *fenced(size_t n) {
    char *p = mmap(NULL, pages(n) + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + pages(n), PAGE, PROT_NONE) != 0) return NULL;
    return p + pages(n) - n;
}
static void unfence(void *p, size_t n) { munmap((char *)p + n - pages(n), pages(n) + PAGE); }
#endif

static void *buffer(int64_t bytes) {
    size_t n = (size_t)bytes;
    void *p = n_held < MOST ? fenced(n) : NULL;
    if (!p) exit(2);
    held[n_held].start = p;
    held[n_held++].size = n;
    memset(p, 0x5A, n);
    return p;
}
static float *floats(int64_t n) { /* in [-1, 1) */
    float *x = buffer(4 * n);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(rand() % 2000 - 1000) / 1000.0f;
    return x;
}
static void written(const float *x, int64_t n, const char *what) {
    for (int64_t i = 0; i < n; i++)
        if (memcmp(x + i, "ZZZZ", 4) == 0) {
            printf("%s: entry %d was not written\n", what, (int)i);
            exit(1);
        }
}
static void done(void) {
    while (n_held > 0) {
        n_held--;
        unfence(held[n_held].start, held[n_held].size);
    }
    calls++;
}

/* Rows [first, rows) of a weight whose last row ends where its memory does. */
static void linear(const eq_kernels *k, int type, int packed, int64_t first, int64_t rows, int64_t cols, int32_t tokens) {
    int64_t bytes = rows * (cols / eq_format_block(type)) * eq_format_block_bytes(type);
    int64_t block = packed ? k->token_block : 1, room = (tokens + block - 1) / block * block * cols;
    uint8_t *data = buffer(bytes);
    for (int64_t i = 0; i < bytes; i++) data[i] = (uint8_t)(rand() >> 7);
    eq_tensor w = {data, bytes, rows, cols, type, 0};
    eq_act a = {floats(tokens * cols), buffer(2 * room), buffer(room / 32 * 4), buffer(room / 16 * 4), buffer(room / 32 * 4),
                buffer(room / 32 * 4), buffer(room / 32 * 4), buffer(tokens * ((cols + 127) / 128) * EQ_QUADS_ROOM), tokens,
                (int32_t)cols, packed, eq_format_group(type) ? k->reads(type) : 0, cols};
    float *tile = buffer(4 * (rows - first) * tokens);
    if (eq_format_group(type)) {
        const int64_t some = a.readers & EQ_READS_LONG ? 0 : 32; /* whole rows, or not */
        if (some) k->quantize(&a, 0, tokens, 0, some);
        k->quantize(&a, 0, tokens / 2, some, cols);
        k->quantize(&a, tokens / 2, tokens, some, cols);
    }
    k->linear(type, packed)(&w, &a, first, rows, tile, buffer(EQ_LINEAR_SCRATCH));
    written(tile, (rows - first) * tokens, "linear");
    done();
}

static void linears(const eq_kernels *k) {
    static const int sizes[][4] = {/* first row, rows, blocks, tokens */
        {0, 1, 1, 1}, {0, 5, 3, 1}, {2, 9, 2, 3}, {1, 8, 1, 16}, {3, 10, 2, 7}, {0, 7, 3, 17}, {1, 12, 2, 33}, {0, 96, 1, 45}};
    for (int type = 0; type < 64; type++)
        for (size_t i = 0; k->linear(type, 0) && i < sizeof sizes / sizeof *sizes; i++) {
            const int *s = sizes[i];
            int64_t block = eq_format_block(type), cols = block == 1 ? 31 * s[2] : (block < 32 ? 32 : block) * s[2];
            linear(k, type, 0, s[0], s[1], cols, s[3]);
            linear(k, type, 1, s[0], s[1], cols, s[3]);
        }
}

static void elementwise(const eq_kernels *k) {
    for (int64_t rows = 1; rows < 40; rows++)
        for (int64_t tokens = 1; tokens < 40; tokens += tokens < 9 ? 1 : 7) {
            float *out = buffer(4 * rows * tokens);
            k->turn(floats(rows * tokens), tokens, rows, tokens, floats(rows), floats(rows * tokens), out, rows);
            written(out, rows * tokens, "turn");
            done();
        }
    for (int64_t n = 1; n < 70; n++) {
        float *out = buffer(4 * n);
        k->rms_norm(floats(n), floats(n), out, n, 1e-5f);
        written(out, n, "rms_norm");
        done();
        for (int act = 0; act < 2; act++) {
            out = buffer(4 * n);
            k->glu(floats(n), floats(n), out, n, act);
            written(out, n, "glu");
            done();
        }
        out = buffer(4 * n);
        k->add(floats(n), floats(n), out, n);
        written(out, n, "add");
        done();
        out = buffer(4 * n);
        k->softcap(floats(n), out, n, 30.0f);
        written(out, n, "softcap");
        done();
        for (int style = 0; style < 2; style++) {
            k->rope(floats(2 * n), floats(2 * n), 2 * n, style);
            done();
        }
    }
}

static void attention(const eq_kernels *k, int32_t kv_type, int32_t e, int32_t ring, int queries) {
    int64_t row = kv_type == 0 ? 4 * e : kv_type == 1 ? 2 * e : (kv_type == 8 ? 34 : 18) * (e / 32);
    void *keys = buffer(ring * row), *values = buffer(ring * row);
    for (int32_t cell = 0; cell < ring; cell++) {
        int kept = n_held;
        float *key = floats(e), *value = floats(e);
        k->kv_store(cell % 3 ? key : NULL, value, keys, values, cell, e, kv_type);
        if (cell % 3 == 0) k->kv_store(key, NULL, keys, values, cell, e, kv_type);
        while (n_held > kept) n_held--, unfence(held[n_held].start, held[n_held].size);
    }
    const float *q[8];
    float *o[8], *m = floats(queries), *l = floats(queries);
    int32_t *low = buffer(4 * queries), *high = buffer(4 * queries);
    for (int i = 0; i < queries; i++) {
        q[i] = floats(e);
        o[i] = buffer(4 * e);
        memset(o[i], 0, 4 * (size_t)e);
        m[i] = -1e30f, l[i] = 0.0f, low[i] = i, high[i] = ring - queries + i;
    }
    eq_attend_job job = {q, o, m, l, low, high, keys, values, queries, e, ring, kv_type, 0, ring - 1, 0.1f, queries % 2 ? 0.0f : 20.0f};
    k->attend(&job, buffer(EQ_ATTEND_SCRATCH(e)));
    for (int i = 0; i < queries; i++)
        if (!(l[i] > 0.0f)) exit(3);
    done();
}

/* Blocks side by side, as many as there are lanes and fewer. */
static void encoders(const eq_kernels *k) {
    for (int type = 0; type < 64; type++) {
        eq_encode_fn encode = k->encoders->find(type);
        for (int count = 1; encode && count <= k->encoders->lanes; count += count < 3 ? 1 : 6) {
            const float *x[EQ_ENCODE_LANES], *w[EQ_ENCODE_LANES];
            uint8_t *out[EQ_ENCODE_LANES];
            int n = eq_format_block(type);
            float *all = floats(count * n), *weights = floats(n);
            uint8_t *blocks = buffer(count * eq_format_block_bytes(type));
            for (int i = 0; i < n; i++) weights[i] *= weights[i];
            for (int i = 0; i < count; i++) x[i] = all + i * n, w[i] = weights, out[i] = blocks + i * eq_format_block_bytes(type);
            encode(x, count % 2 ? w : NULL, count, out);
            done();
        }
    }
}

int main(void) {
    static const int32_t widths[] = {1, 8, 20, 32, 33, 64, 96, 256}, types[] = {0, 1, 8, 2};
    for (int v = 0; eq_variants[v]; v++) {
        const eq_kernels *k = eq_variants[v];
        if (!k->works()) continue;
        calls = 0;
        linears(k);
        elementwise(k);
        encoders(k);
        for (int i = 0; i < 8; i++)
            for (int t = 0; t < 4; t++)
                for (int queries = 1; queries < 7; queries += 2 + i % 2)
                    if (types[t] < 2 || widths[i] % 32 == 0) attention(k, types[t], widths[i], 64 + 64 * (queries & 1), queries);
        printf("%s %d\n", k->name, calls);
        fflush(stdout);
    }
    return 0;
}
