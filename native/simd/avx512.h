/* The vector vocabulary for AVX-512 (F, BW, VL, DQ) with VNNI: 16 floats, 32 int16. */
#define EQ_VL 16
#define EQ_PACK 2 /* neighbours in k that one integer dot multiplies */
#define EQ_NV 2   /* token vectors of a packed block */
#define EQ_MR 6   /* weight rows of the packed microkernel */
#define EQ_QB 4   /* queries of the attention microkernel */

typedef __m512 vf;
typedef __m512i vi; /* integer sums */
typedef __m512i vx; /* EQ_PACK activations of EQ_VL tokens */
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
EQ_INLINE vf v_abs(vf a) { return _mm512_abs_ps(a); }
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
EQ_INLINE float v_top(vf x) { return _mm512_reduce_max_ps(x); }
EQ_INLINE vf v_load_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
EQ_INLINE void v_store_half(uint16_t *p, vf x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
EQ_INLINE vf v_load_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
EQ_INLINE float v_half(const uint8_t *p) { /* one little-endian half */
    uint16_t h;
    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}
EQ_INLINE vf v_half_all(const uint8_t *p) { /* the same half in all lanes */
    int16_t h;
    memcpy(&h, p, 2);
    return _mm512_cvtph_ps(_mm256_set1_epi16(h));
}
EQ_INLINE float v_first(vf x) { return _mm512_cvtss_f32(x); }
EQ_INLINE vf v_below(vf x, vf limit, vf yes, vf no) { /* x < limit ? yes : no, lane by lane */
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), no, yes);
}
EQ_INLINE vf v_iota(void) {
    return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

#include "simd/x86.h"

/* --- 32 weights as int16 ------------------------------------------------------------------------------------- */
EQ_INLINE w32 w_load(const int16_t *p) { return (w32){_mm512_loadu_si512(p)}; }
EQ_INLINE void w_store(int16_t *p, w32 w) { _mm512_storeu_si512(p, w.a); }
EQ_INLINE w32 w_bytes(const int8_t *p) { return (w32){_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p))}; }
/* 32 bytes, each shifted right and masked */
EQ_INLINE w32 w_bits(const uint8_t *p, int shift, int mask) {
    __m512i x = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p));
    return (w32){_mm512_and_si512(_mm512_srl_epi16(x, _mm_cvtsi32_si128(shift)), _mm512_set1_epi16((short)mask))};
}
/* 16 bytes: low nibbles are weights 0 to 15, high nibbles 16 to 31 */
EQ_INLINE w32 w_nibbles(const uint8_t *p) {
    __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(x), _mm256_srli_epi16(x, 4), 1);
    return (w32){_mm512_and_si512(both, _mm512_set1_epi16(15))};
}
/* the same nibbles looked up in a table of 16 signed bytes */
EQ_INLINE w32 w_nibbles_table(const uint8_t *p, const int8_t *table) {
    __m128i x = _mm_loadu_si128((const __m128i *)p), t = _mm_loadu_si128((const __m128i *)table), m = _mm_set1_epi8(15);
    __m128i lo = _mm_shuffle_epi8(t, _mm_and_si128(x, m));
    __m128i hi = _mm_shuffle_epi8(t, _mm_and_si128(_mm_srli_epi16(x, 4), m));
    return (w32){_mm512_cvtepi8_epi16(_mm256_set_m128i(hi, lo))};
}
/* value where bit i of mask is set, else 0 */
EQ_INLINE w32 w_mask(uint32_t mask, int value) { return (w32){_mm512_maskz_set1_epi16(mask, (short)value)}; }
/* n more where the bit is set; n less where it is not */
EQ_INLINE w32 w_add_if(w32 x, uint32_t mask, int n) {
    return (w32){_mm512_mask_add_epi16(x.a, mask, x.a, _mm512_set1_epi16((short)n))};
}
EQ_INLINE w32 w_sub_unless(w32 x, uint32_t mask, int n) {
    return (w32){_mm512_mask_sub_epi16(x.a, ~mask, x.a, _mm512_set1_epi16((short)n))};
}
#define EQ_OWN_MASKS 1
EQ_INLINE w32 w_or(w32 x, w32 y) { return (w32){_mm512_or_si512(x.a, y.a)}; }
EQ_INLINE w32 w_shl(w32 x, int n) { return (w32){_mm512_sll_epi16(x.a, _mm_cvtsi32_si128(n))}; }
EQ_INLINE w32 w_sub(w32 x, int n) { return (w32){_mm512_sub_epi16(x.a, _mm512_set1_epi16((short)n))}; }

