/* The vector vocabulary for AVX-512 (F, BW, VL, DQ) with VNNI: 16 floats, 32 int16. */
#define EQ_VL 16
#define EQ_NV 2   /* token vectors of a packed block */
#define EQ_MR 6   /* weight rows of the packed microkernel */
#define EQ_QB 8   /* queries of the attention microkernel */
#define EQ_SUMS 16 /* vectors of sums that it keeps */

typedef __m512 vf;
typedef __m512i vi; /* integer sums */
typedef __m512i vx; /* 4 activations of EQ_VL tokens */
typedef __m512i vw; /* 4 weights over and over */
typedef struct { __m512i a; } w32; /* 32 weights, int16, natural order */

EQ_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
EQ_INLINE vf v_set(float x) { return _mm512_set1_ps(x); }
EQ_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
EQ_INLINE void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
EQ_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
EQ_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
EQ_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
EQ_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
EQ_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
EQ_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
EQ_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
EQ_INLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
EQ_INLINE vf v_pow2(vf n) { /* 2^n for whole n in [-126, 127] */
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
EQ_INLINE float v_sum(vf x) {
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}
EQ_INLINE float v_first(vf x) { return _mm512_cvtss_f32(x); }
EQ_INLINE float v_top(vf x) { return _mm512_reduce_max_ps(x); }
EQ_INLINE vf v_load_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
EQ_INLINE void v_store_half(uint16_t *p, vf x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
EQ_INLINE vf v_load_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
EQ_INLINE void v_load_bf16_two(const uint16_t *p, vf *x) { /* 2 EQ_VL weights, in the order of v_load_two */
    __m512i w = _mm512_loadu_si512(p);
    x[0] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(w)), 16));
    x[1] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(w, 1)), 16));
}
EQ_INLINE void v_load_two(const float *p, vf *x) { x[0] = v_load(p), x[1] = v_load(p + 16); }
EQ_INLINE float v_half(const uint8_t *p) { /* one little-endian half */
    uint16_t h;
    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}
EQ_INLINE vf v_load_bytes(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
EQ_INLINE void v_load_nibbles(const uint8_t *p, vf *low, vf *high) { /* of EQ_VL bytes, less 8 */
    const __m512 numbers = _mm512_set_ps(7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8);
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); /* an index is 4 bits of it */
    *low = _mm512_permutexvar_ps(x, numbers);
    *high = _mm512_permutexvar_ps(_mm512_srli_epi32(x, 4), numbers);
}
EQ_INLINE vf v_below(vf x, vf limit, vf yes, vf no) { /* x < limit ? yes : no, lane by lane */
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), no, yes);
}
EQ_INLINE vf v_iota(void) {
    return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

EQ_INLINE void v_turn(vf *x) { /* 16 x 16, rows for columns */
    vf lanes[4][4]; /* [m][g]: columns m, 4 + m, 8 + m and 12 + m of rows 4g to 4g + 3 */
    for (int g = 0; g < 4; g++) {
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(x[4 * g], x[4 * g + 1]));
        __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(x[4 * g], x[4 * g + 1]));
        __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(x[4 * g + 2], x[4 * g + 3]));
        __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(x[4 * g + 2], x[4 * g + 3]));
        lanes[0][g] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        lanes[1][g] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        lanes[2][g] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        lanes[3][g] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int m = 0; m < 4; m++) {
        vf a = _mm512_shuffle_f32x4(lanes[m][0], lanes[m][1], 0x44), b = _mm512_shuffle_f32x4(lanes[m][2], lanes[m][3], 0x44);
        vf c = _mm512_shuffle_f32x4(lanes[m][0], lanes[m][1], 0xEE), d = _mm512_shuffle_f32x4(lanes[m][2], lanes[m][3], 0xEE);
        x[m] = _mm512_shuffle_f32x4(a, b, 0x88);
        x[4 + m] = _mm512_shuffle_f32x4(a, b, 0xDD);
        x[8 + m] = _mm512_shuffle_f32x4(c, d, 0x88);
        x[12 + m] = _mm512_shuffle_f32x4(c, d, 0xDD);
    }
}

#include "simd/x86.h"

