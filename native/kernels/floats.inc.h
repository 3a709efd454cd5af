/* Linear layers on float weights: multiply-adds of float32, nothing is rounded.
 *
 * rows:   up to 16 tokens. A lane sums every EQ_VL-th product in the order of k, the same for one token and sixteen.
 * panel:  more tokens. Weights are turned once for all tokens, so that rows lie in lanes; activations, one number for
 *         all lanes, are read as they are. A sum is one chain of multiply-adds per EQ_FLOATS_K weights. */

#ifndef EQ_FLOATS_ROWS
#define EQ_FLOATS_ROWS 3   /* vectors of rows of the microkernel */
#define EQ_FLOATS_TOKENS 8 /* tokens that it multiplies them with */
#endif
#define EQ_FLOATS_K 256    /* weights per row and panel */

typedef vf (*eq_load_fn)(const void *p);
typedef struct {
    eq_load_fn load; /* EQ_VL weights */
    int bytes;       /* of a weight */
    int two;         /* BF16: two vectors are loaded at a time, as suits the vocabulary */
} eq_floats;

EQ_INLINE vf f32_load(const void *p) { return v_load(p); }
EQ_INLINE vf f16_load(const void *p) { return v_load_half(p); }
EQ_INLINE vf bf16_load(const void *p) { return v_load_bf16(p); }

EQ_INLINE vf floats_load(const eq_floats f, const char *p, int64_t n) { /* n weights, zeros behind */
    uint32_t part[EQ_VL] = {0};
    if (n >= EQ_VL) return f.load(p);
    memcpy(part, p, (size_t)(n * f.bytes));
    return f.load(part);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* `rows` rows with `count` tokens from `first`. Where a vector is less than a line of the cache, the rows that come next
 * are asked for in the order of memory, a part of them by each batch of tokens; whole lines are foreseen by hardware. */
EQ_INLINE void floats_block(const eq_floats f, const eq_tensor *w, const eq_act *a, int64_t row, const int rows,
                            int first, const int count, float *tile) {
    const int64_t n = w->cols, stride = n * f.bytes, all = rows * stride, parts = (a->tokens + count - 1) / count;
    const char *data = (const char *)w->data + row * stride;
    const char *next = data + (all > EQ_AHEAD ? all : EQ_AHEAD) + first / count * (all / parts);
    const float *x[4];
    vf acc[EQ_ROWS][4];
    for (int t = 0; t < count; t++) x[t] = a->x + token(a, first + t) * n;
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) acc[r][t] = v_zero();
    int64_t k = 0;
    for (; f.two && k + 2 * EQ_VL <= n; k += 2 * EQ_VL) {
        vf v[EQ_ROWS][2], y[2];
        eq_ask(next + rows * 2 * k / parts, rows * 4 * EQ_VL);
        for (int r = 0; r < rows; r++) v_load_bf16_two((const uint16_t *)(const void *)(data + r * stride) + k, v[r]);
        for (int t = 0; t < count; t++) {
            v_load_two(x[t] + k, y);
            for (int r = 0; r < rows; r++) acc[r][t] = v_fma(v[r][1], y[1], v_fma(v[r][0], y[0], acc[r][t]));
        }
    }
    for (; k + EQ_VL <= n; k += EQ_VL) {
        vf v[EQ_ROWS];
        if (EQ_VL * f.bytes < 64) eq_ask(next + rows * k * f.bytes / parts, rows * EQ_VL * f.bytes);
        for (int r = 0; r < rows; r++) v[r] = f.load(data + r * stride + k * f.bytes);
        for (int t = 0; t < count; t++) {
            const vf y = v_load(x[t] + k);
            for (int r = 0; r < rows; r++) acc[r][t] = v_fma(v[r], y, acc[r][t]);
        }
    }
    for (int t = 0; t < count && k < n; t++) {
        const vf y = v_load_part(x[t] + k, n - k);
        for (int r = 0; r < rows; r++)
            acc[r][t] = v_fma(floats_load(f, data + r * stride + k * f.bytes, n - k), y, acc[r][t]);
    }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) tile[r * a->tokens + token(a, first + t)] = v_sum(acc[r][t]);
}