/* 32 rounded activations in place: all high bytes, then all low ones, q = 256 high + low, low in [-128, 127] */
#define EQ_ARRANGE x_arrange
EQ_INLINE void x_arrange(int16_t *q, int32_t packed) {
    if (packed) return;
    __m512i x = _mm512_loadu_si512(q);
    __m512i high = _mm512_srai_epi16(_mm512_add_epi16(x, _mm512_set1_epi16(128)), 8);
    _mm256_storeu_si256((__m256i *)(void *)q, _mm512_cvtepi16_epi8(high));
    _mm256_storeu_si256((__m256i *)(void *)(q + 16), _mm512_cvtepi16_epi8(x));
}
EQ_INLINE __m512i w_dot(w32 w, const int16_t *x) {
    __m512i high = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)x));
    __m512i low = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(x + 16)));
    return _mm512_dpwssd_epi32(_mm512_setzero_si512(), w.a, _mm512_add_epi16(_mm512_slli_epi16(high, 8), low));
}
/* acc + scale * (lane sums of w * x), x 32 arranged activations */
EQ_INLINE vf w_fma(vf acc, w32 w, const int16_t *x, vf scale) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(w_dot(w, x)), scale, acc);
}
/* the same with a scale for each half of 16 */
EQ_INLINE vf w_fma2(vf acc, w32 w, const int16_t *x, float scale0, float scale1) {
    __m512 scale = _mm512_mask_broadcastss_ps(_mm512_set1_ps(scale0), 0xFF00, _mm_set_ss(scale1));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(w_dot(w, x)), scale, acc);
}

