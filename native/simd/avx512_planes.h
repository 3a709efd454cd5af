/* The vector vocabulary for AVX-512, continued: few tokens. Weights of four groups of 32, as unsigned bytes, meet two planes
 * of activations, q = 256 high + low. A lane of 128 bits belongs to a group; where sums and scales of four rows lie side by
 * side, each group has those of row 0, 1, 2 and 3. */
#define EQ_PLANES 1
#define EQ_MEET 4 /* tokens; weights are widened for more */
typedef struct { __m512i first, last; } b128; /* of the first 16 weights of each group, of the last 16 */
typedef struct { __m512i a, b, c, d; } i128;  /* the same as int16: 8 of each group, the next 8, ... */
typedef struct {
    __m512i s, m; /* of a block of 256 of four rows, one to a lane: scales as signed bytes, mins as unsigned ones */
    vf d, dmin;   /* what they are to be multiplied by, of the four rows over and over */
} b256;
typedef struct { vf s[2], m[2]; } s128; /* scales and mins of four groups of four rows: of the first 16, of the last */

/* A token's record of four groups. */
#define EQ_QUADS 1
enum { X_HIGH = 0, X_LOW = 128, X_SCALE = 256, X_INTS = 320, X_SUMS = 512, EQ_QUAD_BYTES = 704 };
/* X_HIGH, X_LOW: bytes of the first 16 of each group, then of the last, or both bytes in the order of i128; X_SCALE: of each
 * group, four times; X_INTS: sums of the first 16, the last, all; X_SUMS: scale times these */

/* 32 natural activations into the place of group `g` of four, as planes or as words */
EQ_INLINE void x_place(const int16_t *q, float scale, int g, int8_t *record, int words) {
    int32_t sums[3];
    __m512i x = _mm512_loadu_si512(q), high = _mm512_srai_epi16(_mm512_add_epi16(x, _mm512_set1_epi16(128)), 8);
    __m256i bytes[2] = {_mm512_cvtepi16_epi8(high), _mm512_cvtepi16_epi8(x)}; /* low as a signed byte is x - 256 high */
    int8_t *to = record + 16 * g;
    for (int i = 0; i < 4 && words; i++) memcpy(to + 64 * i, q + 8 * i, 16);
    for (int plane = 0; plane < 2 && !words; plane++) {
        _mm_storeu_si128((__m128i *)(to + X_LOW * plane), _mm256_castsi256_si128(bytes[plane]));
        _mm_storeu_si128((__m128i *)(to + X_LOW * plane + 64), _mm256_extracti128_si256(bytes[plane], 1));
    }
    w_sums(q, sums);
    sums[2] = sums[0] + sums[1];
    _mm_storeu_ps((float *)(void *)(to + X_SCALE), _mm_set1_ps(scale));
    for (int i = 0; i < 3; i++) {
        _mm_storeu_si128((__m128i *)(to + X_INTS + 64 * i), _mm_set1_epi32(sums[i]));
        _mm_storeu_ps((float *)(void *)(to + X_SUMS + 64 * i), _mm_set1_ps(scale * (float)sums[i]));
    }
}
EQ_INLINE vf x_floats(const int8_t *record, int at) { return v_load((const float *)(const void *)(record + at)); }
EQ_INLINE __m512i x_ints(const int8_t *record, int at) { return _mm512_loadu_si512(record + at); }

/* --- sums ------------------------------------------------------------------------------------------------------ */

