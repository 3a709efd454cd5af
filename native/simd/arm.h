/* What both NEON vocabularies share: 4 floats, 32 weights as bytes (all formats fit), rounding. */
#include <arm_neon.h>

#define EQ_VL 4

typedef float32x4_t vf;
typedef struct { int8x16_t a, b; } w32; /* 32 weights in natural order */

EQ_INLINE vf v_zero(void) { return vdupq_n_f32(0.0f); }
EQ_INLINE vf v_set(float x) { return vdupq_n_f32(x); }
EQ_INLINE vf v_load(const float *p) { return vld1q_f32(p); }
EQ_INLINE void v_store(float *p, vf x) { vst1q_f32(p, x); }
EQ_INLINE vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
EQ_INLINE vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
EQ_INLINE vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
EQ_INLINE vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
EQ_INLINE vf v_max(vf a, vf b) { return vmaxq_f32(a, b); } /* a NaN in either place comes out */
EQ_INLINE vf v_min(vf a, vf b) { return vminq_f32(a, b); }
EQ_INLINE vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
EQ_INLINE vf v_round(vf a) { return vrndnq_f32(a); }
EQ_INLINE vf v_pow2(vf n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}
EQ_INLINE float v_sum(vf x) { return vaddvq_f32(x); }
EQ_INLINE float v_top(vf x) { return vmaxvq_f32(x); }
EQ_INLINE vf v_load_half(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
EQ_INLINE void v_store_half(uint16_t *p, vf x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
EQ_INLINE vf v_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
EQ_INLINE void v_load_bf16_two(const uint16_t *p, vf *x) { /* 8 weights, in the order of v_load_two */
    uint16x8_t w = vld1q_u16(p);
    x[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(w), 16));
    x[1] = vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(w), 16));
}
EQ_INLINE void v_load_two(const float *p, vf *x) { x[0] = v_load(p), x[1] = v_load(p + 4); }
EQ_INLINE uint8x8_t v_four(const void *p) {
    uint32_t x;
    memcpy(&x, p, 4);
    return vreinterpret_u8_u32(vdup_n_u32(x));
}
EQ_INLINE vf v_load_bytes(const int8_t *p) {
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(v_four(p))))));
}
EQ_INLINE void v_load_nibbles(const uint8_t *p, vf *low, vf *high) {
    int32x4_t x = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(v_four(p))))), eight = vdupq_n_s32(8);
    *low = vcvtq_f32_s32(vsubq_s32(vandq_s32(x, vdupq_n_s32(15)), eight));
    *high = vcvtq_f32_s32(vsubq_s32(vshrq_n_s32(x, 4), eight));
}
EQ_INLINE vf v_half_all(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h)));
}
EQ_INLINE float v_first(vf x) { return vgetq_lane_f32(x, 0); }
EQ_INLINE float v_half(const uint8_t *p) { return v_first(v_half_all(p)); }
EQ_INLINE vf v_below(vf x, vf limit, vf yes, vf no) { return vbslq_f32(vcltq_f32(x, limit), yes, no); }
EQ_INLINE vf v_iota(void) {
    static const float lanes[4] = {0, 1, 2, 3};
    return vld1q_f32(lanes);
}

EQ_INLINE void v_turn(vf *x) { /* 4 x 4, rows for columns */
    vf a = vzip1q_f32(x[0], x[2]), b = vzip2q_f32(x[0], x[2]), c = vzip1q_f32(x[1], x[3]), d = vzip2q_f32(x[1], x[3]);
    x[0] = vzip1q_f32(a, c);
    x[1] = vzip2q_f32(a, c);
    x[2] = vzip1q_f32(b, d);
    x[3] = vzip2q_f32(b, d);
}

typedef struct { vf a, b; } v8;
EQ_INLINE v8 v8_zero(void) { return (v8){v_zero(), v_zero()}; }
EQ_INLINE v8 v8_fma(const float *a, const float *b, v8 c) {
    return (v8){v_fma(v_load(a), v_load(b), c.a), v_fma(v_load(a + 4), v_load(b + 4), c.b)};
}
EQ_INLINE float v8_sum(v8 x) { return v_sum(v_add(x.a, x.b)); }
EQ_INLINE void v8_scale(uint64_t bytes, float d, float *out) {
    int16x8_t x = vmovl_s8(vcreate_s8(bytes));
    v_store(out, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(x))), d));
    v_store(out + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(x)), d));
}

