#include "isa/common.h"
#include "encode/encode.h"
#if defined(__aarch64__) || defined(_M_ARM64)
#include "simd/neon.h"
#define EQ_ENCODERS eq_encoders_neon
#include "encode/variant.inc.h"
#endif
