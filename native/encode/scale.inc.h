/* One scale for n weights: x ~ d q, q of a set of levels. The error is sum w (x - d q)^2, q always the level nearest to
 * x / d. As a function of d it is made of pieces of parabolas, so it is scanned, and the best pieces are fitted. */

enum { LEVELS_2, LEVELS_TERNARY, LEVELS_3, LEVELS_4, LEVELS_5, LEVELS_6, LEVELS_8, LEVELS_IQ4, LEVELS_FP4 };

static const float iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* The level nearest to y. */
EQ_INLINE vf nearest(int levels, vf y) {
    switch (levels) {
    case LEVELS_2: return v_clamp(v_round(y), -1, 2);
    case LEVELS_TERNARY: return v_clamp(v_round(y), -1, 1);
    case LEVELS_3: return v_clamp(v_round(y), -4, 3);
    case LEVELS_4: return v_clamp(v_round(y), -8, 7);
    case LEVELS_5: return v_clamp(v_round(y), -16, 15);
    case LEVELS_6: return v_clamp(v_round(y), -32, 31);
    case LEVELS_8: return v_clamp(v_round(y), -127, 127);
    case LEVELS_IQ4: {
        vf level = v_set(iq4_levels[0]);
        for (int i = 1; i < 16; i++)
            level = v_below(y, v_set(0.5f * (iq4_levels[i - 1] + iq4_levels[i])), level, v_set(iq4_levels[i]));
        return level;
    }
    default: { /* E2M1, doubled: 0 1 2 3 4 6 8 12 */
        vf a = v_abs(y), small = v_min(v_round(a), v_set(4));
        a = v_below(a, v_set(5), small, v_below(a, v_set(7), v_set(6), v_below(a, v_set(10), v_set(8), v_set(12))));
        return v_below(y, v_zero(), v_sub(v_zero(), a), a);
    }
    }
}

/* The error with scale d. */
EQ_INLINE vf misfit(int levels, const vf *x, const vf *w, int n, vf d) {
    vf inverse = v_inverse(d), error = v_zero();
    for (int i = 0; i < n; i++) {
        vf r = v_sub(x[i], v_mul(d, nearest(levels, v_mul(x[i], inverse))));
        error = v_add(error, v_mul(v_mul(w[i], r), r));
    }
    return error;
}

typedef struct { vf xq, qq; } fit_sums; /* sums of w x q and w q^2 */

EQ_INLINE fit_sums sums_at(int levels, const vf *x, const vf *w, int n, vf inverse) {
    fit_sums s = {v_zero(), v_zero()};
    for (int i = 0; i < n; i++) {
        vf q = nearest(levels, v_mul(x[i], inverse)), wq = v_mul(w[i], q);
        s.xq = v_add(s.xq, v_mul(wq, x[i]));
        s.qq = v_add(s.qq, v_mul(wq, q));
    }
    return s;
}
EQ_INLINE vf fitted(fit_sums s) { return v_below(v_set(EQ_TINY), s.qq, v_div(s.xq, s.qq), v_zero()); }

/* What counts as an exact fit: errors of float arithmetic. */
EQ_INLINE vf noise_of(const vf *x, const vf *w, int n) {
    vf power = v_zero();
    for (int i = 0; i < n; i++) power = v_add(power, v_mul(v_mul(w[i], x[i]), x[i]));
    return v_mul(power, v_set(1e-12f));
}

/* A scale and its error; `least` is the error below which there is nothing to gain. */
typedef struct { vf d, error, least; } scale_fit;

EQ_INLINE void keep_better(int levels, const vf *x, const vf *w, int n, vf d, scale_fit *best) {
    vf e = v_max(misfit(levels, x, w, n, d), best->least);
    best->d = v_below(e, best->error, d, best->d);
    best->error = v_min(e, best->error);
}

/* The largest of the weights that each have more than an eighth of the importance, where those have most of it and, with scale d,
 * leave most of the error; else 0. */
EQ_INLINE vf loudest(int levels, const vf *x, const vf *w, int n, vf d) {
    vf all = v_zero(), importance = all, total = all, error = all, one = all, inverse = v_inverse(d), most = v_set(EQ_LOUD);
    for (int i = 0; i < n; i++) all = v_add(all, w[i]);
    vf much = v_mul(all, v_set(0.125f));
    for (int i = 0; i < n; i++) {
        vf r = v_sub(x[i], v_mul(d, nearest(levels, v_mul(x[i], inverse)))), e = v_mul(v_mul(w[i], r), r);
        total = v_add(total, e);
        error = v_add(error, v_below(much, w[i], e, v_zero()));
        importance = v_add(importance, v_below(much, w[i], w[i], v_zero()));
        one = v_below(v_abs(one), v_below(much, w[i], v_abs(x[i]), v_zero()), x[i], one);
    }
    return v_below(v_mul(total, most), error, v_below(v_mul(all, most), importance, one, v_zero()), v_zero());
}

