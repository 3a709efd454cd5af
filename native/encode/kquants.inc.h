/* Q2_K to Q6_K and IQ4_XS: 256 weights with a half d (and dmin) and integers for each 16 or 32 of them. The integers are
 * searched with the halves fixed, the halves fitted with the integers fixed, in turn; what is kept is the best state seen.
 * Layouts: edgeq/quants/kquants.py. */

/* One product of d and two integers for all 256 weights, which are nearly alike: the two that leave the least. `most`: the
 * largest integer scale; levels: those to try. */
typedef struct { vf d, sc, error; } constant_fit;

EQ_INLINE constant_fit fit_constant(const vf *x, const vf *w, float most, const float *levels, int n_levels) {
    constant_fit best = {v_zero(), v_zero(), v_set(INFINITY)};
    vf y[256], mean = affine_center(x, w, 256, y), weight = v_zero(), spread = v_zero();
    for (int i = 0; i < 256; i++) weight = v_add(weight, w[i]), spread = v_add(spread, v_mul(v_mul(w[i], y[i]), y[i]));
    for (int k = 0; k < n_levels; k++)
        for (float sc = most; sc > 0.5f * most; sc -= 1.0f) {
            vf d = v_to_half(v_div(mean, v_set(sc * levels[k]))), r = v_sub(mean, v_mul(v_mul(d, v_set(sc)), v_set(levels[k])));
            vf e = v_add(v_mul(v_mul(weight, r), r), spread);
            best.d = v_below(e, best.error, d, best.d);
            best.sc = v_below(e, best.error, v_set(sc), best.sc);
            best.error = v_min(e, best.error);
        }
    return best;
}

/* The half nearest to d; the smallest one in place of zero. */
EQ_INLINE vf unit_half(vf d) {
    vf h = v_to_half(d), least = v_set(0x1p-24f);
    vf up = v_below(v_zero(), d, least, v_below(d, v_zero(), v_sub(v_zero(), least), v_zero()));
    return v_below(v_zero(), v_abs(h), h, up);
}

/* The half that puts the largest of the scales of blocks at `end`. */
static vf unit_at(vf largest, float end) { return unit_half(v_div(largest, v_set(end))); }

/* The half with which all scales s round best to integers times it, from low to high: near its own best scale a block's error
 * grows with the square of the distance, times `steep`. The largest lies at `end`, or at one of 63 places from there half the
 * way to zero. */
static vf best_unit(const vf *s, const vf *steep, int blocks, vf largest, float end, float low, float high) {
    vf least = v_set(INFINITY), best = v_zero();
    for (int k = 0; k < 64; k++) {
        vf d = unit_at(largest, end * (1.0f - (float)k / 128.0f)), inverse = v_inverse(d), cost = v_zero();
        for (int b = 0; b < blocks; b++) {
            vf r = v_sub(s[b], v_mul(d, v_clamp(v_round(v_mul(s[b], inverse)), low, high)));
            cost = v_add(cost, v_mul(v_mul(steep[b], r), r));
        }
        best = v_below(cost, least, d, best);
        least = v_min(cost, least);
    }
    return best;
}

/* ---- x ~ d sc q ---- */

typedef struct { vf d, sc[16], error; } scaled;

/* A neighbour beyond one end is the other end: blocks that fit as well turned over have one more place to go. */
EQ_INLINE vf v_turned(vf sc, float low, float high) {
    vf l = v_set(low), h = v_set(high);
    return v_below(h, sc, l, v_below(sc, l, h, sc));
}

