/* IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S: vectors of 8 or 4 weights are one of a codebook's points times signs, times
 * u m: u from the block's half, m an odd number of a few bits for each 16 or 32 weights. The nearest point is found exactly,
 * over the whole codebook: errors are sums over the two halves of a vector, and a half has only 81 or 64 forms.
 * Layouts: edgeq/quants/iquants.py. */

enum { GRID_POINTS = 2048, GRID_HALVES = 81 };

typedef struct {
    int width, n_levels, halves, points;
    float level[8];
    uint16_t first[GRID_HALVES + 1]; /* where the points with this first half begin */
    uint8_t second[GRID_POINTS];
    uint16_t index[GRID_POINTS];
    int8_t vector[GRID_POINTS][8]; /* by index: numbers of levels */
} book;

/* Points: `size` bytes each, of these levels (bytes), which stand for level + offset. */
static void open_book(book *b, const void *grid, int points, int width, int n_levels, const uint8_t *levels, float offset) {
    uint8_t code[GRID_POINTS];
    int count[GRID_HALVES] = {0};
    b->width = width, b->n_levels = n_levels, b->points = points, b->halves = n_levels == 3 ? 81 : 64;
    for (int i = 0; i < n_levels; i++) b->level[i] = (float)levels[i] + offset;
    for (int p = 0; p < points; p++) {
        const uint8_t *bytes = (const uint8_t *)grid + p * width;
        int half[2] = {0, 0};
        for (int i = 0; i < width; i++) {
            int n = 0;
            while (n < n_levels - 1 && levels[n] != bytes[i]) n++;
            b->vector[p][i] = (int8_t)n;
            half[2 * i / width] = n_levels * half[2 * i / width] + n;
        }
        code[p] = (uint8_t)half[1];
        count[half[0]]++;
    }
    b->first[0] = 0;
    for (int i = 0; i < b->halves; i++) b->first[i + 1] = (uint16_t)(b->first[i] + count[i]);
    for (int p = points - 1; p >= 0; p--) {
        int half = 0;
        for (int i = 0; i < width / 2; i++) half = n_levels * half + b->vector[p][i];
        int at = b->first[half] + --count[half];
        b->second[at] = code[p];
        b->index[at] = (uint16_t)p;
    }
}

/* The error of each form of half a vector with scale s. */
static void half_errors(const book *b, const vf *x, const vf *w, vf s, float shift, vf *out) {
    vf e[4][8];
    int n = b->width / 2;
    for (int l = 0; l < b->n_levels; l++) {
        vf value = v_mul(s, v_set(b->level[l] + shift));
        for (int i = 0; i < n; i++) {
            vf r = v_sub(x[i], value);
            e[i][l] = v_mul(v_mul(w[i], r), r);
        }
    }
    if (n == 2) {
        for (int i = 0; i < 8; i++)
            for (int k = 0; k < 8; k++) out[8 * i + k] = v_add(e[0][i], e[1][k]);
        return;
    }
    vf low[9], high[9];
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            low[3 * i + k] = v_add(e[0][i], e[1][k]);
            high[3 * i + k] = v_add(e[2][i], e[3][k]);
        }
    for (int i = 0; i < 9; i++)
        for (int k = 0; k < 9; k++) out[9 * i + k] = v_add(low[i], high[k]);
}

/* The error of the nearest point. a, b: room for the errors of the halves. */
static vf nearest_point(const book *grid, const vf *x, const vf *w, vf s, float shift, vf *a, vf *b) {
    half_errors(grid, x, w, s, shift, a);
    half_errors(grid, x + grid->width / 2, w + grid->width / 2, s, shift, b);
    vf best = v_set(INFINITY);
    for (int i = 0; i < grid->halves; i++) {
        int p = grid->first[i], end = grid->first[i + 1];
        if (p == end) continue;
        vf least = b[grid->second[p]];
        for (p++; p < end; p++) least = v_min(least, b[grid->second[p]]);
        best = v_min(best, v_add(a[i], least));
    }
    return best;
}