/* Where that weight, which now is at y, can lie: from the whole number below it on, a quarter apart, of either sign; on IQ4 at
 * every level. */
EQ_INLINE vf loud_place(int levels, vf y, int k) {
    if (levels == LEVELS_IQ4) return v_set(iq4_levels[k]);
    vf place = v_add(v_max(v_round(v_sub(v_abs(y), v_set(0.5f))), v_set(1.0f)), v_set(0.25f * (float)(k / 2)));
    return k % 2 ? v_sub(v_zero(), place) : place;
}

/* A few weights may count a million times the others: then scales that are best for them, which a scan over the range misses. */
EQ_INLINE void keep_loud(int levels, const vf *x, const vf *w, int n, int halves, scale_fit *best) {
    vf one = loudest(levels, x, w, n, best->d), y = v_mul(one, v_inverse(best->d)), size = v_abs(one), unit = v_unit(one);
    if (v_top(size) == 0.0f) return;
    for (int k = 0; k < (levels == LEVELS_IQ4 ? 16 : 64); k++) {
        vf d = fitted(sums_at(levels, x, w, n, v_mul(loud_place(levels, y, k), unit)));
        d = v_below(v_zero(), size, halves ? v_to_half(d) : d, best->d);
        keep_better(levels, x, w, n, d, best);
    }
}

/* The best of the scales fitted to levels that put the largest weight at `end`, or at one of `steps` places from `first`
 * on, `step` apart; of either sign if both. Where several are exact, the first is taken: `end`. */
EQ_INLINE scale_fit scan_scales(int levels, const vf *x, const vf *w, int n, float end, float first, float step, int steps, int both,
                                int halves) {
    vf largest[2];
    int ranges = v_largest_of(x, w, n, largest);
    scale_fit found[2];
    for (int r = 0; r < ranges; r++) {
        vf unit = v_unit(largest[r]);
        found[r] = (scale_fit){v_zero(), v_set(INFINITY), noise_of(x, w, n)};
        for (int k = 0; k < (both ? 2 * steps + 2 : steps + 1); k++) {
            int place = both ? k / 2 : k;
            float to = place ? first + step * (float)(place - 1) : end;
            vf d = fitted(sums_at(levels, x, w, n, v_mul(unit, v_set(both && k % 2 == 0 ? -to : to))));
            keep_better(levels, x, w, n, halves ? v_to_half(d) : d, &found[r]);
        }
        keep_loud(levels, x, w, n, halves, &found[r]);
    }
    scale_fit best = found[0];
    if (ranges > 1) {
        vf bare[256];
        load_bare(w, n, bare);
        vf its = misfit(levels, x, bare, n, best.d), all = misfit(levels, x, bare, n, found[1].d);
        best.d = v_below(all, its, found[1].d, best.d);
        best.error = v_below(all, its, found[1].error, best.error);
    }
    return best;
}

/* A half with a small error: of the scan, fitted to the levels that it gives, or next to it. */
EQ_INLINE vf best_half(int levels, const vf *x, const vf *w, int n, float end, float first, float step, int steps, int both) {
    scale_fit best = scan_scales(levels, x, w, n, end, first, step, steps, both, 1);
    vf inverse = v_inverse(best.d);
    for (int k = -4; k <= 4; k++) /* between the places of the scan */
        keep_better(levels, x, w, n, v_to_half(fitted(sums_at(levels, x, w, n, v_mul(inverse, v_set(1.0f + 0.004f * (float)k))))), &best);
    keep_better(levels, x, w, n, v_to_half(fitted(sums_at(levels, x, w, n, v_inverse(best.d)))), &best);
    for (int k = -2; k <= 2; k++) /* halves have 11 bits */
        if (k) keep_better(levels, x, w, n, v_to_half(v_mul(best.d, v_set(1.0f + (float)k * 0.00075f))), &best);
    return best.d;
}

EQ_INLINE void choose_levels(int levels, const vf *x, int n, vf d, vf *q) {
    vf inverse = v_inverse(d);
    for (int i = 0; i < n; i++) q[i] = nearest(levels, v_mul(x[i], inverse));
}