/* weights times activations of parts [part, part + parts) of the groups, four sums to a group */
EQ_INLINE __m512i q_sums(b128 w, const int8_t *record, int part, int parts) {
    __m512i sum = _mm512_setzero_si512();
    for (int i = part; i < part + parts; i++)
        sum = _mm512_dpbusd_epi32(sum, i ? w.last : w.first, _mm512_loadu_si512(record + X_HIGH + 64 * i));
    sum = _mm512_slli_epi32(sum, 8);
    for (int i = part; i < part + parts; i++)
        sum = _mm512_dpbusd_epi32(sum, i ? w.last : w.first, _mm512_loadu_si512(record + X_LOW + 64 * i));
    return sum;
}
EQ_INLINE i128 q_widened(b128 w) {
    const __m512i zero = _mm512_setzero_si512();
    return (i128){_mm512_unpacklo_epi8(w.first, zero), _mm512_unpackhi_epi8(w.first, zero), _mm512_unpacklo_epi8(w.last, zero),
                  _mm512_unpackhi_epi8(w.last, zero)};
}
EQ_INLINE __m512i q_sums_words(i128 w, const int8_t *record, int part, int parts) { /* the same sums */
    const int8_t *x = record + 128 * part;
    __m512i sum = _mm512_madd_epi16(part ? w.c : w.a, _mm512_loadu_si512(x));
    sum = _mm512_dpwssd_epi32(sum, part ? w.d : w.b, _mm512_loadu_si512(x + 64));
    if (parts == 1) return sum;
    sum = _mm512_dpwssd_epi32(sum, w.c, _mm512_loadu_si512(x + 128));
    return _mm512_dpwssd_epi32(sum, w.d, _mm512_loadu_si512(x + 192));
}
EQ_INLINE __m512i q_four_rows(__m512i a, __m512i b, __m512i c, __m512i d) { /* all four sums of a group, of each row */
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}
/* Two groups of either of two rows side by side, the first row's in the first two lanes; their sums */
EQ_INLINE b128 q_beside(b128 a, b128 b) {
    return (b128){_mm512_shuffle_i64x2(a.first, b.first, 0x44), _mm512_shuffle_i64x2(a.last, b.last, 0x44)};
}
EQ_INLINE __m512i q_twice(const int8_t *x) { return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)x)); }
EQ_INLINE __m512i q_sums_beside(b128 w, const int8_t *record) {
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w.first, q_twice(record + X_HIGH));
    sum = _mm512_slli_epi32(_mm512_dpbusd_epi32(sum, w.last, q_twice(record + X_HIGH + 64)), 8);
    sum = _mm512_dpbusd_epi32(sum, w.first, q_twice(record + X_LOW));
    return _mm512_dpbusd_epi32(sum, w.last, q_twice(record + X_LOW + 64));
}
/* What q_four_rows gives, of rows a, b and c, d that lie so; for groups that are missing, sums that meet activations of 0. */
EQ_INLINE __m512i q_two_pairs(__m512i ab, __m512i cd) {
    const __m512i turn = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 13, 5, 12, 4, 9, 1, 8, 0);
    __m512i x = _mm512_add_epi32(_mm512_unpacklo_epi32(ab, cd), _mm512_unpackhi_epi32(ab, cd));
    x = _mm512_add_epi32(x, _mm512_shuffle_epi32(x, _MM_PERM_BADC)); /* in the lanes: a and c, a and c, b and d, b and d */
    return _mm512_permutexvar_epi32(turn, x);
}
EQ_INLINE __m512i q_less(__m512i sums, __m512i of, const int offset) { /* what an offset of the weights has added */
    return _mm512_sub_epi32(sums, _mm512_mullo_epi32(of, _mm512_set1_epi32(offset)));
}
EQ_INLINE __m128 v_rows(vf x) { /* four rows: groups 0 and 2, 1 and 3, then both */
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
}
/* `rows` of the four rows that sums x of four tokens are of: out [rows][to] */
EQ_INLINE void v_store_rows4(const vf *x, int rows, float *out, int64_t to) {
    __m128 r[4] = {v_rows(x[0]), v_rows(x[1]), v_rows(x[2]), v_rows(x[3])};
    _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
    for (int i = 0; i < rows; i++) _mm_storeu_ps(out + i * to, r[i]);
}
EQ_INLINE void v_store_rows(vf x, int rows, float *out, int64_t to) { /* of one token */
    if (rows == 4 && to == 1) {
        _mm_storeu_ps(out, v_rows(x));
        return;
    }
    float r[4];
    _mm_storeu_ps(r, v_rows(x));
    for (int i = 0; i < rows; i++) out[i * to] = r[i];
}

/* --- weights ----------------------------------------------------------------------------------------------------- */

