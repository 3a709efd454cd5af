/* One ISA variant of the encoders: the vocabulary is in scope, the target region open, EQ_ENCODERS its name. */
#include "encode/lanes.inc.h"
#include "encode/scale.inc.h"
#include "encode/affine.inc.h"
#include "encode/legacy.inc.h"
#include "encode/kquants.inc.h"
#include "encode/ternary.inc.h"
#include "encode/fp4.inc.h"
#include "encode/grids.inc.h"

static eq_encode_fn find(int type) {
    switch (type) {
    case EQ_Q4_0: return encode_q4_0;
    case EQ_Q4_1: return encode_q4_1;
    case EQ_Q5_0: return encode_q5_0;
    case EQ_Q5_1: return encode_q5_1;
    case EQ_Q8_0: return encode_q8_0;
    case EQ_Q1_0: return encode_q1_0;
    case EQ_Q2_0: return encode_q2_0;
    case EQ_IQ4_NL: return encode_iq4_nl;
    case EQ_Q2_K: return encode_q2_k;
    case EQ_Q3_K: return encode_q3_k;
    case EQ_Q4_K: return encode_q4_k;
    case EQ_Q5_K: return encode_q5_k;
    case EQ_Q6_K: return encode_q6_k;
    case EQ_IQ4_XS: return encode_iq4_xs;
    case EQ_TQ1_0: return encode_tq1_0;
    case EQ_TQ2_0: return encode_tq2_0;
    case EQ_MXFP4: return encode_mxfp4;
    case EQ_NVFP4: return encode_nvfp4;
    case EQ_IQ2_XXS: return encode_iq2_xxs;
    case EQ_IQ2_XS: return encode_iq2_xs;
    case EQ_IQ2_S: return encode_iq2_s;
    case EQ_IQ3_XXS: return encode_iq3_xxs;
    case EQ_IQ3_S: return encode_iq3_s;
    case EQ_IQ1_S: return encode_iq1_s;
    case EQ_IQ1_M: return encode_iq1_m;
    default: return NULL;
    }
}

const eq_encoders EQ_ENCODERS = {EQ_VL, find};
