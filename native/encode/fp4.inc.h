/* MXFP4 and NVFP4: E2M1 numbers, doubled to be integers, under a halved scale that is a byte. All codes near the one that
 * makes the largest weight the largest number are tried. Layouts: edgeq/quants/fp4.py. */

/* E2M1 codes of doubled numbers. */
EQ_INLINE vf e2m1_code(vf level) {
    vf a = v_abs(level);
    vf code = v_below(a, v_set(5), a, v_below(a, v_set(7), v_set(5), v_below(a, v_set(10), v_set(6), v_set(7))));
    return v_below(level, v_zero(), v_add(code, v_set(8)), code);
}

typedef float (*fp4_scale_fn)(uint8_t code);
static float mx_scale(uint8_t code) { return eq_e8m0_half(code); }
static float nv_scale(uint8_t code) { return eq_ue4m3_half(code); }

/* The code whose scale lets the levels of n weights fit best, among those up to `reach` away from the first one from `low` to
 * `high` whose scale is at least what the largest weight needs. x becomes codes of E2M1. */
EQ_INLINE void choose_fp4(fp4_scale_fn scale, int low, int high, int reach, vf *x, const vf *w, int n, uint8_t *codes) {
    vf largest[2], best = v_set(INFINITY), code = v_zero(), scale_is = v_zero();
    int ranges = v_largest_of(x, w, n, largest);
    for (int r = 0; r < ranges; r++) {
        float need[EQ_VL], d[EQ_VL], chosen[EQ_VL];
        int start[EQ_VL];
        v_store(need, v_mul(v_abs(largest[r]), v_set(1.0f / 12.0f)));
        for (int l = 0; l < EQ_VL; l++) {
            int a = low, b = high; /* scales grow with their codes */
            while (a < b) {
                int middle = (a + b) / 2;
                if (scale((uint8_t)middle) < need[l]) a = middle + 1;
                else b = middle;
            }
            start[l] = a;
        }
        for (int k = 0; k <= 2 * reach; k++) {
            int step = k % 2 ? (k + 1) / 2 : -k / 2;
            for (int l = 0; l < EQ_VL; l++) {
                int c = start[l] + step;
                c = c < low ? low : c > high ? high : c;
                chosen[l] = (float)c, d[l] = scale((uint8_t)c);
            }
            vf e = misfit(LEVELS_FP4, x, w, n, v_load(d));
            if (r == 0 && k == 0) code = v_load(chosen), scale_is = v_load(d);
            code = v_below(e, best, v_load(chosen), code);
            scale_is = v_below(e, best, v_load(d), scale_is);
            best = v_min(e, best);
        }
    }
    choose_levels(LEVELS_FP4, x, n, scale_is, x);
    for (int i = 0; i < n; i++) x[i] = e2m1_code(x[i]);
    float chosen[EQ_VL];
    v_store(chosen, code);
    for (int l = 0; l < EQ_VL; l++) codes[l] = (uint8_t)(int)chosen[l];
}

static void encode_mxfp4(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    vf x[32], w[32];
    uint8_t codes[EQ_VL], q[EQ_VL][256];
    load_columns(xs, count, 32, x);
    load_weights(ws, count, 32, w);
    choose_fp4(mx_scale, 2, 254, 3, x, w, 32, codes);
    store_bytes(x, 32, 0.0f, q);
    for (int l = 0; l < count; l++) {
        out[l][0] = codes[l];
        put_nibbles(q[l], out[l] + 1);
    }
}

static void encode_nvfp4(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    vf x[64], w[64];
    uint8_t codes[4][EQ_VL], q[EQ_VL][256];
    load_columns(xs, count, 64, x);
    load_weights(ws, count, 64, w);
    for (int b = 0; b < 4; b++) choose_fp4(nv_scale, 0, 126, 9, x + 16 * b, w + 16 * b, 16, codes[b]);
    store_bytes(x, 64, 0.0f, q);
    for (int l = 0; l < count; l++)
        for (int b = 0; b < 4; b++) {
            const uint8_t *p = q[l] + 16 * b;
            out[l][b] = codes[b][l];
            for (int i = 0; i < 8; i++) out[l][4 + 8 * b + i] = (uint8_t)(p[i] | p[i + 8] << 4);
        }
}