/* Which point that was. */
static vf point_index(const book *grid, const vf *a, const vf *b, vf best) {
    vf index = v_zero();
    for (int i = 0; i < grid->halves; i++)
        for (int p = grid->first[i]; p < grid->first[i + 1]; p++)
            index = v_below(best, v_add(a[i], b[grid->second[p]]), index, v_set((float)grid->index[p]));
    return index;
}

/* What a format makes of the codebook. */
typedef struct {
    const book *grid;
    int size;      /* weights that share m */
    int most;      /* largest m */
    int even;      /* 8 weights have an even number of minus signs */
    int shifted;   /* IQ1: weights are levels plus or minus 1/8; 1: for all that share m, 2: for each vector */
    float per_half; /* u = half * per_half */
    const float *places;
    int n_places;
} grid_format;

typedef struct { vf u, m[16], error; } grid_state;

/* The error of one vector, with the better shift if it has its own. */
static vf vector_error(const grid_format *f, const vf *x, const vf *w, vf s) {
    vf a[GRID_HALVES], b[GRID_HALVES];
    if (!f->shifted) return nearest_point(f->grid, x, w, s, 0.0f, a, b);
    vf up = nearest_point(f->grid, x, w, s, 0.125f, a, b);
    return v_min(up, nearest_point(f->grid, x, w, s, -0.125f, a, b));
}

/* The error of weights that share m. */
static vf shared_error(const grid_format *f, const vf *x, const vf *w, vf s) {
    vf a[GRID_HALVES], b[GRID_HALVES], sum = v_zero(), other = v_zero();
    for (int i = 0; i < f->size; i += f->grid->width) {
        if (f->shifted == 1) {
            sum = v_add(sum, nearest_point(f->grid, x + i, w + i, s, 0.125f, a, b));
            other = v_add(other, nearest_point(f->grid, x + i, w + i, s, -0.125f, a, b));
        } else {
            sum = v_add(sum, vector_error(f, x + i, w + i, s));
        }
    }
    return f->shifted == 1 ? v_min(sum, other) : sum;
}

/* Points, shifts (1 where down) and values q of weights that share m. */
static void choose_points(const grid_format *f, const vf *x, const vf *w, vf s, vf *points, vf *down, vf *q) {
    vf a[GRID_HALVES], b[GRID_HALVES], up_sum = v_zero(), down_sum = v_zero();
    int width = f->grid->width, vectors = f->size / width;
    vf errors[2][8], indices[2][8];
    for (int v = 0; v < vectors; v++) {
        for (int k = 0; k < (f->shifted ? 2 : 1); k++) {
            errors[k][v] = nearest_point(f->grid, x + v * width, w + v * width, s, !f->shifted ? 0.0f : k ? -0.125f : 0.125f, a, b);
            indices[k][v] = point_index(f->grid, a, b, errors[k][v]);
        }
        up_sum = v_add(up_sum, errors[0][v]);
        if (f->shifted) down_sum = v_add(down_sum, errors[1][v]);
    }
    for (int v = 0; v < vectors; v++) {
        points[v] = indices[0][v], down[v] = v_zero();
        if (f->shifted) {
            vf up = f->shifted == 1 ? up_sum : errors[0][v], low = f->shifted == 1 ? down_sum : errors[1][v];
            points[v] = v_below(low, up, indices[1][v], indices[0][v]);
            down[v] = v_below(low, up, v_set(1.0f), v_zero());
        }
        float point[EQ_VL], is_down[EQ_VL], values[8][EQ_VL];
        v_store(point, points[v]);
        v_store(is_down, down[v]);
        for (int l = 0; l < EQ_VL; l++)
            for (int i = 0; i < width; i++)
                values[i][l] = f->grid->level[f->grid->vector[(int)point[l]][i]] + (!f->shifted ? 0.0f : is_down[l] > 0 ? -0.125f : 0.125f);
        for (int i = 0; i < width; i++) q[v * width + i] = v_load(values[i]);
    }
}

static fit_sums point_sums(const grid_format *f, const vf *x, const vf *w, vf s) {
    vf points[8], down[8], q[32];
    fit_sums t = {v_zero(), v_zero()};
    choose_points(f, x, w, s, points, down, q);
    for (int i = 0; i < f->size; i++) {
        vf wq = v_mul(w[i], q[i]);
        t.xq = v_add(t.xq, v_mul(wq, x[i]));
        t.qq = v_add(t.qq, v_mul(wq, q[i]));
    }
    return t;
}

/* The odd number from 1 to most that is nearest to y. */
EQ_INLINE vf odd_near(vf y, int most) {
    vf half = v_round(v_mul(v_sub(y, v_set(1.0f)), v_set(0.5f)));
    return v_add(v_mul(v_clamp(half, 0.0f, 0.5f * (float)(most - 1)), v_set(2.0f)), v_set(1.0f));
}

EQ_INLINE vf unit_of(const grid_format *f, vf u) { return v_mul(v_to_half(v_div(u, v_set(f->per_half))), v_set(f->per_half)); }

/* The m of each group that are best with at->u, near those that it has; *u: what least squares would have instead. */
static void grid_round(const grid_format *f, const vf *x, const vf *w, grid_state *at, vf *u) {
    fit_sums whole = {v_zero(), v_zero()};
    at->error = v_zero();
    for (int g = 0; g < 256 / f->size; g++) {
        const vf *xg = x + g * f->size, *wg = w + g * f->size;
        vf m = at->m[g], best = v_set(INFINITY);
        for (int k = -1; k <= 1; k++) {
            vf near = v_clamp(v_add(m, v_set(2.0f * (float)k)), 1.0f, (float)f->most), e = shared_error(f, xg, wg, v_mul(at->u, near));
            at->m[g] = v_below(e, best, near, at->m[g]);
            best = v_min(e, best);
        }
        fit_sums t = point_sums(f, xg, wg, v_mul(at->u, at->m[g]));
        whole.xq = v_add(whole.xq, v_mul(at->m[g], t.xq));
        whole.qq = v_add(whole.qq, v_mul(v_mul(at->m[g], at->m[g]), t.qq));
        at->error = v_add(at->error, best);
    }
    *u = fitted(whole);
}

/* The best scale of a group alone. */
static vf group_scale(const grid_format *f, const vf *x, const vf *w) {
    vf largest[2], found[2], bare[32];
    int ranges = v_largest_of(x, w, f->size, largest);
    for (int r = 0; r < ranges; r++) {
        vf least = v_set(INFINITY);
        found[r] = v_zero();
        for (int k = 0; k < f->n_places; k++) {
            vf scale = v_div(v_abs(largest[r]), v_set(f->places[k])), e = shared_error(f, x, w, scale);
            found[r] = v_below(e, least, scale, found[r]);
            least = v_min(e, least);
        }
    }
    if (ranges == 1) return found[0];
    load_bare(w, f->size, bare);
    return v_below(shared_error(f, x, bare, found[1]), shared_error(f, x, bare, found[0]), found[1], found[0]);
}

/* The u that rounds the scales s of all groups best: near its own a group's error grows with the square of the distance, times
 * `steep`. The largest gets the largest m, or a u up to twice as large. */
static vf group_unit(const grid_format *f, const vf *s, const vf *steep, int groups, vf largest) {
    vf least = v_set(INFINITY), u = v_zero();
    for (int k = 0; k < 64; k++) {
        vf unit = unit_of(f, v_div(largest, v_set((float)f->most * (1.0f - (float)k / 128.0f)))), inverse = v_inverse(unit), cost = v_zero();
        for (int g = 0; g < groups; g++) {
            vf r = v_sub(s[g], v_mul(unit, odd_near(v_mul(s[g], inverse), f->most)));
            cost = v_add(cost, v_mul(v_mul(steep[g], r), r));
        }
        u = v_below(cost, least, unit, u);
        least = v_min(cost, least);
    }
    return u;
}

/* u and m. The best scale of each group alone comes first, then the u that rounds all of them best, then rounds as for the K
 * formats. */
