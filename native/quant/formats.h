// The tensor formats in C: what every kernel falls back on, and the definition its tests compare with.
// Types are GGML ids. A row is a contiguous run of whole blocks, at any address; any bytes are safe.

#ifndef EQ_FORMATS_H
#define EQ_FORMATS_H

#include <stdint.h>

// Weights 32g .. 32g+31 of a row, in order: value[i] = s[i / 16] * w[i] + m[i / 16], each step rounded to
// float. w is exact, |w| <= 128. m is -0.0 in formats without mins, so that adding it changes nothing.
typedef void (*eq_group_fn)(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2]);

enum {
    EQ_F32 = 0, EQ_F16 = 1, EQ_Q4_0 = 2, EQ_Q4_1 = 3, EQ_Q5_0 = 6, EQ_Q5_1 = 7, EQ_Q8_0 = 8,
    EQ_Q2_K = 10, EQ_Q3_K = 11, EQ_Q4_K = 12, EQ_Q5_K = 13, EQ_Q6_K = 14,
    EQ_IQ2_XXS = 16, EQ_IQ2_XS = 17, EQ_IQ3_XXS = 18, EQ_IQ1_S = 19, EQ_IQ4_NL = 20, EQ_IQ3_S = 21,
    EQ_IQ2_S = 22, EQ_IQ4_XS = 23, EQ_IQ1_M = 29, EQ_BF16 = 30, EQ_TQ1_0 = 34, EQ_TQ2_0 = 35,
    EQ_MXFP4 = 39, EQ_NVFP4 = 40, EQ_Q1_0 = 41, EQ_Q2_0 = 42,
};

// All return 0 or NULL for a type that cannot be the weight of a linear.
int eq_format_block(int type);             // weights in a block
int eq_format_block_bytes(int type);       // bytes in a block
int eq_format_has_min(int type);           // 1 if m can differ from zero
eq_group_fn eq_format_group(int type);     // NULL for F32, F16 and BF16 too

// A row of n weights as float, equal bit for bit to edgeq.quants.dequantize (build with -ffp-contract=off).
// Returns 0, or -1 without touching out for an unknown type or an n that is no multiple of the block.
int eq_dequantize_row(int type, const void *row, int64_t n, float *out);

// One eq_group_fn per format; layouts in the docstrings of edgeq/quants.
#define EQ_GROUP(name) void name(const uint8_t *row, int64_t g, int16_t w[32], float s[2], float m[2])
EQ_GROUP(eq_group_q4_0);
EQ_GROUP(eq_group_q4_1);
EQ_GROUP(eq_group_q5_0);
EQ_GROUP(eq_group_q5_1);
EQ_GROUP(eq_group_q8_0);
EQ_GROUP(eq_group_q1_0);
EQ_GROUP(eq_group_q2_0);
EQ_GROUP(eq_group_q2_k);
EQ_GROUP(eq_group_q3_k);
EQ_GROUP(eq_group_q4_k);
EQ_GROUP(eq_group_q5_k);
EQ_GROUP(eq_group_q6_k);
EQ_GROUP(eq_group_iq1_s);
EQ_GROUP(eq_group_iq1_m);
EQ_GROUP(eq_group_iq2_xxs);
EQ_GROUP(eq_group_iq2_xs);
EQ_GROUP(eq_group_iq2_s);
EQ_GROUP(eq_group_iq3_xxs);
EQ_GROUP(eq_group_iq3_s);
EQ_GROUP(eq_group_iq4_nl);
EQ_GROUP(eq_group_iq4_xs);
EQ_GROUP(eq_group_tq1_0);
EQ_GROUP(eq_group_tq2_0);
EQ_GROUP(eq_group_mxfp4);
EQ_GROUP(eq_group_nvfp4);

#endif
