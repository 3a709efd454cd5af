/* Attention over a tile of 64 positions at a time, with running maximum and sum (Milakov and Gimelshein 2018).
 *
 * Keys of a tile lie as [E][64], so that scores of neighbouring positions fill a vector without horizontal sums and a tile
 * is read from its start to its end; values lie as [64][E]. Q8_0 and Q4_0 have scales in front of either, halves [E/32][64].
 * Q4_0 has two numbers in a byte, the low nibble first: of keys two rows, of 32 values the first and the last 16.
 * A few queries load a tile as the cache keeps it, for many it is turned to float32 once. Every (query, position) is summed
 * in the order of E, every output in the order of positions: what else is in the job changes no bit. */

/* Vectors that meet `count` queries together: no more sums than registers, and a power of two, so that a tile is whole turns */
#define EQ_POWER_OF_2(n) ((n) >= 32 ? 32 : (n) >= 16 ? 16 : (n) >= 8 ? 8 : (n) >= 4 ? 4 : (n) >= 2 ? 2 : 1) /* at most n */
#define EQ_AT_ONCE(count, most) EQ_POWER_OF_2(EQ_SUMS / (count) < (most) ? EQ_SUMS / (count) : (most))
enum { KV_F32 = 0, KV_F16 = 1, KV_Q4_0 = 2, KV_Q8_0 = 8 };

EQ_INLINE int kv_bits(int type) { return type == KV_F32 ? 32 : type == KV_F16 ? 16 : type == KV_Q8_0 ? 8 : 4; } /* of a number */
EQ_INLINE int64_t kv_row_bytes(int32_t type, int32_t head_dim) {
    switch (type) {
        case KV_F32: return 4 * (int64_t)head_dim;
        case KV_Q8_0: return 34 * (int64_t)(head_dim / 32);
        case KV_Q4_0: return 18 * (int64_t)(head_dim / 32);
        default: return 2 * (int64_t)head_dim;
    }
}

EQ_INLINE void half_row(const float *x, uint16_t *out, int64_t n) {
    int64_t i = 0;
    for (; i + EQ_VL <= n; i += EQ_VL) v_store_half(out + i, v_load(x + i));
    for (; i < n; i++) out[i] = eq_to_half(x[i]);
}

/* 32 values: codes and scale of Q8_0 (largest to 127) or Q4_0 (largest magnitude to -8); a NaN becomes 0 */
EQ_INLINE uint16_t kv_round(const float *x, int8_t *codes, const int type) {
    vf most = v_zero(), least = v_zero();
    for (int i = 0; i < 32; i += EQ_VL) {
        vf a = v_load(x + i);
        most = v_below(most, a, a, most);
        least = v_below(a, least, a, least);
    }
    float high = v_top(most), low = v_top(v_sub(v_zero(), least)), top = high > low ? high : -low;
    for (int i = 32; high == low && i-- > 0;) top = fabsf(x[i]) == high ? x[i] : top; /* the first of two that are alike */
    uint16_t scale = eq_to_half(type == KV_Q8_0 ? fabsf(top) / 127.0f : top / -8.0f);
    float kept = eq_half(scale), inverse = kept != 0.0f ? 1.0f / kept : 0.0f, rounded[32];
    for (int i = 0; i < 32; i += EQ_VL) {
        vf a = v_round(v_mul(v_load(x + i), v_set(inverse)));
        const float from = type == KV_Q8_0 ? -127.0f : -8.0f, to = type == KV_Q8_0 ? 127.0f : 7.0f;
        a = v_below(v_set(to), a, v_set(to), v_below(a, v_set(from), v_set(from), a));
        v_store(rounded + i, v_below(a, v_set(INFINITY), a, v_zero()));
    }
    for (int i = 0; i < 32; i++) codes[i] = (int8_t)rounded[i];
    return scale;
}
/* A row into a tile: scales 64 apart, codes too (a key) or side by side */
EQ_INLINE void kv_quantize(const float *x, uint16_t *scales, uint8_t *to, int64_t n, const int apart, const int type) {
    int8_t codes[32];
    for (int64_t k = 0; k < n; k += 32, scales += EQ_TILE) {
        *scales = kv_round(x + k, codes, type);
        if (type == KV_Q8_0)
            for (int i = 0; i < 32; i++) to[(k + i) * apart] = (uint8_t)codes[i];
        else
            for (int i = 0; i < 16; i++) {
                const int a = apart == 1 ? i : 2 * i, b = apart == 1 ? i + 16 : 2 * i + 1;
                to[(k / 2 + i) * apart] = (uint8_t)((codes[a] + 8) | (codes[b] + 8) << 4);
            }
    }
}
EQ_INLINE void kv_store_codes(const float *k, const float *v, uint8_t *keys, uint8_t *values, int64_t cell, int64_t n, const int type) {
    const int64_t start = cell / EQ_TILE * EQ_TILE * kv_row_bytes(type, (int32_t)n), codes = start + EQ_TILE * (n / 32) * 2;
    const int64_t i = cell % EQ_TILE, part = type == KV_Q8_0 ? 1 : 2;
    if (k) kv_quantize(k, (uint16_t *)(void *)(keys + start) + i, keys + codes + i, n, EQ_TILE, type);
    if (v) kv_quantize(v, (uint16_t *)(void *)(values + start) + i, values + codes + i * n / part, n, 1, type);
}

