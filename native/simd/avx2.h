/* The vector vocabulary for AVX2 with FMA and F16C: 8 floats, 32 weights as bytes. */
#define EQ_VL 8
#define EQ_NV 2
#ifndef EQ_OWN_DOTS
#define EQ_MR 4
#endif
#define EQ_QB 4
#define EQ_SUMS 8
#define EQ_FLOATS_ROWS 2   /* kernels/floats.inc.h: 12 sums */
#define EQ_FLOATS_TOKENS 6

typedef __m256 vf;
typedef __m256i vi; /* integer sums */
typedef __m256i vx; /* 4 activations of EQ_VL tokens */
typedef __m256i vw; /* 4 weights over and over */
/* 32 weights in natural order: bytes that are so much too large, or signed ones, which were made of sizes and signs */
typedef struct { __m256i b; int more, is_signed; __m256i size, sign; } w32;

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
/* 2 EQ_VL weights: those with even places, those with odd ones; likewise activations */
EQ_INLINE void v_load_bf16_two(const uint16_t *p, vf *x) {
    __m256i w = _mm256_loadu_si256((const __m256i *)p);
    x[0] = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
    x[1] = _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32((int)0xFFFF0000)));
}
EQ_INLINE void v_load_two(const float *p, vf *x) {
    __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    x[0] = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)), 0xD8));
    x[1] = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xDD)), 0xD8));
}
EQ_INLINE float v_half(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}
EQ_INLINE vf v_load_bytes(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
EQ_INLINE void v_load_nibbles(const uint8_t *p, vf *low, vf *high) {
    const __m256i eight = _mm256_set1_epi32(8);
    __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    *low = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_and_si256(x, _mm256_set1_epi32(15)), eight));
    *high = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(x, 4), eight));
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
#define EQ_PUT_BY(v) EQ_IN_MEMORY(v)

