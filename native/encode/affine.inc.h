/* A scale and an offset for n weights: x ~ s q + o, q of 0 .. top. */

typedef struct { vf w, x, q, qq, xq; } affine_sums; /* sums of w, w x, w q, w q^2, w x q */

EQ_INLINE vf affine_level(vf x, vf inverse, vf o, float top) { return v_clamp(v_round(v_mul(v_sub(x, o), inverse)), 0, top); }

EQ_INLINE void add_level(vf x, vf w, vf q, affine_sums *sums) {
    vf wq = v_mul(w, q);
    sums->q = v_add(sums->q, wq);
    sums->qq = v_add(sums->qq, v_mul(wq, q));
    sums->xq = v_add(sums->xq, v_mul(wq, x));
}

/* The error with scale s and offset o, and the sums over q. */
EQ_INLINE vf affine_misfit(const vf *x, const vf *w, int n, float top, vf s, vf o, affine_sums *sums) {
    vf inverse = v_inverse(s), error = v_zero();
    sums->q = sums->qq = sums->xq = v_zero();
    for (int i = 0; i < n; i++) {
        vf q = affine_level(x[i], inverse, o, top), r = v_sub(v_sub(x[i], o), v_mul(s, q));
        error = v_add(error, v_mul(v_mul(w[i], r), r));
        add_level(x[i], w[i], q, sums);
    }
    return error;
}

/* What a pair leaves, with numbers as they are or as halves. */
EQ_INLINE vf affine_left(const vf *x, const vf *w, int n, float top, vf s, vf o, int as_is) {
    affine_sums unused;
    return affine_misfit(x, w, n, top, as_is ? s : v_to_half(s), as_is ? o : v_to_half(o), &unused);
}

EQ_INLINE void add_plain_sums(const vf *x, const vf *w, int n, affine_sums *sums) {
    sums->w = sums->x = v_zero();
    for (int i = 0; i < n; i++) {
        sums->w = v_add(sums->w, w[i]);
        sums->x = v_add(sums->x, v_mul(w[i], x[i]));
    }
}

/* Least squares for s and o with the q of the sums; returns how much of sum w x^2 they explain beyond the mean. */
EQ_INLINE vf affine_fit(const affine_sums *t, vf *s, vf *o) {
    vf det = v_sub(v_mul(t->w, t->qq), v_mul(t->q, t->q)), cross = v_sub(v_mul(t->w, t->xq), v_mul(t->x, t->q));
    vf least = v_mul(v_set(1e-6f), v_mul(t->w, t->qq)); /* all q alike: no scale */
    *s = v_below(least, det, v_div(cross, det), v_zero());
    *o = v_div(v_sub(t->x, v_mul(*s, t->q)), t->w);
    return v_div(v_mul(*s, cross), t->w);
}

/* y: the weights less their mean, which is returned. Sums of these lose no digits where one counts a million times the others. */
EQ_INLINE vf affine_center(const vf *x, const vf *w, int n, vf *y) {
    affine_sums t;
    for (int i = 0; i < n; i++) y[i] = v_sub(x[i], x[0]);
    add_plain_sums(y, w, n, &t);
    vf mean = v_add(x[0], v_div(t.x, t.w));
    for (int i = 0; i < n; i++) y[i] = v_sub(x[i], mean);
    return mean;
}

/* What a scan tries: rows of numbers of steps, from `least` more than the levels have, and columns of places where they start,
 * from up * shift down. Fine for pairs of halves, whose blocks have no other scales. */
typedef struct { int rows, columns, up; float least, step, shift; } grid;
static const grid few = {9, 5, 1, -0.75f, 0.2f, 0.15f}, coarse = {9, 5, 1, -1.0f, 0.5f, 0.3f}, fine = {15, 9, 3, -1.0f, 0.3f, 0.2f};

/* The pair that explains most among those fitted to grids whose steps and start differ a little from those of a range of the
 * weights. Sums have errors of float arithmetic: pairs that explain the same but for those are told apart by what they leave, and
 * the first is taken of those that leave nothing but such errors.
 * anchored: the range takes in zero, and the offset is not above it. Else pairs are for halves, and compared as those. */
