/* The vector vocabulary in plain C: one lane. The readable definition of what the other vocabularies do. */
#define EQ_VL 1
#define EQ_NV 8
#define EQ_MR 2
#define EQ_QB 1
#define EQ_SUMS 32
#define EQ_FLOATS_ROWS 2
#define EQ_FLOATS_TOKENS 4

typedef float vf;
typedef int32_t vi;
typedef struct { int8_t v[4]; } vx;
typedef struct { uint8_t v[4]; } vw;
typedef struct { int16_t v[32]; } w32;

EQ_INLINE vf v_zero(void) { return 0.0f; }
EQ_INLINE vf v_set(float x) { return x; }
EQ_INLINE vf v_load(const float *p) { return *p; }
EQ_INLINE void v_store(float *p, vf x) { *p = x; }
EQ_INLINE vf v_add(vf a, vf b) { return a + b; }
EQ_INLINE vf v_sub(vf a, vf b) { return a - b; }
EQ_INLINE vf v_mul(vf a, vf b) { return a * b; }
EQ_INLINE vf v_div(vf a, vf b) { return a / b; }
EQ_INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
EQ_INLINE vf v_min(vf a, vf b) { return a < b ? a : b; }
EQ_INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
EQ_INLINE vf v_round(vf a) { return rintf(a); }
EQ_INLINE vf v_pow2(vf n) {
    uint32_t bits = (uint32_t)((n == n ? (int32_t)n : 0) + 127) << 23; /* a NaN is no integer */
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
EQ_INLINE float v_sum(vf x) { return x; }
EQ_INLINE float v_top(vf x) { return x; }
EQ_INLINE vf v_load_half(const uint16_t *p) { return eq_half(*p); }
EQ_INLINE void v_store_half(uint16_t *p, vf x) { *p = eq_to_half(x); }
EQ_INLINE vf v_load_bf16(const uint16_t *p) { return eq_bf16(*p); }
EQ_INLINE void v_load_bf16_two(const uint16_t *p, vf *x) { x[0] = eq_bf16(p[0]), x[1] = eq_bf16(p[1]); }
EQ_INLINE void v_load_two(const float *p, vf *x) { x[0] = p[0], x[1] = p[1]; }
EQ_INLINE float v_half(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return eq_half(h);
}
EQ_INLINE vf v_load_bytes(const int8_t *p) { return *p; }
EQ_INLINE void v_load_nibbles(const uint8_t *p, vf *low, vf *high) {
    *low = (float)((*p & 15) - 8);
    *high = (float)((*p >> 4) - 8);
}
EQ_INLINE float v_first(vf x) { return x; }
EQ_INLINE vf v_below(vf x, vf limit, vf yes, vf no) { return x < limit ? yes : no; }
EQ_INLINE vf v_iota(void) { return 0.0f; }
EQ_INLINE void v_turn(vf *x) { (void)x; }

typedef struct { float v[8]; } v8;
EQ_INLINE v8 v8_zero(void) { return (v8){{0}}; }
EQ_INLINE v8 v8_fma(const float *a, const float *b, v8 c) {
    for (int i = 0; i < 8; i++) c.v[i] += a[i] * b[i];
    return c;
}
EQ_INLINE float v8_sum(v8 x) {
    float sum = 0.0f;
    for (int i = 0; i < 8; i++) sum += x.v[i];
    return sum;
}
EQ_INLINE void v8_scale(uint64_t bytes, float d, float *out) {
    for (int i = 0; i < 8; i++) out[i] = d * (float)(int8_t)(uint8_t)(bytes >> 8 * i);
}

#define EQ_EACH32(expression)                          \
    w32 out;                                           \
    for (int i = 0; i < 32; i++) out.v[i] = (int16_t)(expression); \
    return out;

EQ_INLINE void w_bytes_store(uint8_t *p, w32 w, int offset) {
    for (int i = 0; i < 32; i++) p[i] = (uint8_t)(w.v[i] + offset);
}
EQ_INLINE w32 w_bytes(const int8_t *p) { EQ_EACH32(p[i]) }
EQ_INLINE w32 w_bits(const uint8_t *p, int shift, int mask) { EQ_EACH32((p[i] >> shift) & mask) }
EQ_INLINE w32 w_nibbles(const uint8_t *p) { EQ_EACH32(i < 16 ? p[i] & 15 : p[i - 16] >> 4) }
EQ_INLINE w32 w_nibbles_table(const uint8_t *p, const int8_t *table) {
    EQ_EACH32(table[i < 16 ? p[i] & 15 : p[i - 16] >> 4])
}
/* 8 weights of 8 bits after the other, unsigned */
EQ_INLINE w32 w_vectors(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t four[4] = {a, b, c, d};
    EQ_EACH32(four[i / 8] >> 8 * (i % 8) & 255)
}
EQ_INLINE w32 w_signs(w32 x, uint32_t mask) { EQ_EACH32(mask >> i & 1 ? -x.v[i] : x.v[i]) } /* of what w_vectors gives */
EQ_INLINE w32 w_middle(w32 x) { EQ_EACH32(x.v[i / 8 == 1 ? i + 8 : i / 8 == 2 ? i - 8 : i]) } /* second and third eight swapped */
/* the first digit to base 3 of each byte, a fraction of 256, times its power, modulo 256 */
EQ_INLINE w32 w_digits(w32 x, const uint8_t *powers) { EQ_EACH32((uint8_t)(x.v[i] * powers[i]) * 3 >> 8) }
EQ_INLINE w32 w_mask(uint32_t mask, int value) { EQ_EACH32(mask >> i & 1 ? value : 0) }
EQ_INLINE w32 w_or(w32 x, w32 y) { EQ_EACH32(x.v[i] | y.v[i]) }
EQ_INLINE w32 w_shl(w32 x, int n) { EQ_EACH32(x.v[i] * (1 << n)) }
EQ_INLINE w32 w_sub(w32 x, int n) { EQ_EACH32(x.v[i] - n) }

EQ_INLINE int32_t w_dot16(const int16_t *w, const int16_t *x) {
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) sum += (int32_t)w[i] * x[i];
    return sum;
}
EQ_INLINE vf w_fma(vf acc, w32 w, const int16_t *x, vf scale) {
    return acc + (float)(w_dot16(w.v, x) + w_dot16(w.v + 16, x + 16)) * scale;
}
EQ_INLINE vf w_fma2(vf acc, w32 w, const int16_t *x, float scale0, float scale1) {
    return acc + (float)w_dot16(w.v, x) * scale0 + (float)w_dot16(w.v + 16, x + 16) * scale1;
}
EQ_INLINE float v_largest32(const float *x) {
    float top = 0.0f;
    for (int i = 0; i < 32; i++) {
        if (!(fabsf(x[i]) <= 3.40282347e38f)) return NAN;
        if (fabsf(x[i]) > top) top = fabsf(x[i]);
    }
    return top;
}
EQ_INLINE void w_round(const float *x, float inverse, int16_t *q) {
    for (int i = 0; i < 32; i++) q[i] = (int16_t)rintf(x[i] * inverse);
}
EQ_INLINE void w_sums(const int16_t *q, int32_t *sums) {
    sums[0] = sums[1] = 0;
    for (int i = 0; i < 32; i++) sums[i / 16] += q[i];
}

EQ_INLINE vi i_zero(void) { return 0; }
EQ_INLINE vx x_load(const int8_t *p) { return (vx){{p[0], p[1], p[2], p[3]}}; }
EQ_INLINE vw x_four(const uint8_t *w) { return (vw){{w[0], w[1], w[2], w[3]}}; }
EQ_INLINE vi i_dot(vi acc, vw w, vx x) {
    for (int i = 0; i < 4; i++) acc += (int8_t)w.v[i] * x.v[i];
    return acc;
}
EQ_INLINE vf i_float(vi x) { return (float)x; }
#undef EQ_EACH32
