/* The vector vocabulary for NEON as every aarch64 has it: products of int16 by multiply-add-long. */
#include "simd/arm.h"

#define EQ_NV 4
#define EQ_MR 4
#define EQ_QB 4
#define EQ_SUMS 16

typedef struct { int32x4_t a, b; } vi; /* integer sums of half the weights and of the others, side by side: a of 2 tokens, b of the next 2 */
typedef int8x16_t vx; /* 4 activations of 4 tokens */
typedef int8x8_t vw;  /* 4 weights twice */

EQ_INLINE int32x4_t w_dot16(int8x16_t w, const int16_t *x) {
    int16x8_t w0 = vmovl_s8(vget_low_s8(w)), w1 = vmovl_high_s8(w), x0 = vld1q_s16(x), x1 = vld1q_s16(x + 8);
    int32x4_t sum = vmull_s16(vget_low_s16(w0), vget_low_s16(x0));
    sum = vmlal_high_s16(sum, w0, x0);
    sum = vmlal_s16(sum, vget_low_s16(w1), vget_low_s16(x1));
    return vmlal_high_s16(sum, w1, x1);
}
EQ_INLINE vf w_fma(vf acc, w32 w, const int16_t *x, vf scale) {
    int32x4_t dot = vaddq_s32(w_dot16(w.a, x), w_dot16(w.b, x + 16));
    return vfmaq_f32(acc, vcvtq_f32_s32(dot), scale);
}
EQ_INLINE vf w_fma2(vf acc, w32 w, const int16_t *x, float scale0, float scale1) {
    acc = vfmaq_n_f32(acc, vcvtq_f32_s32(w_dot16(w.a, x)), scale0);
    return vfmaq_n_f32(acc, vcvtq_f32_s32(w_dot16(w.b, x + 16)), scale1);
}

EQ_INLINE vi i_zero(void) { return (vi){vdupq_n_s32(0), vdupq_n_s32(0)}; }
EQ_INLINE vw x_four(const uint8_t *w) {
    int32_t four;
    memcpy(&four, w, 4);
    return vreinterpret_s8_s32(vdup_n_s32(four));
}
EQ_INLINE vi i_dot(vi acc, vw w, vx x) {
    return (vi){vpadalq_s16(acc.a, vmull_s8(w, vget_low_s8(x))), vpadalq_s16(acc.b, vmull_s8(w, vget_high_s8(x)))};
}
EQ_INLINE vf i_float(vi x) { return vcvtq_f32_s32(vpaddq_s32(x.a, x.b)); }