static void search_grid(const grid_format *f, const vf *x, const vf *w, grid_state *best) {
    int groups = 256 / f->size;
    vf s[16], of[16], steep[16], largest[2];
    best->error = v_set(INFINITY);
    best->u = v_zero();
    for (int g = 0; g < groups; g++) {
        const vf *xg = x + g * f->size, *wg = w + g * f->size;
        fit_sums t = point_sums(f, xg, wg, group_scale(f, xg, wg));
        s[g] = v_max(fitted(t), v_zero());
        steep[g] = t.qq;
        of[g] = v_most(wg, f->size);
        best->m[g] = v_set(1.0f);
    }
    int ranges = v_largest_of(s, of, groups, largest);
    for (int r = 0; r < ranges; r++) {
        grid_state at;
        vf u;
        at.u = group_unit(f, s, steep, groups, largest[r]);
        for (int g = 0; g < groups; g++) at.m[g] = odd_near(v_mul(s[g], v_inverse(at.u)), f->most);
        for (int k = 0; k < 2; k++) {
            grid_round(f, x, w, &at, &u);
            for (int g = 0; g < groups; g++) best->m[g] = v_below(at.error, best->error, at.m[g], best->m[g]);
            best->u = v_below(at.error, best->error, at.u, best->u);
            best->error = v_min(at.error, best->error);
            at.u = unit_of(f, u);
        }
    }
}

/* Weights as magnitudes, and their signs (1 where minus). With an even number of minus signs, one weight of 8 may have the
 * wrong one, and then counts as negative: the one that loses least. */
static void take_signs(const grid_format *f, vf *x, const vf *w, vf *minus) {
    for (int i = 0; i < 256; i += 8) {
        vf odd = v_set(1.0f), least = v_set(INFINITY), place = v_zero();
        for (int k = 0; k < 8; k++) {
            minus[i + k] = v_below(x[i + k], v_zero(), v_set(1.0f), v_zero());
            odd = v_below(x[i + k], v_zero(), v_sub(v_zero(), odd), odd);
            x[i + k] = v_abs(x[i + k]);
            vf loss = v_mul(w[i + k], x[i + k]);
            place = v_below(loss, least, v_set((float)k), place);
            least = v_min(loss, least);
        }
        if (!f->even) continue;
        for (int k = 0; k < 8; k++) {
            vf other = v_abs(v_sub(place, v_set((float)k))); /* 0 for the one */
            vf wrong = v_below(odd, v_zero(), v_below(other, v_set(0.5f), v_set(1.0f), v_zero()), v_zero());
            x[i + k] = v_below(v_zero(), wrong, v_sub(v_zero(), x[i + k]), x[i + k]);
            minus[i + k] = v_below(v_zero(), wrong, v_sub(v_set(1.0f), minus[i + k]), minus[i + k]);
        }
    }
}

typedef struct {
    uint16_t half[EQ_VL];
    uint8_t scale[EQ_VL][256];  /* (m - 1) / 2 of each group */
    uint16_t point[EQ_VL][64];
    uint8_t minus[EQ_VL][256];
    uint8_t down[EQ_VL][64];
} grid_codes;

static void encode_grid(const grid_format *f, const float *const *xs, const float *const *ws, int count, grid_codes *out) {
    vf x[256], w[256], minus[256];
    grid_state best;
    load_columns(xs, count, 256, x);
    load_weights(ws, count, 256, w);
    if (!f->shifted) {
        take_signs(f, x, w, minus);
        store_bytes(minus, 256, 0.0f, out->minus);
    }
    search_grid(f, x, w, &best);
    store_halves(v_div(best.u, v_set(f->per_half)), out->half);
    int groups = 256 / f->size, vectors = f->size / f->grid->width;
    for (int g = 0; g < groups; g++) {
        vf points[8], down[8], q[32];
        choose_points(f, x + g * f->size, w + g * f->size, v_mul(best.u, best.m[g]), points, down, q);
        for (int v = 0; v < vectors; v++) {
            float point[EQ_VL], is_down[EQ_VL];
            v_store(point, points[v]);
            v_store(is_down, down[v]);
            for (int l = 0; l < EQ_VL; l++) {
                out->point[l][g * vectors + v] = (uint16_t)(int)point[l];
                out->down[l][g * vectors + v] = is_down[l] > 0;
            }
        }
        best.m[g] = v_mul(v_sub(best.m[g], v_set(1.0f)), v_set(0.5f));
    }
    store_bytes(best.m, groups, 0.0f, out->scale);
}

