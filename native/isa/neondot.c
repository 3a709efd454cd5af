#include "isa/common.h"
#if defined(__aarch64__) || defined(_M_ARM64)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns") /* it moves loads up in unrolled loops until the registers are full */
#endif
#if defined(__clang__) && !defined(__ARM_FEATURE_DOTPROD)
#define __ARM_FEATURE_DOTPROD 1 /* before clang 16 the header asks this for vdotq_s32, not the function's target */
#endif
#include <arm_neon.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#include "simd/neondot.h"
#define EQ_VARIANT neondot
#define EQ_WORKS eq_cpu_neondot
#define EQ_ENCODERS eq_encoders_neon
#include "isa/variant.inc.h"

#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif
