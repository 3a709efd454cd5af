/* The vector vocabulary for NEON with dot products of bytes (FEAT_DotProd). An activation q is kept as two bytes,
 * q = 256 high + low with low in [-128, 127]; |q| <= 32512 makes high fit. Sums stay exact. */
#include "simd/arm.h"

#define EQ_NV 2
#define EQ_MR 4
#define EQ_QB 4
#define EQ_SUMS 16
#define EQ_ARRANGE x_arrange

typedef int32x4_t vi; /* integer sums */
typedef int8x16_t vx; /* 4 activations of each of 4 tokens */
typedef int8x16_t vw; /* 4 weights over and over */

/* 32 rounded activations in place: all high bytes, then all low ones. */
EQ_INLINE void x_arrange(int16_t *q) {
    int8_t *p = (int8_t *)q;
    int16x8_t x0 = vld1q_s16(q), x1 = vld1q_s16(q + 8), x2 = vld1q_s16(q + 16), x3 = vld1q_s16(q + 24);
    vst1q_s8(p, vqrshrn_high_n_s16(vqrshrn_n_s16(x0, 8), x1, 8));
    vst1q_s8(p + 16, vqrshrn_high_n_s16(vqrshrn_n_s16(x2, 8), x3, 8));
    vst1q_s8(p + 32, vmovn_high_s16(vmovn_s16(x0), x1));
    vst1q_s8(p + 48, vmovn_high_s16(vmovn_s16(x2), x3));
}

/* Natural activations of 32 are 64 bytes at x: high bytes, then low ones. */
EQ_INLINE vf w_fma(vf acc, w32 w, const int16_t *x, vf scale) {
    const int8_t *p = (const int8_t *)x;
    int32x4_t dot = vdotq_s32(vdotq_s32(vdupq_n_s32(0), w.a, vld1q_s8(p)), w.b, vld1q_s8(p + 16));
    dot = vdotq_s32(vdotq_s32(vshlq_n_s32(dot, 8), w.a, vld1q_s8(p + 32)), w.b, vld1q_s8(p + 48));
    return vfmaq_f32(acc, vcvtq_f32_s32(dot), scale);
}
EQ_INLINE int32x4_t w_dot16(int8x16_t w, const int8_t *x) {
    int32x4_t dot = vdotq_s32(vdupq_n_s32(0), w, vld1q_s8(x));
    return vdotq_s32(vshlq_n_s32(dot, 8), w, vld1q_s8(x + 32));
}
EQ_INLINE vf w_fma2(vf acc, w32 w, const int16_t *x, float scale0, float scale1) {
    const int8_t *p = (const int8_t *)x;
    acc = vfmaq_n_f32(acc, vcvtq_f32_s32(w_dot16(w.a, p)), scale0);
    return vfmaq_n_f32(acc, vcvtq_f32_s32(w_dot16(w.b, p + 16)), scale1);
}

EQ_INLINE vi i_zero(void) { return vdupq_n_s32(0); }
EQ_INLINE vw x_four(const uint8_t *w) {
    int32_t four;
    memcpy(&four, w, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
EQ_INLINE vi i_dot(vi acc, vw w, vx x) { return vdotq_s32(acc, w, x); }
EQ_INLINE vf i_float(vi x) { return vcvtq_f32_s32(x); }