EQ_INLINE __m256i m_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
EQ_INLINE __m256i m_twice(const void *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)); }
EQ_INLINE w32 w_unsigned(__m256i signed_bytes) {
    return (w32){_mm256_xor_si256(signed_bytes, _mm256_set1_epi8((char)0x80)), 128};
}
EQ_INLINE w32 w_bytes(const int8_t *p) { return w_unsigned(m_load(p)); }
EQ_INLINE void w_bytes_store(uint8_t *p, w32 w, int offset) {
    _mm256_storeu_si256((__m256i *)p, _mm256_add_epi8(w.b, _mm256_set1_epi8((char)(offset - w.more))));
}
EQ_INLINE w32 w_bits(const uint8_t *p, int shift, int mask) {
    __m256i x = _mm256_srl_epi16(m_load(p), _mm_cvtsi32_si128(shift));
    return (w32){_mm256_and_si256(x, _mm256_set1_epi8((char)mask)), 0};
}
EQ_INLINE w32 w_nibbles(const uint8_t *p) {
    __m256i x = _mm256_srlv_epi32(m_twice(p), _mm256_set_epi32(4, 4, 4, 4, 0, 0, 0, 0));
    return (w32){_mm256_and_si256(x, _mm256_set1_epi8(15)), 0};
}
EQ_INLINE w32 w_nibbles_table(const uint8_t *p, const int8_t *table) {
    return w_unsigned(_mm256_shuffle_epi8(m_twice(table), w_nibbles(p).b));
}
EQ_INLINE __m256i w_flags(uint32_t mask, int n) { /* n where bit i of mask is set, else 0 */
    const __m256i bits = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    const __m256i byte = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    __m256i x = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)mask), byte);
    x = _mm256_cmpeq_epi8(_mm256_and_si256(x, bits), bits);
    return _mm256_and_si256(x, _mm256_set1_epi8((char)n));
}
#define EQ_OWN_MASKS 1
EQ_INLINE w32 w_add_if(w32 x, uint32_t mask, int n) { return (w32){_mm256_add_epi8(x.b, w_flags(mask, n)), x.more}; }
EQ_INLINE w32 w_sub_unless(w32 x, uint32_t mask, int n) {
    return (w32){_mm256_add_epi8(x.b, w_flags(mask, n)), x.more + n};
}
EQ_INLINE w32 w_mask(uint32_t mask, int n) { return (w32){w_flags(mask, n), 0}; }
/* 16 bytes of nibbles, looked up in 16 levels that are `offset` too large */
#define EQ_OWN_LEVELS 1
EQ_INLINE w32 w_levels(const uint8_t *p, const int8_t *table, int offset) {
    return (w32){_mm256_shuffle_epi8(m_twice(table), w_nibbles(p).b), offset};
}
#define EQ_OWN_PAIRS 1
EQ_INLINE w32 w_pairs(const uint8_t *p) { /* 8 bytes: 32 pairs of bits */
    __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    x = _mm256_or_si256(x, _mm256_slli_epi32(x, 12));
    x = _mm256_or_si256(x, _mm256_slli_epi32(x, 6));
    return (w32){_mm256_and_si256(x, _mm256_set1_epi8(3)), 0};
}
EQ_INLINE w32 w_vectors(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (w32){_mm256_set_epi64x((int64_t)d, (int64_t)c, (int64_t)b, (int64_t)a), 0};
}
#define EQ_OWN_SIGNS 1
EQ_INLINE w32 w_signs(w32 x, __m256i sign) { return (w32){_mm256_sign_epi8(x.b, sign), 0, 1, x.b, sign}; }
EQ_INLINE w32 w_signs_all(w32 x, const uint8_t *p) {
    return w_signs(x, _mm256_or_si256(w_flags(u32(p), -1), _mm256_set1_epi8(1)));
}
EQ_INLINE w32 w_signs_even(w32 x, unsigned a, unsigned b, unsigned c, unsigned d) {
    const uint64_t *sign = eq_signs_even;
    return w_signs(x, _mm256_set_epi64x((int64_t)sign[d], (int64_t)sign[c], (int64_t)sign[b], (int64_t)sign[a]));
}
#define EQ_OWN_FOURS 1
EQ_INLINE w32 w_fours(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f, uint32_t g, uint32_t h) {
    return (w32){_mm256_set_epi32((int)h, (int)g, (int)f, (int)e, (int)d, (int)c, (int)b, (int)a), 0};
}
#define EQ_OWN_PLACES 1
EQ_INLINE void w_places(const uint8_t *p, unsigned ninth, uint16_t *at) {
    const __m128i to = _mm_set_epi16(2, 4, 8, 16, 32, 64, 128, 256);
    __m128i x = _mm_and_si128(_mm_mullo_epi16(_mm_set1_epi16((short)ninth), to), _mm_set1_epi16(256));
    x = _mm_or_si128(x, _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p)));
    uint64_t first = (uint64_t)_mm_cvtsi128_si64(x), last = (uint64_t)_mm_extract_epi64(x, 1);
    EQ_FORGET(first); /* or each of the eight would be taken from the vector, which is slower */
    EQ_FORGET(last);
    for (int i = 0; i < 4; i++) at[i] = (uint16_t)(first >> 16 * i), at[4 + i] = (uint16_t)(last >> 16 * i);
}
#define EQ_OWN_FOUR 1
EQ_INLINE w32 w_add_four(w32 x, uint32_t four) {
    const __m256i byte = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    return (w32){_mm256_add_epi8(x.b, _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)four), byte)), x.more};
}
EQ_INLINE w32 w_middle(w32 x) { return (w32){_mm256_permute4x64_epi64(x.b, 0xD8), x.more}; }
EQ_INLINE w32 w_digits(w32 x, const uint8_t *powers) { /* a byte times its power, in the high byte of a word, times 3 */
    const __m256i p = m_load(powers), three = _mm256_set1_epi16(3);
    __m256i even = _mm256_mullo_epi16(_mm256_slli_epi16(x.b, 8), p);
    __m256i odd = _mm256_mullo_epi16(_mm256_and_si256(x.b, _mm256_set1_epi16((short)0xFF00)), _mm256_srli_epi16(p, 8));
    even = _mm256_mulhi_epu16(even, three);
    odd = _mm256_mulhi_epu16(odd, three);
    return (w32){_mm256_or_si256(even, _mm256_slli_epi16(odd, 8)), 0};
}
EQ_INLINE w32 w_or(w32 x, w32 y) { return (w32){_mm256_or_si256(x.b, y.b), 0}; }
EQ_INLINE w32 w_shl(w32 x, int n) { return (w32){_mm256_sll_epi16(x.b, _mm_cvtsi32_si128(n)), 0}; } /* not out of a byte */
EQ_INLINE w32 w_sub(w32 x, int n) { return (w32){x.b, x.more + n}; }
/* low, and above its `to` bits those of bytes p that lie under mask << from */
#define EQ_OWN_JOIN 1
EQ_INLINE w32 w_join(w32 low, int to, const uint8_t *p, int from, int mask) {
    __m256i x = m_load(p);
    if (from > to) x = _mm256_srl_epi16(x, _mm_cvtsi32_si128(from - to)); /* what comes from other bytes is not under the mask */
    if (from < to) x = _mm256_sll_epi16(x, _mm_cvtsi32_si128(to - from));
    return (w32){_mm256_or_si256(low.b, _mm256_and_si256(x, _mm256_set1_epi8((char)(mask << to)))), 0};
}

