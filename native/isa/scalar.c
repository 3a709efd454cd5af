#include "isa/common.h"
#include "simd/scalar.h"

#define EQ_VARIANT scalar
#define EQ_WORKS eq_cpu_always
#include "isa/variant.inc.h"
