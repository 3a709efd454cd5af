#include "isa/common.h"
#include "encode/encode.h"
#include "simd/scalar.h"
#define EQ_ENCODERS eq_encoders_scalar
#include "encode/variant.inc.h"
