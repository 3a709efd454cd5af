// The format table of the C side and rows as floats. Encoders do not live here.

#include "formats.h"

#include <stddef.h>

#include "half.h"

typedef struct {
    int block, bytes, has_min;
    eq_group_fn group;
} format;

static const format formats[] = {
    [EQ_F32] = {1, 4, 0, NULL},
    [EQ_F16] = {1, 2, 0, NULL},
    [EQ_BF16] = {1, 2, 0, NULL},
    [EQ_Q4_0] = {32, 18, 0, eq_group_q4_0},
    [EQ_Q4_1] = {32, 20, 1, eq_group_q4_1},
    [EQ_Q5_0] = {32, 22, 0, eq_group_q5_0},
    [EQ_Q5_1] = {32, 24, 1, eq_group_q5_1},
    [EQ_Q8_0] = {32, 34, 0, eq_group_q8_0},
    [EQ_Q1_0] = {128, 18, 0, eq_group_q1_0},
    [EQ_Q2_0] = {64, 18, 0, eq_group_q2_0},
    [EQ_Q2_K] = {256, 84, 1, eq_group_q2_k},
    [EQ_Q3_K] = {256, 110, 0, eq_group_q3_k},
    [EQ_Q4_K] = {256, 144, 1, eq_group_q4_k},
    [EQ_Q5_K] = {256, 176, 1, eq_group_q5_k},
    [EQ_Q6_K] = {256, 210, 0, eq_group_q6_k},
    [EQ_IQ1_S] = {256, 50, 0, eq_group_iq1_s},
    [EQ_IQ1_M] = {256, 56, 0, eq_group_iq1_m},
    [EQ_IQ2_XXS] = {256, 66, 0, eq_group_iq2_xxs},
    [EQ_IQ2_XS] = {256, 74, 0, eq_group_iq2_xs},
    [EQ_IQ2_S] = {256, 82, 0, eq_group_iq2_s},
    [EQ_IQ3_XXS] = {256, 98, 0, eq_group_iq3_xxs},
    [EQ_IQ3_S] = {256, 110, 0, eq_group_iq3_s},
    [EQ_IQ4_NL] = {32, 18, 0, eq_group_iq4_nl},
    [EQ_IQ4_XS] = {256, 136, 0, eq_group_iq4_xs},
    [EQ_TQ1_0] = {256, 54, 0, eq_group_tq1_0},
    [EQ_TQ2_0] = {256, 66, 0, eq_group_tq2_0},
    [EQ_MXFP4] = {32, 17, 0, eq_group_mxfp4},
    [EQ_NVFP4] = {64, 36, 0, eq_group_nvfp4},
};

static const format *find(int type) {
    static const format none = {0, 0, 0, NULL};
    return type >= 0 && type < (int)(sizeof formats / sizeof formats[0]) ? &formats[type] : &none;
}

int eq_format_block(int type) { return find(type)->block; }
int eq_format_block_bytes(int type) { return find(type)->bytes; }
int eq_format_has_min(int type) { return find(type)->has_min; }
eq_group_fn eq_format_group(int type) { return find(type)->group; }

static void dequantize_groups(eq_group_fn group, const uint8_t *row, int64_t n, float *out) {
    int16_t w[32];
    float s[2], m[2];
    for (int64_t g = 0; g < n / 32; g++, out += 32) {
        group(row, g, w, s, m);
        for (int i = 0; i < 32; i++) {
            const float product = s[i / 16] * (float)w[i];
            out[i] = product + m[i / 16];
        }
    }
}

int eq_dequantize_row(int type, const void *row, int64_t n, float *out) {
    const format *f = find(type);
    const uint8_t *bytes = row;
    if (f->block == 0 || n < 0 || n % f->block != 0) return -1;
    if (f->group) {
        dequantize_groups(f->group, bytes, n, out);
    } else if (type == EQ_F32) {
        for (int64_t i = 0; i < n; i++) out[i] = eq_bits_float(eq_load32(bytes + 4 * i));
    } else if (type == EQ_F16) {
        for (int64_t i = 0; i < n; i++) out[i] = eq_half_at(bytes + 2 * i);
    } else {
        for (int64_t i = 0; i < n; i++) out[i] = eq_bf16(eq_load16(bytes + 2 * i));
    }
    return 0;
}
