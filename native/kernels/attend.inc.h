/* Attention over a tile of 64 positions at a time, with running maximum and sum (Milakov and Gimelshein 2018).
 *
 * Keys of F16 and F32 caches lie in blocks of 16 positions, [ring/16][E][16], so that scores of neighbouring positions
 * fill a vector without horizontal sums; values lie [ring][E]. Quantized caches hold rows of 32-blocks for both.
 * A tile is turned to float32 once and serves all queries of the job. Every (query, position) is summed in the order of
 * E, every output in the order of positions: what else is in the job changes no bit. */

#define EQ_RUN 32                    /* positions of the score microkernel */
#define EQ_RV (EQ_RUN / EQ_VL)       /* vectors of them */


EQ_INLINE int64_t kv_row_bytes(int32_t kv_type, int32_t head_dim) {
    switch (kv_type) {
        case 0: return 4 * (int64_t)head_dim;
        case 8: return 34 * (int64_t)(head_dim / 32);
        case 2: return 18 * (int64_t)(head_dim / 32);
        default: return 2 * (int64_t)head_dim;
    }
}

EQ_INLINE void half_row(const float *x, uint16_t *out, int64_t n) {
    int64_t i = 0;
    for (; i + EQ_VL <= n; i += EQ_VL) v_store_half(out + i, v_load(x + i));
    for (; i < n; i++) out[i] = eq_to_half(x[i]);
}

/* 32 values: scale and rounding of Q8_0 (largest to 127) or Q4_0 (largest magnitude to -8) */
static void kv_quantize(const float *x, uint8_t *out, int64_t n, int32_t kv_type) {
    for (int64_t k = 0; k < n; k += 32, x += 32, out += kv_type == 8 ? 34 : 18) {
        float top = 0.0f, signed_top = 0.0f;
        for (int i = 0; i < 32; i++)
            if (fabsf(x[i]) > top) top = fabsf(x[i]), signed_top = x[i];
        float d = kv_type == 8 ? top / 127.0f : signed_top / -8.0f;
        uint16_t half = eq_to_half(d);
        float kept = eq_half(half), inverse = kept != 0.0f ? 1.0f / kept : 0.0f;
        memcpy(out, &half, 2);
        for (int i = 0; i < 32 && kv_type == 8; i++) {
            float v = rintf(x[i] * inverse);
            out[2 + i] = (uint8_t)(int8_t)(v > 127.0f ? 127.0f : v < -127.0f ? -127.0f : v == v ? v : 0.0f);
        }
        for (int i = 0; i < 16 && kv_type == 2; i++) {
            float a = rintf(x[i] * inverse) + 8.0f, b = rintf(x[i + 16] * inverse) + 8.0f;
            int lo = a > 15.0f ? 15 : a > 0.0f ? (int)a : 0, hi = b > 15.0f ? 15 : b > 0.0f ? (int)b : 0;
            out[2 + i] = (uint8_t)(lo | hi << 4);
        }
    }
}

/* k or v may be NULL: then only the other is stored */
static void kv_store(const float *k, const float *v, void *keys, void *values, int32_t cell, int32_t head_dim, int32_t kv_type) {
    int64_t n = head_dim, at = (int64_t)(cell / 16) * 16 * n + cell % 16;
    if (kv_type > 1) {
        int64_t bytes = kv_row_bytes(kv_type, head_dim);
        if (k) kv_quantize(k, (uint8_t *)keys + cell * bytes, n, kv_type);
        if (v) kv_quantize(v, (uint8_t *)values + cell * bytes, n, kv_type);
    } else if (kv_type == 0) {
        for (int64_t e = 0; k && e < n; e++) ((float *)keys)[at + 16 * e] = k[e];
        if (v) memcpy((float *)values + cell * n, v, (size_t)n * 4);
    } else {
        uint16_t row[EQ_MAX_HEAD];
        if (k) half_row(k, row, n);
        for (int64_t e = 0; k && e < n; e++) ((uint16_t *)keys)[at + 16 * e] = row[e];
        if (v) half_row(v, (uint16_t *)values + cell * n, n);
    }
}

/* n floats from half or float storage */
EQ_INLINE void kv_floats(const void *from, int64_t at, int64_t n, int32_t kv_type, float *out) {
    if (kv_type == 0) {
        memcpy(out, (const float *)from + at, (size_t)n * 4);
        return;
    }
    const uint16_t *p = (const uint16_t *)from + at;
    int64_t i = 0;
    for (; i + EQ_VL <= n; i += EQ_VL) v_store(out + i, v_load_half(p + i));
    for (; i < n; i++) out[i] = eq_half(p[i]);
}
EQ_INLINE void kv_dequantize(const uint8_t *row, int64_t n, int32_t kv_type, float *out) {
    for (int64_t k = 0; k < n; k += 32, row += kv_type == 8 ? 34 : 18, out += 32) {
        float d = v_half(row);
        for (int i = 0; i < 32 && kv_type == 8; i++) out[i] = d * (float)(int8_t)row[2 + i];
        for (int i = 0; i < 16 && kv_type == 2; i++) {
            out[i] = d * (float)((row[2 + i] & 15) - 8);
            out[i + 16] = d * (float)((row[2 + i] >> 4) - 8);
        }
    }
}

