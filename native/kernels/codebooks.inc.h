/* The formats whose weights are vectors of 8 or 4 from a codebook (quant/grids.gen.h): their pairs, as in formats.inc.h.
 * An index is cut to the bits that its codebook has. */

EQ_INLINE uint64_t odd_bytes(uint64_t bytes) { return 2 * bytes + 0x0101010101010101; } /* 2 n + 1 for each */
EQ_INLINE uint64_t words_together(uint64_t x) { /* the low bytes of 4 words */
    x = (x | x >> 8) & 0x0000FFFF0000FFFF;
    return (x | x >> 16) & 0x00000000FFFFFFFF;
}
#ifndef EQ_OWN_SIGNS
/* The signs of four vectors: 4 bytes of them; codes of 7 bits that are completed to an even number of minuses. */
EQ_INLINE w32 w_signs_all(w32 x, const uint8_t *p) { return w_signs(x, u32(p)); }
EQ_INLINE w32 w_signs_even(w32 x, unsigned a, unsigned b, unsigned c, unsigned d) {
    return w_signs(x, eq_even_signs[a] | (uint32_t)eq_even_signs[b] << 8 | (uint32_t)eq_even_signs[c] << 16 |
                          (uint32_t)eq_even_signs[d] << 24);
}
#endif
EQ_INLINE w32 w_signs28(w32 x, uint32_t codes) {
    return w_signs_even(x, codes & 127, codes >> 7 & 127, codes >> 14 & 127, codes >> 21 & 127);
}
#ifndef EQ_OWN_FOURS
EQ_INLINE w32 w_fours(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f, uint32_t g, uint32_t h) {
    return w_vectors(a | (uint64_t)b << 32, c | (uint64_t)d << 32, e | (uint64_t)f << 32, g | (uint64_t)h << 32);
}
#endif

#ifndef EQ_OWN_PLACES
EQ_INLINE void w_places(const uint8_t *p, unsigned ninth, uint16_t *at) { /* 8 bytes, a bit of `ninth` above each */
    for (int i = 0; i < 8; i++) at[i] = (uint16_t)(p[i] | (ninth >> i & 1) << 8);
}
#endif

/* The highest nibbles of 8 numbers of 32 bits, `bytes` apart, each for 32 weights */
EQ_INLINE uint64_t top_nibbles(const uint8_t *p, int bytes) {
    uint64_t x = 0;
    for (int i = 0; i < 8; i++) x |= (uint64_t)(p[bytes * i + 3] >> 4) << 8 * i;
    return x;
}
EQ_INLINE scales256 iq2_xxs_scales(const uint8_t *b) {
    return (scales256){v_half(b) * 0.125f, 0.0f, {odd_bytes(top_nibbles(b + 6, 8)), 0}, {0, 0}};
}
EQ_INLINE w32 iq2_xxs_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 8 * j;
    const uint64_t *grid = eq_grid_iq2_xxs;
    return w_signs28(w_vectors(grid[p[0]], grid[p[1]], grid[p[2]], grid[p[3]]), u32(p + 4));
}

/* 8 bytes of nibbles, a nibble for each 16 weights */
EQ_INLINE scales256 iq2_scales(const uint8_t *p, float d) {
    return (scales256){d * 0.125f, 0.0f, {odd_bytes(nibbles_apart(u32(p))), odd_bytes(nibbles_apart(u32(p + 4)))}, {0, 0}};
}
EQ_INLINE scales256 iq2_xs_scales(const uint8_t *b) { return iq2_scales(b + 66, v_half(b)); }
EQ_INLINE w32 iq2_xs_values(const uint8_t *b, int j) {
    const uint64_t x = u64(b + 2 + 8 * j), *grid = eq_grid_iq2_xs;
    w32 sizes = w_vectors(grid[x & 511], grid[x >> 16 & 511], grid[x >> 32 & 511], grid[x >> 48 & 511]);
    return w_signs_even(sizes, x >> 9 & 127, x >> 25 & 127, x >> 41 & 127, x >> 57);
}

EQ_INLINE scales256 iq2_s_scales(const uint8_t *b) { return iq2_scales(b + 74, v_half(b)); }
EQ_INLINE w32 iq2_s_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 4 * j;
    const uint64_t *grid = eq_grid_iq2_s;
    const int high = b[66 + j] << 8;
    return w_signs_all(w_vectors(grid[p[0] | (high & 0x300)], grid[p[1] | (high >> 2 & 0x300)], grid[p[2] | (high >> 4 & 0x300)],
                                 grid[p[3] | (high >> 6 & 0x300)]), b + 34 + 4 * j);
}

