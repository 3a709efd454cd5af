// Shared by the group functions of all formats; not part of the interface.

#ifndef EQ_GROUP_H
#define EQ_GROUP_H

#include "formats.h"
#include "half.h"

// One scale for all 32 weights, no min.
static inline void eq_set_scale(float s[2], float m[2], float scale) {
    s[0] = s[1] = scale;
    m[0] = m[1] = -0.0f;
}

// A scale for each 16 weights, no min.
static inline void eq_set_scales(float s[2], float m[2], float first, float second) {
    s[0] = first;
    s[1] = second;
    m[0] = m[1] = -0.0f;
}

// 16 bytes as 32 weights: low nibbles, then high ones.
static inline void eq_nibbles(const uint8_t *qs, int16_t w[32]) {
    for (int i = 0; i < 16; i++) {
        w[i] = qs[i] & 15;
        w[i + 16] = qs[i] >> 4;
    }
}

// The same through a table of 16 levels.
static inline void eq_nibble_levels(const uint8_t *qs, const int8_t levels[16], int16_t w[32]) {
    for (int i = 0; i < 16; i++) {
        w[i] = levels[qs[i] & 15];
        w[i + 16] = levels[qs[i] >> 4];
    }
}

#endif