/* --- pairs of rows: 32 unsigned bytes of either ------------------------------------------------------------------ */
#define EQ_PAIRS 1
typedef struct { __m512i b; } w64;
typedef struct { __m512i high, low, high_start, low_start; } xpair; /* 32 activations twice; sums start at -offset * x */
EQ_INLINE __m512i p_load(const uint8_t *p0, const uint8_t *p1) {
    __m512i x = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)p0));
    return _mm512_inserti64x4(x, _mm256_loadu_si256((const __m256i *)p1), 1);
}
EQ_INLINE w64 p_nibbles(const uint8_t *p0, const uint8_t *p1) { /* 16 bytes each: low nibbles, then high ones */
    const __m512i shift = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004,
                                           0x0004000400040004, 0, 0);
    __m512i x = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p0));
    x = _mm512_mask_broadcast_i32x4(x, 0xFF00, _mm_loadu_si128((const __m128i *)p1));
    return (w64){_mm512_and_si512(_mm512_srlv_epi16(x, shift), _mm512_set1_epi8(15))};
}
EQ_INLINE w64 p_bits(const uint8_t *p0, const uint8_t *p1, int shift, int mask) { /* 32 bytes each, shifted and masked */
    __m512i x = _mm512_srl_epi16(p_load(p0, p1), _mm_cvtsi32_si128(shift));
    return (w64){_mm512_and_si512(x, _mm512_set1_epi8((char)mask))};
}
EQ_INLINE w64 p_signed(const uint8_t *p0, const uint8_t *p1) { /* 32 signed bytes each, and 128 */
    return (w64){_mm512_xor_si512(p_load(p0, p1), _mm512_set1_epi8((char)0x80))};
}
EQ_INLINE w64 p_add_if(w64 x, uint32_t m0, uint32_t m1, int n) {
    return (w64){_mm512_mask_add_epi8(x.b, (uint64_t)m1 << 32 | m0, x.b, _mm512_set1_epi8((char)n))};
}
EQ_INLINE w64 p_table(w64 x, const uint8_t *table) {
    return (w64){_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), x.b)};
}
EQ_INLINE w64 p_or_shifted(w64 x, w64 y, int n) { /* x | y << n, of bytes that the shift does not fill */
    return (w64){_mm512_or_si512(x.b, _mm512_sll_epi16(y.b, _mm_cvtsi32_si128(n)))};
}
EQ_INLINE xpair x_twice(const int16_t *q, int offset) {
    const __m512i zero = _mm512_setzero_si512(), off = _mm512_set1_epi8((char)offset);
    __m512i high = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)q));
    __m512i low = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)(q + 16)));
    if (!offset) return (xpair){high, low, zero, zero};
    return (xpair){high, low, _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, off, high)),
                   _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, off, low))};
}
EQ_INLINE vf p_dot(w64 w, xpair x) { /* lanes 0 to 7: the first row */
    __m512i high = _mm512_dpbusd_epi32(x.high_start, w.b, x.high), low = _mm512_dpbusd_epi32(x.low_start, w.b, x.low);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
}
EQ_INLINE vf v_half_pair(const uint8_t *p0, const uint8_t *p1) { /* a half of either row in its 8 lanes */
    int16_t h0, h1;
    memcpy(&h0, p0, 2);
    memcpy(&h1, p1, 2);
    return _mm512_cvtph_ps(_mm256_mask_set1_epi16(_mm256_set1_epi16(h0), 0xFF00, h1));
}
EQ_INLINE vf v_join(const float *low, const float *high) { /* 8 floats each, loaded as they were stored */
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low)), _mm256_loadu_ps(high), 1);
}
EQ_INLINE vf s_pair(const float *s0, const float *s1, const float *xs) { /* 8 scales of either row times those of x */
    return _mm512_mul_ps(v_join(s0, s1), _mm512_broadcast_f32x8(_mm256_loadu_ps(xs)));
}
EQ_INLINE vf s_half(const float *s, const float *xs) { /* 16 scales of one row; x has one for two */
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_mul_ps(v_join(s, s + 8), _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(xs))));
}
EQ_INLINE vf v_choose(vf x, const int32_t *lanes) { return _mm512_permutexvar_ps(_mm512_loadu_si512(lanes), x); }
EQ_INLINE vf v_choose2(vf x, const int32_t *lanes, vf y) { /* lanes from 16 on: of y */
    return _mm512_permutex2var_ps(x, _mm512_loadu_si512(lanes), y);
}
EQ_INLINE v8 v_row(vf x, int second) { return second ? _mm512_extractf32x8_ps(x, 1) : _mm512_castps512_ps256(x); }
EQ_INLINE float v8_first(v8 x) { return _mm256_cvtss_f32(x); }
/* rounded activations: natural order, and the integer sums of the two halves */
EQ_INLINE void w_round(const float *x, float inverse, int16_t *q, int32_t *sums) {
    __m512 s = _mm512_set1_ps(inverse);
    __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), s));
    __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), s));
    sums[0] = _mm512_reduce_add_epi32(a);
    sums[1] = _mm512_reduce_add_epi32(b);
    _mm256_storeu_si256((__m256i *)q, _mm512_cvtepi32_epi16(a));
    _mm256_storeu_si256((__m256i *)(q + 16), _mm512_cvtepi32_epi16(b));
}

/* --- packed microkernel: a vector of 16 tokens times one weight pair ------------------------------------------- */
EQ_INLINE vi i_zero(void) { return _mm512_setzero_si512(); }
EQ_INLINE vx x_load(const int16_t *p) { return _mm512_loadu_si512(p); }
EQ_INLINE vx x_pair(const int16_t *w) { /* EQ_PACK weights for every token */
    int32_t pair;
    memcpy(&pair, w, 4);
    return _mm512_set1_epi32(pair);
}
EQ_INLINE vi i_dot(vi acc, vx x, vx w) { return _mm512_dpwssd_epi32(acc, x, w); }
EQ_INLINE vf i_float(vi x) { return _mm512_cvtepi32_ps(x); }
#define EQ_BYTE_PACK 4
#if defined(__GNUC__)
#define EQ_HOLD(v) __asm__("" : "+v"(v))
#endif
EQ_INLINE vi b_dot(vi acc, vx x, vx w) { return _mm512_dpbusd_epi32(acc, x, w); } /* bytes, x unsigned */
