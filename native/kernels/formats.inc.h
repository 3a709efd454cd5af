/* How each format gives 32 weights as integers, and their scales. One pair of functions per format:
 *   scales(block, s, m)  all scales and mins of a block, one per 32 weights, or one per 16 where the format is `halves`
 *   values(block, j)     weights 32j .. 32j+31 of the block, so that weight = s * value + m
 * Layouts: edgeq/quants. Formats without a pair here go through the scalar definition in quant/. */

#ifndef EQ_OWN_JOIN
EQ_INLINE w32 w_join(w32 low, int to, const uint8_t *p, int from, int mask) { return w_or(low, w_shl(w_bits(p, from, mask), to)); }
#endif
#ifndef EQ_OWN_MASKS
EQ_INLINE w32 w_add_if(w32 x, uint32_t mask, int n) { return w_or(x, w_mask(mask, n)); } /* n: a bit that x has not */
EQ_INLINE w32 w_sub_unless(w32 x, uint32_t mask, int n) { return w_sub(w_or(x, w_mask(mask, n)), n); }
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

EQ_INLINE uint64_t iq4_xs_signed(const uint8_t *b) { /* the scales as signed bytes */
    return less(nibbles_apart(u32(b + 4)) | pairs_apart((uint64_t)b[2] | (uint64_t)b[3] << 8) << 4, 32);
}
EQ_INLINE void iq4_xs_scales(const uint8_t *b, float *s, float *m) {
    v8_scale_signed(iq4_xs_signed(b), v_half(b), s);
    (void)m;
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
EQ_INLINE void k4_scales(const uint8_t *b, float *s, float *m) {
    v8_scale(k4_bytes(b), v_half(b), s);
    v8_scale(k4_min_bytes(b), -v_half(b + 2), m);
}
EQ_INLINE w32 q4_k_values(const uint8_t *b, int j) { return w_bits(b + 16 + 32 * (j / 2), 4 * (j & 1), 15); }
EQ_INLINE w32 q5_k_values(const uint8_t *b, int j) {
    return w_join(w_bits(b + 48 + 32 * (j / 2), 4 * (j & 1), 15), 4, b + 16, j, 1);
}

EQ_INLINE void q6_k_scales(const uint8_t *b, float *s, float *m) {
    float d = v_half(b + 208);
    v8_scale_signed(u64(b + 192), d, s);
    v8_scale_signed(u64(b + 200), d, s + 8);
    (void)m;
}
EQ_INLINE w32 q6_k_values(const uint8_t *b, int j) {
    int part = j / 4, k = j % 4;
    w32 low = w_bits(b + 64 * part + 32 * (k & 1), 4 * (k / 2), 15);
    return w_sub(w_join(low, 4, b + 128 + 32 * part, 2 * k, 3), 32);
}

EQ_INLINE void q2_k_scales(const uint8_t *b, float *s, float *m) {
    const uint64_t nibbles = 0x0F0F0F0F0F0F0F0F;
    float d = v_half(b + 80), dmin = -v_half(b + 82);
    for (int i = 0; i < 16; i += 8) {
        v8_scale(u64(b + i) & nibbles, d, s + i);
        v8_scale(u64(b + i) >> 4 & nibbles, dmin, m + i);
    }
}
EQ_INLINE w32 q2_k_values(const uint8_t *b, int j) { return w_bits(b + 16 + 32 * (j / 4), 2 * (j % 4), 3); }

/* 16 scales of 6 bits less 32: low nibbles in 8 bytes, high pairs in 4; eight of them as signed bytes */
EQ_INLINE uint64_t q3_k_signed(const uint8_t *b, int half) {
    uint64_t low = u64(b + 96) >> 4 * half & 0x0F0F0F0F0F0F0F0F, pairs = u32(b + 104) >> 4 * half;
    return less(low | (pairs << 4 & 0x30303030) | (pairs << 2 & 0x30303030) << 32, 32);
}
EQ_INLINE void q3_k_scales(const uint8_t *b, float *s, float *m) {
    float d = v_half(b + 108);
    v8_scale_signed(q3_k_signed(b, 0), d, s);
    v8_scale_signed(q3_k_signed(b, 1), d, s + 8);
    (void)m;
}
EQ_INLINE w32 q3_k_values(const uint8_t *b, int j) {
    w32 low = w_bits(b + 32 + 32 * (j / 4), 2 * (j % 4), 3);
    return w_sub(w_join(low, 2, b, j, 1), 4);
}

/* Every other format: the scalar definition, 32 weights at a time. Called with the row and the group, not a block. */
EQ_INLINE w32 any_values(eq_group_fn group, const uint8_t *row, int64_t g, float *s, float *m) {
    int16_t w[32];
    group(row, g, w, s, m);
    return w_load(w);
}
