/* One ISA variant: the vocabulary is in scope, the target region open, EQ_VARIANT its name. */
#include "kernels/math.inc.h"
#include "kernels/elementwise.inc.h"
#include "kernels/formats.inc.h"
#include "kernels/codebooks.inc.h"
#include "kernels/linear.inc.h"
#include "kernels/attend.inc.h"
#include "kernels/peak.inc.h"

#define EQ_PASTE(a, b) a##b
#define EQ_NAME(a, b) EQ_PASTE(a, b)
#define EQ_TEXT(a) #a
#define EQ_STRING(a) EQ_TEXT(a)

const eq_kernels EQ_NAME(eq_kernels_, EQ_VARIANT) = {
    EQ_STRING(EQ_VARIANT), EQ_BLOCK_TOKENS, EQ_WORKS, linear, reads, quantize, quantize_outputs, rms_norm, rope, glu, add, turn,
    softcap, kv_store, attend, peak, &EQ_ENCODERS,
};
