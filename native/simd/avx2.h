/* The vector vocabulary for AVX2 with FMA and F16C: 8 floats, 32 int16 in two registers. */
#define EQ_VL 8
#define EQ_NV 2
#define EQ_MR 4
#define EQ_QB 2

typedef __m256 vf;
typedef __m256i vi; /* integer sums */
typedef __m256i vx; /* 4 activations of EQ_VL tokens */
typedef __m256i vw; /* 4 weights over and over */
typedef struct { __m256i a, b; } w32;

EQ_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
EQ_INLINE vf v_set(float x) { return _mm256_set1_ps(x); }
EQ_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
EQ_INLINE void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
EQ_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
EQ_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
EQ_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
EQ_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
EQ_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
EQ_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
EQ_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
EQ_INLINE vf v_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
EQ_INLINE vf v_pow2(vf n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
EQ_INLINE float v_sum(vf x) {
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}
EQ_INLINE float v_top(vf x) {
    __m128 z = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    z = _mm_max_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_max_ss(z, _mm_movehdup_ps(z)));
}
EQ_INLINE vf v_load_half(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
EQ_INLINE void v_store_half(uint16_t *p, vf x) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
EQ_INLINE vf v_load_bf16(const uint16_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
EQ_INLINE float v_half(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}
EQ_INLINE vf v_half_all(const uint8_t *p) {
    int16_t h;
    memcpy(&h, p, 2);
    return _mm256_cvtph_ps(_mm_set1_epi16(h));
}
EQ_INLINE float v_first(vf x) { return _mm256_cvtss_f32(x); }
EQ_INLINE vf v_below(vf x, vf limit, vf yes, vf no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(x, limit, _CMP_LT_OQ));
}
EQ_INLINE vf v_iota(void) { return _mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0); }

EQ_INLINE void v_turn(vf *x) { /* 8 x 8, rows for columns */
    vf lanes[4][2]; /* [m][g]: columns m and 4 + m of rows 4g to 4g + 3 */
    for (int g = 0; g < 2; g++) {
        vf a = _mm256_unpacklo_ps(x[4 * g], x[4 * g + 1]), b = _mm256_unpackhi_ps(x[4 * g], x[4 * g + 1]);
        vf c = _mm256_unpacklo_ps(x[4 * g + 2], x[4 * g + 3]), d = _mm256_unpackhi_ps(x[4 * g + 2], x[4 * g + 3]);
        lanes[0][g] = _mm256_shuffle_ps(a, c, 0x44);
        lanes[1][g] = _mm256_shuffle_ps(a, c, 0xEE);
        lanes[2][g] = _mm256_shuffle_ps(b, d, 0x44);
        lanes[3][g] = _mm256_shuffle_ps(b, d, 0xEE);
    }
    for (int m = 0; m < 4; m++) {
        x[m] = _mm256_permute2f128_ps(lanes[m][0], lanes[m][1], 0x20);
        x[4 + m] = _mm256_permute2f128_ps(lanes[m][0], lanes[m][1], 0x31);
    }
}

#include "simd/x86.h"