EQ_INLINE __m512i q_lanes(int a, int b, int c, int d) { /* a number for each lane */
    return _mm512_set_epi32(d, d, d, d, c, c, c, c, b, b, b, b, a, a, a, a);
}
EQ_INLINE __m512i q_kept(__m512i x, int a, int b, int c, int d) { /* bits of each byte, others in each lane, where they are */
    const uint32_t each = 0x01010101;
    return _mm512_and_si512(x, q_lanes((int)((uint32_t)a * each), (int)((uint32_t)b * each), (int)((uint32_t)c * each),
                                       (int)((uint32_t)d * each)));
}
/* d for weights that were kept where they are, in other places in each lane */
EQ_INLINE vf q_placed(vf d, float a, float b, float c, float e) {
    return v_mul(d, _mm512_set_ps(e, e, e, e, c, c, c, c, b, b, b, b, a, a, a, a));
}
EQ_INLINE __m512i q_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
EQ_INLINE __m512i q_each(const uint8_t *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); } /* 16 bytes */
EQ_INLINE __m512i q_first2(__m512i x) { return _mm512_shuffle_i64x2(x, x, 0xA0); } /* lanes 0, 0, 2, 2 */
EQ_INLINE __m512i q_last2(__m512i x) { return _mm512_shuffle_i64x2(x, x, 0xF5); }  /* 1, 1, 3, 3 */
EQ_INLINE __m512i q_evens(__m512i x) { return _mm512_shuffle_i64x2(x, x, 0x88); }  /* 0, 2, 0, 2 */
EQ_INLINE __m512i q_odds(__m512i x) { return _mm512_shuffle_i64x2(x, x, 0xDD); }   /* 1, 3, 1, 3 */
/* each byte shifted right, its lane by so much, and masked */
EQ_INLINE __m512i q_field(__m512i x, int a, int b, int c, int d, int mask) {
    return _mm512_and_si512(_mm512_srlv_epi32(x, q_lanes(a, b, c, d)), _mm512_set1_epi8((char)mask));
}
/* low, with the bits under mask from x, whose bytes are shifted left, or right where the number is negative */
EQ_INLINE __m512i q_join(__m512i low, __m512i x, int a, int b, int c, int d, int mask) {
    x = _mm512_rolv_epi32(x, q_lanes(a & 31, b & 31, c & 31, d & 31)); /* what comes from other bytes is not under the mask */
    return _mm512_ternarylogic_epi64(low, x, _mm512_set1_epi8((char)mask), 0xF8); /* low | (x & mask) */
}
EQ_INLINE __m512i q_table(__m512i x, int shift, const int8_t *table, int more) { /* nibbles looked up in 16 signed bytes */
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i t = _mm512_add_epi8(q_each((const uint8_t *)table), _mm512_set1_epi8((char)more));
    return _mm512_shuffle_epi8(t, _mm512_and_si512(_mm512_srl_epi16(x, _mm_cvtsi32_si128(shift)), low));
}
EQ_INLINE b128 q_nibbles(__m512i x) { /* low ones are the first 16 */
    const __m512i low = _mm512_set1_epi8(15);
    return (b128){_mm512_and_si512(x, low), _mm512_and_si512(_mm512_srli_epi16(x, 4), low)};
}
EQ_INLINE b128 q_more(b128 w, int n) {
    return (b128){_mm512_add_epi8(w.first, _mm512_set1_epi8((char)n)), _mm512_add_epi8(w.last, _mm512_set1_epi8((char)n))};
}
/* 16 more where the bit of a weight is set: 64 bits for the first of all groups, then 64 for the last */
EQ_INLINE b128 q_add_bits(b128 w, __m512i bits) {
    const __m512i n = _mm512_set1_epi8(16);
    const __m128i x = _mm512_castsi512_si128(bits);
    const __mmask64 first = (__mmask64)_mm_cvtsi128_si64(x), last = (__mmask64)_mm_extract_epi64(x, 1);
    return (b128){_mm512_mask_add_epi8(w.first, first, w.first, n), _mm512_mask_add_epi8(w.last, last, w.last, n)};
}

