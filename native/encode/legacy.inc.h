/* Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 (blocks of 32), Q1_0 (128), Q2_0 (64), IQ4_NL (32). Layouts: edgeq/quants/legacy.py. */

/* 32 levels of 4 bits as 16 bytes. */
static void put_nibbles(const uint8_t *q, uint8_t *out) {
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}
static uint32_t fifth_bits(const uint8_t *q) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++) bits |= (uint32_t)(q[i] >> 4 & 1) << i;
    return bits;
}

/* A level of IQ4 as its number. */
EQ_INLINE vf iq4_code(vf level) {
    vf code = v_zero();
    for (int i = 1; i < 16; i++) code = v_below(level, v_set(iq4_levels[i] - 0.5f), code, v_set((float)i));
    return code;
}

/* Blocks of n weights with one half: the half, and the levels as bytes, `offset` added; of IQ4 the numbers of levels. The scan
 * is that of best_half. */
EQ_INLINE void one_half(int levels, int n, float end, float first, float step, int steps, int both, float offset,
                        const float *const *xs, const float *const *ws, int count, uint16_t *h, uint8_t (*q)[256]) {
    vf x[256], w[256];
    load_columns(xs, count, n, x);
    load_weights(ws, count, n, w);
    vf d = best_half(levels, x, w, n, end, first, step, steps, both);
    store_halves(d, h);
    choose_levels(levels, x, n, d, x);
    if (levels == LEVELS_IQ4)
        for (int i = 0; i < n; i++) x[i] = iq4_code(x[i]);
    store_bytes(x, n, offset, q);
}

static void encode_q4_0(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t h[EQ_VL];
    uint8_t q[EQ_VL][256];
    one_half(LEVELS_4, 32, 8.0f, 5.0f, 0.5f, 17, 1, 8.0f, xs, ws, count, h, q);
    for (int l = 0; l < count; l++) {
        put16(out[l], h[l]);
        put_nibbles(q[l], out[l] + 2);
    }
}

static void encode_q5_0(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t h[EQ_VL];
    uint8_t q[EQ_VL][256];
    one_half(LEVELS_5, 32, 16.0f, 12.0f, 0.5f, 19, 1, 16.0f, xs, ws, count, h, q);
    for (int l = 0; l < count; l++) {
        put16(out[l], h[l]);
        put32(out[l] + 2, fifth_bits(q[l]));
        put_nibbles(q[l], out[l] + 6);
    }
}

static void encode_q8_0(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t h[EQ_VL];
    uint8_t q[EQ_VL][256];
    one_half(LEVELS_8, 32, 127.0f, 121.0f, 0.5f, 14, 0, 256.0f, xs, ws, count, h, q);
    for (int l = 0; l < count; l++) {
        put16(out[l], h[l]);
        memcpy(out[l] + 2, q[l], 32);
    }
}

static void encode_q2_0(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t h[EQ_VL];
    uint8_t q[EQ_VL][256];
    one_half(LEVELS_2, 64, 2.0f, 0.75f, 0.125f, 35, 1, 1.0f, xs, ws, count, h, q);
    for (int l = 0; l < count; l++) {
        put16(out[l], h[l]);
        memset(out[l] + 2, 0, 16);
        for (int i = 0; i < 64; i++) out[l][2 + i / 4] |= (uint8_t)(q[l][i] << 2 * (i % 4));
    }
}

static void encode_iq4_nl(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t h[EQ_VL];
    uint8_t q[EQ_VL][256];
    one_half(LEVELS_IQ4, 32, 127.0f, 80.0f, 3.0f, 28, 1, 0.0f, xs, ws, count, h, q);
    for (int l = 0; l < count; l++) {
        put16(out[l], h[l]);
        put_nibbles(q[l], out[l] + 2);
    }
}

/* The levels of x ~ s q + o, in place. */
static void affine_levels(vf *x, int n, float top, vf s, vf o) {
    vf inverse = v_inverse(s);
    for (int i = 0; i < n; i++) x[i] = affine_level(x[i], inverse, o, top);
}

/* Blocks of 32 weights with a half for the scale, one for the offset, and levels of 0 .. top as bytes. */
EQ_INLINE void two_halves(float top, const float *const *xs, const float *const *ws, int count, uint16_t *hs, uint16_t *ho,
                          uint8_t (*q)[256]) {
    vf x[32], w[32], s, o;
    load_columns(xs, count, 32, x);
    load_weights(ws, count, 32, w);
    scan_affine(x, w, 32, top, 0, &s, &o);
    affine_pair best = polish_affine(x, w, 32, top, s, o);
    store_halves(best.s, hs);
    store_halves(best.o, ho);
    affine_levels(x, 32, top, best.s, best.o);
    store_bytes(x, 32, 0.0f, q);
}

static void encode_q4_1(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t hs[EQ_VL], ho[EQ_VL];
    uint8_t q[EQ_VL][256];
    two_halves(15.0f, xs, ws, count, hs, ho, q);
    for (int l = 0; l < count; l++) {
        put16(out[l], hs[l]);
        put16(out[l] + 2, ho[l]);
        put_nibbles(q[l], out[l] + 4);
    }
}

static void encode_q5_1(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t hs[EQ_VL], ho[EQ_VL];
    uint8_t q[EQ_VL][256];
    two_halves(31.0f, xs, ws, count, hs, ho, q);
    for (int l = 0; l < count; l++) {
        put16(out[l], hs[l]);
        put16(out[l] + 2, ho[l]);
        put32(out[l] + 4, fifth_bits(q[l]));
        put_nibbles(q[l], out[l] + 8);
    }
}

/* The best scale for given signs is the mean magnitude, to which the mean of what it leaves adds the last bits. */
static void encode_q1_0(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    vf x[128], w[128], sum = v_zero(), weight = v_zero(), left = v_zero();
    load_columns(xs, count, 128, x);
    load_weights(ws, count, 128, w);
    for (int i = 0; i < 128; i++) {
        sum = v_add(sum, v_mul(w[i], v_abs(x[i])));
        weight = v_add(weight, w[i]);
    }
    vf mean = v_div(sum, weight);
    for (int i = 0; i < 128; i++) left = v_add(left, v_mul(w[i], v_sub(v_abs(x[i]), mean)));
    uint16_t h[EQ_VL];
    uint8_t q[EQ_VL][256];
    store_halves(v_to_half(v_add(mean, v_div(left, weight))), h);
    for (int i = 0; i < 128; i++) x[i] = v_below(x[i], v_zero(), v_zero(), v_set(1.0f));
    store_bytes(x, 128, 0.0f, q);
    for (int l = 0; l < count; l++) {
        put16(out[l], h[l]);
        memset(out[l] + 2, 0, 16);
        for (int i = 0; i < 128; i++) out[l][2 + i / 8] |= (uint8_t)(q[l][i] << i % 8);
    }
}
