/* What every variant includes before its target region opens. */
#ifndef EQ_ISA_COMMON_H
#define EQ_ISA_COMMON_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"
#include "kernels.h"
#include "quant/formats.h"
#include "quant/grids.gen.h"
#include "quant/half.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define EQ_INLINE static __forceinline
#else
#define EQ_INLINE static inline __attribute__((always_inline, unused))
#endif

/* The float with these bits, or NaN for infinity: magnitudes compare like their bits. */
static inline float eq_finite(int32_t bits) {
    float x;
    if (bits >= 0x7F800000) bits = 0x7FC00000;
    memcpy(&x, &bits, 4);
    return x;
}

static inline uint32_t u32(const uint8_t *p) { uint32_t x; memcpy(&x, p, 4); return x; }
static inline uint64_t u64(const uint8_t *p) { uint64_t x; memcpy(&x, p, 8); return x; }

#if defined(__GNUC__)
#define EQ_UNROLL _Pragma("GCC unroll 8")
#define EQ_FORGET(p) __asm__ volatile("" : "+r"(p)) /* what p points at has to be loaded anew */
#else
#define EQ_UNROLL
#define EQ_FORGET(p) ((void)0)
#endif
#endif