static const uint8_t iq2_levels[3] = {8, 25, 43}, iq1_levels[3] = {0, 1, 2};
static const uint8_t iq3_xxs_levels[8] = {4, 12, 20, 28, 36, 44, 52, 62}, iq3_s_levels[8] = {1, 3, 5, 7, 9, 11, 13, 15};
static const float iq2_places[14] = {36, 40, 43, 46, 50, 54, 59, 65, 72, 80, 90, 105, 130, 170};
static const float iq3_xxs_places[14] = {50, 54, 58, 62, 66, 70, 75, 81, 88, 97, 108, 125, 150, 200};
static const float iq3_s_places[14] = {12, 13, 14, 15, 16, 17, 18.2f, 19.5f, 21, 23, 26, 30, 36, 48};
static const float iq1_places[7] = {0.8f, 1.125f, 1.4f, 1.8f, 2.25f, 2.9f, 4.2f};

/* Seven of 8 signs; the eighth follows from them. */
static uint32_t seven_signs(const uint8_t *minus) {
    uint32_t bits = 0;
    for (int i = 0; i < 7; i++) bits |= (uint32_t)minus[i] << i;
    return bits;
}
static uint8_t eight_signs(const uint8_t *minus) { return (uint8_t)(seven_signs(minus) | (uint32_t)minus[7] << 7); }

static void encode_iq2_xxs(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    book grid;
    grid_codes codes;
    open_book(&grid, eq_grid_iq2_xxs, 256, 8, 3, iq2_levels, 0.0f);
    const grid_format f = {&grid, 32, 31, 1, 0, 0.125f, iq2_places, 14};
    encode_grid(&f, xs, ws, count, &codes);
    for (int l = 0; l < count; l++) {
        put16(out[l], codes.half[l]);
        for (int g = 0; g < 8; g++) {
            uint8_t *p = out[l] + 2 + 8 * g;
            uint32_t word = (uint32_t)codes.scale[l][g] << 28;
            for (int v = 0; v < 4; v++) {
                p[v] = (uint8_t)codes.point[l][4 * g + v];
                word |= seven_signs(codes.minus[l] + 32 * g + 8 * v) << 7 * v;
            }
            put32(p + 4, word);
        }
    }
}

static void encode_iq2_xs(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    book grid;
    grid_codes codes;
    open_book(&grid, eq_grid_iq2_xs, 512, 8, 3, iq2_levels, 0.0f);
    const grid_format f = {&grid, 16, 31, 1, 0, 0.125f, iq2_places, 14};
    encode_grid(&f, xs, ws, count, &codes);
    for (int l = 0; l < count; l++) {
        put16(out[l], codes.half[l]);
        for (int v = 0; v < 32; v++)
            put16(out[l] + 2 + 2 * v, (uint16_t)(codes.point[l][v] | seven_signs(codes.minus[l] + 8 * v) << 9));
        for (int g = 0; g < 8; g++) out[l][66 + g] = (uint8_t)(codes.scale[l][2 * g] | codes.scale[l][2 * g + 1] << 4);
    }
}

static void encode_iq2_s(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    book grid;
    grid_codes codes;
    open_book(&grid, eq_grid_iq2_s, 1024, 8, 3, iq2_levels, 0.0f);
    const grid_format f = {&grid, 16, 31, 0, 0, 0.125f, iq2_places, 14};
    encode_grid(&f, xs, ws, count, &codes);
    for (int l = 0; l < count; l++) {
        put16(out[l], codes.half[l]);
        for (int v = 0; v < 32; v++) {
            out[l][2 + v] = (uint8_t)codes.point[l][v];
            out[l][34 + v] = eight_signs(codes.minus[l] + 8 * v);
        }
        for (int g = 0; g < 8; g++) {
            const uint16_t *p = codes.point[l] + 4 * g;
            out[l][66 + g] = (uint8_t)(p[0] >> 8 | p[1] >> 8 << 2 | p[2] >> 8 << 4 | p[3] >> 8 << 6);
            out[l][74 + g] = (uint8_t)(codes.scale[l][2 * g] | codes.scale[l][2 * g + 1] << 4);
        }
    }
}