EQ_INLINE void w_bytes_store(uint8_t *p, w32 w, int offset) { /* the offset is 0 here */
    (void)offset;
    vst1q_s8((int8_t *)p, w.a);
    vst1q_s8((int8_t *)p + 16, w.b);
}
EQ_INLINE w32 w_bytes(const int8_t *p) { return (w32){vld1q_s8(p), vld1q_s8(p + 16)}; }
EQ_INLINE w32 w_unsigned(uint8x16_t a, uint8x16_t b) {
    return (w32){vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)};
}
EQ_INLINE uint8x16_t w_field(uint8x16_t x, int shift, int mask) {
    x = vshlq_u8(x, vdupq_n_s8((int8_t)-shift));
    return mask == 255 >> shift ? x : vandq_u8(x, vdupq_n_u8((uint8_t)mask)); /* the top bits need no mask */
}
EQ_INLINE w32 w_bits(const uint8_t *p, int shift, int mask) {
    return w_unsigned(w_field(vld1q_u8(p), shift, mask), w_field(vld1q_u8(p + 16), shift, mask));
}
EQ_INLINE w32 w_nibbles(const uint8_t *p) {
    uint8x16_t x = vld1q_u8(p);
    return w_unsigned(vandq_u8(x, vdupq_n_u8(15)), vshrq_n_u8(x, 4));
}
EQ_INLINE w32 w_nibbles_table(const uint8_t *p, const int8_t *table) {
    uint8x16_t x = vld1q_u8(p);
    int8x16_t t = vld1q_s8(table);
    return (w32){vqtbl1q_s8(t, vandq_u8(x, vdupq_n_u8(15))), vqtbl1q_s8(t, vshrq_n_u8(x, 4))};
}
EQ_INLINE w32 w_vectors(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (w32){vcombine_s8(vcreate_s8(a), vcreate_s8(b)), vcombine_s8(vcreate_s8(c), vcreate_s8(d))};
}
EQ_INLINE w32 w_middle(w32 x) { /* second and third eight swapped */
    return (w32){vcombine_s8(vget_low_s8(x.a), vget_low_s8(x.b)), vcombine_s8(vget_high_s8(x.a), vget_high_s8(x.b))};
}
EQ_INLINE uint8x16_t w_digit(int8x16_t x, const uint8_t *powers) { /* from 86 on 1, from 171 on 2 */
    uint8x16_t y = vmulq_u8(vreinterpretq_u8_s8(x), vld1q_u8(powers)), none = vdupq_n_u8(0);
    return vsubq_u8(vsubq_u8(none, vcgeq_u8(y, vdupq_n_u8(86))), vcgeq_u8(y, vdupq_n_u8(171)));
}
EQ_INLINE w32 w_digits(w32 x, const uint8_t *powers) { return w_unsigned(w_digit(x.a, powers), w_digit(x.b, powers + 16)); }
EQ_INLINE w32 w_flags(uint32_t mask) { /* all ones where bit i of mask is set */
    static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    static const uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    uint8x16_t all = vreinterpretq_u8_u32(vdupq_n_u32(mask)), bit = vld1q_u8(bits), low = vld1q_u8(bytes);
    return w_unsigned(vtstq_u8(vqtbl1q_u8(all, low), bit), vtstq_u8(vqtbl1q_u8(all, vaddq_u8(low, vdupq_n_u8(2))), bit));
}
EQ_INLINE w32 w_mask(uint32_t mask, int value) {
    int8x16_t v = vdupq_n_s8((int8_t)value);
    w32 on = w_flags(mask);
    return (w32){vandq_s8(on.a, v), vandq_s8(on.b, v)};
}
EQ_INLINE w32 w_signs(w32 x, uint32_t mask) {
    w32 on = w_flags(mask);
    return (w32){vsubq_s8(veorq_s8(x.a, on.a), on.a), vsubq_s8(veorq_s8(x.b, on.b), on.b)};
}
#define EQ_OWN_MASKS 1
EQ_INLINE w32 w_add_if(w32 x, uint32_t mask, int n) {
    w32 more = w_mask(mask, n);
    return (w32){vaddq_s8(x.a, more.a), vaddq_s8(x.b, more.b)};
}
EQ_INLINE w32 w_sub_unless(w32 x, uint32_t mask, int n) {
    int8x16_t v = vdupq_n_s8((int8_t)n);
    w32 on = w_flags(mask);
    return (w32){vsubq_s8(x.a, vbicq_s8(v, on.a)), vsubq_s8(x.b, vbicq_s8(v, on.b))};
}
EQ_INLINE w32 w_or(w32 x, w32 y) { return (w32){vorrq_s8(x.a, y.a), vorrq_s8(x.b, y.b)}; }
EQ_INLINE w32 w_shl(w32 x, int n) {
    int8x16_t c = vdupq_n_s8((int8_t)n);
    return (w32){vshlq_s8(x.a, c), vshlq_s8(x.b, c)};
}
EQ_INLINE w32 w_sub(w32 x, int n) {
    int8x16_t v = vdupq_n_s8((int8_t)n);
    return (w32){vsubq_s8(x.a, v), vsubq_s8(x.b, v)};
}
EQ_INLINE float v_largest32(const float *x) {
    int32x4_t top = vdupq_n_s32(0);
    for (int i = 0; i < 32; i += 4) top = vmaxq_s32(top, vreinterpretq_s32_f32(vabsq_f32(vld1q_f32(x + i))));
    return eq_finite(vmaxvq_s32(top));
}
EQ_INLINE void w_round(const float *x, float inverse, int16_t *q) {
    for (int i = 0; i < 32; i += 8) {
        int32x4_t a = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), inverse));
        int32x4_t b = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4), inverse));
        vst1q_s16(q + i, vqmovn_high_s32(vqmovn_s32(a), b));
    }
}
EQ_INLINE void w_sums(const int16_t *q, int32_t *sums) {
    for (int h = 0; h < 2; h++)
        sums[h] = vaddvq_s32(vpadalq_s16(vpaddlq_s16(vld1q_s16(q + 16 * h)), vld1q_s16(q + 16 * h + 8)));
}
EQ_INLINE int8x16_t x_load(const int8_t *p) { return vld1q_s8(p); }
