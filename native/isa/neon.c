#include "isa/common.h"
#if defined(__aarch64__) || defined(_M_ARM64)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns") /* it moves loads up in unrolled loops until the registers are full */
#endif
#include "simd/neon.h"

#define EQ_VARIANT neon
#define EQ_WORKS eq_cpu_neon
#define EQ_ENCODERS eq_encoders_neon
#include "isa/variant.inc.h"
#endif
