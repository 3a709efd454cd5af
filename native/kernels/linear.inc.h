/* Linear layers on quantized weights (float weights: floats.inc.h). Integer dots of 32 weights with rounded activations
 * are exact; floats are summed in the order of k, the same for every token, so that one token and sixteen give the same
 * bits.
 *
 * rows:   up to 16 tokens. Weights are unpacked in registers straight from the file's blocks: here, and faster where a
 *         vocabulary allows it in quads.inc.h (blocks of up to 128) and blocks.inc.h (of 256), or in planes.inc.h and
 *         batch.inc.h (all).
 * panel:  more tokens, in panel.inc.h, or in tiles.inc.h where the variant has tiles. */

typedef void (*eq_scales_fn)(const uint8_t *block, float *s, float *m);
typedef scales256 (*eq_scales256_fn)(const uint8_t *block);
typedef w32 (*eq_values_fn)(const uint8_t *block, int j);
#ifdef EQ_PLANES
typedef b128 (*eq_part_fn)(const uint8_t *block, int part);
typedef b128 (*eq_pair_fn)(const uint8_t *a, const uint8_t *b);
typedef s128 (*eq_heads_fn)(const uint8_t *const *blocks, int groups);
typedef s128 (*eq_heads2_fn)(const uint8_t *const *blocks);
typedef b256 (*eq_block_scales_fn)(const uint8_t *const *blocks);
typedef float (*eq_codes_fn)(const uint8_t *block, codes256 *c, __m128i *scales);
typedef b128 (*eq_vectors_fn)(const codes256 *c, int half);
#else
typedef void *eq_part_fn, *eq_pair_fn, *eq_heads_fn, *eq_heads2_fn, *eq_block_scales_fn, *eq_codes_fn, *eq_vectors_fn;
#endif

typedef struct { /* a format, known when the kernel is compiled */
    int groups;      /* of 32 weights in a block */
    int block_bytes;
    int halves;      /* a scale per 16 weights */
    int mins;
    int offset;      /* added, it makes the weights unsigned */
    int bits;        /* of the unsigned weights */
    eq_scales_fn scales;       /* of blocks of up to 128, */
    eq_scales256_fn scales256; /* or of 256 */
    eq_values_fn values;
    eq_part_fn part;          /* where the vocabulary has EQ_PLANES: weights of four groups, or of half a block of 256, */
    eq_pair_fn pair;          /* of two groups that end either of two rows; */
    eq_heads_fn heads;        /* scales of four groups of four rows, */
    eq_heads2_fn heads2;      /* of two that end these, */
    eq_block_scales_fn block; /* or of a block of 256 of each; */
    eq_codes_fn codes;        /* or what codebooks say of a block of 256, and its scales, */
    eq_vectors_fn vectors;    /* and weights of half of it */
} eq_layout;

/* All scales and mins of a block. */
EQ_INLINE void float_scales(const eq_layout f, const uint8_t *block, float *s, float *m) {
    if (f.groups < 8) {
        f.scales(block, s, m);
        return;
    }
    const scales256 both = f.scales256(block);
    for (int h = 0; h < 1 + f.halves; h++) {
        v8_scale(both.s[h], both.d, s + 8 * h);
        if (f.mins) v8_scale(both.m[h], both.dmin, m + 8 * h);
    }
}

#if !defined EQ_BLOCKS && !defined EQ_PLANES /* the scales of a block of 256 times those of the activations */
typedef struct { float v[16]; } v_scales;
EQ_INLINE v_scales s_times8(const float *s, const float *xs) {
    v_scales out;
    for (int i = 0; i < 8; i++) out.v[i] = s[i] * xs[i];
    return out;
}
EQ_INLINE v_scales s_times16(const float *s, const float *xs) {
    v_scales out;
    for (int i = 0; i < 16; i++) out.v[i] = s[i] * xs[i / 2];
    return out;
}
EQ_INLINE vf w_fma8(vf acc, w32 w, const int16_t *x, v_scales s, int j) { return w_fma(acc, w, x, v_set(s.v[j])); }
EQ_INLINE vf w_fma16(vf acc, w32 w, const int16_t *x, v_scales s, int j) {
    return w_fma2(acc, w, x, s.v[2 * j], s.v[2 * j + 1]);
}
#endif