/* The integer scales near `at->sc` that are best with at->d. Returns the error; *d: what least squares would have instead. */
EQ_INLINE vf scaled_round(int levels, const vf *x, const vf *w, int blocks, float low, float high, int reach, scaled *at, vf *d) {
    int n = 256 / blocks;
    vf total = v_zero();
    fit_sums whole = {v_zero(), v_zero()};
    for (int b = 0; b < blocks; b++) {
        const vf *xb = x + b * n, *wb = w + b * n;
        vf start = at->sc[b], best = v_set(INFINITY), xq = v_zero(), qq = v_zero();
        for (int k = -reach; k <= reach; k++) {
            vf sc = v_turned(v_add(start, v_set((float)k)), low, high), s = v_mul(at->d, sc), inverse = v_inverse(s), e = v_zero();
            fit_sums t = {v_zero(), v_zero()};
            for (int i = 0; i < n; i++) {
                vf q = nearest(levels, v_mul(xb[i], inverse)), wq = v_mul(wb[i], q), r = v_sub(xb[i], v_mul(s, q));
                e = v_add(e, v_mul(v_mul(wb[i], r), r));
                t.xq = v_add(t.xq, v_mul(wq, xb[i]));
                t.qq = v_add(t.qq, v_mul(wq, q));
            }
            at->sc[b] = v_below(e, best, sc, at->sc[b]);
            xq = v_below(e, best, v_mul(sc, t.xq), xq);
            qq = v_below(e, best, v_mul(v_mul(sc, sc), t.qq), qq);
            best = v_min(e, best);
        }
        total = v_add(total, best);
        whole.xq = v_add(whole.xq, xq);
        whole.qq = v_add(whole.qq, qq);
    }
    *d = fitted(whole);
    return total;
}

static void keep_scaled(const scaled *new, scaled *best, int blocks) {
    for (int b = 0; b < blocks; b++) best->sc[b] = v_below(new->error, best->error, new->sc[b], best->sc[b]);
    best->d = v_below(new->error, best->error, new->d, best->d);
    best->error = v_min(new->error, best->error);
}

/* From the scales s of the blocks and a d for them. */
EQ_INLINE void start_scaled(int levels, const vf *x, const vf *w, int blocks, float low, float high, const vf *s, vf unit, scaled *best) {
    scaled at;
    vf d;
    at.d = unit;
    vf inverse = v_inverse(at.d);
    for (int b = 0; b < blocks; b++) at.sc[b] = v_clamp(v_round(v_mul(s[b], inverse)), low, high);
    at.error = scaled_round(levels, x, w, blocks, low, high, 1, &at, &d);
    keep_scaled(&at, best, blocks);
}

/* d fitted to the best scales, and scales to d, in turn. */
EQ_INLINE void refine_scaled(int levels, const vf *x, const vf *w, int blocks, float low, float high, int rounds, scaled *best) {
    scaled at = *best;
    vf d;
    (void)scaled_round(levels, x, w, blocks, low, high, 0, &at, &d);
    for (int k = 0; k < rounds; k++) {
        at.d = v_to_half(d);
        at.error = scaled_round(levels, x, w, blocks, low, high, 1, &at, &d);
        keep_scaled(&at, best, blocks);
    }
}

/* ---- x ~ d sc q - dmin m ---- */

typedef struct { vf d, dmin, sc[16], m[16], error; } mixed;

EQ_INLINE vf mixed_round(const vf *x, const vf *w, int blocks, float top, float most, mixed *at, vf *d, vf *dmin) {
    int n = 256 / blocks;
    vf total = v_zero(), per_min = v_inverse(at->dmin);
    vf a = v_zero(), b = v_zero(), c = v_zero(), f = v_zero(), g = v_zero(); /* normal equations */
    for (int i = 0; i < blocks; i++) {
        const vf *xb = x + i * n, *wb = w + i * n;
        vf sc0 = at->sc[i], m0 = at->m[i], best = v_set(INFINITY), q1 = v_zero(), q2 = v_zero(), xq = v_zero();
        affine_sums t;
        add_plain_sums(xb, wb, n, &t);
        for (int k = -1; k <= 1; k++) {
            vf sc = v_clamp(v_add(sc0, v_set((float)k)), 0, most), s = v_mul(at->d, sc), m = m0;
            for (int try = 0; try < 3; try++) {
                vf e = affine_misfit(xb, wb, n, top, s, v_sub(v_zero(), v_mul(at->dmin, m)), &t);
                at->sc[i] = v_below(e, best, sc, at->sc[i]);
                at->m[i] = v_below(e, best, m, at->m[i]);
                q1 = v_below(e, best, t.q, q1), q2 = v_below(e, best, t.qq, q2), xq = v_below(e, best, t.xq, xq);
                best = v_min(e, best);
                /* the mean of what is left says where m belongs; if it is there already, a neighbour is tried */
                vf wanted = v_mul(v_sub(v_mul(s, t.q), t.x), v_mul(per_min, v_inverse(t.w)));
                vf next = v_clamp(v_round(wanted), 0, most), side = v_below(wanted, m, v_sub(m, v_set(1)), v_add(m, v_set(1)));
                m = v_below(v_abs(v_sub(next, m)), v_set(0.5f), v_clamp(side, 0, most), next);
            }
        }
        vf sc = at->sc[i], m = at->m[i];
        a = v_add(a, v_mul(v_mul(sc, sc), q2));
        b = v_add(b, v_mul(v_mul(sc, m), q1));
        c = v_add(c, v_mul(v_mul(m, m), t.w));
        f = v_add(f, v_mul(sc, xq));
        g = v_add(g, v_mul(m, t.x));
        total = v_add(total, best);
    }
    vf det = v_sub(v_mul(a, c), v_mul(b, b)), least = v_mul(v_set(1e-6f), v_mul(a, c));
    vf alone = v_below(v_set(EQ_TINY), a, v_div(v_add(f, v_mul(at->dmin, b)), a), at->d);
    *d = v_below(least, det, v_div(v_sub(v_mul(f, c), v_mul(b, g)), det), alone);
    *dmin = v_below(least, det, v_div(v_sub(v_mul(b, f), v_mul(a, g)), det), at->dmin);
    return total;
}

static void keep_mixed(const mixed *new, mixed *best, int blocks) {
    for (int i = 0; i < blocks; i++) {
        best->sc[i] = v_below(new->error, best->error, new->sc[i], best->sc[i]);
        best->m[i] = v_below(new->error, best->error, new->m[i], best->m[i]);
    }
    best->d = v_below(new->error, best->error, new->d, best->d);
    best->dmin = v_below(new->error, best->error, new->dmin, best->dmin);
    best->error = v_min(new->error, best->error);
}

/* From scales s and offsets o of the blocks, a d and a dmin for them. */
EQ_INLINE void start_mixed(const vf *x, const vf *w, int blocks, float top, float most, const vf *s, const vf *o, vf unit, vf min_unit,
                           mixed *best) {
    mixed at;
    vf d, dmin;
    at.d = unit, at.dmin = min_unit;
    vf per_scale = v_inverse(at.d), per_min = v_inverse(at.dmin);
    for (int i = 0; i < blocks; i++) {
        at.sc[i] = v_clamp(v_round(v_mul(s[i], per_scale)), 0, most);
        at.m[i] = v_clamp(v_round(v_mul(v_sub(v_zero(), o[i]), per_min)), 0, most);
    }
    at.error = mixed_round(x, w, blocks, top, most, &at, &d, &dmin);
    keep_mixed(&at, best, blocks);
}

EQ_INLINE void refine_mixed(const vf *x, const vf *w, int blocks, float top, float most, int rounds, mixed *best) {
    mixed at = *best;
    vf d, dmin;
    for (int k = 0; k <= rounds; k++) {
        at.error = mixed_round(x, w, blocks, top, most, &at, &d, &dmin);
        keep_mixed(&at, best, blocks);
        at.d = v_to_half(d), at.dmin = v_to_half(dmin);
    }
}

/* ---- the formats ---- */

enum { MIXED_PLACES = 3, ROUNDS = 3 }; /* places of the largest scale to start from, and rounds from the best start */