EQ_INLINE w32 w_load(const int16_t *p) {
    return (w32){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 16))};
}
EQ_INLINE void w_bytes_store(uint8_t *p, w32 w, int offset) {
    __m256i v = _mm256_set1_epi16((short)offset);
    __m256i both = _mm256_packs_epi16(_mm256_add_epi16(w.a, v), _mm256_add_epi16(w.b, v));
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(both, 0xD8));
}
EQ_INLINE w32 w_bytes(const int8_t *p) {
    return (w32){_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p)),
                 _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p + 16)))};
}
EQ_INLINE w32 w_bits(const uint8_t *p, int shift, int mask) {
    __m128i n = _mm_cvtsi32_si128(shift);
    __m256i m = _mm256_set1_epi16((short)mask);
    __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(p + 16)));
    return (w32){_mm256_and_si256(_mm256_srl_epi16(a, n), m), _mm256_and_si256(_mm256_srl_epi16(b, n), m)};
}
EQ_INLINE w32 w_nibbles(const uint8_t *p) {
    __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    return (w32){_mm256_and_si256(x, _mm256_set1_epi16(15)), _mm256_srli_epi16(x, 4)};
}
EQ_INLINE w32 w_nibbles_table(const uint8_t *p, const int8_t *table) {
    __m128i x = _mm_loadu_si128((const __m128i *)p), t = _mm_loadu_si128((const __m128i *)table), m = _mm_set1_epi8(15);
    return (w32){_mm256_cvtepi8_epi16(_mm_shuffle_epi8(t, _mm_and_si128(x, m))),
                 _mm256_cvtepi8_epi16(_mm_shuffle_epi8(t, _mm_and_si128(_mm_srli_epi16(x, 4), m)))};
}
EQ_INLINE w32 w_mask(uint32_t mask, int value) {
    const __m256i bits = _mm256_set_epi16((short)0x8000, 0x4000, 0x2000, 0x1000, 0x800, 0x400, 0x200, 0x100, 0x80, 0x40,
                                          0x20, 0x10, 8, 4, 2, 1);
    __m256i v = _mm256_set1_epi16((short)value);
    __m256i a = _mm256_and_si256(_mm256_set1_epi16((short)mask), bits);
    __m256i b = _mm256_and_si256(_mm256_set1_epi16((short)(mask >> 16)), bits);
    return (w32){_mm256_and_si256(_mm256_cmpeq_epi16(a, bits), v), _mm256_and_si256(_mm256_cmpeq_epi16(b, bits), v)};
}
EQ_INLINE w32 w_or(w32 x, w32 y) { return (w32){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
EQ_INLINE w32 w_shl(w32 x, int n) {
    __m128i c = _mm_cvtsi32_si128(n);
    return (w32){_mm256_sll_epi16(x.a, c), _mm256_sll_epi16(x.b, c)};
}
EQ_INLINE w32 w_sub(w32 x, int n) {
    __m256i v = _mm256_set1_epi16((short)n);
    return (w32){_mm256_sub_epi16(x.a, v), _mm256_sub_epi16(x.b, v)};
}
EQ_INLINE vf w_fma(vf acc, w32 w, const int16_t *x, vf scale) {
    __m256i dot = _mm256_add_epi32(_mm256_madd_epi16(w.a, _mm256_loadu_si256((const __m256i *)x)),
                                   _mm256_madd_epi16(w.b, _mm256_loadu_si256((const __m256i *)(x + 16))));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, acc);
}
EQ_INLINE vf w_fma2(vf acc, w32 w, const int16_t *x, float scale0, float scale1) {
    __m256i a = _mm256_madd_epi16(w.a, _mm256_loadu_si256((const __m256i *)x));
    __m256i b = _mm256_madd_epi16(w.b, _mm256_loadu_si256((const __m256i *)(x + 16)));
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), _mm256_set1_ps(scale0), acc);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), _mm256_set1_ps(scale1), acc);
}
EQ_INLINE float v_largest32(const float *x) {
    const __m256i rest = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i top = _mm256_and_si256(rest, _mm256_loadu_si256((const __m256i *)(const void *)x));
    for (int i = 8; i < 32; i += 8)
        top = _mm256_max_epi32(top, _mm256_and_si256(rest, _mm256_loadu_si256((const __m256i *)(const void *)(x + i))));
    __m128i t = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    t = _mm_max_epi32(t, _mm_shuffle_epi32(t, 0x4E));
    return eq_finite(_mm_cvtsi128_si32(_mm_max_epi32(t, _mm_shuffle_epi32(t, 0xB1))));
}
EQ_INLINE void w_round(const float *x, float inverse, int16_t *q) {
    __m256 s = _mm256_set1_ps(inverse);
    for (int h = 0; h < 2; h++) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * h), s));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * h + 8), s));
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
        _mm256_storeu_si256((__m256i *)(q + 16 * h), packed);
    }
}
EQ_INLINE void w_sums(const int16_t *q, int32_t *sums) {
    const __m256i one = _mm256_set1_epi16(1);
    v8_sums2(_mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)q), one),
             _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(q + 16)), one), sums);
}
#define EQ_OWN_SPLIT 1
EQ_INLINE void w_split(const int16_t *q, int8_t *high, int8_t *low, int32_t *sums) {
    const __m256i one = _mm256_set1_epi16(1), half = _mm256_set1_epi16(128), least = _mm256_set1_epi16(-127);
    __m256i h[2], l[2], both[2];
    for (int i = 0; i < 2; i++) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(q + 16 * i));
        h[i] = _mm256_srai_epi16(_mm256_add_epi16(x, half), 8);
        l[i] = _mm256_max_epi16(_mm256_sub_epi16(x, _mm256_slli_epi16(h[i], 8)), least);
        both[i] = _mm256_add_epi32(_mm256_slli_epi32(_mm256_madd_epi16(h[i], one), 16), _mm256_madd_epi16(l[i], one));
    }
    _mm256_storeu_si256((__m256i *)high, _mm256_permute4x64_epi64(_mm256_packs_epi16(h[0], h[1]), 0xD8));
    _mm256_storeu_si256((__m256i *)low, _mm256_permute4x64_epi64(_mm256_packs_epi16(l[0], l[1]), 0xD8));
    v8_sums4(both[0], both[1], _mm256_add_epi32(_mm256_madd_epi16(h[0], h[0]), _mm256_madd_epi16(h[1], h[1])),
             _mm256_add_epi32(_mm256_madd_epi16(l[0], l[0]), _mm256_madd_epi16(l[1], l[1])), sums);
}

