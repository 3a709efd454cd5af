// The IQ formats: weights from a codebook, in vectors of 8 (IQ1, IQ2) or 4 (IQ3), or one by one (IQ4).
// Every index is cut to the bits its codebook has.

#define EQ_GRIDS_DEFINE
#include "grids.gen.h"
#include "group.h"

// A vector of 8 with the signs of the bits of `signs`, lowest first.
static void put8(uint64_t vector, unsigned signs, int16_t *w) {
    for (int i = 0; i < 8; i++) {
        const int v = (int)(vector >> 8 * i & 0xff);
        w[i] = (int16_t)((signs >> i & 1u) ? -v : v);
    }
}

// Two vectors of 4 likewise.
static void put4x2(uint32_t first, uint32_t second, unsigned signs, int16_t *w) {
    put8((uint64_t)second << 32 | first, signs, w);
}

void eq_group_iq2_xxs(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 66, *qs = b + 2 + g % 8 * 8;
    const uint32_t word = eq_load32(qs + 4);
    for (int j = 0; j < 4; j++) {
        put8(eq_grid_iq2_xxs[qs[j]], eq_even_signs[word >> 7 * j & 127u], w + 8 * j);
    }
    eq_set_scale(s, m, eq_half_at(b) * ((float)(word >> 28) + 0.5f) * 0.25f);
}

static float scale_iq2(float d, int scale) {
    return d * ((float)scale + 0.5f) * 0.25f;
}

void eq_group_iq2_xs(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 74;
    const int k = (int)(g % 8), scales = b[66 + k];
    for (int j = 0; j < 4; j++) {
        const uint16_t code = eq_load16(b + 2 + 8 * k + 2 * j);
        put8(eq_grid_iq2_xs[code & 511u], eq_even_signs[code >> 9], w + 8 * j);
    }
    const float d = eq_half_at(b);
    eq_set_scales(s, m, scale_iq2(d, scales & 15), scale_iq2(d, scales >> 4));
}

void eq_group_iq2_s(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 82;
    const int k = (int)(g % 8), high = b[66 + k], scales = b[74 + k];
    const uint8_t *qs = b + 2 + 4 * k, *signs = b + 34 + 4 * k;
    for (int j = 0; j < 4; j++) {
        put8(eq_grid_iq2_s[qs[j] | (high >> 2 * j & 3) << 8], signs[j], w + 8 * j);
    }
    const float d = eq_half_at(b);
    eq_set_scales(s, m, scale_iq2(d, scales & 15), scale_iq2(d, scales >> 4));
}

void eq_group_iq3_xxs(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 98, *qs = b + 2 + g % 8 * 8;
    const uint32_t word = eq_load32(b + 66 + g % 8 * 4);
    for (int j = 0; j < 4; j++) {
        put4x2(eq_grid_iq3_xxs[qs[2 * j]], eq_grid_iq3_xxs[qs[2 * j + 1]],
               eq_even_signs[word >> 7 * j & 127u], w + 8 * j);
    }
    eq_set_scale(s, m, eq_half_at(b) * ((float)(word >> 28) + 0.5f) * 0.5f);
}

void eq_group_iq3_s(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 110;
    const int k = (int)(g % 8), high = b[66 + k];
    const uint8_t *qs = b + 2 + 8 * k, *signs = b + 74 + 4 * k;
    for (int j = 0; j < 4; j++) {
        put4x2(eq_grid_iq3_s[qs[2 * j] | (high >> 2 * j & 1) << 8],
               eq_grid_iq3_s[qs[2 * j + 1] | (high >> (2 * j + 1) & 1) << 8], signs[j], w + 8 * j);
    }
    const int scale = b[106 + k / 2] >> 4 * (k % 2) & 15;
    eq_set_scale(s, m, eq_half_at(b) * (float)(2 * scale + 1));
}

// A ternary vector in eighths, shifted by one eighth: down if `down` is not zero, else up.
static void put_iq1(unsigned index, unsigned down, int16_t *w) {
    const uint64_t vector = eq_grid_iq1_s[index & 2047u];
    for (int i = 0; i < 8; i++) {
        const int v = (int)(vector >> 8 * i & 0xff) - 1;
        w[i] = (int16_t)(8 * v + (down ? -1 : 1));
    }
}

void eq_group_iq1_s(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 50, *qs = b + 2 + g % 8 * 4;
    const unsigned word = eq_load16(b + 34 + g % 8 * 2);
    for (int j = 0; j < 4; j++) put_iq1(qs[j] | (word >> 3 * j & 7u) << 8, word & 0x8000u, w + 8 * j);
    eq_set_scale(s, m, eq_half_at(b) * (float)(2 * (word >> 12 & 7u) + 1) * 0.125f);
}

void eq_group_iq1_m(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 56, *words = b + 48;
    const int k = (int)(g % 8);
    for (int j = 0; j < 4; j++) {
        const unsigned nibble = b[32 + 2 * k + j / 2] >> 4 * (j % 2) & 15u;
        put_iq1(b[4 * k + j] | (nibble & 7u) << 8, nibble & 8u, w + 8 * j);
    }
    // The fp16 scale is spread over the top nibbles of the four words, the first one lowest.
    unsigned bits = 0;
    for (int j = 0; j < 4; j++) bits |= (unsigned)(eq_load16(words + 2 * j) >> 12) << 4 * j;
    const float d = eq_half((uint16_t)bits);
    const unsigned scales = (unsigned)eq_load16(words + k / 2 * 2) >> 6 * (k % 2);
    eq_set_scales(s, m, d * (float)(2 * (scales & 7u) + 1) * 0.125f,
                  d * (float)(2 * (scales >> 3 & 7u) + 1) * 0.125f);
}

static const int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1, 13, 25, 38, 53, 69, 89, 113};

void eq_group_iq4_nl(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g * 18;
    eq_nibble_levels(b + 2, iq4_levels, w);
    eq_set_scale(s, m, eq_half_at(b));
}

void eq_group_iq4_xs(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]) {
    const uint8_t *b = row + g / 8 * 136;
    const int k = (int)(g % 8);
    eq_nibble_levels(b + 8 + 16 * k, iq4_levels, w);
    const int low = b[4 + k / 2] >> 4 * (k % 2) & 15, high = eq_load16(b + 2) >> 2 * k & 3;
    eq_set_scale(s, m, eq_half_at(b) * (float)((low | high << 4) - 32));
}
