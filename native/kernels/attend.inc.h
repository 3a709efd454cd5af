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

/* EQ_VL keys or values from number i on, of float32 or, as F16 caches hold them, of half precision */
EQ_INLINE vf kv_vector(const void *p, int64_t i, const int half) {
    return half ? v_load_half((const uint16_t *)p + i) : v_load((const float *)p + i);
}

/* Scores of `count` queries with 32 positions of a tile: two blocks of 16, each [E][16]. */
EQ_INLINE void score_run(const float *const *q, const int count, const void *keys, const int half, int64_t n,
                         float (*scores)[EQ_TILE], int at) {
    vf acc[EQ_QB][EQ_RV];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < EQ_RV; v++) acc[i][v] = v_zero();
    const int64_t block = (int64_t)(at / 16) * 16 * n;
    for (int64_t e = 0; e < n; e++) {
        vf k[EQ_RV];
        for (int v = 0; v < EQ_RV; v++) k[v] = kv_vector(keys, block + v * EQ_VL / 16 * 16 * n + 16 * e + v * EQ_VL % 16, half);
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

/* `wide` vectors of o[i] = factor[i] * o[i] + p[i] [positions] * values [positions][E], from e on, for `count` queries */
EQ_INLINE void weigh_some(float (*p)[EQ_TILE], const int count, int first, int last, const void *values, const int half,
                          int64_t n, const float *factor, float *const *o, int64_t e, const int wide) {
    vf acc[EQ_QB][4];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < wide; v++) acc[i][v] = v_mul(v_load(o[i] + e + v * EQ_VL), v_set(factor[i]));
    for (int j = first; j <= last; j++) {
        vf x[4];
        for (int v = 0; v < wide; v++) x[v] = kv_vector(values, j * n + e + v * EQ_VL, half);
        for (int i = 0; i < count; i++)
            for (int v = 0; v < wide; v++) acc[i][v] = v_fma(v_set(p[i][j]), x[v], acc[i][v]);
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < wide; v++) v_store(o[i] + e + v * EQ_VL, acc[i][v]);
}
EQ_INLINE void weigh(float (*p)[EQ_TILE], const int count, int first, int last, const void *values, const int half,
                     int64_t n, const float *factor, float *const *o) {
    const int wide = count > 4 ? 2 : 4; /* no more sums than registers */
    int64_t e = 0;
    for (; e + wide * EQ_VL <= n; e += wide * EQ_VL) weigh_some(p, count, first, last, values, half, n, factor, o, e, wide);
    for (; e + EQ_VL <= n; e += EQ_VL) weigh_some(p, count, first, last, values, half, n, factor, o, e, 1);
    for (; e < n; e++)
        for (int i = 0; i < count; i++) {
            if (i > 0 && o[i] == o[i - 1]) continue; /* the last query again */
            float acc = o[i][e] * factor[i];
            for (int j = first; j <= last; j++) {
                const int64_t at = j * n + e;
                acc += p[i][j] * (half ? eq_half(((const uint16_t *)values)[at]) : ((const float *)values)[at]);
            }
            o[i][e] = acc;
        }
}

/* `count` queries from i on, those past the last being the last again, with a tile of positions from `base` on */
EQ_INLINE void attend_some(const eq_attend_job *job, int i, const int count, int32_t base, const void *keys,
                           const void *values, const int half, float (*scores)[EQ_TILE]) {
    const int own = job->queries - i < count ? job->queries - i : count;
    const float *q[EQ_QB];
    float *o[EQ_QB], factor[EQ_QB];
    int first[EQ_QB], last[EQ_QB], alike = 1;
    for (int c = 0; c < count; c++) {
        int at = i + (c < own ? c : own - 1);
        q[c] = job->q[at];
        o[c] = job->o[at];
        first[c] = job->low[at] > base ? job->low[at] - base : 0;
        last[c] = job->high[at] < base + EQ_TILE ? job->high[at] - base : EQ_TILE - 1;
        alike &= first[c] == first[0] && last[c] == last[0] && first[c] <= last[c];
    }
    for (int at = 0; at < EQ_TILE; at += EQ_RUN) score_run(q, count, keys, half, job->head_dim, scores, at);
    for (int c = 0; c < own; c++) {
        if (first[c] > last[c]) continue; /* nothing of this tile is seen */
        factor[c] = soften(job, i + c, base, scores[c]);
        if (!alike) weigh(scores + c, 1, first[c], last[c], values, half, job->head_dim, factor + c, o + c);
    }
    for (int c = own; c < count; c++) factor[c] = factor[own - 1], memcpy(scores[c], scores[own - 1], sizeof *scores);
    if (alike) weigh(scores, count, first[0], last[0], values, half, job->head_dim, factor, o);
}
EQ_INLINE void attend_tile(const eq_attend_job *job, int32_t base, const void *keys, const void *values, const int half,
                           float (*scores)[EQ_TILE]) {
    for (int i = 0; i < job->queries;) {
        int left = job->queries - i;
        if (EQ_QB >= 8 && left > 4) attend_some(job, i, 8, base, keys, values, half, scores), i += 8;
        else if (EQ_QB >= 4 && left > 2) attend_some(job, i, 4, base, keys, values, half, scores), i += 4;
        else if (EQ_QB >= 2 && left > 1) attend_some(job, i, 2, base, keys, values, half, scores), i += 2;
        else attend_some(job, i, 1, base, keys, values, half, scores), i += 1;
    }
}

static void attend(const eq_attend_job *job, void *scratch) {
    int64_t n = job->head_dim;
    float *keys = scratch, *values = keys + EQ_TILE * n;
    float(*scores)[EQ_TILE] = (float(*)[EQ_TILE])(values + EQ_TILE * n);
    for (int32_t base = job->first / EQ_TILE * EQ_TILE; base <= job->last; base += EQ_TILE) {
        int64_t at = base % job->ring * n;
        if (job->kv_type == 0) attend_tile(job, base, (const float *)job->keys + at, (const float *)job->values + at, 0, scores);
        else if (job->kv_type == 1 && job->queries <= EQ_QB) /* turned to float32 as often as others load it */
            attend_tile(job, base, (const uint16_t *)job->keys + at, (const uint16_t *)job->values + at, 1, scores);
        else {
            kv_tile(job, base % job->ring, keys, values);
            attend_tile(job, base, keys, values, 0, scores);
        }
    }
}