static void encode_iq3_xxs(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    book grid;
    grid_codes codes;
    open_book(&grid, eq_grid_iq3_xxs, 256, 4, 8, iq3_xxs_levels, 0.0f);
    const grid_format f = {&grid, 32, 31, 1, 0, 0.25f, iq3_xxs_places, 14};
    encode_grid(&f, xs, ws, count, &codes);
    for (int l = 0; l < count; l++) {
        put16(out[l], codes.half[l]);
        for (int v = 0; v < 64; v++) out[l][2 + v] = (uint8_t)codes.point[l][v];
        for (int g = 0; g < 8; g++) {
            uint32_t word = (uint32_t)codes.scale[l][g] << 28;
            for (int v = 0; v < 4; v++) word |= seven_signs(codes.minus[l] + 32 * g + 8 * v) << 7 * v;
            put32(out[l] + 66 + 4 * g, word);
        }
    }
}

static void encode_iq3_s(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    book grid;
    grid_codes codes;
    open_book(&grid, eq_grid_iq3_s, 512, 4, 8, iq3_s_levels, 0.0f);
    const grid_format f = {&grid, 32, 31, 0, 0, 1.0f, iq3_s_places, 14};
    encode_grid(&f, xs, ws, count, &codes);
    for (int l = 0; l < count; l++) {
        put16(out[l], codes.half[l]);
        for (int v = 0; v < 64; v++) out[l][2 + v] = (uint8_t)codes.point[l][v];
        for (int g = 0; g < 8; g++) {
            int high = 0;
            for (int v = 0; v < 8; v++) high |= codes.point[l][8 * g + v] >> 8 << v;
            out[l][66 + g] = (uint8_t)high;
        }
        for (int v = 0; v < 32; v++) out[l][74 + v] = eight_signs(codes.minus[l] + 8 * v);
        for (int g = 0; g < 4; g++) out[l][106 + g] = (uint8_t)(codes.scale[l][2 * g] | codes.scale[l][2 * g + 1] << 4);
    }
}

static void encode_iq1_s(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    book grid;
    grid_codes codes;
    open_book(&grid, eq_grid_iq1_s, 2048, 8, 3, iq1_levels, -1.0f);
    const grid_format f = {&grid, 32, 15, 0, 1, 1.0f, iq1_places, 7};
    encode_grid(&f, xs, ws, count, &codes);
    for (int l = 0; l < count; l++) {
        put16(out[l], codes.half[l]);
        for (int v = 0; v < 32; v++) out[l][2 + v] = (uint8_t)codes.point[l][v];
        for (int g = 0; g < 8; g++) {
            int word = codes.scale[l][g] << 12 | codes.down[l][4 * g] << 15;
            for (int v = 0; v < 4; v++) word |= codes.point[l][4 * g + v] >> 8 << 3 * v;
            put16(out[l] + 34 + 2 * g, (uint16_t)word);
        }
    }
}

static void encode_iq1_m(const float *const *xs, const float *const *ws, int count, uint8_t *const *out) {
    book grid;
    grid_codes codes;
    open_book(&grid, eq_grid_iq1_s, 2048, 8, 3, iq1_levels, -1.0f);
    const grid_format f = {&grid, 16, 15, 0, 2, 1.0f, iq1_places, 7};
    encode_grid(&f, xs, ws, count, &codes);
    for (int l = 0; l < count; l++) {
        for (int v = 0; v < 32; v++) out[l][v] = (uint8_t)codes.point[l][v];
        for (int v = 0; v < 16; v++) {
            const uint16_t *p = codes.point[l] + 2 * v;
            const uint8_t *down = codes.down[l] + 2 * v;
            out[l][32 + v] = (uint8_t)(p[0] >> 8 | down[0] << 3 | p[1] >> 8 << 4 | down[1] << 7);
        }
        for (int k = 0; k < 4; k++) { /* a nibble of the half on top of four scales */
            int word = (codes.half[l] >> 4 * k & 15) << 12;
            for (int i = 0; i < 4; i++) word |= codes.scale[l][4 * k + i] << 3 * i;
            put16(out[l] + 48 + 2 * k, (uint16_t)word);
        }
    }
}