/* 32 rounded activations: the even ones, then the odd ones. */
EQ_INLINE void x_arrange(const int16_t *q, int16_t *to) {
    __m256i x = m_load(q), y = m_load(q + 16), low = _mm256_set1_epi32(0xFFFF);
    __m256i even = _mm256_packus_epi32(_mm256_and_si256(x, low), _mm256_and_si256(y, low));
    __m256i odd = _mm256_packus_epi32(_mm256_srli_epi32(x, 16), _mm256_srli_epi32(y, 16));
    _mm256_storeu_si256((__m256i *)to, _mm256_permute4x64_epi64(even, 0xD8));
    _mm256_storeu_si256((__m256i *)(to + 16), _mm256_permute4x64_epi64(odd, 0xD8));
}
#ifndef EQ_OWN_DOTS
EQ_INLINE __m256i m_dot(__m256i sums, __m256i a, __m256i b) { return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)); }
#endif
EQ_INLINE __m256i w_dot(__m256i w, const int16_t *x) { /* of unsigned bytes; lanes 0 to 3: of the first 16 */
    return m_dot(_mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(0xFF)), m_load(x)), _mm256_srli_epi16(w, 8), m_load(x + 16));
}
/* --- four blocks of 32 weights of one row ------------------------------------------------------------------------- */
#define EQ_QUADS 1
/* Arranged activations of four groups; then for the first 16 of each group, and for the last 16: their sums, scales, and
 * the products of both. */
#define EQ_QUAD_BYTES 352
typedef struct { w32 block[4]; } w128;
typedef struct { const int16_t *q; __m256i start; } x128;

