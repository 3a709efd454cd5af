#include "isa/common.h"
#ifdef EQ_HAVE_AMX
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,amx-tile,amx-bf16,avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,amx-tile,amx-bf16,avx2,fma,f16c")
#endif

#include "simd/avx512.h"
#include "simd/amx.h"
#define EQ_VARIANT amx
#define EQ_WORKS eq_cpu_amx
#define EQ_ENCODERS eq_encoders_avx512
#include "isa/variant.inc.h"

#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif
