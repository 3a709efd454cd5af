/* How each format gives 32 weights as integers, and their scales. One pair of functions per format:
 *   scales(block, s, m)  all scales and mins of a block, one per 32 weights, or one per 16 where the format is `halves`;
 *   scales(block)        of a block of 256 the same, as the integers that the file has and what multiplies all of them
 *   values(block, j)     weights 32j .. 32j+31 of the block, so that weight = s * value + m
 * Layouts: edgeq/quants. Formats with codebooks are in codebooks.inc.h. */

typedef struct { /* of a block of 256: what multiplies all scales, all mins, and these as signed bytes, 8 or 16 */
    float d, dmin;
    uint64_t s[2], m[2];
} scales256;

#ifndef EQ_OWN_JOIN
EQ_INLINE w32 w_join(w32 low, int to, const uint8_t *p, int from, int mask) { return w_or(low, w_shl(w_bits(p, from, mask), to)); }
#endif
#ifndef EQ_OWN_MASKS
EQ_INLINE w32 w_add_if(w32 x, uint32_t mask, int n) { return w_or(x, w_mask(mask, n)); } /* n: a bit that x has not */
EQ_INLINE w32 w_sub_unless(w32 x, uint32_t mask, int n) { return w_sub(w_or(x, w_mask(mask, n)), n); }
#endif

#ifndef EQ_OWN_LEVELS
/* 16 bytes of nibbles, looked up in 16 levels that are `offset` too large */
EQ_INLINE w32 w_levels(const uint8_t *p, const int8_t *table, int offset) { return w_sub(w_nibbles_table(p, table), offset); }
#endif

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

EQ_INLINE void q4_0_scales(const uint8_t *b, float *s, float *m) { s[0] = v_half(b); (void)m; }
EQ_INLINE w32 q4_0_values(const uint8_t *b, int j) { (void)j; return w_sub(w_nibbles(b + 2), 8); }

EQ_INLINE void q4_1_scales(const uint8_t *b, float *s, float *m) { s[0] = v_half(b); m[0] = v_half(b + 2); }
EQ_INLINE w32 q4_1_values(const uint8_t *b, int j) { (void)j; return w_nibbles(b + 4); }

EQ_INLINE void q5_0_scales(const uint8_t *b, float *s, float *m) { s[0] = v_half(b); (void)m; }
EQ_INLINE w32 q5_0_values(const uint8_t *b, int j) {
    (void)j;
    return w_sub_unless(w_nibbles(b + 6), u32(b + 2), 16);
}

EQ_INLINE void q5_1_scales(const uint8_t *b, float *s, float *m) { s[0] = v_half(b); m[0] = v_half(b + 2); }
EQ_INLINE w32 q5_1_values(const uint8_t *b, int j) { (void)j; return w_add_if(w_nibbles(b + 8), u32(b + 4), 16); }

EQ_INLINE void q8_0_scales(const uint8_t *b, float *s, float *m) { s[0] = v_half(b); (void)m; }
EQ_INLINE w32 q8_0_values(const uint8_t *b, int j) { (void)j; return w_bytes((const int8_t *)b + 2); }

EQ_INLINE void iq4_nl_scales(const uint8_t *b, float *s, float *m) { s[0] = v_half(b); (void)m; }
EQ_INLINE w32 iq4_nl_values(const uint8_t *b, int j) { (void)j; return w_nibbles_table(b + 2, iq4_values); }

/* 256 weights: d, scales_h (2 bits x 8), scales_l (4 bits x 8), 128 bytes of nibbles */
EQ_INLINE uint64_t less(uint64_t bytes, uint64_t n) { /* n off every byte, no borrow across */
    const uint64_t sign = 0x8080808080808080, all = 0x0101010101010101;
    return ((bytes | sign) - n * all) ^ sign;
}
EQ_INLINE uint64_t nibbles_apart(uint64_t x) { /* 8 nibbles, each into a byte */
    x = (x | x << 16) & 0x0000FFFF0000FFFF;
    x = (x | x << 8) & 0x00FF00FF00FF00FF;
    return (x | x << 4) & 0x0F0F0F0F0F0F0F0F;
}
EQ_INLINE uint64_t pairs_apart(uint64_t x) { /* 8 pairs of bits, each into a byte */
    x = (x | x << 24) & 0x000000FF000000FF;
    x = (x | x << 12) & 0x000F000F000F000F;
    return (x | x << 6) & 0x0303030303030303;
}

