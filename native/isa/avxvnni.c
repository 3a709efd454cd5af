#include "isa/common.h"
#ifdef EQ_HAVE_AVXVNNI
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avxvnni")
#endif

#include "simd/avxvnni.h"
#define EQ_VARIANT avxvnni
#define EQ_WORKS eq_cpu_avxvnni
#define EQ_ENCODERS eq_encoders_avx2
#include "isa/variant.inc.h"

#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif
