// TQ1_0 and TQ2_0: 256 weights of -1, 0 or 1 in a block, 8 groups, one scale.

#include "group.h"

// Digit n of a byte that is a base-3 fraction of 256, most significant first; 0 to 2 for any byte.
static int digit(uint8_t byte, int n) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    return (uint8_t)(byte * power[n]) * 3 >> 8;
}

void eq_group_tq1_0(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 54;
    const int k = (int)(g % 8);
    for (int i = 0; i < 32; i++) {
        const int at = 32 * k + i;
        int q;
        if (at < 160) {
            q = digit(b[i], k);
        } else if (at < 240) {
            q = digit(b[32 + (at - 160) % 16], (at - 160) / 16);
        } else {
            q = digit(b[48 + (at - 240) % 4], (at - 240) / 4);
        }
        w[i] = (int16_t)(q - 1);
    }
    eq_set_scale(s, m, eq_half_at(b + 52));
}

void eq_group_tq2_0(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 66;
    const int k = (int)(g % 8);
    const uint8_t *qs = b + k / 4 * 32;
    for (int i = 0; i < 32; i++) w[i] = (int16_t)((qs[i] >> 2 * (k % 4) & 3) - 1);
    eq_set_scale(s, m, eq_half_at(b + 64));
}