EQ_INLINE scales256 iq3_xxs_scales(const uint8_t *b) {
    return (scales256){v_half(b) * 0.25f, 0.0f, {odd_bytes(top_nibbles(b + 66, 4)), 0}, {0, 0}};
}
EQ_INLINE w32 iq3_xxs_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 8 * j;
    const uint32_t *grid = eq_grid_iq3_xxs;
    return w_signs28(w_fours(grid[p[0]], grid[p[1]], grid[p[2]], grid[p[3]], grid[p[4]], grid[p[5]], grid[p[6]], grid[p[7]]),
                     u32(b + 66 + 4 * j));
}

EQ_INLINE scales256 iq3_s_scales(const uint8_t *b) {
    return (scales256){v_half(b), 0.0f, {odd_bytes(nibbles_apart(u32(b + 106))), 0}, {0, 0}};
}
EQ_INLINE w32 iq3_s_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 8 * j;
    const uint32_t *grid = eq_grid_iq3_s;
    uint16_t at[8];
    w_places(p, b[66 + j], at);
    return w_signs_all(w_fours(grid[at[0]], grid[at[1]], grid[at[2]], grid[at[3]], grid[at[4]], grid[at[5]], grid[at[6]],
                               grid[at[7]]), b + 74 + 4 * j);
}

#ifndef EQ_OWN_FOUR
EQ_INLINE w32 w_add_four(w32 x, uint32_t four) { return w_add_if(x, (four >> 1) * 255, 2); } /* 0 or 2, a byte for each 8 weights */
#endif
/* IQ1: 8 n + 1 or 8 n - 1, n being -1, 0 or 1; here without the negative numbers, 9 more */
EQ_INLINE scales256 iq1_s_scales(const uint8_t *b) {
    const uint64_t field = 0x0007000700070007; /* above three bits for each of 4 vectors, below the sign */
    uint64_t x = words_together(u64(b + 34) >> 12 & field) | words_together(u64(b + 42) >> 12 & field) << 32;
    return (scales256){v_half(b) * 0.125f, 0.0f, {odd_bytes(x), 0}, {0, 0}};
}
EQ_INLINE w32 iq1_s_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 4 * j;
    const uint64_t *grid = eq_grid_iq1_s;
    const uint32_t word = b[34 + 2 * j] | (uint32_t)b[35 + 2 * j] << 8, high = word << 8;
    w32 n = w_vectors(grid[p[0] | (high & 0x700)], grid[p[1] | (high >> 3 & 0x700)], grid[p[2] | (high >> 6 & 0x700)],
                      grid[p[3] | (high >> 9 & 0x700)]);
    return w_sub(w_shl(n, 3), word & 0x8000 ? 9 : 7);
}

EQ_INLINE float iq1_m_scale(const uint8_t *b) { /* fp16, spread over the highest nibbles of 4 words */
    uint64_t x = u64(b + 48) >> 12 & 0x000F000F000F000F;
    x |= x >> 12;
    x |= x >> 24;
    const uint8_t half[2] = {(uint8_t)x, (uint8_t)(x >> 8)};
    return v_half(half);
}
EQ_INLINE uint64_t iq1_m_bytes(uint32_t two) { /* from two words 4 numbers of 3 bits each */
    uint64_t x = (two & 0x0FFF) | (uint64_t)(two & 0x0FFF0000) << 16;
    x = (x | x << 10) & 0x003F003F003F003F;
    return (x | x << 5) & 0x0707070707070707;
}
EQ_INLINE scales256 iq1_m_scales(const uint8_t *b) {
    return (scales256){iq1_m_scale(b) * 0.125f, 0.0f, {odd_bytes(iq1_m_bytes(u32(b + 48))), odd_bytes(iq1_m_bytes(u32(b + 52)))},
                       {0, 0}};
}
EQ_INLINE w32 iq1_m_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 4 * j;
    const uint64_t *grid = eq_grid_iq1_s;
    const uint32_t x = b[32 + 2 * j] | (uint32_t)b[33 + 2 * j] << 8, high = x << 8;
    w32 n = w_vectors(grid[p[0] | (high & 0x700)], grid[p[1] | (high >> 4 & 0x700)], grid[p[2] | (high >> 8 & 0x700)],
                      grid[p[3] | (high >> 12 & 0x700)]);
    const uint32_t down = (x >> 3 & 1) | (x << 1 & 0x100) | (x << 5 & 0x10000) | (x << 9 & 0x1000000); /* bit 3 of a nibble */
    return w_sub(w_add_four(w_shl(n, 3), 0x02020202 - 2 * down), 9);
}
