/* The vector vocabulary for NEON as every aarch64 has it: products of int16 by multiply-add-long. */
#include "simd/arm.h"

#define EQ_PACK 1
#define EQ_NV 4
#define EQ_MR 4
#define EQ_QB 2

typedef int32x4_t vi; /* integer sums */
typedef int16x4_t vx; /* activations of EQ_VL tokens */

EQ_INLINE void w_store(int16_t *p, w32 w) {
    vst1q_s16(p, vmovl_s8(vget_low_s8(w.a)));
    vst1q_s16(p + 8, vmovl_high_s8(w.a));
    vst1q_s16(p + 16, vmovl_s8(vget_low_s8(w.b)));
    vst1q_s16(p + 24, vmovl_high_s8(w.b));
}
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

EQ_INLINE vi i_zero(void) { return vdupq_n_s32(0); }
EQ_INLINE vx x_load(const int16_t *p) { return vld1_s16(p); }
EQ_INLINE vx x_pair(const int16_t *w) { return vld1_dup_s16(w); }
EQ_INLINE vi i_dot(vi acc, vx x, vx w) { return vmlal_s16(acc, x, w); }
EQ_INLINE vf i_float(vi x) { return vcvtq_f32_s32(x); }
