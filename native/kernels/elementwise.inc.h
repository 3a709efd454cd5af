/* Norms, rotary positions, gated units, sums: float vectors of any length; tails go through a padded copy. */

EQ_INLINE vf v_load_part(const float *p, int64_t n) { /* the first n < EQ_VL lanes, zeros behind */
    float part[EQ_VL] = {0};
    memcpy(part, p, (size_t)n * 4);
    return v_load(part);
}
EQ_INLINE void v_store_part(float *p, vf x, int64_t n) {
    float part[EQ_VL];
    v_store(part, x);
    memcpy(p, part, (size_t)n * 4);
}
/* out[i] = f(x[i], y[i]) for all i */
#define EQ_MAP(n, x, y, out, f)                                                                   \
    do {                                                                                          \
        int64_t i_ = 0;                                                                           \
        for (; i_ + EQ_VL <= (n); i_ += EQ_VL) v_store((out) + i_, f(v_load((x) + i_), v_load((y) + i_))); \
        if (i_ < (n))                                                                             \
            v_store_part((out) + i_, f(v_load_part((x) + i_, (n) - i_), v_load_part((y) + i_, (n) - i_)), (n) - i_); \
    } while (0)

static void rms_norm(const float *x, const float *weight, float *out, int64_t n, float eps) {
    vf s0 = v_zero(), s1 = v_zero();
    int64_t i = 0;
    for (; i + 2 * EQ_VL <= n; i += 2 * EQ_VL) {
        vf a = v_load(x + i), b = v_load(x + i + EQ_VL);
        s0 = v_fma(a, a, s0);
        s1 = v_fma(b, b, s1);
    }
    double sum = v_sum(v_add(s0, s1));
    for (; i < n; i++) sum += (double)x[i] * x[i];
    vf scale = v_set((float)(1.0 / sqrt(sum / (double)n + (double)eps)));
#define EQ_NORM(a, w) v_mul(v_mul(a, scale), w)
    EQ_MAP(n, x, weight, out, EQ_NORM);
#undef EQ_NORM
}

static void add(const float *a, const float *b, float *out, int64_t n) { EQ_MAP(n, a, b, out, v_add); }

EQ_INLINE vf v_silu_gate(vf g, vf u) {
    return v_mul(v_div(g, v_add(v_set(1.0f), v_exp(v_sub(v_zero(), g)))), u);
}
EQ_INLINE vf v_gelu_gate(vf g, vf u) {
    vf inner = v_mul(v_set(0.797884561f), v_fma(v_mul(v_mul(g, g), g), v_set(0.044715f), g));
    return v_mul(v_mul(v_mul(v_set(0.5f), g), v_add(v_set(1.0f), v_tanh(inner))), u);
}
static void glu(const float *gate, const float *up, float *out, int64_t n, int32_t act) {
    if (act == 0) EQ_MAP(n, gate, up, out, v_silu_gate);
    else EQ_MAP(n, gate, up, out, v_gelu_gate);
}

static void softcap(const float *x, float *out, int64_t n, float cap) {
    vf c = v_set(cap), inverse = v_set(1.0f / cap);
#define EQ_CAP(a, b) v_mul(c, v_tanh(v_mul(a, inverse)))
    EQ_MAP(n, x, x, out, EQ_CAP);
#undef EQ_CAP
}

/* One head in place: component pairs turn by the table's cos [rot/2] and sin [rot/2]. */
static void rope(float *head, const float *table, int64_t rot, int32_t style) {
    int64_t half = rot / 2;
    const float *cosine = table, *sine = table + half;
    if (style == 1) { /* halves */
        int64_t i = 0;
        for (; i + EQ_VL <= half; i += EQ_VL) {
            vf a = v_load(head + i), b = v_load(head + half + i), c = v_load(cosine + i), s = v_load(sine + i);
            v_store(head + i, v_sub(v_mul(a, c), v_mul(b, s)));
            v_store(head + half + i, v_fma(a, s, v_mul(b, c)));
        }
        for (; i < half; i++) {
            float a = head[i], b = head[half + i];
            head[i] = a * cosine[i] - b * sine[i];
            head[half + i] = a * sine[i] + b * cosine[i];
        }
        return;
    }
    for (int64_t i = 0; i < half; i++) {
        float a = head[2 * i], b = head[2 * i + 1];
        head[2 * i] = a * cosine[i] - b * sine[i];
        head[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
}

/* out [tokens][to] = tile [rows][from] turned, + bias [rows], then added to add [tokens][to] */
EQ_INLINE vf turned(vf x, const float *bias, const float *add, int64_t i, int64_t at) {
    if (bias) x = v_add(x, v_load(bias + i));
    return add ? v_add(v_load(add + at), x) : x;
}
static void turn(const float *tile, int64_t from, int64_t rows, int64_t tokens, const float *bias, const float *add, float *out,
                 int64_t to) {
    int64_t i = 0;
    for (; i + EQ_VL <= rows; i += EQ_VL) {
        int64_t t = 0;
        for (; t + EQ_VL <= tokens; t += EQ_VL) {
            vf x[EQ_VL];
            for (int j = 0; j < EQ_VL; j++) x[j] = v_load(tile + (i + j) * from + t);
            v_turn(x);
            for (int j = 0; j < EQ_VL; j++) v_store(out + (t + j) * to + i, turned(x[j], bias, add, i, (t + j) * to + i));
        }
        if (t < tokens && from == 1) v_store(out + i, turned(v_load(tile + i), bias, add, i, i));
        else if (tokens - t > EQ_VL / 4) {
            vf x[EQ_VL];
            for (int64_t j = 0; j < EQ_VL; j++) {
                const int64_t at = (i + j) * from + t, left = (rows - 1) * from + tokens - at;
                x[j] = left < EQ_VL ? v_load_part(tile + at, left) : v_load(tile + at); /* the next row's too: what there is */
            }
            v_turn(x);
            for (int64_t j = t; j < tokens; j++) v_store(out + j * to + i, turned(x[j - t], bias, add, i, j * to + i));
        } else for (; t < tokens; t++) {
            float x[EQ_VL];
            for (int j = 0; j < EQ_VL; j++) x[j] = tile[(i + j) * from + t];
            v_store(out + t * to + i, turned(v_load(x), bias, add, i, t * to + i));
        }
    }
    for (; i < rows; i++)
        for (int64_t t = 0; t < tokens; t++) {
            float x = tile[i * from + t];
            if (bias) x += bias[i];
            out[t * to + i] = add ? add[t * to + i] + x : x;
        }
}
