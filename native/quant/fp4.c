// MXFP4 and NVFP4: E2M1 weights, kept doubled as integers, under halved E8M0 or UE4M3 scales.

#include "group.h"

// E2M1 doubled; code 8, minus zero, reads as plain zero.
static const int8_t e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void eq_group_mxfp4(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g * 17;
    eq_nibble_levels(b + 1, e2m1, w);
    eq_set_scale(s, m, eq_e8m0_half(b[0]));
}

void eq_group_nvfp4(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 2 * 36;
    const int k = (int)(g % 2);
    const uint8_t *qs = b + 4 + 16 * k;
    for (int i = 0; i < 16; i++) {
        const int at = i / 8 * 16 + i % 8;  // 8 bytes hold 16 weights: low nibbles, then high ones
        w[at] = e2m1[qs[i] & 15];
        w[at + 8] = e2m1[qs[i] >> 4];
    }
    eq_set_scales(s, m, eq_ue4m3_half(b[2 * k]), eq_ue4m3_half(b[2 * k + 1]));
}