EQ_INLINE void floats_rows(const eq_floats f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1,
                           float *tile) {
    for (int64_t row = row0; row < row1;) {
        const int rows = row1 - row >= EQ_ROWS ? EQ_ROWS : 1;
        float *out = tile + (row - row0) * a->tokens;
        for (int t = 0; t < a->tokens;) {
            const int left = a->tokens - t, count = left > 2 ? 4 : left;
            if (rows == EQ_ROWS && count == 4) floats_block(f, w, a, row, EQ_ROWS, t, 4, out);
            else if (rows == EQ_ROWS && count == 2) floats_block(f, w, a, row, EQ_ROWS, t, 2, out);
            else if (rows == EQ_ROWS) floats_block(f, w, a, row, EQ_ROWS, t, 1, out);
            else if (count > 1) floats_block(f, w, a, row, 1, t, 4, out);
            else floats_block(f, w, a, row, 1, t, 1, out);
            t += rows == 1 && count > 1 ? 4 : count;
        }
        row += rows;
    }
}

/* --- panel -------------------------------------------------------------------------------------------------------- */

enum {
    FLOATS_PANEL = EQ_FLOATS_ROWS * EQ_VL, /* rows */
    FLOATS_TURN = 256,                     /* tokens that meet a panel before the next one is unpacked */
    FLOATS_FEW = 24                        /* fewer tokens than this are not worth a panel */
};
typedef struct {
    float w[EQ_FLOATS_K][FLOATS_PANEL];
    float c[FLOATS_TURN + EQ_FLOATS_TOKENS + EQ_VL][FLOATS_PANEL]; /* sums, also of tokens that are not there */
} eq_floats_panel;
_Static_assert(sizeof(eq_floats_panel) <= EQ_LINEAR_SCRATCH, "a panel has to fit the scratch of a thread");

/* Weights [k0, k1) of `rows` rows; in place of missing rows the last one's. */
EQ_INLINE void floats_unpack(const eq_floats f, const eq_tensor *w, int64_t row, int rows, int64_t k0, int64_t k1,
                             eq_floats_panel *p) {
    const int64_t stride = w->cols * f.bytes;
    for (int r0 = 0; r0 < rows; r0 += EQ_VL)
        for (int64_t k = k0; k < k1; k += EQ_VL) {
            vf x[EQ_VL];
            for (int r = 0; r < EQ_VL; r++) {
                const int64_t at = row + (r0 + r < rows ? r0 + r : rows - 1);
                const char *from = (const char *)w->data + at * stride + k * f.bytes;
                if (k * f.bytes % 64 == 0) EQ_PREFETCH(from + EQ_FLOATS_K * f.bytes);
                x[r] = floats_load(f, from, k1 - k);
            }
            v_turn(x);
            for (int i = 0; i < EQ_VL && k + i < k1; i++) v_store(p->w[k - k0 + i] + r0, x[i]);
        }
}

/* `vectors` vectors of the panel's rows with `count` tokens x, of each of which `steps` numbers are taken. */
EQ_INLINE void floats_micro(const eq_floats_panel *p, const int vectors, const int count, int64_t steps,
                            const float *const *x, int first, float (*c)[FLOATS_PANEL]) {
    vf acc[EQ_FLOATS_TOKENS][EQ_FLOATS_ROWS];
    for (int t = 0; t < count; t++)
        for (int v = 0; v < vectors; v++) acc[t][v] = v_zero();
    for (int64_t k = 0; k < steps; k++) {
        vf w[EQ_FLOATS_ROWS];
        for (int v = 0; v < vectors; v++) w[v] = v_load(p->w[k] + v * EQ_VL);
        for (int t = 0; t < count; t++) {
            const vf y = v_set(x[t][k]);
            for (int v = 0; v < vectors; v++) acc[t][v] = v_fma(w[v], y, acc[t][v]);
        }
    }
    for (int t = 0; t < count; t++)
        for (int v = 0; v < vectors; v++)
            v_store(c[t] + v * EQ_VL, first ? acc[t][v] : v_add(v_load(c[t] + v * EQ_VL), acc[t][v]));
}