/* Tile of 64 positions from ring cell `cell`: keys as [64/16][E][16], values as [64][E]. */
static void kv_tile(const eq_attend_job *job, int64_t cell, float *keys, float *values) {
    int64_t n = job->head_dim;
    if (job->kv_type <= 1) {
        kv_floats(job->keys, cell * n, EQ_TILE * n, job->kv_type, keys);
        kv_floats(job->values, cell * n, EQ_TILE * n, job->kv_type, values);
        return;
    }
    int64_t bytes = kv_row_bytes(job->kv_type, job->head_dim);
    for (int64_t i = 0; i < EQ_TILE; i++) { /* keys pass through the place of this row's values */
        float *row = values + i * n;
        kv_dequantize((const uint8_t *)job->keys + (cell + i) * bytes, n, job->kv_type, row);
        for (int64_t e = 0; e < n; e++) keys[(i / 16 * n + e) * 16 + i % 16] = row[e];
        kv_dequantize((const uint8_t *)job->values + (cell + i) * bytes, n, job->kv_type, row);
    }
}

/* Scores of `count` queries with 32 positions of a tile: two blocks of 16, each [E][16]. */
EQ_INLINE void score_run(const float *const *q, const int count, const float *keys, int64_t n, float (*scores)[EQ_TILE], int at) {
    vf acc[EQ_QB][EQ_RV];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < EQ_RV; v++) acc[i][v] = v_zero();
    const float *block[2] = {keys + (int64_t)(at / 16) * 16 * n, keys + (int64_t)(at / 16 + 1) * 16 * n};
    for (int64_t e = 0; e < n; e++) {
        vf k[EQ_RV];
        for (int v = 0; v < EQ_RV; v++) k[v] = v_load(block[v * EQ_VL / 16] + 16 * e + v * EQ_VL % 16);
        for (int i = 0; i < count; i++) {
            vf x = v_set(q[i][e]);
            for (int v = 0; v < EQ_RV; v++) acc[i][v] = v_fma(x, k[v], acc[i][v]);
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < EQ_RV; v++) v_store(scores[i] + at + v * EQ_VL, acc[i][v]);
}

/* scores -> probabilities in place, updating m and l; the factor for what was summed before is returned. */
EQ_INLINE float soften(const eq_attend_job *job, int i, int32_t base, float *s) {
    vf top = v_set(-INFINITY), scale = v_set(job->scale);
    for (int v = 0; v < EQ_TILE; v += EQ_VL) {
        vf x = v_mul(v_load(s + v), scale);
        if (job->softcap != 0.0f) x = v_mul(v_set(job->softcap), v_tanh(v_mul(x, v_set(1.0f / job->softcap))));
        vf position = v_add(v_iota(), v_set((float)v));
        x = v_below(position, v_set((float)(job->low[i] - base)), v_set(-INFINITY), x);
        x = v_below(v_set((float)(job->high[i] - base)), position, v_set(-INFINITY), x);
        v_store(s + v, x);
        top = v_max(top, x);
    }
    float m = v_top(top), before = job->m[i];
    if (m < before) m = before;
    vf sum = v_zero();
    for (int v = 0; v < EQ_TILE; v += EQ_VL) {
        vf p = v_exp(v_sub(v_load(s + v), v_set(m)));
        v_store(s + v, p);
        sum = v_add(sum, p);
    }
    float factor = v_top(v_exp(v_set(before - m)));
    job->l[i] = job->l[i] * factor + v_sum(sum);
    job->m[i] = m;
    return factor;
}

/* o += p [positions] * values [positions][E] */
EQ_INLINE void weigh(const float *p, int first, int last, const float *values, int64_t n, float factor, float *o) {
    int64_t e = 0;
    for (; e + 4 * EQ_VL <= n; e += 4 * EQ_VL) {
        vf acc[4];
        for (int v = 0; v < 4; v++) acc[v] = v_mul(v_load(o + e + v * EQ_VL), v_set(factor));
        for (int j = first; j <= last; j++)
            for (int v = 0; v < 4; v++) acc[v] = v_fma(v_set(p[j]), v_load(values + j * n + e + v * EQ_VL), acc[v]);
        for (int v = 0; v < 4; v++) v_store(o + e + v * EQ_VL, acc[v]);
    }
    for (; e + EQ_VL <= n; e += EQ_VL) {
        vf acc = v_mul(v_load(o + e), v_set(factor));
        for (int j = first; j <= last; j++) acc = v_fma(v_set(p[j]), v_load(values + j * n + e), acc);
        v_store(o + e, acc);
    }
    for (; e < n; e++) {
        float acc = o[e] * factor;
        for (int j = first; j <= last; j++) acc += p[j] * values[j * n + e];
        o[e] = acc;
    }
}

static void attend(const eq_attend_job *job, void *scratch) {
    int64_t n = job->head_dim;
    float *keys = scratch, *values = keys + EQ_TILE * n;
    float(*scores)[EQ_TILE] = (float(*)[EQ_TILE])(values + EQ_TILE * n);
    for (int32_t base = job->first / EQ_TILE * EQ_TILE; base <= job->last; base += EQ_TILE) {
        kv_tile(job, base % job->ring, keys, values);
        for (int i = 0; i < job->queries;) {
            int count = job->queries - i >= EQ_QB ? EQ_QB : 1;
            for (int at = 0; at < EQ_TILE; at += EQ_RUN) {
                if (count == EQ_QB) score_run(job->q + i, EQ_QB, keys, n, scores, at);
                else score_run(job->q + i, 1, keys, n, scores, at);
            }
            for (int end = i + count; i < end; i++) {
                int first = job->low[i] > base ? job->low[i] - base : 0;
                int last = job->high[i] < base + EQ_TILE ? job->high[i] - base : EQ_TILE - 1;
                if (first > last || last < 0 || first >= EQ_TILE) continue; /* nothing of this tile is seen */
                float *s = scores[count == 1 ? 0 : i - (end - count)];
                float factor = soften(job, i, base, s);
                weigh(s, first, last, values, n, factor, job->o[i]);
            }
        }
    }
}