/* k or v may be NULL: then only the other is stored */
static void kv_store(const float *k, const float *v, void *keys, void *values, int32_t cell, int32_t head_dim, int32_t kv_type) {
    int64_t n = head_dim, at = cell / EQ_TILE * EQ_TILE * n + cell % EQ_TILE;
    if (kv_type == KV_Q8_0) kv_store_codes(k, v, keys, values, cell, n, KV_Q8_0);
    else if (kv_type == KV_Q4_0) kv_store_codes(k, v, keys, values, cell, n, KV_Q4_0);
    else if (kv_type == KV_F32) {
        for (int64_t e = 0; k && e < n; e++) ((float *)keys)[at + EQ_TILE * e] = k[e];
        if (v) memcpy((float *)values + cell * n, v, (size_t)n * 4);
    } else {
        uint16_t row[EQ_MAX_HEAD];
        if (k) half_row(k, row, n);
        for (int64_t e = 0; k && e < n; e++) ((uint16_t *)keys)[at + EQ_TILE * e] = row[e];
        if (v) half_row(v, (uint16_t *)values + cell * n, n);
    }
}

/* EQ_VL numbers of a cache, from i + lane on; of nibbles, from byte i / 2 + lane on, the low ones and what lies behind them */
EQ_INLINE void kv_load(const void *p, int64_t i, int lane, const int type, vf *x, vf *behind) {
    switch (type) {
        case KV_F32: *x = v_load((const float *)p + i + lane); break;
        case KV_F16: *x = v_load_half((const uint16_t *)p + i + lane); break;
        case KV_Q8_0: *x = v_load_bytes((const int8_t *)p + i + lane); break;
        default: v_load_nibbles((const uint8_t *)p + i / 2 + lane, x, behind);
    }
}

typedef struct { /* 64 positions */
    const void *keys, *values;
    const float *key_scales, *value_scales; /* [E/32][64], of quantized types */
    const char *next_keys, *next_values;    /* codes of the tile that is read next */
    int64_t run;                            /* rows of keys that are read in order of their place: about 1 to 2 KiB */
} kv_tile;

/* Asks for what comes eight rows after these, and for the same rows of the next tile, but that into the second cache; not of
 * float32, which a turned tile is. row: of `n` numbers */
EQ_INLINE void kv_ask(const void *here, const char *next, int64_t row, int64_t rows, int64_t n, const int type) {
    if (type == KV_F32) return;
    const int64_t bytes = n * kv_bits(type) / 8, soon = 8 * bytes;
    for (int64_t at = row * bytes; at < (row + rows) * bytes; at += 64) {
        EQ_PREFETCH((const char *)here + at + soon);
        EQ_PREFETCH_FAR(next + at);
    }
}

