#include "isa/common.h"
#include "simd/scalar.h"
#undef EQ_UNROLL /* nothing is gained here, and compilers take minutes */
#define EQ_UNROLL

#define EQ_VARIANT scalar
#define EQ_WORKS eq_cpu_always
#define EQ_ENCODERS eq_encoders_scalar
#include "isa/variant.inc.h"
