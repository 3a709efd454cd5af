// Small floating point formats and unaligned little-endian loads, in portable C.
// Every conversion to float is exact; eq_to_half and eq_to_bf16 round to nearest even.

#ifndef EQ_HALF_H
#define EQ_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint16_t eq_load16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t eq_load32(const uint8_t *p) {
    return (uint32_t)eq_load16(p) | (uint32_t)eq_load16(p + 2) << 16;
}

static inline uint32_t eq_float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float eq_bits_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// fp16: 5 bits of exponent, 10 of mantissa. Subnormals, infinities and NaN payloads are kept.
// Masks instead of branches, so that compilers make vectors of loops over it.
static inline float eq_half(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    const uint32_t subnormal = 0u - (uint32_t)(magnitude < 0x400u), infinite = 0u - (uint32_t)(magnitude >= 0x7c00u);
    const uint32_t small = eq_float_bits((float)(int32_t)magnitude * 0x1p-24f);
    const uint32_t normal = (magnitude << 13) + (112u << 23) + (infinite & 112u << 23);
    return eq_bits_float(sign | (small & subnormal) | (normal & ~subnormal));
}

static inline float eq_half_at(const uint8_t *p) {
    return eq_half(eq_load16(p));
}

static inline uint16_t eq_to_half(float x) {
    const uint32_t bits = eq_float_bits(x), magnitude = bits & 0x7fffffffu;
    const uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t h;
    if (magnitude > 0x7f800000u) {
        h = 0x7e00u | (magnitude >> 13 & 0x3ffu);  // a NaN stays one, made quiet
    } else if (magnitude >= 0x477ff000u) {
        h = 0x7c00u;  // 65520 and more round to infinity
    } else if (magnitude < 0x38800000u) {
        // Subnormal: the last place of numbers near 0.5 is that of fp16 subnormals, so this sum rounds there.
        h = eq_float_bits(eq_bits_float(magnitude) + 0.5f) - 0x3f000000u;
    } else {
        h = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13;
    }
    return (uint16_t)(sign | h);
}

// bf16: the upper half of a float.
static inline float eq_bf16(uint16_t b) {
    return eq_bits_float((uint32_t)b << 16);
}

static inline uint16_t eq_to_bf16(float x) {
    const uint32_t bits = eq_float_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// E8M0, a power of two: half of 2^(e - 127). Half, because E2M1 weights are kept doubled to be integers.
// As in GGML, code 255 is 2^128 and not NaN.
static inline float eq_e8m0_half(uint8_t e) {
    return eq_bits_float(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

// UE4M3: 4 bits of exponent (bias 7), 3 of mantissa; half of the value. As in GGML, the top bit is ignored
// and code 0x7F is 0, not NaN.
static inline float eq_ue4m3_half(uint8_t x) {
    const uint32_t exponent = x >> 3 & 15u, mantissa = x & 7u;
    if (x == 0x7f) return 0.0f;
    if (exponent == 0) return (float)mantissa * 0x1p-10f;
    return eq_bits_float((exponent + 119) << 23 | mantissa << 20);
}

#endif