/* The best of both orientations: offsets at the low end of the weights, or at the high one (d and dmin negative). */
EQ_INLINE void best_mixed(const vf *x, const vf *w, int blocks, float top, float most, mixed *best) {
    int n = 256 / blocks;
    vf s[16], o[16], of[16], steep[16], weight[16], s_top[2], o_top[2], turned[256];
    for (int i = 0; i < 256; i++) turned[i] = v_sub(v_zero(), x[i]);
    for (int side = 0; side < 2; side++) {
        const vf *xs = side ? turned : x;
        mixed found;
        found.error = v_set(INFINITY);
        found.d = found.dmin = v_zero();
        for (int b = 0; b < blocks; b++) {
            scan_affine(xs + b * n, w + b * n, n, top, 1, &s[b], &o[b]);
            affine_sums t;
            (void)affine_misfit(xs + b * n, w + b * n, n, top, s[b], o[b], &t);
            add_plain_sums(xs + b * n, w + b * n, n, &t);
            steep[b] = t.qq, weight[b] = t.w, of[b] = v_most(w + b * n, n);
            found.sc[b] = found.m[b] = v_zero();
        }
        int s_ranges = v_largest_of(s, of, blocks, s_top), o_ranges = v_largest_of(o, of, blocks, o_top);
        for (int r = 0; r < (s_ranges > o_ranges ? s_ranges : o_ranges); r++) {
            for (int k = 0; k < MIXED_PLACES; k++) {
                float near = (float)k * (most > 15 ? 3.0f : 1.0f);
                start_mixed(xs, w, blocks, top, most, s, o, unit_at(s_top[r], most - near), unit_at(o_top[r], -most), &found);
            }
            start_mixed(xs, w, blocks, top, most, s, o, best_unit(s, steep, blocks, s_top[r], most, 0, most),
                        best_unit(o, weight, blocks, o_top[r], -most, -most, 0), &found);
        }
        refine_mixed(xs, w, blocks, top, most, ROUNDS, &found);
        if (side) {
            found.d = v_sub(v_zero(), found.d), found.dmin = v_sub(v_zero(), found.dmin);
            keep_mixed(&found, best, blocks);
        } else {
            *best = found;
        }
    }
    const float ends[2] = {top, top - 1};
    constant_fit same = fit_constant(x, w, most, ends, 2);
    mixed at = {.d = same.d, .dmin = v_zero(), .error = same.error};
    for (int b = 0; b < blocks; b++) at.sc[b] = same.sc, at.m[b] = v_zero();
    keep_mixed(&at, best, blocks);
}

static void mixed_levels(vf *x, int blocks, float top, const mixed *best) {
    int n = 256 / blocks;
    for (int b = 0; b < blocks; b++)
        affine_levels(x + b * n, n, top, v_mul(best->d, best->sc[b]), v_sub(v_zero(), v_mul(best->dmin, best->m[b])));
}

/* 256 fields of 2 bits: each 32 bytes hold 128 weights, bits 0-1 of all bytes first. */
static void put_pairs(const uint8_t *q, uint8_t *out) {
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *p = q + 128 * half + i;
            out[32 * half + i] = (uint8_t)((p[0] & 3) | (p[32] & 3) << 2 | (p[64] & 3) << 4 | (p[96] & 3) << 6);
        }
}
/* Low nibbles: each 32 bytes hold 64 weights. */
static void put_nibble_rows(const uint8_t *q, uint8_t *out) {
    for (int r = 0; r < 4; r++)
        for (int i = 0; i < 32; i++) out[32 * r + i] = (uint8_t)((q[64 * r + i] & 15) | (q[64 * r + 32 + i] & 15) << 4);
}
/* One bit of each weight: bit k of byte j is that of weight 32 k + j. */
static void put_bit_rows(const uint8_t *q, int bit, uint8_t *out) {
    for (int j = 0; j < 32; j++) {
        int byte = 0;
        for (int k = 0; k < 8; k++) byte |= (q[32 * k + j] >> bit & 1) << k;
        out[j] = (uint8_t)byte;
    }
}
/* Eight scales and mins of 6 bits in 12 bytes. */
static void put_scales_mins(const uint8_t *sc, const uint8_t *m, uint8_t *out) {
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(sc[i] | sc[i + 4] >> 4 << 6);
        out[i + 4] = (uint8_t)(m[i] | m[i + 4] >> 4 << 6);
        out[i + 8] = (uint8_t)((sc[i + 4] & 15) | (m[i + 4] & 15) << 4);
    }
}

/* What goes into a block with scales and mins. */
typedef struct {
    uint16_t d[EQ_VL], dmin[EQ_VL];
    uint8_t q[EQ_VL][256], sc[EQ_VL][256], m[EQ_VL][256];
} mixed_codes;