/* Packed: 4 activations of each of 8 tokens times 4 weights. There is no dot product of bytes: pairs of products are added
 * as int16 first. Weights of up to 6 bits are unsigned, and so small that several such pairs fit; those of 8 bits, for
 * which not even one does, are int16 as their activations are. */
#define EQ_STORED(offset) ((offset) == 128 ? 0 : (offset))
#define EQ_WORDS(bits) ((bits) == 8)
#define EQ_INT16_SUMS 1
typedef __m256i vp;
EQ_INLINE vi i_zero(void) { return _mm256_setzero_si256(); }
EQ_INLINE vi i_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
EQ_INLINE vi i_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
EQ_INLINE vx x_load(const int8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
EQ_INLINE vw x_four(const uint8_t *w) {
    int32_t four;
    memcpy(&four, w, 4);
    return _mm256_set1_epi32(four);
}
EQ_INLINE vf i_float(vi x) { return _mm256_cvtepi32_ps(x); }
EQ_INLINE vp p_products(vw w, vx x) { return _mm256_maddubs_epi16(w, x); }
EQ_INLINE vp p_add(vp a, vp b) { return _mm256_add_epi16(a, b); }
EQ_INLINE vi i_widen(vi acc, vp x) { return _mm256_add_epi32(acc, _mm256_madd_epi16(x, _mm256_set1_epi16(1))); }
EQ_INLINE vi i_words(vw w, vx x) { return _mm256_madd_epi16(w, x); }
EQ_INLINE vi i_dot(vi acc, vw w, vx x) { return i_widen(acc, p_products(w, x)); } /* w unsigned, of up to 7 bits */

EQ_INLINE void w_store(int16_t *p, w32 w) {
    _mm256_storeu_si256((__m256i *)p, w.a);
    _mm256_storeu_si256((__m256i *)(p + 16), w.b);
}
/* 4 activations of each of 8 tokens, 256 high, and low if there is one: the first two, the last two */
EQ_INLINE void x_words(const int8_t *high, const int8_t *low, int16_t *first, int16_t *second) {
    const __m256i a = _mm256_set_epi8(13, -1, 12, -1, 9, -1, 8, -1, 5, -1, 4, -1, 1, -1, 0, -1, 13, -1, 12, -1, 9, -1, 8, -1,
                                      5, -1, 4, -1, 1, -1, 0, -1);
    const __m256i b = _mm256_or_si256(a, _mm256_set1_epi16(0x0200)); /* each byte from two places on */
    __m256i x = x_load(high), x0 = _mm256_shuffle_epi8(x, a), x1 = _mm256_shuffle_epi8(x, b);
    if (low) {
        x = x_load(low);
        x0 = _mm256_add_epi16(x0, _mm256_srai_epi16(_mm256_shuffle_epi8(x, a), 8));
        x1 = _mm256_add_epi16(x1, _mm256_srai_epi16(_mm256_shuffle_epi8(x, b), 8));
    }
    _mm256_storeu_si256((__m256i *)first, x0);
    _mm256_storeu_si256((__m256i *)second, x1);
}
#if defined(__GNUC__)
#define EQ_PUT_BY(v) __asm__("" : "+m"(v))
#endif