/* Scores of `count` queries with the keys of a tile, a run of rows after the other */
EQ_INLINE void score(const float *const *q, const int count, const kv_tile *tile, const int type, int64_t n,
                     float (*scores)[EQ_TILE]) {
    const int wide = EQ_AT_ONCE(count, EQ_TILE / EQ_VL), rows = type == KV_Q4_0 ? 2 : 1; /* that are loaded together */
    for (int64_t start = 0; start < n; start += tile->run)
        for (int at = 0; at < EQ_TILE; at += wide * EQ_VL) {
            const float *scales = tile->key_scales + start / 32 * EQ_TILE + at;
            const int64_t end = start + tile->run < n ? start + tile->run : n;
            vf acc[EQ_QB][EQ_SUMS];
            for (int i = 0; i < count; i++)
                for (int v = 0; v < wide; v++) acc[i][v] = start ? v_load(scores[i] + at + v * EQ_VL) : v_zero();
            for (int64_t e = start; e < end; e += rows) {
                vf x[2][EQ_QB], k[2];
                if (at == 0) kv_ask(tile->keys, tile->next_keys, e, rows, EQ_TILE, type);
                for (int i = 0; i < count; i++) x[0][i] = v_set(q[i][e]), x[1][i] = v_set(q[i][e + rows - 1]);
                for (int v = 0; v < wide; v++) {
                    kv_load(tile->keys, EQ_TILE * e, at + v * EQ_VL, type, k, k + 1);
                    for (int r = 0; r < rows; r++) {
                        if (type > KV_F16) k[r] = v_mul(v_load(scales + v * EQ_VL), k[r]);
                        for (int i = 0; i < count; i++) acc[i][v] = v_fma(x[r][i], k[r], acc[i][v]);
                    }
                }
            }
            for (int i = 0; i < count; i++)
                for (int v = 0; v < wide; v++) v_store(scores[i] + at + v * EQ_VL, acc[i][v]);
        }
}