EQ_INLINE void encode_mixed(int blocks, float top, float most, const float *const *xs, const float *const *ws, int count,
                            mixed_codes *codes) {
    vf x[256], w[256];
    mixed best;
    load_columns(xs, count, 256, x);
    load_weights(ws, count, 256, w);
    best_mixed(x, w, blocks, top, most, &best);
    mixed_levels(x, blocks, top, &best);
    store_bytes(x, 256, 0.0f, codes->q);
    store_bytes(best.sc, blocks, 0.0f, codes->sc);
    store_bytes(best.m, blocks, 0.0f, codes->m);
    store_halves(best.d, codes->d);
    store_halves(best.dmin, codes->dmin);
}

static void encode_q2_k(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    mixed_codes c;
    encode_mixed(16, 3.0f, 15.0f, xs, ws, count, &c);
    for (int l = 0; l < count; l++) {
        for (int i = 0; i < 16; i++) out[l][i] = (uint8_t)(c.sc[l][i] | c.m[l][i] << 4);
        put_pairs(c.q[l], out[l] + 16);
        put16(out[l] + 80, c.d[l]);
        put16(out[l] + 82, c.dmin[l]);
    }
}

EQ_INLINE void encode_q45_k(const float *const *xs, const float *const *ws, int count, uint8_t *const *out, float top) {
    mixed_codes c;
    encode_mixed(8, top, 63.0f, xs, ws, count, &c);
    for (int l = 0; l < count; l++) {
        put16(out[l], c.d[l]);
        put16(out[l] + 2, c.dmin[l]);
        put_scales_mins(c.sc[l], c.m[l], out[l] + 4);
        if (top > 16) put_bit_rows(c.q[l], 4, out[l] + 16);
        put_nibble_rows(c.q[l], out[l] + (top > 16 ? 48 : 16));
    }
}
static void encode_q4_k(const float *const *x, const float *const *w, int count, uint8_t *const *out) {
    encode_q45_k(x, w, count, out, 15.0f);
}
static void encode_q5_k(const float *const *x, const float *const *w, int count, uint8_t *const *out) {
    encode_q45_k(x, w, count, out, 31.0f);
}

/* Scales of all blocks, then d of either sign from the largest of them and from all. */
EQ_INLINE void best_scaled(int levels, const vf *x, const vf *w, int blocks, float low, float high, float end, float first, float step,
                           int steps, scaled *best) {
    int n = 256 / blocks;
    const float ends[4] = {-end, 1 - end, 2 - end, end - 1}, iq4_large[4] = {-127, 113, -104, 89};
    vf s[16], of[16], steep[16], largest[2];
    best->error = v_set(INFINITY);
    best->d = v_zero();
    for (int b = 0; b < blocks; b++) {
        s[b] = scan_scales(levels, x + b * n, w + b * n, n, end, first, step, steps, 1, 0).d;
        steep[b] = sums_at(levels, x + b * n, w + b * n, n, v_inverse(s[b])).qq;
        of[b] = v_most(w + b * n, n);
        best->sc[b] = v_zero();
    }
    int ranges = v_largest_of(s, of, blocks, largest);
    for (int k = 0; k < 2 * ranges; k++) {
        vf top = largest[k / 2];
        float at_end = k % 2 ? high + 1 : low;
        start_scaled(levels, x, w, blocks, low, high, s, unit_at(top, at_end), best);
        start_scaled(levels, x, w, blocks, low, high, s, best_unit(s, steep, blocks, top, at_end, low, high), best);
    }
    refine_scaled(levels, x, w, blocks, low, high, ROUNDS, best);
    constant_fit same = fit_constant(x, w, -low, levels == LEVELS_IQ4 ? iq4_large : ends, 4);
    scaled at = {.d = v_sub(v_zero(), same.d), .error = same.error};
    for (int b = 0; b < blocks; b++) at.sc[b] = v_sub(v_zero(), same.sc);
    keep_scaled(&at, best, blocks);
}

