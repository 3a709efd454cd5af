/* Blocks side by side: lane i of every vector belongs to block i. What is computed for a block so does not depend on its
 * neighbours, on how many lanes there are, or on threads, and no sum runs across lanes: every ISA has the same bits.
 * Nothing here may use v_fma or v_sum, and v_top only to leave out work that no lane needs. */

#define EQ_TINY 1e-30f    /* below this a range or a sum of squares counts as nothing */
#define EQ_NOTHING 1e-9f  /* of a weight without importance: enough to choose among what is alike otherwise */
#define EQ_COUNTS 1.5e-6f /* weights with more than this have importance */
#define EQ_LOUD 0.75f     /* of the importance, and of an error: what makes a few weights loud */
#define EQ_WIDE 4.0f      /* the others make a range wide that is more than so many times that of those with importance */

EQ_INLINE vf v_abs(vf x) { return v_max(x, v_sub(v_zero(), x)); }
/* 1 / x, or 0 where that is not finite */
EQ_INLINE vf v_inverse(vf x) { return v_below(v_set(3e-39f), v_abs(x), v_div(v_set(1.0f), x), v_zero()); }
/* 1 / x, or 0 for ranges so small that a product with it and a weight may not be finite */
EQ_INLINE vf v_unit(vf x) { return v_below(v_set(EQ_TINY), v_abs(x), v_div(v_set(1.0f), x), v_zero()); }
EQ_INLINE vf v_clamp(vf x, float low, float high) { return v_min(v_max(x, v_set(low)), v_set(high)); }
/* The nearest half; too large ones stay finite. */
EQ_INLINE vf v_to_half(vf x) {
    uint16_t h[EQ_VL];
    v_store_half(h, v_clamp(x, -65504.0f, 65504.0f));
    return v_load_half(h);
}

/* n floats of each block as n vectors; blocks beyond count repeat the last one. n: a multiple of 16. */
static void load_columns(const float *const *blocks, int count, int n, vf *out) {
    for (int i = 0; i < n; i += EQ_VL) {
        vf tile[EQ_VL];
        for (int l = 0; l < EQ_VL; l++) tile[l] = v_load(blocks[l < count ? l : count - 1] + i);
        v_turn(tile);
        for (int l = 0; l < EQ_VL; l++) out[i + l] = tile[l];
    }
}

/* Importances with mean 1 in every block, and not quite without any; 1 where there are none, or a block has none. */
static void load_weights(const float *const *blocks, int count, int n, vf *out) {
    if (!blocks) {
        for (int i = 0; i < n; i++) out[i] = v_set(1.0f);
        return;
    }
    load_columns(blocks, count, n, out);
    vf sum = v_zero();
    for (int i = 0; i < n; i++) sum = v_add(sum, out[i]);
    vf factor = v_div(v_set((float)n), sum), least = v_set(EQ_TINY);
    for (int i = 0; i < n; i++) out[i] = v_below(sum, least, v_set(1.0f), v_max(v_mul(out[i], factor), v_set(EQ_NOTHING)));
}

/* The weight of the largest magnitude, with its sign; the first of equals. */
EQ_INLINE vf v_largest(const vf *x, int n) {
    vf top = v_zero();
    for (int i = 0; i < n; i++) top = v_below(v_abs(top), v_abs(x[i]), x[i], top);
    return top;
}

/* Two ranges to try: top[1] is the largest weight, top[0] the largest of those that have importance, where the others make the
 * range wide, else the same. Returns 1 where they are the same in all lanes, else 2. */
EQ_INLINE int v_largest_of(const vf *x, const vf *w, int n, vf top[2]) {
    vf all = v_largest(x, n), some = v_zero(), counts = v_set(EQ_COUNTS), one = v_set(1.0f);
    for (int i = 0; i < n; i++) some = v_below(v_abs(some), v_below(counts, w[i], v_abs(x[i]), v_zero()), x[i], some);
    vf wide = v_below(v_mul(v_abs(some), v_set(EQ_WIDE)), v_abs(all), v_below(v_zero(), v_abs(some), one, v_zero()), v_zero());
    top[0] = v_below(v_zero(), wide, some, all);
    top[1] = all;
    return v_top(wide) > 0.0f ? 2 : 1;
}

/* The largest of importances. */
EQ_INLINE vf v_most(const vf *w, int n) {
    vf most = w[0];
    for (int i = 1; i < n; i++) most = v_max(most, w[i]);
    return most;
}

/* The importances by which two ranges are compared: nothing where there is none. */
EQ_INLINE void load_bare(const vf *w, int n, vf *out) {
    for (int i = 0; i < n; i++) out[i] = v_below(v_set(2.0f * EQ_NOTHING), w[i], w[i], v_zero());
}

/* The same two ranges by their ends, the least and the largest weight. */
EQ_INLINE int v_ends_of(const vf *x, const vf *w, int n, vf low[2], vf high[2]) {
    vf none = v_set(INFINITY), counts = v_set(EQ_COUNTS), some_low = none, some_high = v_sub(v_zero(), none);
    low[1] = high[1] = x[0];
    for (int i = 0; i < n; i++) {
        low[1] = v_min(low[1], x[i]), high[1] = v_max(high[1], x[i]);
        some_low = v_min(some_low, v_below(counts, w[i], x[i], none));
        some_high = v_max(some_high, v_below(counts, w[i], x[i], v_sub(v_zero(), none)));
    }
    vf narrow = v_mul(v_sub(some_high, some_low), v_set(EQ_WIDE)); /* below zero where none has importance */
    vf wide = v_below(narrow, v_zero(), v_zero(), v_below(narrow, v_sub(high[1], low[1]), v_set(1.0f), v_zero()));
    low[0] = v_below(v_zero(), wide, some_low, low[1]);
    high[0] = v_below(v_zero(), wide, some_high, high[1]);
    return v_top(wide) > 0.0f ? 2 : 1;
}

/* Whole numbers of n vectors as bytes of each block, `offset` added. */
static void store_bytes(const vf *q, int n, float offset, uint8_t (*out)[256]) {
    for (int i = 0; i < n; i++) {
        float lanes[EQ_VL];
        v_store(lanes, v_add(q[i], v_set(offset)));
        for (int l = 0; l < EQ_VL; l++) out[l][i] = (uint8_t)(int)lanes[l];
    }
}

/* Halves of each block, without a sign at zero. */
static void store_halves(vf d, uint16_t *out) { v_store_half(out, v_add(d, v_zero())); }

EQ_INLINE void put16(uint8_t *p, uint16_t x) { p[0] = (uint8_t)x, p[1] = (uint8_t)(x >> 8); }
EQ_INLINE void put32(uint8_t *p, uint32_t x) { put16(p, (uint16_t)x), put16(p + 2, (uint16_t)(x >> 16)); }
