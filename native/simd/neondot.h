/* The vector vocabulary for NEON with dot products of bytes (FEAT_DotProd). An activation q is kept as two bytes,
 * q = 256 high + low with low in [-128, 127]; |q| <= 32512 makes high fit. Sums stay exact. */
#include "simd/arm.h"

#define EQ_PACK 4
#define EQ_NV 2
#define EQ_MR 4
#define EQ_QB 2
#define EQ_ARRANGE x_arrange

typedef struct { int32x4_t a, b; } vi; /* sums of high and low bytes, side by side: a of 2 tokens, b of the next 2 */
typedef struct { int8x16_t a, b; } vx; /* 4 high and 4 low bytes of each of 4 tokens; or 4 weights over and over */

/* 32 rounded activations in place. Natural: all high bytes, then all low ones. Packed: the high bytes of 4 neighbours,
 * then their low ones. */
EQ_INLINE void x_arrange(int16_t *q, int32_t packed) {
    int8_t *p = (int8_t *)q;
    int16x8_t x0 = vld1q_s16(q), x1 = vld1q_s16(q + 8), x2 = vld1q_s16(q + 16), x3 = vld1q_s16(q + 24);
    int8x16_t high0 = vqrshrn_high_n_s16(vqrshrn_n_s16(x0, 8), x1, 8);
    int8x16_t high1 = vqrshrn_high_n_s16(vqrshrn_n_s16(x2, 8), x3, 8);
    int8x16_t low0 = vmovn_high_s16(vmovn_s16(x0), x1), low1 = vmovn_high_s16(vmovn_s16(x2), x3);
    if (!packed) {
        vst1q_s8(p, high0);
        vst1q_s8(p + 16, high1);
        vst1q_s8(p + 32, low0);
        vst1q_s8(p + 48, low1);
        return;
    }
    int32x4_t h0 = vreinterpretq_s32_s8(high0), h1 = vreinterpretq_s32_s8(high1);
    int32x4_t l0 = vreinterpretq_s32_s8(low0), l1 = vreinterpretq_s32_s8(low1);
    vst1q_s8(p, vreinterpretq_s8_s32(vzip1q_s32(h0, l0)));
    vst1q_s8(p + 16, vreinterpretq_s8_s32(vzip2q_s32(h0, l0)));
    vst1q_s8(p + 32, vreinterpretq_s8_s32(vzip1q_s32(h1, l1)));
    vst1q_s8(p + 48, vreinterpretq_s8_s32(vzip2q_s32(h1, l1)));
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

/* A panel's weights: bytes, each 4 of them twice, so that they take the room of int16. */
EQ_INLINE void w_store(int16_t *p, w32 w) {
    int32_t *out = (int32_t *)(void *)p;
    int32x4_t a = vreinterpretq_s32_s8(w.a), b = vreinterpretq_s32_s8(w.b);
    vst1q_s32(out, vzip1q_s32(a, a));
    vst1q_s32(out + 4, vzip2q_s32(a, a));
    vst1q_s32(out + 8, vzip1q_s32(b, b));
    vst1q_s32(out + 12, vzip2q_s32(b, b));
}
EQ_INLINE vi i_zero(void) { return (vi){vdupq_n_s32(0), vdupq_n_s32(0)}; }
EQ_INLINE vx x_load(const int16_t *p) {
    return (vx){vld1q_s8((const int8_t *)p), vld1q_s8((const int8_t *)p + 16)};
}
EQ_INLINE vx x_pair(const int16_t *w) {
    int32_t four;
    memcpy(&four, w, 4);
    int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
    return (vx){x, x};
}
EQ_INLINE vi i_dot(vi acc, vx x, vx w) { return (vi){vdotq_s32(acc.a, x.a, w.a), vdotq_s32(acc.b, x.b, w.b)}; }
EQ_INLINE vf i_float(vi x) {
    int32x4_t high = vuzp1q_s32(x.a, x.b), low = vuzp2q_s32(x.a, x.b);
    return vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(high, 8), low));
}
