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
EQ_INLINE vf v_load_bytes(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
EQ_INLINE void v_load_nibbles(const uint8_t *p, vf *low, vf *high) { /* of EQ_VL bytes, less 8 */
    const __m512 numbers = _mm512_set_ps(7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8);
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); /* an index is 4 bits of it */
    *low = _mm512_permutexvar_ps(x, numbers);
    *high = _mm512_permutexvar_ps(_mm512_srli_epi32(x, 4), numbers);
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
EQ_INLINE w32 w_load(const int16_t *p) { return (w32){_mm512_loadu_si512(p)}; }
EQ_INLINE void w_bytes_store(uint8_t *p, w32 w, int offset) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi16_epi8(_mm512_add_epi16(w.a, _mm512_set1_epi16((short)offset))));
}
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
EQ_INLINE void x_arrange(int16_t *q) {
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
EQ_INLINE void p_store(uint8_t *p0, uint8_t *p1, w64 w) {
    _mm256_storeu_si256((__m256i *)p0, _mm512_castsi512_si256(w.b));
    _mm256_storeu_si256((__m256i *)p1, _mm512_extracti64x4_epi64(w.b, 1));
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

/* --- four blocks of 32 weights of one row ------------------------------------------------------------------------- */
#define EQ_QUADS 1
#define EQ_QUAD_WORDS 1
#define EQ_QUAD_BYTES 320 /* activations of four groups: high bytes of the first 16 of each, of the last 16, low bytes
                           * alike, then the sum of what each lane of a dot product multiplies */
typedef struct { __m512i first, last; } w128; /* weights 0 to 15 of each block, and 16 to 31 */
typedef struct { __m512i high[2], low[2], start; } x128;

EQ_INLINE w128 q_begin(const uint8_t *p, int bytes, int blocks, int second) { /* 64 bytes from p, and from p + second */
    if (blocks == 4) return (w128){_mm512_loadu_si512(p), _mm512_loadu_si512(p + second)};
    int words = blocks * bytes / 2, more = words - second / 2; /* nothing behind the last block is read */
    __mmask32 a = words < 32 ? (1u << words) - 1 : ~0u, b = more <= 0 ? 0 : more < 32 ? (1u << more) - 1 : ~0u;
    return (w128){_mm512_maskz_loadu_epi16(a, p), _mm512_maskz_loadu_epi16(b, p + second)};
}
EQ_INLINE __m512i q_words(w128 ends, const uint16_t *words) {
    return _mm512_permutex2var_epi16(ends.first, _mm512_loadu_si512(words), ends.last);
}
EQ_INLINE void q_heads(w128 ends, const uint16_t *words, vf *d, vf *m) {
    __m512i x = q_words(ends, words);
    *d = _mm512_cvtph_ps(_mm512_castsi512_si256(x));
    *m = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1));
}
EQ_INLINE __m512i q_gather(const uint8_t *p, int64_t bytes, int blocks) { /* 16 bytes of each; for a missing one the last's */
    int64_t b = blocks > 1 ? bytes : 0, c = blocks > 2 ? 2 * bytes : b, d = blocks > 3 ? 3 * bytes : c;
    __m512i x = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
    x = _mm512_mask_broadcast_i32x4(x, 0x00F0, _mm_loadu_si128((const __m128i *)(p + b)));
    x = _mm512_mask_broadcast_i32x4(x, 0x0F00, _mm_loadu_si128((const __m128i *)(p + c)));
    return _mm512_mask_broadcast_i32x4(x, 0xF000, _mm_loadu_si128((const __m128i *)(p + d)));
}
EQ_INLINE w128 q_nibbles(__m512i x) {
    const __m512i low = _mm512_set1_epi8(15);
    return (w128){_mm512_and_si512(x, low), _mm512_and_si512(_mm512_srli_epi16(x, 4), low)};
}
EQ_INLINE w128 q_signed(__m512i first, __m512i last) {
    const __m512i sign = _mm512_set1_epi8((char)0x80);
    return (w128){_mm512_xor_si512(first, sign), _mm512_xor_si512(last, sign)};
}
EQ_INLINE w128 q_table(w128 w, const uint8_t *table) {
    __m512i t = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    return (w128){_mm512_shuffle_epi8(t, w.first), _mm512_shuffle_epi8(t, w.last)};
}
EQ_INLINE w128 q_add_if(w128 w, __m512i x, int n) { /* x: the 32 bits for a block's weights, over and over in its lanes */
    const __m512i bits = _mm512_set1_epi64((int64_t)0x8040201008040201);
    const __m512i byte = _mm512_broadcast_i32x4(_mm_set_epi8(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m512i v = _mm512_set1_epi8((char)n);
    __mmask64 first = _mm512_test_epi8_mask(_mm512_shuffle_epi8(x, byte), bits);
    __mmask64 last = _mm512_test_epi8_mask(_mm512_shuffle_epi8(x, _mm512_add_epi8(byte, _mm512_set1_epi8(2))), bits);
    return (w128){_mm512_mask_add_epi8(w.first, first, w.first, v), _mm512_mask_add_epi8(w.last, last, w.last, v)};
}
EQ_INLINE x128 x_quad(const int8_t *q, int offset) {
    __m512i start = _mm512_setzero_si512();
    if (offset) start = _mm512_sub_epi32(start, _mm512_mullo_epi32(_mm512_loadu_si512(q + 256), _mm512_set1_epi32(offset)));
    return (x128){{_mm512_loadu_si512(q), _mm512_loadu_si512(q + 64)}, {_mm512_loadu_si512(q + 128), _mm512_loadu_si512(q + 192)}, start};
}
/* 32 activations, high bytes and then low ones, into the place of group `g` of four */
EQ_INLINE void x_place(const int16_t *q, int64_t g, int8_t *quads) {
    const __m256i one = _mm256_set1_epi8(1), zero = _mm256_setzero_si256();
    int8_t *to = quads + g / 4 * EQ_QUAD_BYTES + g % 4 * 16;
    __m256i high = _mm256_loadu_si256((const __m256i *)q), low = _mm256_loadu_si256((const __m256i *)(q + 16));
    _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(high));
    _mm_storeu_si128((__m128i *)(to + 64), _mm256_extracti128_si256(high, 1));
    _mm_storeu_si128((__m128i *)(to + 128), _mm256_castsi256_si128(low));
    _mm_storeu_si128((__m128i *)(to + 192), _mm256_extracti128_si256(low, 1));
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(_mm256_dpbusd_epi32(zero, one, high), 8), _mm256_dpbusd_epi32(zero, one, low));
    _mm_storeu_si128((__m128i *)(to + 256), _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1)));
}
EQ_INLINE vf q_dot(w128 w, x128 x) {
    __m512i high = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), w.first, x.high[0]), w.last, x.high[1]);
    __m512i low = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(x.start, w.first, x.low[0]), w.last, x.low[1]);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
}
EQ_INLINE vf x_four_floats(const float *x, int blocks, __mmask16 lanes) { /* one for the four lanes of each block */
    const __m512i four = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    __m128 v = blocks == 4 ? _mm_loadu_ps(x) : _mm_maskz_loadu_ps((__mmask8)((1 << blocks) - 1), x);
    return _mm512_maskz_permutexvar_ps(lanes, four, _mm512_castps128_ps512(v));
}
EQ_INLINE vf x_each(const float *x, int blocks) { return x_four_floats(x, blocks, 0xFFFF); }
EQ_INLINE vf x_once(const float *x, int blocks) { return x_four_floats(x, blocks, 0x1111); } /* in the first lane of four */