/* --- 32 weights as int16 ------------------------------------------------------------------------------------- */
EQ_INLINE void w_bytes_store(uint8_t *p, w32 w, int offset) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi16_epi8(_mm512_add_epi16(w.a, _mm512_set1_epi16((short)offset))));
}
EQ_INLINE w32 w_bytes(const int8_t *p) { return (w32){_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p))}; }
/* 32 bytes, each shifted right and masked */
EQ_INLINE w32 w_bits(const uint8_t *p, int shift, int mask) {
    __m512i x = _mm512_srl_epi16(_mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p)), _mm_cvtsi32_si128(shift));
    return (w32){mask == 255 >> shift ? x : _mm512_and_si512(x, _mm512_set1_epi16((short)mask))}; /* the top bits need no mask */
}
/* low, and above its `to` bits those of bytes p that lie under mask << from */
#define EQ_OWN_JOIN 1
EQ_INLINE w32 w_join(w32 low, int to, const uint8_t *p, int from, int mask) {
    __m512i x = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p));
    x = from > to ? _mm512_srl_epi16(x, _mm_cvtsi32_si128(from - to)) : _mm512_sll_epi16(x, _mm_cvtsi32_si128(to - from));
    return (w32){_mm512_ternarylogic_epi64(low.a, x, _mm512_set1_epi16((short)(mask << to)), 0xF8)}; /* low | (x & mask) */
}
/* 16 bytes: low nibbles are weights 0 to 15, high nibbles 16 to 31 */
EQ_INLINE w32 w_nibbles(const uint8_t *p) {
    __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(x), _mm256_srli_epi16(x, 4), 1);
    return (w32){_mm512_and_si512(both, _mm512_set1_epi16(15))};
}
/* the same nibbles looked up in a table of 16 signed bytes */
EQ_INLINE w32 w_nibbles_table(const uint8_t *p, const int8_t *table) {
    __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    __m256i x = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
    x = _mm256_and_si256(_mm256_srlv_epi64(x, _mm256_set_epi64x(4, 4, 0, 0)), _mm256_set1_epi8(15));
    return (w32){_mm512_cvtepi8_epi16(_mm256_shuffle_epi8(t, x))};
}
/* n more where bit i of mask is set; n less where it is not */
EQ_INLINE w32 w_add_if(w32 x, uint32_t mask, int n) {
    return (w32){_mm512_mask_add_epi16(x.a, mask, x.a, _mm512_set1_epi16((short)n))};
}
EQ_INLINE w32 w_sub_unless(w32 x, uint32_t mask, int n) {
    return (w32){_mm512_mask_sub_epi16(x.a, ~mask, x.a, _mm512_set1_epi16((short)n))};
}
#define EQ_OWN_MASKS 1
EQ_INLINE w32 w_mask(uint32_t mask, int n) { return (w32){_mm512_maskz_set1_epi16(mask, (short)n)}; }
EQ_INLINE w32 w_signs(w32 x, uint32_t mask) { return (w32){_mm512_mask_sub_epi16(x.a, mask, _mm512_setzero_si512(), x.a)}; }
EQ_INLINE w32 w_shl(w32 x, int n) { return (w32){_mm512_sll_epi16(x.a, _mm_cvtsi32_si128(n))}; }
EQ_INLINE w32 w_middle(w32 x) { return (w32){_mm512_shuffle_i64x2(x.a, x.a, 0xD8)}; }
EQ_INLINE w32 w_vectors(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (w32){_mm512_cvtepu8_epi16(_mm256_set_epi64x((int64_t)d, (int64_t)c, (int64_t)b, (int64_t)a))};
}
#define EQ_OWN_PAIRS 1
EQ_INLINE w32 w_pairs(const uint8_t *p) { /* 8 bytes: 32 pairs of bits */
    __m512i x = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p)); /* its four pairs into words */
    x = _mm512_or_si512(x, _mm512_slli_epi64(x, 28));
    x = _mm512_or_si512(x, _mm512_slli_epi64(x, 14));
    return (w32){_mm512_and_si512(x, _mm512_set1_epi16(3))};
}
EQ_INLINE w32 w_digits(w32 x, const uint8_t *powers) { /* a byte times its power, in the high byte of a word, times 3 */
    __m512i p = _mm512_slli_epi16(_mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)powers)), 8);
    return (w32){_mm512_mulhi_epu16(_mm512_mullo_epi16(x.a, p), _mm512_set1_epi16(3))};
}
EQ_INLINE w32 w_sub(w32 x, int n) { return (w32){_mm512_sub_epi16(x.a, _mm512_set1_epi16((short)n))}; }