EQ_INLINE vf v_twice(__m128 x) { return _mm256_insertf128_ps(_mm256_castps128_ps256(x), x, 1); }
EQ_INLINE vf v_halves(const uint8_t *p, int bytes, int blocks, int groups) { /* a half for each of four groups, twice */
    uint64_t four = 0;
    for (int i = 0; i < 4; i++) {
        uint16_t h;
        memcpy(&h, p + (i < blocks ? i : blocks - 1) / groups * bytes, 2);
        four |= (uint64_t)h << 16 * i;
    }
    return v_twice(_mm_cvtph_ps(_mm_cvtsi64_si128((int64_t)four)));
}
EQ_INLINE vf v_four(uint64_t bytes, float d) { /* four signed bytes times d, twice */
    return v_twice(_mm_mul_ps(_mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi64_si128((int64_t)bytes))), _mm_set1_ps(d)));
}
EQ_INLINE vf v_e8m0(const uint8_t *p, int bytes, int blocks) { /* eq_e8m0_half for each, twice */
    const __m128i least = _mm_set1_epi32(0x00200000), one = _mm_set1_epi32(1);
    const uint8_t *last = p + (blocks - 1) * bytes;
    __m128i x = _mm_set_epi32(blocks > 3 ? p[3 * bytes] : *last, blocks > 2 ? p[2 * bytes] : *last, blocks > 1 ? p[bytes] : *last, *p);
    __m128i many = _mm_slli_epi32(_mm_sub_epi32(x, one), 23);
    return v_twice(_mm_castsi128_ps(_mm_blendv_epi8(_mm_sllv_epi32(least, x), many, _mm_cmpgt_epi32(x, one))));
}
/* eq_ue4m3_half of the first 16 of four groups, of their last 16; in half precision they are 2^-7 of that */
EQ_INLINE vf v_ue4m3(const uint8_t *p, int bytes, int blocks) {
    const __m128i order = _mm_set_epi8(7, -1, 5, -1, 3, -1, 1, -1, 6, -1, 4, -1, 2, -1, 0, -1);
    uint64_t all = u32(p) | (uint64_t)u32(p + (blocks > 2 ? bytes : 0)) << 32;
    __m128i x = _mm_shuffle_epi8(_mm_cvtsi64_si128((int64_t)all), order);
    __m128i none = _mm_cmpeq_epi16(x, _mm_set1_epi16(0x7F00));
    x = _mm_andnot_si128(none, _mm_and_si128(_mm_srli_epi16(x, 1), _mm_set1_epi16(0x3F80)));
    return _mm256_mul_ps(_mm256_cvtph_ps(x), _mm256_set1_ps(128.0f));
}
EQ_INLINE x128 x_quad(const int8_t *q, int offset) {
    __m256i start = _mm256_setzero_si256();
    if (offset) start = _mm256_sub_epi32(start, _mm256_mullo_epi32(m_load(q + 256), _mm256_set1_epi32(offset)));
    return (x128){(const int16_t *)(const void *)q, start};
}
EQ_INLINE vf x_scale(const int8_t *record) { return v_load((const float *)(const void *)(record + 288)); }
EQ_INLINE vf x_sums(const int8_t *record) { return v_load((const float *)(const void *)(record + 320)); }
/* 32 natural activations into the place of group `g` of four */
EQ_INLINE void x_place(const int16_t *q, float scale, int g, int8_t *record, int words) {
    const __m256i one = _mm256_set1_epi16(1);
    int8_t *behind = record + 256 + 4 * g;
    (void)words;
    int16_t *to = (int16_t *)(void *)(record + 64 * g);
    x_arrange(q, to);
    __m256i sums = _mm256_add_epi32(_mm256_madd_epi16(m_load(to), one), _mm256_madd_epi16(m_load(to + 16), one));
    int32_t lanes[8];
    _mm256_storeu_si256((__m256i *)lanes, sums);
    for (int h = 0; h < 2; h++, behind += 16) {
        int32_t sum = lanes[4 * h] + lanes[4 * h + 1] + lanes[4 * h + 2] + lanes[4 * h + 3];
        float product = scale * (float)sum;
        memcpy(behind, &sum, 4);
        memcpy(behind + 32, &scale, 4);
        memcpy(behind + 64, &product, 4);
    }
}
EQ_INLINE __m256i m_pairs(__m256i a, __m256i b) { /* sums of neighbours: two of a, two of b, in either half */
    __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
    return _mm256_add_epi32(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88)), _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xDD)));
}
EQ_INLINE vf q_dot(w128 w, x128 x) { /* lanes: first 16 weights of the four blocks, last 16; bytes as they are */
    __m256i dot[4];
    for (int i = 0; i < 4; i++) dot[i] = w_dot(w.block[i].b, x.q + 32 * i);
    __m256i sums = m_pairs(m_pairs(dot[0], dot[1]), m_pairs(dot[2], dot[3]));
    return _mm256_cvtepi32_ps(_mm256_add_epi32(sums, x.start));
}

/* --- a block of 256 weights of one row -------------------------------------------------------------------------------- */
#define EQ_BLOCKS 1
typedef struct { /* activations, scale (256 high + low), and the sums of 16 of them, of 32 */
    int8_t high[256], low[256]; /* no -128, so that signs can be changed */
    int16_t high_sums[16], low_sums[16], high_sums32[8], low_sums32[8];
    float scale, unused[7];
} x256;
typedef struct { __m256i all, first, last; } s256; /* scales as int16: all 16; those of 128 weights twice, or all 8 twice */
typedef struct { __m256i size, sign; int is_signed; } b32; /* 32 weights: unsigned bytes, of up to 127, and 1 or -1 */
typedef struct { __m256i high, low; } d256;