/* --- four blocks of 32 ---------------------------------------------------------------------------------------------- */

EQ_INLINE __m512i q_words(const __m512i *ends, const uint16_t *words) {
    return _mm512_permutex2var_epi16(ends[0], _mm512_loadu_si512(words), ends[1]);
}
/* 64 bytes from p and from p + second, of `bytes` that there are; `whole`: of all that four blocks have */
EQ_INLINE void q_begin(const uint8_t *p, int bytes, int second, int whole, __m512i *ends) {
    if (whole) {
        ends[0] = _mm512_loadu_si512(p), ends[1] = _mm512_loadu_si512(p + second);
        return;
    }
    int words = bytes / 2, more = words - second / 2; /* nothing behind the last block is read */
    __mmask32 a = words < 32 ? (1u << words) - 1 : ~0u, b = more <= 0 ? 0 : more < 32 ? (1u << more) - 1 : ~0u;
    ends[0] = _mm512_maskz_loadu_epi16(a, p), ends[1] = _mm512_maskz_loadu_epi16(b, p + second);
}
EQ_INLINE __m512i q_from(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d) { /* 16 bytes of each */
    __m512i x = q_each(a);
    x = _mm512_mask_broadcast_i32x4(x, 0x00F0, _mm_loadu_si128((const __m128i *)b));
    x = _mm512_mask_broadcast_i32x4(x, 0x0F00, _mm_loadu_si128((const __m128i *)c));
    return _mm512_mask_broadcast_i32x4(x, 0xF000, _mm_loadu_si128((const __m128i *)d));
}
EQ_INLINE __m512i q_gather(const uint8_t *p, int64_t bytes, int blocks) { /* 16 bytes of each; for a missing one the last's */
    int64_t b = blocks > 1 ? bytes : 0, c = blocks > 2 ? 2 * bytes : b, d = blocks > 3 ? 3 * bytes : c;
    return q_from(p, p + b, p + c, p + d);
}
/* Two blocks at the end of each of two rows, with what lies before them up to 64 bytes a row; of more, the first 64 */
EQ_INLINE void q_begin_beside(const uint8_t *a, const uint8_t *b, int bytes, __m512i *ends) {
    const int before = bytes < 32 ? 64 - 2 * bytes : 0;
    ends[0] = _mm512_loadu_si512(a - before), ends[1] = _mm512_loadu_si512(b - before);
}
EQ_INLINE s128 q_heads_of(__m512i halves, int mins) {
    vf s = _mm512_cvtph_ps(_mm512_castsi512_si256(halves)), m = mins ? _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)) : v_zero();
    return (s128){{s, s}, {m, m}};
}
/* Scales, and what follows them: `words` says where, once for each row; in_one: all in a row's first end. */
EQ_INLINE s128 q_heads(__m512i (*ends)[2], const uint16_t *words, int in_one, int mins) {
    const __m512i at = _mm512_loadu_si512(words);
    __m512i x[4];
    if (in_one) {
        x[0] = _mm512_permutexvar_epi16(at, ends[0][0]);
        for (int r = 1; r < 4; r++) x[0] = _mm512_mask_permutexvar_epi16(x[0], 0x11111111u << r, at, ends[r][0]);
        return q_heads_of(x[0], mins);
    }
    for (int r = 0; r < 4; r++) x[r] = _mm512_maskz_permutex2var_epi16(0x11111111u << r, ends[r][0], at, ends[r][1]);
    return q_heads_of(_mm512_or_si512(_mm512_ternarylogic_epi64(x[0], x[1], x[2], 0xFE), x[3]), mins);
}
/* The same of two blocks of rows two by two: words of the first and of the other row in turn, groups that are missing have 0. */
EQ_INLINE s128 q_heads_beside(__m512i (*ends)[2], const uint16_t *words, int mins) {
    const __m512i at = _mm512_loadu_si512(words);
    __m512i ab = _mm512_maskz_permutex2var_epi16(0x00330033, ends[0][0], at, ends[0][1]);
    return q_heads_of(_mm512_or_si512(ab, _mm512_maskz_permutex2var_epi16(0x00CC00CC, ends[1][0], at, ends[1][1])), mins);
}