EQ_INLINE float v_largest32(const float *x) { /* magnitude; NaN if one is not finite */
    const __m512i sign = _mm512_set1_epi32((int)0x80000000);
    __m512i a = _mm512_andnot_si512(sign, _mm512_loadu_si512(x)), b = _mm512_andnot_si512(sign, _mm512_loadu_si512(x + 16));
    return eq_finite(_mm512_reduce_max_epi32(_mm512_max_epi32(a, b)));
}
EQ_INLINE void w_round(const float *x, float inverse, int16_t *q) {
    __m512 s = _mm512_set1_ps(inverse);
    __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), s));
    __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), s));
    _mm256_storeu_si256((__m256i *)q, _mm512_cvtepi32_epi16(a));
    _mm256_storeu_si256((__m256i *)(q + 16), _mm512_cvtepi32_epi16(b));
}
EQ_INLINE void w_sums(const int16_t *q, int32_t *sums) { /* of either half */
    __m512i pairs = _mm512_madd_epi16(_mm512_loadu_si512(q), _mm512_set1_epi16(1));
    v8_sums2(_mm512_castsi512_si256(pairs), _mm512_extracti64x4_epi64(pairs, 1), sums);
}
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
EQ_INLINE vi i_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
EQ_INLINE vi i_times(vi a, int n) { return _mm512_mullo_epi32(a, _mm512_set1_epi32(n)); }
EQ_INLINE vx x_load(const int8_t *p) { return _mm512_loadu_si512(p); }
EQ_INLINE vw x_four(const uint8_t *w) {
    int32_t four;
    memcpy(&four, w, 4);
    return _mm512_set1_epi32(four);
}
EQ_INLINE vi i_dot(vi acc, vw w, vx x) { return _mm512_dpbusd_epi32(acc, w, x); }
EQ_INLINE vf i_float(vi x) { return _mm512_cvtepi32_ps(x); }