static void scaled_levels(int levels, vf *x, int blocks, const scaled *best) {
    int n = 256 / blocks;
    for (int b = 0; b < blocks; b++) choose_levels(levels, x + b * n, n, v_mul(best->d, best->sc[b]), x + b * n);
}

/* What goes into a block with scales alone; offsets are added to levels and scales, of IQ4 levels are their numbers. */
typedef struct {
    uint16_t d[EQ_VL];
    uint8_t q[EQ_VL][256], sc[EQ_VL][256];
} scaled_codes;

EQ_INLINE void encode_scaled(int levels, int blocks, float low, float high, float end, float first, float step, int steps,
                             float q_offset, float sc_offset, const float *const *xs, const float *const *ws, int count,
                             scaled_codes *codes) {
    vf x[256], w[256];
    scaled best;
    load_columns(xs, count, 256, x);
    load_weights(ws, count, 256, w);
    best_scaled(levels, x, w, blocks, low, high, end, first, step, steps, &best);
    scaled_levels(levels, x, blocks, &best);
    if (levels == LEVELS_IQ4)
        for (int i = 0; i < 256; i++) x[i] = iq4_code(x[i]);
    store_bytes(x, 256, q_offset, codes->q);
    store_bytes(best.sc, blocks, sc_offset, codes->sc);
    store_halves(best.d, codes->d);
}

static void encode_q3_k(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    scaled_codes c;
    encode_scaled(LEVELS_3, 16, -32.0f, 31.0f, 4.0f, 2.0f, 0.25f, 19, 4.0f, 32.0f, xs, ws, count, &c);
    for (int l = 0; l < count; l++) {
        uint8_t *scales = out[l] + 96;
        put_bit_rows(c.q[l], 2, out[l]);
        put_pairs(c.q[l], out[l] + 32);
        for (int i = 0; i < 8; i++) scales[i] = (uint8_t)((c.sc[l][i] & 15) | (c.sc[l][i + 8] & 15) << 4);
        for (int i = 0; i < 4; i++)
            scales[8 + i] = (uint8_t)(c.sc[l][i] >> 4 | c.sc[l][i + 4] >> 4 << 2 | c.sc[l][i + 8] >> 4 << 4 | c.sc[l][i + 12] >> 4 << 6);
        put16(out[l] + 108, c.d[l]);
    }
}

static void encode_q6_k(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    scaled_codes c;
    encode_scaled(LEVELS_6, 16, -128.0f, 127.0f, 32.0f, 26.0f, 0.5f, 20, 32.0f, 256.0f, xs, ws, count, &c);
    for (int l = 0; l < count; l++) {
        for (int half = 0; half < 2; half++) {
            const uint8_t *p = c.q[l] + 128 * half;
            uint8_t *low = out[l] + 64 * half, *high = out[l] + 128 + 32 * half;
            for (int i = 0; i < 64; i++) low[i] = (uint8_t)((p[i] & 15) | (p[i + 64] & 15) << 4);
            for (int i = 0; i < 32; i++) high[i] = (uint8_t)(p[i] >> 4 | p[i + 32] >> 4 << 2 | p[i + 64] >> 4 << 4 | p[i + 96] >> 4 << 6);
        }
        memcpy(out[l] + 192, c.sc[l], 16);
        put16(out[l] + 208, c.d[l]);
    }
}

static void encode_iq4_xs(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    scaled_codes c;
    encode_scaled(LEVELS_IQ4, 8, -32.0f, 31.0f, 127.0f, 80.0f, 4.0f, 21, 0.0f, 32.0f, xs, ws, count, &c);
    for (int l = 0; l < count; l++) {
        int high = 0;
        for (int b = 0; b < 8; b++) high |= c.sc[l][b] >> 4 << 2 * b;
        put16(out[l], c.d[l]);
        put16(out[l] + 2, (uint16_t)high);
        for (int b = 0; b < 4; b++) out[l][4 + b] = (uint8_t)((c.sc[l][2 * b] & 15) | (c.sc[l][2 * b + 1] & 15) << 4);
        for (int b = 0; b < 8; b++) put_nibbles(c.q[l] + 32 * b, out[l] + 8 + 16 * b);
    }
}