#ifndef EQ_OWN_PAIRS
EQ_INLINE w32 w_pairs(const uint8_t *p) { /* 8 bytes: 32 pairs of bits */
    const uint64_t x = u64(p);
    return w_vectors(pairs_apart(x & 0xFFFF), pairs_apart(x >> 16 & 0xFFFF), pairs_apart(x >> 32 & 0xFFFF), pairs_apart(x >> 48));
}
#endif

EQ_INLINE scales256 iq4_xs_scales(const uint8_t *b) {
    uint64_t s = less(nibbles_apart(u32(b + 4)) | pairs_apart((uint64_t)b[2] | (uint64_t)b[3] << 8) << 4, 32);
    return (scales256){v_half(b), 0.0f, {s, 0}, {0, 0}};
}
EQ_INLINE w32 iq4_xs_values(const uint8_t *b, int j) { return w_nibbles_table(b + 8 + 16 * j, iq4_values); }

/* The 6-bit scales and mins of Q4_K and Q5_K: 8 of each in 12 bytes, taken four at a time. */
EQ_INLINE uint64_t k4_bytes(const uint8_t *b) {
    uint32_t x = u32(b + 4), z = u32(b + 12);
    return (x & 0x3F3F3F3F) | (uint64_t)((z & 0x0F0F0F0F) | (x >> 2 & 0x30303030)) << 32;
}
EQ_INLINE uint64_t k4_min_bytes(const uint8_t *b) {
    uint32_t y = u32(b + 8), z = u32(b + 12);
    return (y & 0x3F3F3F3F) | (uint64_t)((z >> 4 & 0x0F0F0F0F) | (y >> 2 & 0x30303030)) << 32;
}
EQ_INLINE scales256 k4_scales(const uint8_t *b) {
    return (scales256){v_half(b), -v_half(b + 2), {k4_bytes(b), 0}, {k4_min_bytes(b), 0}};
}
EQ_INLINE w32 q4_k_values(const uint8_t *b, int j) { return w_bits(b + 16 + 32 * (j / 2), 4 * (j & 1), 15); }
EQ_INLINE w32 q5_k_values(const uint8_t *b, int j) {
    return w_join(w_bits(b + 48 + 32 * (j / 2), 4 * (j & 1), 15), 4, b + 16, j, 1);
}

EQ_INLINE scales256 q6_k_scales(const uint8_t *b) {
    return (scales256){v_half(b + 208), 0.0f, {u64(b + 192), u64(b + 200)}, {0, 0}};
}
EQ_INLINE w32 q6_k_values(const uint8_t *b, int j) {
    int part = j / 4, k = j % 4;
    w32 low = w_bits(b + 64 * part + 32 * (k & 1), 4 * (k / 2), 15);
    return w_sub(w_join(low, 4, b + 128 + 32 * part, 2 * k, 3), 32);
}

EQ_INLINE scales256 q2_k_scales(const uint8_t *b) {
    const uint64_t nibbles = 0x0F0F0F0F0F0F0F0F, first = u64(b), last = u64(b + 8);
    return (scales256){v_half(b + 80), -v_half(b + 82), {first & nibbles, last & nibbles},
                       {first >> 4 & nibbles, last >> 4 & nibbles}};
}
EQ_INLINE w32 q2_k_values(const uint8_t *b, int j) { return w_bits(b + 16 + 32 * (j / 4), 2 * (j % 4), 3); }

/* 16 scales of 6 bits less 32: low nibbles in 8 bytes, high pairs in 4; eight of them as signed bytes */
EQ_INLINE uint64_t q3_k_signed(const uint8_t *b, int half) {
    uint64_t low = u64(b + 96) >> 4 * half & 0x0F0F0F0F0F0F0F0F, pairs = u32(b + 104) >> 4 * half;
    return less(low | (pairs << 4 & 0x30303030) | (pairs << 2 & 0x30303030) << 32, 32);
}
EQ_INLINE scales256 q3_k_scales(const uint8_t *b) {
    return (scales256){v_half(b + 108), 0.0f, {q3_k_signed(b, 0), q3_k_signed(b, 1)}, {0, 0}};
}
EQ_INLINE w32 q3_k_values(const uint8_t *b, int j) {
    w32 low = w_bits(b + 32 + 32 * (j / 4), 2 * (j % 4), 3);
    return w_sub(w_join(low, 2, b, j, 1), 4);
}

/* E2M1 doubled, 8, minus zero, being zero; and 12 more */
static const int8_t e2m1_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
static const int8_t e2m1_levels[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

EQ_INLINE void mxfp4_scales(const uint8_t *b, float *s, float *m) { s[0] = eq_e8m0_half(b[0]); (void)m; }
EQ_INLINE w32 mxfp4_values(const uint8_t *b, int j) { (void)j; return w_levels(b + 1, e2m1_levels, 12); }

EQ_INLINE void nvfp4_scales(const uint8_t *b, float *s, float *m) {
    for (int i = 0; i < 4; i++) s[i] = eq_ue4m3_half(b[i]);
    (void)m;
}
EQ_INLINE w32 nvfp4_values(const uint8_t *b, int j) { return w_middle(w_levels(b + 4 + 16 * j, e2m1_levels, 12)); }

EQ_INLINE void q1_0_scales(const uint8_t *b, float *s, float *m) {
    s[0] = s[1] = s[2] = s[3] = v_half(b);
    (void)m;
}
EQ_INLINE w32 q1_0_values(const uint8_t *b, int j) { return w_sub(w_mask(u32(b + 2 + 4 * j), 2), 1); }

EQ_INLINE void q2_0_scales(const uint8_t *b, float *s, float *m) { s[0] = s[1] = v_half(b); (void)m; }
EQ_INLINE w32 q2_0_values(const uint8_t *b, int j) { return w_sub(w_pairs(b + 2 + 8 * j), 1); }

EQ_INLINE scales256 all_ones(float d) { return (scales256){d, 0.0f, {0x0101010101010101, 0}, {0, 0}}; }
EQ_INLINE scales256 tq1_0_scales(const uint8_t *b) { return all_ones(v_half(b + 52)); }
/* The digits to base 3 of 32 bytes, then of 16, four for each; and of 4 bytes */
#define EQ_TIMES(a, b, c, d, e) {a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d, e, e, e, e}
static const uint8_t tq1_powers[8][32] = {
    EQ_TIMES(1, 1, 1, 1, 1), EQ_TIMES(3, 3, 3, 3, 3), EQ_TIMES(9, 9, 9, 9, 9), EQ_TIMES(27, 27, 27, 27, 27),
    EQ_TIMES(81, 81, 81, 81, 81), EQ_TIMES(1, 3, 3, 3, 3), EQ_TIMES(9, 27, 27, 27, 27), EQ_TIMES(81, 1, 3, 9, 27)};
#undef EQ_TIMES
EQ_INLINE w32 tq1_0_values(const uint8_t *b, int j) {
    if (j < 5) return w_sub(w_digits(w_bits(b, 0, 255), tq1_powers[j]), 1);
    const uint64_t first = u64(b + 32), second = u64(b + 40), four = (uint64_t)u32(b + 48) * 0x100000001;
    return w_sub(w_digits(w_vectors(first, second, j < 7 ? first : four, j < 7 ? second : four), tq1_powers[j]), 1);
}

EQ_INLINE scales256 tq2_0_scales(const uint8_t *b) { return all_ones(v_half(b + 64)); }
EQ_INLINE w32 tq2_0_values(const uint8_t *b, int j) { return w_sub(w_bits(b + 32 * (j / 4), 2 * (j % 4), 3), 1); }