/* scores -> probabilities in place, updating m and l; the factor for what was summed before is returned. */
EQ_INLINE float soften(const eq_attend_job *job, int i, int32_t base, float *s) {
    const int whole = job->low[i] <= base && job->high[i] >= base + EQ_TILE - 1;
    vf top = v_set(-INFINITY), scale = v_set(job->scale);
    for (int v = 0; v < EQ_TILE; v += EQ_VL) {
        vf x = v_mul(v_load(s + v), scale);
        if (job->softcap != 0.0f) x = v_mul(v_set(job->softcap), v_tanh(v_mul(x, v_set(1.0f / job->softcap))));
        if (!whole) {
            vf position = v_add(v_iota(), v_set((float)v));
            x = v_below(position, v_set((float)(job->low[i] - base)), v_set(-INFINITY), x);
            x = v_below(v_set((float)(job->high[i] - base)), position, v_set(-INFINITY), x);
        }
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
    float factor = m == before ? 1.0f : v_first(v_exp(v_set(before - m)));
    job->l[i] = job->l[i] * factor + v_sum(sum);
    job->m[i] = m;
    return factor;
}

/* `wide` vectors of o[i] = factor[i] * o[i] + p[i] [positions] * values [positions][E] for `count` queries, from e on: of
 * nibbles, in the order in which they are loaded. */
EQ_INLINE void weigh_some(float (*p)[EQ_TILE], const int count, int first, int last, const kv_tile *tile, const int type,
                          int64_t n, const float *factor, float *const *o, int64_t e, const int wide) {
    const int pair = type == KV_Q4_0 ? 2 : 1;
    const float *scales = tile->value_scales + e / 32 * EQ_TILE;
    vf acc[EQ_QB][4];
    int64_t at[4];
    for (int v = 0; v < wide; v++) {
        const int64_t byte = e / 2 + v / 2 * EQ_VL;
        at[v] = type == KV_Q4_0 ? byte / 16 * 32 + byte % 16 + v % 2 * 16 : e + v * EQ_VL;
        for (int i = 0; i < count; i++) acc[i][v] = v_mul(v_load(o[i] + at[v]), v_set(factor[i]));
    }
    for (int j = first; j <= last; j++) {
        vf x[4];
        if (e == 0) kv_ask(tile->values, tile->next_values, j, 1, n, type);
        for (int v = 0; v < wide; v += pair)
            kv_load(tile->values, j * n + e, v / pair * EQ_VL, type, x + v, x + v + pair / 2);
        for (int v = 0; v < wide && type > KV_F16; v++) x[v] = v_mul(v_set(scales[v * EQ_VL / 32 * EQ_TILE + j]), x[v]);
        for (int i = 0; i < count; i++)
            for (int v = 0; v < wide; v++) acc[i][v] = v_fma(v_set(p[i][j]), x[v], acc[i][v]);
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < wide; v++) v_store(o[i] + at[v], acc[i][v]);
}
EQ_INLINE void weigh(float (*p)[EQ_TILE], const int count, int first, int last, const kv_tile *tile, const int type, int64_t n,
                     const float *factor, float *const *o) {
    const int wide = EQ_AT_ONCE(count, 4), least = type == KV_Q4_0 ? 2 : 1;
    int64_t e = 0;
    for (; e + wide * EQ_VL <= n; e += wide * EQ_VL) weigh_some(p, count, first, last, tile, type, n, factor, o, e, wide);
    for (; e + least * EQ_VL <= n; e += least * EQ_VL) weigh_some(p, count, first, last, tile, type, n, factor, o, e, least);
    for (; e < n && type <= KV_F16; e++)
        for (int i = 0; i < count; i++) {
            float acc = o[i][e] * factor[i];
            for (int j = first; j <= last; j++) {
                const int64_t at = j * n + e;
                acc += p[i][j] * (type == KV_F16 ? eq_half(((const uint16_t *)tile->values)[at]) : ((const float *)tile->values)[at]);
            }
            o[i][e] = acc;
        }
}

/* for positions that not all queries see: few, so not once more in each place */
static void weigh_one(float (*p)[EQ_TILE], int first, int last, const kv_tile *tile, int type, int64_t n, const float *factor,
                      float *const *o) {
    switch (type) {
        case KV_F32: weigh(p, 1, first, last, tile, KV_F32, n, factor, o); break;
        case KV_Q8_0: weigh(p, 1, first, last, tile, KV_Q8_0, n, factor, o); break;
        case KV_Q4_0: weigh(p, 1, first, last, tile, KV_Q4_0, n, factor, o); break;
        default: weigh(p, 1, first, last, tile, KV_F16, n, factor, o);
    }
}

/* `count` queries from i on with a tile of positions from `base` on */
EQ_INLINE void attend_some(const eq_attend_job *job, int i, const int count, int32_t base, const kv_tile *tile,
                           const int type, float (*scores)[EQ_TILE]) {
    const float *const *q = job->q + i;
    float *const *o = job->o + i, factor[EQ_QB] = {0.0f};
    int first[EQ_QB], last[EQ_QB], from = 0, to = EQ_TILE - 1; /* from, to: what all see */
    for (int c = 0; c < count; c++) {
        const int32_t low = job->low[i + c], high = job->high[i + c];
        first[c] = low > base ? low - base : 0;
        last[c] = high < base + EQ_TILE ? high - base : EQ_TILE - 1;
        from = first[c] > from ? first[c] : from;
        to = last[c] < to ? last[c] : to;
    }
    score(q, count, tile, type, job->head_dim, scores);
    for (int c = 0; c < count; c++) {
        if (first[c] > last[c]) continue; /* nothing of this tile is seen */
        factor[c] = soften(job, i + c, base, scores[c]);
        if (from > to) weigh_one(scores + c, first[c], last[c], tile, type, job->head_dim, factor + c, o + c);
        else if (first[c] < from) weigh_one(scores + c, first[c], from - 1, tile, type, job->head_dim, factor + c, o + c), factor[c] = 1.0f;
    }
    if (from > to) return;
    weigh(scores, count, from, to, tile, type, job->head_dim, factor, o);
    const float one = 1.0f;
    for (int c = 0; c < count; c++)
        if (last[c] > to) weigh_one(scores + c, to + 1, last[c], tile, type, job->head_dim, &one, o + c);
}
/* Each number of queries that is left has code of its own: an empty place would cost as much as a query. */
EQ_INLINE void attend_tile(const eq_attend_job *job, int32_t base, const kv_tile *tile, const int type, float (*scores)[EQ_TILE]) {
    for (int i = 0; i < job->queries; i += EQ_QB) {
        const int left = job->queries - i;
        if (left >= EQ_QB) attend_some(job, i, EQ_QB, base, tile, type, scores);
#define EQ_LEFT(n) else if (EQ_QB > n && left == n) attend_some(job, i, n, base, tile, type, scores);
        EQ_LEFT(7) EQ_LEFT(6) EQ_LEFT(5) EQ_LEFT(4) EQ_LEFT(3) EQ_LEFT(2) EQ_LEFT(1)
#undef EQ_LEFT
    }
}

/* n halves as float32, n a multiple of 64 */
EQ_INLINE void kv_halves(const void *from, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i += EQ_VL) v_store(out + i, v_load_half((const uint16_t *)from + i));
}
/* Codes of a tile as float32, its scales with them */
EQ_INLINE void kv_numbers(const kv_tile *tile, int64_t n, const int type, float *keys, float *values) {
    const int rows = type == KV_Q4_0 ? 2 : 1;
    vf x[2];
    for (int64_t e = 0; e < n; e += rows)
        for (int j = 0; j < EQ_TILE; j += EQ_VL) {
            kv_load(tile->keys, EQ_TILE * e, j, type, x, x + 1);
            for (int r = 0; r < rows; r++)
                v_store(keys + EQ_TILE * (e + r) + j, v_mul(v_load(tile->key_scales + e / 32 * EQ_TILE + j), x[r]));
        }
    for (int64_t j = 0; j < EQ_TILE; j++)
        for (int64_t e = 0; e < n; e += 32) {
            vf scale = v_set(tile->value_scales[e / 32 * EQ_TILE + j]);
            for (int lane = 0; lane < 32 / rows; lane += EQ_VL) {
                kv_load(tile->values, j * n + e, lane, type, x, x + 1);
                for (int r = 0; r < rows; r++) v_store(values + j * n + e + lane + 16 * r, v_mul(scale, x[r]));
            }
        }
}