#define EQ_ROWS 4       /* rows in flight */
#define EQ_BATCH 4      /* tokens that meet weights while these are in registers */
#define EQ_AHEAD 8192   /* bytes */
/* How far ahead weights are asked for: in the order of memory, though rows are read side by side, so that it takes all rows
 * that come next, or the last of them would be asked for when they are read. */
EQ_INLINE int64_t eq_ahead(int64_t stride) { return EQ_ROWS * stride > EQ_AHEAD ? EQ_ROWS * stride : EQ_AHEAD; }
/* Asks for weights [p, p + bytes), and for those EQ_AHEAD further on, but these into the next cache: the nearest can wait for
 * few lines at a time. */
EQ_INLINE void eq_ask(const void *p, int64_t bytes) {
    for (const char *line = p, *end = line + bytes; line < end; line += 64) {
        EQ_PREFETCH(line);
        EQ_PREFETCH_FAR(line + EQ_AHEAD);
    }
}

/* Number t of the tokens; past the last, the last again. */
EQ_INLINE int64_t token(const eq_act *a, int t) { return t < a->tokens ? t : a->tokens - 1; }

#ifdef EQ_QUADS
#ifndef EQ_MEET
#define EQ_MEET INT32_MAX /* tokens whose activations lie one token after the other */
#endif
/* Activations of token t for four groups, of which g is one. In a batch of more than EQ_MEET, those of all tokens lie side by side. */
EQ_INLINE int8_t *quad_record(const eq_act *a, int64_t t, int64_t g) {
    const int64_t steps = (a->width / 32 + 3) / 4;
    return a->quads + (a->tokens > EQ_MEET ? g / 4 * a->tokens + t : t * steps + g / 4) * EQ_QUAD_BYTES;
}
#endif

#ifndef EQ_PLANES
/* All rows with all tokens. Weights that are in registers meet as many tokens as sums have room there, or more. */
typedef void (*eq_block_fn)(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, const int rows, int first,
                            const int count, float *tile);
EQ_INLINE void batches(eq_block_fn block, const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1,
                       float *tile) {
    for (int64_t row = row0; row < row1;) {
        const int rows = row1 - row >= EQ_ROWS ? EQ_ROWS : 1;
        float *out = tile + (row - row0) * a->tokens;
        for (int t = 0; t < a->tokens;) {
            const int left = a->tokens - t;
            if (rows == EQ_ROWS && left > 2) block(f, w, a, row, EQ_ROWS, t, 4, out), t += 4;
            else if (rows == EQ_ROWS && left == 2) block(f, w, a, row, EQ_ROWS, t, 2, out), t += 2;
            else if (rows == EQ_ROWS) block(f, w, a, row, EQ_ROWS, t, 1, out), t += 1;
            else if (left > 1) block(f, w, a, row, 1, t, 4, out), t += 4;
            else block(f, w, a, row, 1, t, 1, out), t += 1;
        }
        row += rows;
    }
}

#ifndef EQ_BLOCKS
/* `rows` rows with `count` tokens from `first`. */
EQ_INLINE void rows_block(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, const int rows, int first,
                          const int count, float *tile) {
    int64_t blocks = w->cols / (32 * f.groups), stride = blocks * f.block_bytes, groups = a->width / 32;
    const uint8_t *data = (const uint8_t *)w->data + row * stride;
    int64_t from[EQ_BATCH];
    vf acc[EQ_ROWS][EQ_BATCH], minimum[EQ_ROWS][EQ_BATCH];
    v8 minima[EQ_ROWS][EQ_BATCH];
    for (int t = 0; t < count; t++) from[t] = token(a, first + t) * groups;
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) acc[r][t] = minimum[r][t] = v_zero(), minima[r][t] = v8_zero();
    for (int64_t b = 0; b < blocks; b++)
        for (int r = 0; r < rows; r++) {
            const uint8_t *block = data + r * stride + b * f.block_bytes;
            eq_ask(data + (rows * b + r) * f.block_bytes + eq_ahead(stride), f.block_bytes);
            float s[16], m[16];
            float_scales(f, block, s, m);
            for (int j = 0; j < f.groups && f.groups < 8; j++) {
                w32 v = f.values(block, j);
                vf d = v_set(s[j]), least = f.mins ? v_set(m[j]) : v_zero();
                for (int t = 0; t < count; t++) {
                    int64_t at = from[t] + b * f.groups + j;
                    const int16_t *x = a->q + 32 * at;
                    if (f.halves) acc[r][t] = w_fma2(acc[r][t], v, x, s[2 * j] * a->scale[at], s[2 * j + 1] * a->scale[at]);
                    else acc[r][t] = w_fma(acc[r][t], v, x, v_mul(d, v_set(a->scale[at])));
                    if (f.mins) minimum[r][t] = v_fma(least, v_set(a->sum32[at]), minimum[r][t]);
                }
            }
            if (f.groups < 8) continue;
            v_scales scale[EQ_BATCH];
            for (int t = 0; t < count; t++) {
                int64_t at = from[t] + b * f.groups;
                scale[t] = f.halves ? s_times16(s, a->scale + at) : s_times8(s, a->scale + at);
                if (f.mins && !f.halves) minima[r][t] = v8_fma(m, a->sum32 + at, minima[r][t]);
                for (int h = 0; h < 2 && f.mins && f.halves; h++)
                    minima[r][t] = v8_fma(m + 8 * h, a->sum + 2 * at + 8 * h, minima[r][t]);
            }
            vf part[2][EQ_BATCH];
            for (int t = 0; t < count; t++) part[0][t] = acc[r][t], part[1][t] = v_zero();
            EQ_UNROLL
            for (int j = 0; j < f.groups; j++) {
                w32 v = f.values(block, j);
                for (int t = 0; t < count; t++) {
                    int64_t at = from[t] + b * f.groups + j;
                    const int16_t *x = a->q + 32 * at;
                    if (f.halves) part[j & 1][t] = w_fma16(part[j & 1][t], v, x, scale[t], j);
                    else part[j & 1][t] = w_fma8(part[j & 1][t], v, x, scale[t], j);
                }
            }
            for (int t = 0; t < count; t++) acc[r][t] = v_add(part[0][t], part[1][t]);
        }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++)
            tile[r * a->tokens + token(a, first + t)] = v_sum(acc[r][t]) + v_first(minimum[r][t]) + v8_sum(minima[r][t]);
}
#endif

#endif

#ifdef EQ_PLANES
#include "kernels/planes.inc.h"
#elif defined(EQ_QUADS)
#include "kernels/quads.inc.h"
#include "kernels/blocks.inc.h"
#else
#define quads_block rows_block
#define blocks_block rows_block
#endif
#include "kernels/panel.inc.h"
#ifdef EQ_TILES
#include "kernels/tiles.inc.h"
#define packed_linear tiles_linear
#define quantize_outputs tiles_pack_outputs
#else
#define packed_linear panel_linear
#define quantize_outputs NULL
#endif
#include "kernels/floats.inc.h"

/* --- rounding of activations --------------------------------------------------------------------------------- */

#ifndef EQ_ARRANGE /* a vocabulary may keep 32 natural activations in a form of its own, for w_fma */
#define EQ_ARRANGE(q) ((void)0)
#endif

/* Natural activations [k, k + 32) of token t, rounded. */
EQ_INLINE void round_group(const eq_act *a, int64_t t, int64_t k) {
    const float *x = a->x + t * a->stride + k;
    float largest = v_largest32(x), scale = largest / 32512.0f; /* NaN where a value is not finite */
    int64_t all = a->width / 32, g = k / 32;
    int16_t q[32];
    if (scale >= 1.17549435e-38f) w_round(x, 32512.0f / largest, q);
    else memset(q, 0, sizeof q); /* nothing a float holds, or not finite: then the scale says so */
#ifndef EQ_QUADS
    int64_t at = t * all + g;
    int32_t sums[2];
    w_sums(q, sums);
    EQ_ARRANGE(q);
    memcpy(a->q + t * a->width + k, q, sizeof q);
    a->scale[at] = scale;
    a->sum32[at] = scale * (float)(sums[0] + sums[1]);
    for (int h = 0; h < 2; h++) a->sum[2 * at + h] = scale * (float)sums[h];
#endif
#ifdef EQ_QUADS
    static const int16_t none[32];
    x_place(q, scale, (int)(g % 4), quad_record(a, t, g), a->tokens > EQ_MEET);
    for (int64_t behind = all; g + 1 == all && behind % 4; behind++)
        x_place(none, 0.0f, (int)(behind % 4), quad_record(a, t, g), a->tokens > EQ_MEET);
#endif
}

static void quantize(const eq_act *a, int64_t t0, int64_t t1, int64_t k0, int64_t k1) {
    const int64_t step = a->packed ? EQ_VL : 1;
    for (int64_t t = t0, next; t < t1; t = next) {
        next = (t / step + 1) * step < t1 ? (t / step + 1) * step : t1;
        for (int64_t k = k0; k < k1; k += 32) {
#ifdef EQ_TILES
            if (a->packed) tiles_pack(a, t, next, k);
#else
            if (a->packed) pack(a, t, next, k);
#endif
#ifdef EQ_BLOCKS
            else {
                if (a->readers & EQ_READS_SHORT) round_group(a, t, k);
                if (a->readers & EQ_READS_LONG && k % 256 == 0) round_block(a, t, k);
            }
#else
            else round_group(a, t, k);
#endif
        }
    }
}

/* --- one function per format ----------------------------------------------------------------------------------- */

/* name, groups, bytes, halves, mins, offset, bits, scales */
#define EQ_FORMATS(X)                                                                                                  \
    X(q4_0, 1, 18, 0, 0, 8, 4, q4_0_scales) X(q4_1, 1, 20, 0, 1, 0, 4, q4_1_scales)                                    \
    X(q5_0, 1, 22, 0, 0, 16, 5, q5_0_scales) X(q5_1, 1, 24, 0, 1, 0, 5, q5_1_scales)                                   \
    X(q8_0, 1, 34, 0, 0, 128, 8, q8_0_scales) X(iq4_nl, 1, 18, 0, 0, 128, 8, iq4_nl_scales)                            \
    X(mxfp4, 1, 17, 0, 0, 12, 5, mxfp4_scales) X(nvfp4, 2, 36, 1, 0, 12, 5, nvfp4_scales)                              \
    X(q1_0, 4, 18, 0, 0, 1, 2, q1_0_scales) X(q2_0, 2, 18, 0, 0, 1, 2, q2_0_scales)
#define EQ_FORMATS256(X)                                                                                               \
    X(q2_k, 8, 84, 1, 1, 0, 2, q2_k_scales) X(q3_k, 8, 110, 1, 0, 4, 3, q3_k_scales)                                   \
    X(q4_k, 8, 144, 0, 1, 0, 4, k4_scales) X(q5_k, 8, 176, 0, 1, 0, 5, k4_scales)                                      \
    X(q6_k, 8, 210, 1, 0, 32, 6, q6_k_scales) X(iq4_xs, 8, 136, 0, 0, 128, 8, iq4_xs_scales)                           \
    X(tq1_0, 8, 54, 0, 0, 1, 2, tq1_0_scales) X(tq2_0, 8, 66, 0, 0, 1, 2, tq2_0_scales)
#define EQ_CODEBOOKS(X)                                                                                                \
    X(iq2_xxs, 8, 66, 0, 0, 43, 7, iq2_xxs_scales) X(iq2_xs, 8, 74, 1, 0, 43, 7, iq2_xs_scales)                        \
    X(iq2_s, 8, 82, 1, 0, 43, 7, iq2_s_scales) X(iq3_xxs, 8, 98, 0, 0, 62, 7, iq3_xxs_scales)                          \
    X(iq3_s, 8, 110, 0, 0, 15, 5, iq3_s_scales) X(iq1_s, 8, 50, 0, 0, 9, 5, iq1_s_scales)                              \
    X(iq1_m, 8, 56, 1, 0, 9, 5, iq1_m_scales)