/* Tokens [t, t + count) of `rows` rows from the panel's sums: out [rows][to]. */
EQ_INLINE void floats_out(const eq_floats_panel *p, int rows, int count, float *out, int64_t to) {
    for (int r = 0; r < rows; r += EQ_VL)
        for (int t = 0; t < count; t += EQ_VL) {
            vf x[EQ_VL];
            for (int i = 0; i < EQ_VL; i++) x[i] = v_load(p->c[t + i] + r);
            v_turn(x);
            for (int i = 0; i < EQ_VL && r + i < rows; i++) {
                if (count - t >= EQ_VL) v_store(out + (r + i) * to + t, x[i]);
                else v_store_part(out + (r + i) * to + t, x[i], count - t);
            }
        }
}

EQ_INLINE void floats_panel(const eq_floats f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1,
                            float *tile, void *scratch) {
    eq_floats_panel *p = scratch;
    const int64_t to = a->tokens, n = w->cols;
    if (to < FLOATS_FEW) {
        floats_rows(f, w, a, row0, row1, tile);
        return;
    }
    for (int64_t turn = 0; turn < to; turn += FLOATS_TURN)
        for (int64_t row = row0; row < row1; row += FLOATS_PANEL) {
            const int rows = (int)(row1 - row < FLOATS_PANEL ? row1 - row : FLOATS_PANEL);
            const int count = (int)(to - turn < FLOATS_TURN ? to - turn : FLOATS_TURN);
            const int vectors = (rows + EQ_VL - 1) / EQ_VL;
            for (int64_t k0 = 0; k0 < n; k0 += EQ_FLOATS_K) {
                const int64_t k1 = k0 + EQ_FLOATS_K < n ? k0 + EQ_FLOATS_K : n;
                floats_unpack(f, w, row, rows, k0, k1, p);
                for (int t = 0; t < count; t += EQ_FLOATS_TOKENS) {
                    const float *x[EQ_FLOATS_TOKENS];
                    for (int i = 0; i < EQ_FLOATS_TOKENS; i++) x[i] = a->x + token(a, (int)turn + t + i) * n + k0;
                    if (count - t <= EQ_FLOATS_TOKENS / 2 && vectors == EQ_FLOATS_ROWS)
                        floats_micro(p, EQ_FLOATS_ROWS, EQ_FLOATS_TOKENS / 2, k1 - k0, x, k0 == 0, p->c + t);
                    else if (vectors == EQ_FLOATS_ROWS)
                        floats_micro(p, EQ_FLOATS_ROWS, EQ_FLOATS_TOKENS, k1 - k0, x, k0 == 0, p->c + t);
                    else if (vectors > 1) floats_micro(p, 2, EQ_FLOATS_TOKENS, k1 - k0, x, k0 == 0, p->c + t);
                    else floats_micro(p, 1, EQ_FLOATS_TOKENS, k1 - k0, x, k0 == 0, p->c + t);
                }
            }
            floats_out(p, rows, count, tile + (row - row0) * to + turn, to);
        }
}

#define EQ_DEFINE(name, bytes, two)                                                                                   \
    static void name##_rows(const eq_tensor *w, const eq_act *a, int64_t r0, int64_t r1, float *tile, void *scratch) {\
        (void)scratch;                                                                                                \
        floats_rows((eq_floats){name##_load, bytes, two}, w, a, r0, r1, tile);                                        \
    }                                                                                                                 \
    static void name##_panel(const eq_tensor *w, const eq_act *a, int64_t r0, int64_t r1, float *tile, void *scratch) {\
        floats_panel((eq_floats){name##_load, bytes, two}, w, a, r0, r1, tile, scratch);                              \
    }
EQ_DEFINE(f32, 4, 0)
EQ_DEFINE(f16, 2, 0)
EQ_DEFINE(bf16, 2, 1)
#undef EQ_DEFINE