static void scan_range(const vf *x, const vf *w, int n, float top, int anchored, vf low, vf high, vf *scale, vf *offset) {
    vf y[32], mean = affine_center(x, w, n, y), power = v_zero(), best = v_set(-INFINITY);
    if (anchored) low = v_min(low, v_zero());
    for (int i = 0; i < n; i++) {
        vf above = v_sub(x[i], low);
        power = v_add(power, v_mul(v_mul(w[i], above), above));
    }
    vf unit = v_unit(v_sub(high, low)), margin = v_mul(v_set(3e-6f), power), least = noise_of(x, w, n);
    affine_sums t;
    add_plain_sums(y, w, n, &t);
    *scale = v_zero(), *offset = low;
    const grid g = !anchored ? fine : top < 4 ? few : coarse;
    for (int k = 0; k <= g.rows * g.columns; k++) {
        int row = (k - 1) / g.columns, column = (k - 1) % g.columns;
        float steps = top, start = 0.0f;
        if (k) {
            steps += g.least + g.step * (float)row;
            start = g.shift * (float)(g.up - column);
        }
        /* q and x are counted from the mean and its level, `middle` */
        vf inverse = v_mul(unit, v_set(steps)), place = v_add(v_mul(v_sub(mean, low), inverse), v_set(start)), s, o;
        vf middle = v_clamp(v_round(place), 0, top), first = v_sub(v_zero(), middle), last = v_sub(v_set(top), middle);
        place = v_sub(place, middle);
        t.q = t.qq = t.xq = v_zero();
        for (int i = 0; i < n; i++)
            add_level(y[i], w[i], v_min(v_max(v_round(v_add(v_mul(y[i], inverse), place)), first), last), &t);
        vf explained = affine_fit(&t, &s, &o);
        o = v_sub(v_add(o, mean), v_mul(s, middle));
        if (anchored) { /* above zero: a line through it */
            vf q = v_add(t.q, v_mul(middle, t.w)), qq = v_add(t.qq, v_mul(middle, v_add(t.q, q)));
            vf xq = v_add(v_add(t.xq, v_mul(middle, t.x)), v_mul(mean, q));
            vf through = v_below(v_set(EQ_TINY), qq, v_div(xq, qq), v_zero());
            s = v_below(v_zero(), o, through, s);
            o = v_min(o, v_zero());
        }
        vf more = v_sub(explained, best), one = v_set(1.0f), taken = v_below(margin, more, one, v_zero());
        vf alike = v_below(margin, v_abs(more), v_zero(), v_below(more, v_set(INFINITY), one, v_zero()));
        if (v_top(alike) > 0.0f) {
            vf left = v_max(affine_left(x, w, n, top, s, o, anchored), least);
            vf before = v_max(affine_left(x, w, n, top, *scale, *offset, anchored), least);
            taken = v_below(v_zero(), alike, v_below(left, before, one, v_zero()), taken);
        }
        *scale = v_below(v_zero(), taken, s, *scale);
        *offset = v_below(v_zero(), taken, o, *offset);
        best = v_below(v_zero(), taken, v_max(best, explained), best);
    }
}

/* The pair of the range of the weights that have importance, or of all where that leaves less. */
static void scan_affine(const vf *x, const vf *w, int n, float top, int anchored, vf *scale, vf *offset) {
    vf low[2], high[2], s, o, bare[32];
    int ranges = v_ends_of(x, w, n, low, high);
    scan_range(x, w, n, top, anchored, low[0], high[0], scale, offset);
    if (ranges == 1) return;
    scan_range(x, w, n, top, anchored, low[1], high[1], &s, &o);
    load_bare(w, n, bare);
    vf its = affine_left(x, bare, n, top, *scale, *offset, anchored), all = affine_left(x, bare, n, top, s, o, anchored);
    *scale = v_below(all, its, s, *scale);
    *offset = v_below(all, its, o, *offset);
}

typedef struct { vf s, o, error; } affine_pair;

EQ_INLINE void keep_better_pair(const vf *x, const vf *w, int n, float top, vf s, vf o, affine_pair *best) {
    affine_sums t;
    s = v_to_half(s), o = v_to_half(o);
    vf e = affine_misfit(x, w, n, top, s, o, &t);
    best->s = v_below(e, best->error, s, best->s);
    best->o = v_below(e, best->error, o, best->o);
    best->error = v_min(e, best->error);
}

/* Two halves near s and o with a small error. */
static affine_pair polish_affine(const vf *x, const vf *w, int n, float top, vf s, vf o) {
    affine_sums t;
    affine_pair best = {v_to_half(s), v_to_half(o), v_zero()};
    best.error = affine_misfit(x, w, n, top, best.s, best.o, &t);
    vf lows[2], highs[2], part = v_set(1.0f / top);
    (void)v_ends_of(x, w, n, lows, highs);
    vf low = lows[0], high = highs[0];
    keep_better_pair(x, w, n, top, v_mul(v_sub(high, low), part), low, &best); /* from end to end, or from zero */
    keep_better_pair(x, w, n, top, v_mul(high, part), v_zero(), &best);
    keep_better_pair(x, w, n, top, v_mul(low, part), v_zero(), &best);
    keep_better_pair(x, w, n, top, v_mul(v_sub(low, v_to_half(low)), part), low, &best); /* all alike: what a half leaves */
    vf y[32], mean = affine_center(x, w, n, y);
    add_plain_sums(y, w, n, &t);
    for (int k = 0; k < 3; k++) {
        vf inverse = v_inverse(best.s), middle = affine_level(mean, inverse, best.o, top);
        t.q = t.qq = t.xq = v_zero();
        for (int i = 0; i < n; i++) add_level(y[i], w[i], v_sub(affine_level(x[i], inverse, best.o, top), middle), &t);
        (void)affine_fit(&t, &s, &o);
        keep_better_pair(x, w, n, top, s, v_sub(v_add(o, mean), v_mul(s, middle)), &best);
    }
    add_plain_sums(x, w, n, &t);
    for (int k = -4; k <= 4; k++) { /* a neighbour of the scale, and the offset that fits it */
        vf near = v_to_half(v_mul(best.s, v_set(1.0f + (float)k * 0.00075f)));
        (void)affine_misfit(x, w, n, top, near, best.o, &t);
        keep_better_pair(x, w, n, top, near, v_div(v_sub(t.x, v_mul(near, t.q)), t.w), &best);
    }
    s = best.s, o = best.o;
    for (int k = 0; k < 15; k++) /* neighbours of both */
        keep_better_pair(x, w, n, top, v_mul(s, v_set(1.0f + (float)(k % 5 - 2) * 0.00075f)),
                         v_mul(o, v_set(1.0f + (float)(k / 5 - 1) * 0.00075f)), &best);
    return best;
}