static void attend(const eq_attend_job *job, void *scratch) {
    const int64_t n = job->head_dim, row = kv_row_bytes(job->kv_type, job->head_dim);
    const int64_t scales = job->kv_type > KV_F16 ? EQ_TILE * (n / 32) : 0; /* how many */
    const int many = job->queries > (EQ_QB > 1 ? 2 * EQ_QB : 1), type = many ? KV_F32 : job->kv_type;
    const int64_t run = many ? n : type == KV_F32 ? 4 : type == KV_F16 ? 16 : 32;
    float *keys = scratch, *values = keys + EQ_TILE * n, *floats = values + EQ_TILE * n;
    float(*scores)[EQ_TILE] = (float(*)[EQ_TILE])(floats + 2 * scales);
    for (int32_t base = job->first / EQ_TILE * EQ_TILE; base <= job->last; base += EQ_TILE) {
        const uint16_t *k = (const void *)((const char *)job->keys + base % job->ring * row);
        const uint16_t *v = (const void *)((const char *)job->values + base % job->ring * row);
        const int32_t after = base + EQ_TILE <= job->last ? base + EQ_TILE : base; /* the last asks for itself */
        const int64_t next = after % job->ring * row + 2 * scales;
        kv_tile tile = {k + scales, v + scales, floats, floats + scales, (const char *)job->keys + next,
                        (const char *)job->values + next, run};
        kv_halves(k, scales, floats);
        kv_halves(v, scales, floats + scales);
        if (many && job->kv_type != KV_F32) {
            if (job->kv_type == KV_Q8_0) kv_numbers(&tile, n, KV_Q8_0, keys, values);
            else if (job->kv_type == KV_Q4_0) kv_numbers(&tile, n, KV_Q4_0, keys, values);
            else kv_halves(k, EQ_TILE * n, keys), kv_halves(v, EQ_TILE * n, values);
            tile.keys = keys, tile.values = values;
        }
        switch (type) {
            case KV_F32: attend_tile(job, base, &tile, KV_F32, scores); break;
            case KV_Q8_0: attend_tile(job, base, &tile, KV_Q8_0, scores); break;
            case KV_Q4_0: attend_tile(job, base, &tile, KV_Q4_0, scores); break;
            default: attend_tile(job, base, &tile, KV_F16, scores);
        }
    }
}
