// Q2_K to Q6_K: 256 weights in a block, 8 groups; integer scales (and mins) for each 16 or 32 weights.

#include "group.h"

void eq_group_q2_k(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 84;
    const int k = (int)(g % 8);
    const uint8_t *qs = b + 16 + k / 4 * 32;
    for (int i = 0; i < 32; i++) w[i] = qs[i] >> 2 * (k % 4) & 3;
    const float d = eq_half_at(b + 80), dmin = eq_half_at(b + 82);
    for (int i = 0; i < 2; i++) {
        s[i] = d * (float)(b[2 * k + i] & 15);
        m[i] = -(dmin * (float)(b[2 * k + i] >> 4));
    }
}

// Scale i of 16 (6 bits, offset 32): low nibbles in bytes 0-7, high bit pairs in bytes 8-11.
static float scale_q3_k(const uint8_t *b, int i) {
    const int low = b[i % 8] >> 4 * (i / 8) & 15, high = b[8 + i % 4] >> 2 * (i / 4) & 3;
    return (float)((low | high << 4) - 32);
}

void eq_group_q3_k(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 110;
    const int k = (int)(g % 8);
    const uint8_t *qs = b + 32 + k / 4 * 32;
    for (int i = 0; i < 32; i++) {
        const int low = qs[i] >> 2 * (k % 4) & 3, high = b[i] >> k & 1;
        w[i] = (int16_t)((low | high << 2) - 4);
    }
    const float d = eq_half_at(b + 108);
    eq_set_scales(s, m, d * scale_q3_k(b + 96, 2 * k), d * scale_q3_k(b + 96, 2 * k + 1));
}

// Scale and min k of 8, 6 bits each, from the 12 bytes that Q4_K and Q5_K share.
static void set_scale_min(const uint8_t *b, int k, float s[2], float m[2]) {
    const uint8_t *sm = b + 4;
    int scale, least;
    if (k < 4) {
        scale = sm[k] & 63;
        least = sm[k + 4] & 63;
    } else {
        scale = (sm[k + 4] & 15) | sm[k - 4] >> 6 << 4;
        least = sm[k + 4] >> 4 | sm[k] >> 6 << 4;
    }
    s[0] = s[1] = eq_half_at(b) * (float)scale;
    m[0] = m[1] = -(eq_half_at(b + 2) * (float)least);
}

void eq_group_q4_k(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 144;
    const int k = (int)(g % 8);
    const uint8_t *qs = b + 16 + k / 2 * 32;
    for (int i = 0; i < 32; i++) w[i] = qs[i] >> 4 * (k % 2) & 15;
    set_scale_min(b, k, s, m);
}

void eq_group_q5_k(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 176;
    const int k = (int)(g % 8);
    const uint8_t *qh = b + 16, *qs = b + 48 + k / 2 * 32;
    for (int i = 0; i < 32; i++) {
        w[i] = (int16_t)((qs[i] >> 4 * (k % 2) & 15) | (qh[i] >> k & 1) << 4);
    }
    set_scale_min(b, k, s, m);
}

void eq_group_q6_k(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 210;
    const int k = (int)(g % 8);
    const uint8_t *ql = b + k / 4 * 64 + k % 2 * 32, *qh = b + 128 + k / 4 * 32;
    for (int i = 0; i < 32; i++) {
        const int low = ql[i] >> 4 * (k / 2 % 2) & 15, high = qh[i] >> 2 * (k % 4) & 3;
        w[i] = (int16_t)((low | high << 4) - 32);
    }
    const float d = eq_half_at(b + 208);
    eq_set_scales(s, m, d * (float)(int8_t)b[192 + 2 * k], d * (float)(int8_t)b[193 + 2 * k]);
}
