// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: 32 weights in a block, one group. Q1_0, Q2_0: 128 and 64 weights.

#include "group.h"

void eq_group_q4_0(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g * 18;
    eq_nibbles(b + 2, w);
    for (int i = 0; i < 32; i++) w[i] = (int16_t)(w[i] - 8);
    eq_set_scale(s, m, eq_half_at(b));
}

void eq_group_q4_1(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g * 20;
    eq_nibbles(b + 4, w);
    s[0] = s[1] = eq_half_at(b);
    m[0] = m[1] = eq_half_at(b + 2);
}

// Bit i of `high` becomes the fifth bit of weight i, and `offset` is taken off.
static void add_fifth_bits(uint32_t high, int offset, int16_t w[32]) {
    for (int i = 0; i < 32; i++) w[i] = (int16_t)((w[i] | (int)(high >> i & 1u) << 4) - offset);
}

void eq_group_q5_0(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g * 22;
    eq_nibbles(b + 6, w);
    add_fifth_bits(eq_load32(b + 2), 16, w);
    eq_set_scale(s, m, eq_half_at(b));
}

void eq_group_q5_1(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g * 24;
    eq_nibbles(b + 8, w);
    add_fifth_bits(eq_load32(b + 4), 0, w);
    s[0] = s[1] = eq_half_at(b);
    m[0] = m[1] = eq_half_at(b + 2);
}

void eq_group_q8_0(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g * 34;
    for (int i = 0; i < 32; i++) w[i] = (int8_t)b[2 + i];
    eq_set_scale(s, m, eq_half_at(b));
}

void eq_group_q1_0(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 4 * 18;
    const uint32_t bits = eq_load32(b + 2 + 4 * (g % 4));
    for (int i = 0; i < 32; i++) w[i] = (bits >> i & 1u) ? 1 : -1;
    eq_set_scale(s, m, eq_half_at(b));
}

void eq_group_q2_0(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 2 * 18, *qs = b + 2 + 8 * (g % 2);
    for (int i = 0; i < 32; i++) w[i] = (int16_t)((qs[i / 4] >> 2 * (i % 4) & 3) - 1);
    eq_set_scale(s, m, eq_half_at(b));
}