EQ_INLINE float v_largest32(const float *x) { /* magnitude; NaN if one is not finite */
    const __m512i sign = _mm512_set1_epi32((int)0x80000000);
    __m512i a = _mm512_andnot_si512(sign, _mm512_loadu_si512(x)), b = _mm512_andnot_si512(sign, _mm512_loadu_si512(x + 16));
    return eq_finite(_mm512_reduce_max_epi32(_mm512_max_epi32(a, b)));
}
EQ_INLINE void w_round(const float *x, float inverse, int16_t *q) {
    __m512 s = _mm512_set1_ps(inverse);
    __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), s));
    __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), s));
    __m512i both = _mm512_castsi256_si512(_mm512_cvtepi32_epi16(a));
    _mm512_storeu_si512(q, _mm512_inserti64x4(both, _mm512_cvtepi32_epi16(b), 1)); /* in one, so that it can be loaded at once */
}
EQ_INLINE void w_sums(const int16_t *q, int32_t *sums) { /* of either half */
    __m512i pairs = _mm512_madd_epi16(_mm512_loadu_si512(q), _mm512_set1_epi16(1));
    v8_sums2(_mm512_castsi512_si256(pairs), _mm512_extracti64x4_epi64(pairs, 1), sums);
}
#include "simd/avx512_planes.h"
#include "simd/avx512_small.h"
#include "simd/avx512_codes.h"

#define EQ_OWN_SPLIT 1
EQ_INLINE void w_split(const int16_t *q, int8_t *high, int8_t *low, int32_t *sums) {
    const __m512i one = _mm512_set1_epi16(1);
    __m512i x = _mm512_loadu_si512(q), h = _mm512_srai_epi16(_mm512_add_epi16(x, _mm512_set1_epi16(128)), 8);
    __m512i l = _mm512_max_epi16(_mm512_sub_epi16(x, _mm512_slli_epi16(h, 8)), _mm512_set1_epi16(-127));
    _mm256_storeu_si256((__m256i *)high, _mm512_cvtepi16_epi8(h));
    _mm256_storeu_si256((__m256i *)low, _mm512_cvtepi16_epi8(l));
    __m512i both = _mm512_add_epi32(_mm512_slli_epi32(_mm512_madd_epi16(h, one), 16), _mm512_madd_epi16(l, one));
    __m512i hh = _mm512_madd_epi16(h, h), ll = _mm512_madd_epi16(l, l);
    v8_sums4(_mm512_castsi512_si256(both), _mm512_extracti64x4_epi64(both, 1),
             _mm256_add_epi32(_mm512_castsi512_si256(hh), _mm512_extracti64x4_epi64(hh, 1)),
             _mm256_add_epi32(_mm512_castsi512_si256(ll), _mm512_extracti64x4_epi64(ll, 1)), sums);
}

/* --- packed microkernel: 4 activations of each of 16 tokens times 4 weights, unsigned -------------------------- */
#define EQ_STORED(offset) (offset)
EQ_INLINE vi i_zero(void) { return _mm512_setzero_si512(); }
EQ_INLINE vi i_load(const int32_t *p) { return _mm512_loadu_si512(p); }
EQ_INLINE vx x_load(const int8_t *p) { return _mm512_loadu_si512(p); }
EQ_INLINE vw x_four(const uint8_t *w) {
    int32_t four;
    memcpy(&four, w, 4);
    return _mm512_set1_epi32(four);
}
EQ_INLINE vi i_dot(vi acc, vw w, vx x) { return _mm512_dpbusd_epi32(acc, w, x); }
EQ_INLINE vf i_float(vi x) { return _mm512_cvtepi32_ps(x); }
