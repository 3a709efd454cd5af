/* TQ1_0 and TQ2_0: 256 weights of -1, 0 or 1 times one half. Layouts: edgeq/quants/ternary.py. */

static void ternary_digits(const float *const *xs, const float *const *ws, int count, uint16_t *h, uint8_t (*q)[256]) {
    one_half(LEVELS_TERNARY, 256, 1.0f, 0.75f, 0.25f, 26, 0, 1.0f, xs, ws, count, h, q);
}

/* `digits` base-3 digits, `run` places apart, as the fraction of 256 from which they are read off by multiplying with 3. */
static uint8_t packed_digits(const uint8_t *q, int digits, int run) {
    int n = 0;
    for (int i = 0; i < 5; i++) n = 3 * n + (i < digits ? q[run * i] : 0);
    return (uint8_t)((n * 256 + 242) / 243);
}

static void encode_tq1_0(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t h[EQ_VL];
    uint8_t q[EQ_VL][256];
    ternary_digits(xs, ws, count, h, q);
    for (int l = 0; l < count; l++) {
        for (int i = 0; i < 32; i++) out[l][i] = packed_digits(q[l] + i, 5, 32);
        for (int i = 0; i < 16; i++) out[l][32 + i] = packed_digits(q[l] + 160 + i, 5, 16);
        for (int i = 0; i < 4; i++) out[l][48 + i] = packed_digits(q[l] + 240 + i, 4, 4);
        put16(out[l] + 52, h[l]);
    }
}

static void encode_tq2_0(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    uint16_t h[EQ_VL];
    uint8_t q[EQ_VL][256];
    ternary_digits(xs, ws, count, h, q);
    for (int l = 0; l < count; l++) {
        put_pairs(q[l], out[l]);
        put16(out[l] + 64, h[l]);
    }
}