/* --- blocks of 256 ---------------------------------------------------------------------------------------------------- */

EQ_INLINE __m512i q_rows(const uint8_t *const *b, int at) { return q_from(b[0] + at, b[1] + at, b[2] + at, b[3] + at); }
EQ_INLINE __m512i q_lanes4(__m128i a, __m128i b, __m128i c, __m128i d) {
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
EQ_INLINE vf q_over(__m128 rows) { return _mm512_broadcast_f32x4(rows); }
EQ_INLINE vf q_halves(const uint8_t *const *b, int at) { /* a half of each row */
    uint16_t h[4];
    for (int r = 0; r < 4; r++) memcpy(&h[r], b[r] + at, 2);
    return q_over(_mm_cvtph_ps(_mm_set_epi16(0, 0, 0, 0, (short)h[3], (short)h[2], (short)h[1], (short)h[0])));
}
EQ_INLINE vf q_half_and_half(vf a, vf b) { return _mm512_shuffle_f32x4(a, b, 0x44); } /* groups 0 and 1 of a, then of b */
EQ_INLINE void q_two_halves(__m128i pairs, b256 *h) { /* d and dmin of each row */
    __m512 x = _mm512_castps256_ps512(_mm256_cvtph_ps(pairs));
    const __m512i even = _mm512_set_epi32(6, 4, 2, 0, 6, 4, 2, 0, 6, 4, 2, 0, 6, 4, 2, 0);
    h->d = _mm512_permutexvar_ps(even, x);
    h->dmin = _mm512_sub_ps(v_zero(), _mm512_permutexvar_ps(_mm512_add_epi32(even, _mm512_set1_epi32(1)), x));
}
/* bytes first, first + step, ... of the lane of each row: as integers of four groups of four rows */
EQ_INLINE __m512i q_turned(__m512i rows, int first, int step, int is_signed) {
    const __m512i turn = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const int none = is_signed ? 0x00808080 : (int)0x80808000, place = is_signed ? 24 : 0;
    __m128i pick = _mm_set_epi32((first + 3 * step) << place | none, (first + 2 * step) << place | none,
                                 (first + step) << place | none, first << place | none);
    __m512i x = _mm512_permutexvar_epi32(turn, _mm512_shuffle_epi8(rows, _mm512_broadcast_i32x4(pick)));
    return is_signed ? _mm512_srai_epi32(x, 24) : x;
}
EQ_INLINE __m512i q_over16(__m128i x) { return _mm512_broadcast_i32x4(x); }

EQ_INLINE b256 q2_k_block(const uint8_t *const *b) { /* 16 bytes of nibbles; d and dmin are its last 4 */
    const __m512i low = _mm512_set1_epi8(15), x = q_rows(b, 0);
    uint32_t d[4];
    b256 h = {_mm512_and_si512(x, low), _mm512_and_si512(_mm512_srli_epi16(x, 4), low), v_zero(), v_zero()};
    for (int r = 0; r < 4; r++) memcpy(&d[r], b[r] + 80, 4);
    q_two_halves(_mm_set_epi32((int)d[3], (int)d[2], (int)d[1], (int)d[0]), &h);
    h.d = q_placed(h.d, 1.0f, 1.0f / 4, 1.0f / 16, 1.0f / 64);
    return h;
}
EQ_INLINE b256 q3_k_block(const uint8_t *const *b) { /* 8 bytes of nibbles, 4 of pairs, d */
    const __m512i x = q_rows(b, 94);
    __m512i low = _mm512_shuffle_epi8(x, q_over16(_mm_set_epi8(9, 8, 7, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)));
    __m512i high = _mm512_shuffle_epi8(x, _mm512_set1_epi32(0x0D0C0B0A));
    low = _mm512_and_si512(_mm512_srlv_epi64(low, q_over16(_mm_set_epi64x(4, 0))), _mm512_set1_epi8(15));
    high = _mm512_rolv_epi32(high, q_over16(_mm_set_epi32(30, 0, 2, 4))); /* what comes from other bytes is not under the mask */
    low = _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi8(48), 0xF8);
    return (b256){_mm512_sub_epi8(low, _mm512_set1_epi8(32)), low, q_halves(b, 108), v_zero()};
}
EQ_INLINE b256 q5_k_block(const uint8_t *const *b) { /* d, dmin, then 8 scales and 8 mins in 12 bytes */
    const __m512i x = q_rows(b, 0);
    __m512i low = _mm512_shuffle_epi8(x, q_over16(_mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 15, 14, 13, 12, 7, 6, 5, 4)));
    __m512i high = _mm512_shuffle_epi8(x, q_over16(_mm_set_epi8(11, 10, 9, 8, -1, -1, -1, -1, 7, 6, 5, 4, -1, -1, -1, -1)));
    low = _mm512_and_si512(_mm512_srlv_epi32(low, q_over16(_mm_set_epi32(4, 0, 0, 0))),
                           q_over16(_mm_set_epi32(0x0F0F0F0F, 0x3F3F3F3F, 0x0F0F0F0F, 0x3F3F3F3F)));
    low = _mm512_ternarylogic_epi32(low, _mm512_srli_epi32(high, 2), _mm512_set1_epi8(48), 0xF8); /* low | (high & 48) */
    b256 h = {low, _mm512_bsrli_epi128(low, 8), v_zero(), v_zero()};
    const __m512i heads = _mm512_set_epi32(12, 8, 4, 0, 12, 8, 4, 0, 12, 8, 4, 0, 12, 8, 4, 0);
    q_two_halves(_mm512_castsi512_si128(_mm512_permutexvar_epi32(heads, x)), &h);
    return h;
}
EQ_INLINE b256 q4_k_block(const uint8_t *const *b) { /* the same */
    b256 h = q5_k_block(b);
    h.d = q_placed(h.d, 1.0f, 1.0f / 16, 1.0f, 1.0f / 16);
    return h;
}
EQ_INLINE b256 q6_k_block(const uint8_t *const *b) {
    __m512i s = q_rows(b, 192);
    return (b256){s, s, q_halves(b, 208), v_zero()};
}
EQ_INLINE b256 iq4_xs_block(const uint8_t *const *b) { /* d, 8 pairs, 8 nibbles */
    const __m512i x = q_rows(b, 0), fours = _mm512_set1_epi32(0x00040000);
    __m512i low = _mm512_shuffle_epi8(x, q_over16(_mm_set_epi8(-1, 7, -1, 7, -1, 6, -1, 6, -1, 5, -1, 5, -1, 4, -1, 4)));
    __m512i high = _mm512_srlv_epi16(_mm512_shuffle_epi8(x, _mm512_set1_epi16(0x0302)),
                                     q_over16(_mm_set_epi16(14, 12, 10, 8, 6, 4, 2, 0)));
    low = _mm512_and_si512(_mm512_srlv_epi16(low, fours), _mm512_set1_epi16(15));
    low = _mm512_ternarylogic_epi32(low, _mm512_slli_epi16(high, 4), _mm512_set1_epi16(48), 0xF8);
    low = _mm512_sub_epi16(low, _mm512_set1_epi16(32));
    return (b256){_mm512_packs_epi16(low, low), low, q_halves(b, 0), v_zero()};
}
/* Scales and mins of half a block. */
EQ_INLINE s128 q_scales(b256 h, int half, int halves, int mins) {
    s128 out;
    for (int i = 0; i < 1 + halves; i++) {
        const int first = halves ? 8 * half + i : 4 * half, step = 1 + halves;
        out.s[i] = v_mul(_mm512_cvtepi32_ps(q_turned(h.s, first, step, !mins)), h.d); /* with mins no scale is negative */
        out.m[i] = mins ? v_mul(_mm512_cvtepi32_ps(q_turned(h.m, first, step, 0)), h.dmin) : v_zero();
    }
    return out;
}
EQ_INLINE b256 q_even_scales(const uint8_t *const *b, int at) { /* blocks of 256 with a single one */
    return (b256){_mm512_set1_epi8(1), _mm512_setzero_si512(), q_halves(b, at), v_zero()};
}