EQ_INLINE s256 b_scales(const uint64_t *bytes, const int halves) {
    if (!halves) {
        __m256i twice = _mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(_mm_cvtsi64_si128((int64_t)bytes[0])));
        return (s256){twice, twice, twice};
    }
    __m256i x = _mm256_cvtepi8_epi16(_mm_set_epi64x((int64_t)bytes[1], (int64_t)bytes[0]));
    return (s256){x, _mm256_permute2x128_si256(x, x, 0x00), _mm256_permute2x128_si256(x, x, 0x11)};
}
EQ_INLINE __m256i b_scale(s256 s, const int j, const int halves) { /* of 32 weights, for pairs of them */
    const int first = halves ? 2 * (j % 4) : j, last = halves ? first + 1 : j; /* word n is bytes 2n and 2n + 1 */
    const __m256i at = _mm256_set_m128i(_mm_set1_epi16((short)(0x0100 + 0x0202 * last)), _mm_set1_epi16((short)(0x0100 + 0x0202 * first)));
    return _mm256_shuffle_epi8(j < 4 ? s.first : s.last, at);
}
/* `offset` more than they are, or with signs */
EQ_INLINE b32 b_weights(w32 w, const int offset) {
    if (w.is_signed) return (b32){w.size, w.sign, 1};
    return (b32){_mm256_add_epi8(w.b, _mm256_set1_epi8((char)(offset - w.more))), w.b, 0};
}
EQ_INLINE d256 b_dot(d256 sums, b32 w, __m256i scale, const x256 *x, int j) {
    __m256i high = m_load(x->high + 32 * j), low = m_load(x->low + 32 * j);
    if (w.is_signed) high = _mm256_sign_epi8(high, w.sign), low = _mm256_sign_epi8(low, w.sign);
    sums.high = m_dot(sums.high, _mm256_maddubs_epi16(w.size, high), scale);
    sums.low = m_dot(sums.low, _mm256_maddubs_epi16(w.size, low), scale);
    EQ_HOLD(sums.high); /* in this order: sums that are put off fill the registers */
    EQ_HOLD(sums.low);
    return sums;
}
EQ_INLINE d256 b_sums(const x256 *x, s256 s, const int halves) { /* scales times sums of activations */
    if (halves) return (d256){_mm256_madd_epi16(s.all, m_load(x->high_sums)), _mm256_madd_epi16(s.all, m_load(x->low_sums))};
    const __m256i sums = m_load(x->high_sums32);
    __m256i both = _mm256_madd_epi16(s.first, sums);
    return (d256){_mm256_permute2x128_si256(both, both, 0x80), _mm256_permute2x128_si256(both, both, 0x81)};
}
EQ_INLINE d256 b_begin(const x256 *x, s256 s, const int halves, const int offset) { /* what the offset will have added */
    const __m256i zero = _mm256_setzero_si256(), n = _mm256_set1_epi32(offset);
    if (offset == 0) return (d256){zero, zero};
    d256 sums = b_sums(x, s, halves);
    return (d256){_mm256_sub_epi32(zero, _mm256_mullo_epi32(sums.high, n)), _mm256_sub_epi32(zero, _mm256_mullo_epi32(sums.low, n))};
}
EQ_INLINE vf b_fma(d256 sums, float scale, vf acc) {
    vf both = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums.high), _mm256_set1_ps(256.0f), _mm256_cvtepi32_ps(sums.low));
    return _mm256_fmadd_ps(both, _mm256_set1_ps(scale), acc);
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

/* --- packed: 4 activations of each of 8 tokens times 4 weights --------------------------------------------------- */
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

#ifndef EQ_OWN_DOTS
/* There is no dot product of bytes: pairs of products are added as int16 first. Weights of up to 6 bits are unsigned, and
 * so small that several such pairs fit; those of 8 bits, for which not even one does, are int16 as their activations are. */
#define EQ_STORED(offset) ((offset) == 128 ? 0 : (offset))
#define EQ_WORDS(bits) ((bits) == 8)
#define EQ_INT16_SUMS 1
typedef __m256i vp;
EQ_INLINE vp p_products(vw w, vx x) { return _mm256_maddubs_epi16(w, x); }
EQ_INLINE vp p_add(vp a, vp b) { return _mm256_add_epi16(a, b); }
EQ_INLINE vi i_widen(vi acc, vp x) { return _mm256_add_epi32(acc, _mm256_madd_epi16(x, _mm256_set1_epi16(1))); }
EQ_INLINE vi i_words(vw w, vx x) { return _mm256_madd_epi16(w, x); }
EQ_INLINE vi i_dot(vi acc, vw w, vx x) { return i_widen(acc, p_products(w, x)); } /* w unsigned, of up to 7 bits */

EQ_INLINE void w_store(int16_t *p, w32 w) {
    const __m256i more = _mm256_set1_epi16((short)w.more);
    __m256i a = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(w.b)), b = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(w.b, 1));
    _mm256_storeu_si256((__m256i *)p, _mm256_sub_epi16(a, more));
    _mm256_storeu_si256((__m256i *)(p + 16), _mm256_sub_epi16(b, more));
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
#endif