#ifdef EQ_PLANES
#define EQ_SHORT(name, groups, bytes, halves, mins, offset, bits, numbers)                            \
    {groups, bytes, halves, mins, offset, bits, .scales = numbers, .values = name##_values,           \
     .part = name##_part, .pair = name##_pair, .heads = name##_heads, .heads2 = name##_heads2}
#define EQ_LONG(name, groups, bytes, halves, mins, offset, bits, numbers)                             \
    {groups, bytes, halves, mins, offset, bits, .scales256 = numbers, .values = name##_values,        \
     .part = name##_part, .block = name##_block}
#define EQ_BOOK(name, groups, bytes, halves, mins, offset, bits, numbers)                             \
    {groups, bytes, halves, mins, offset, bits, .scales256 = numbers, .values = name##_values,        \
     .codes = name##_codes, .vectors = name##_vectors}
#define rows_linear planes_linear
#else
#define EQ_SHORT(name, groups, bytes, halves, mins, offset, bits, numbers) \
    {groups, bytes, halves, mins, offset, bits, .scales = numbers, .values = name##_values}
#define EQ_LONG(name, groups, bytes, halves, mins, offset, bits, numbers) \
    {groups, bytes, halves, mins, offset, bits, .scales256 = numbers, .values = name##_values}
#define EQ_BOOK EQ_LONG
EQ_INLINE void rows_linear(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, float *tile) {
    batches(f.groups < 8 || f.bits == 8 ? quads_block : blocks_block, f, w, a, row0, row1, tile);
}
#endif
#define EQ_DEFINE(name, layout)                                                                                        \
    static void name##_rows(const eq_tensor *w, const eq_act *a, int64_t r0, int64_t r1, float *tile, void *scratch) { \
        const eq_layout f = layout;                                                                                    \
        (void)scratch;                                                                                                 \
        rows_linear(f, w, a, r0, r1, tile);                                                                            \
    }                                                                                                                  \
    static void name##_panel(const eq_tensor *w, const eq_act *a, int64_t r0, int64_t r1, float *tile, void *scratch) { \
        const eq_layout f = layout;                                                                                    \
        packed_linear(f, w, a, r0, r1, tile, scratch);                                                                 \
    }
#define EQ_EACH(name, ...) EQ_DEFINE(name, EQ_SHORT(name, __VA_ARGS__))
EQ_FORMATS(EQ_EACH)
#undef EQ_EACH
#define EQ_EACH(name, ...) EQ_DEFINE(name, EQ_LONG(name, __VA_ARGS__))
EQ_FORMATS256(EQ_EACH)
#undef EQ_EACH
#define EQ_EACH(name, ...) EQ_DEFINE(name, EQ_BOOK(name, __VA_ARGS__))
EQ_CODEBOOKS(EQ_EACH)
#undef EQ_EACH
#undef EQ_DEFINE

static int32_t reads(int32_t type) {
#ifdef EQ_BLOCKS
    return eq_format_block(type) == 256 && type != 23 /* IQ4_XS: whole bytes */ ? EQ_READS_LONG : EQ_READS_SHORT;
#else
    (void)type;
    return EQ_READS_SHORT;
#endif
}

static eq_linear_fn linear(int32_t type, int32_t packed) {
    switch (type) {
#define EQ_CASE(id, name) \
    case id: return packed ? name##_panel : name##_rows;
        EQ_CASE(0, f32) EQ_CASE(1, f16) EQ_CASE(30, bf16)
        EQ_CASE(2, q4_0) EQ_CASE(3, q4_1) EQ_CASE(6, q5_0) EQ_CASE(7, q5_1) EQ_CASE(8, q8_0)
        EQ_CASE(10, q2_k) EQ_CASE(11, q3_k) EQ_CASE(12, q4_k) EQ_CASE(13, q5_k) EQ_CASE(14, q6_k)
        EQ_CASE(16, iq2_xxs) EQ_CASE(17, iq2_xs) EQ_CASE(18, iq3_xxs) EQ_CASE(19, iq1_s) EQ_CASE(20, iq4_nl)
        EQ_CASE(21, iq3_s) EQ_CASE(22, iq2_s) EQ_CASE(23, iq4_xs) EQ_CASE(29, iq1_m) EQ_CASE(34, tq1_0) EQ_CASE(35, tq2_0)
        EQ_CASE(39, mxfp4) EQ_CASE(40, nvfp4) EQ_CASE(41, q1_0) EQ_CASE(42, q2_0)
#undef EQ_CASE
        default: return NULL;
    }
}
