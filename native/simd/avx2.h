/* The vector vocabulary for AVX2 with FMA and F16C: 8 floats, 32 int16 in two registers. */
#define EQ_VL 8
#define EQ_PACK 2
#define EQ_NV 2
#define EQ_MR 3
#define EQ_QB 2

typedef __m256 vf;
typedef __m256i vi; /* integer sums */
typedef __m256i vx; /* EQ_PACK activations of EQ_VL tokens */
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
EQ_INLINE vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
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

#include "simd/x86.h"

EQ_INLINE w32 w_load(const int16_t *p) {
    return (w32){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 16))};
}
EQ_INLINE void w_store(int16_t *p, w32 w) {
    _mm256_storeu_si256((__m256i *)p, w.a);
    _mm256_storeu_si256((__m256i *)(p + 16), w.b);
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
EQ_INLINE int32_t w_sum16(__m256i a, __m256i b) {
    __m256i s = _mm256_add_epi32(a, b);
    __m128i z = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    z = _mm_add_epi32(z, _mm_shuffle_epi32(z, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(z, _mm_shuffle_epi32(z, 0xB1)));
}
EQ_INLINE void w_round(const float *x, float inverse, int16_t *q, int32_t *sums) {
    __m256 s = _mm256_set1_ps(inverse);
    for (int h = 0; h < 2; h++) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * h), s));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * h + 8), s));
        sums[h] = w_sum16(a, b);
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
        _mm256_storeu_si256((__m256i *)(q + 16 * h), packed);
    }
}

EQ_INLINE vi i_zero(void) { return _mm256_setzero_si256(); }
EQ_INLINE vx x_load(const int16_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
EQ_INLINE vx x_pair(const int16_t *w) {
    int32_t pair;
    memcpy(&pair, w, 4);
    return _mm256_set1_epi32(pair);
}
EQ_INLINE vi i_dot(vi acc, vx x, vx w) { return _mm256_add_epi32(acc, _mm256_madd_epi16(x, w)); }
EQ_INLINE vf i_float(vi x) { return _mm256_cvtepi32_ps(x); }
#define EQ_BYTE_PACK 4
EQ_INLINE vi b_dot(vi acc, vx x, vx w) { /* bytes, x unsigned */
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)));
}
