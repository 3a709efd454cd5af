/* The formats whose weights are vectors of 8 or 4 from a codebook (quant/grids.gen.h): their pairs, as in formats.inc.h.
 * An index is cut to the bits that its codebook has. */
#include "quant/grids.gen.h"

EQ_INLINE uint64_t odd_bytes(uint64_t bytes) { return 2 * bytes + 0x0101010101010101; } /* 2 n + 1 for each */
EQ_INLINE uint64_t words_together(uint64_t x) { /* the low bytes of 4 words */
    x = (x | x >> 8) & 0x0000FFFF0000FFFF;
    return (x | x >> 16) & 0x00000000FFFFFFFF;
}
/* The signs of four vectors: codes of 7 bits that are completed to an even number of minuses. */
EQ_INLINE uint32_t even_signs(uint32_t codes) {
    return eq_even_signs[codes & 127] | (uint32_t)eq_even_signs[codes >> 7 & 127] << 8 |
           (uint32_t)eq_even_signs[codes >> 14 & 127] << 16 | (uint32_t)eq_even_signs[codes >> 21 & 127] << 24;
}
EQ_INLINE uint64_t two_of(const uint32_t *grid, int first, int second) { return grid[first] | (uint64_t)grid[second] << 32; }

/* The highest nibbles of 8 numbers of 32 bits, `bytes` apart, each for 32 weights */
EQ_INLINE uint64_t top_nibbles(const uint8_t *p, int bytes) {
    uint64_t x = 0;
    for (int i = 0; i < 8; i++) x |= (uint64_t)(p[bytes * i + 3] >> 4) << 8 * i;
    return x;
}
EQ_INLINE void iq2_xxs_scales(const uint8_t *b, float *s, float *m) {
    v8_scale(odd_bytes(top_nibbles(b + 6, 8)), v_half(b) * 0.125f, s);
    (void)m;
}
EQ_INLINE w32 iq2_xxs_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 8 * j;
    const uint64_t *grid = eq_grid_iq2_xxs;
    return w_signs(w_vectors(grid[p[0]], grid[p[1]], grid[p[2]], grid[p[3]]), even_signs(u32(p + 4)));
}

/* 8 bytes of nibbles, a nibble for each 16 weights */
EQ_INLINE void iq2_scales(const uint8_t *p, float d, float *s) {
    v8_scale(odd_bytes(nibbles_apart(u32(p))), d * 0.125f, s);
    v8_scale(odd_bytes(nibbles_apart(u32(p + 4))), d * 0.125f, s + 8);
}
EQ_INLINE void iq2_xs_scales(const uint8_t *b, float *s, float *m) { iq2_scales(b + 66, v_half(b), s); (void)m; }
EQ_INLINE w32 iq2_xs_values(const uint8_t *b, int j) {
    const uint64_t x = u64(b + 2 + 8 * j), *grid = eq_grid_iq2_xs;
    const uint32_t signs = eq_even_signs[x >> 9 & 127] | (uint32_t)eq_even_signs[x >> 25 & 127] << 8 |
                           (uint32_t)eq_even_signs[x >> 41 & 127] << 16 | (uint32_t)eq_even_signs[x >> 57] << 24;
    return w_signs(w_vectors(grid[x & 511], grid[x >> 16 & 511], grid[x >> 32 & 511], grid[x >> 48 & 511]), signs);
}

EQ_INLINE void iq2_s_scales(const uint8_t *b, float *s, float *m) { iq2_scales(b + 74, v_half(b), s); (void)m; }
EQ_INLINE w32 iq2_s_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 4 * j;
    const uint64_t *grid = eq_grid_iq2_s;
    const int high = b[66 + j] << 8;
    return w_signs(w_vectors(grid[p[0] | (high & 0x300)], grid[p[1] | (high >> 2 & 0x300)], grid[p[2] | (high >> 4 & 0x300)],
                             grid[p[3] | (high >> 6 & 0x300)]), u32(b + 34 + 4 * j));
}

EQ_INLINE void iq3_xxs_scales(const uint8_t *b, float *s, float *m) {
    v8_scale(odd_bytes(top_nibbles(b + 66, 4)), v_half(b) * 0.25f, s);
    (void)m;
}
EQ_INLINE w32 iq3_xxs_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 8 * j;
    const uint32_t *grid = eq_grid_iq3_xxs;
    return w_signs(w_vectors(two_of(grid, p[0], p[1]), two_of(grid, p[2], p[3]), two_of(grid, p[4], p[5]),
                             two_of(grid, p[6], p[7])), even_signs(u32(b + 66 + 4 * j)));
}

EQ_INLINE void iq3_s_scales(const uint8_t *b, float *s, float *m) {
    v8_scale(odd_bytes(nibbles_apart(u32(b + 106))), v_half(b), s);
    (void)m;
}
EQ_INLINE uint64_t iq3_s_two(const uint8_t *p, int high) { /* bits 8 and 9 of `high` belong to the two indices */
    return two_of(eq_grid_iq3_s, p[0] | (high & 256), p[1] | (high >> 1 & 256));
}
EQ_INLINE w32 iq3_s_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 2 + 8 * j;
    const int high = b[66 + j] << 8;
    return w_signs(w_vectors(iq3_s_two(p, high), iq3_s_two(p + 2, high >> 2), iq3_s_two(p + 4, high >> 4),
                             iq3_s_two(p + 6, high >> 6)), u32(b + 74 + 4 * j));
}

/* IQ1: 8 n + 1 or 8 n - 1, n being -1, 0 or 1; here without the negative numbers, 9 more */
EQ_INLINE void iq1_s_scales(const uint8_t *b, float *s, float *m) {
    const uint64_t field = 0x0007000700070007; /* above three bits for each of 4 vectors, below the sign */
    uint64_t x = words_together(u64(b + 34) >> 12 & field) | words_together(u64(b + 42) >> 12 & field) << 32;
    v8_scale(odd_bytes(x), v_half(b) * 0.125f, s);
    (void)m;
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
EQ_INLINE void iq1_m_scales(const uint8_t *b, float *s, float *m) {
    float d = iq1_m_scale(b) * 0.125f;
    v8_scale(odd_bytes(iq1_m_bytes(u32(b + 48))), d, s);
    v8_scale(odd_bytes(iq1_m_bytes(u32(b + 52))), d, s + 8);
    (void)m;
}
EQ_INLINE w32 iq1_m_values(const uint8_t *b, int j) {
    const uint8_t *p = b + 4 * j;
    const uint64_t *grid = eq_grid_iq1_s;
    const uint32_t x = b[32 + 2 * j] | (uint32_t)b[33 + 2 * j] << 8, high = x << 8;
    w32 n = w_vectors(grid[p[0] | (high & 0x700)], grid[p[1] | (high >> 4 & 0x700)], grid[p[2] | (high >> 8 & 0x700)],
                      grid[p[3] | (high >> 12 & 0x700)]);
    /* bit 3 of a nibble: down; all 8 bits of a vector's byte, where it is not */
    const uint32_t down = (x >> 3 & 1) | (x << 1 & 0x100) | (x << 5 & 0x10000) | (x << 9 & 0x1000000);
    return w_sub(w_add_if(w_shl(n, 3), ~(down * 255), 2), 9);
}
