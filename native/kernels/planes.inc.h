/* Up to EQ_MEET tokens, for a vocabulary with EQ_PLANES; more in batch.inc.h. Four rows and four groups of 32 are one step; tokens
 * meet weights while these are in registers. Integers are exact up to the sum of a group (of 16 where it has two scales);
 * sums in float32 go through every fourth group, then through these four: the same for every token and number of tokens. */

_Static_assert(EQ_QUAD_BYTES <= EQ_QUADS_ROOM, "activations of four groups have to fit their place");

/* What four rows' sums of part h of the groups add to a token's. */
EQ_INLINE vf meet_sum(const eq_layout f, __m512i sum, const int h, const s128 *scale, const int8_t *record, vf acc) {
    const int part = 64 * (f.halves ? h : 2);
    if (f.offset) sum = q_less(sum, x_ints(record, X_INTS + part), f.offset);
    acc = v_fma(i_float(sum), v_mul(scale->s[h], x_floats(record, X_SCALE)), acc);
    return f.mins ? v_fma(scale->m[h], x_floats(record, X_SUMS + part), acc) : acc;
}
EQ_INLINE vf meet_sums(const eq_layout f, const __m512i *sums, const int h, const s128 *scale, const int8_t *record, vf acc) {
    return meet_sum(f, q_four_rows(sums[0], sums[1], sums[2], sums[3]), h, scale, record, acc);
}

typedef struct { /* a block of 256 of four rows */
    b256 scales;
    codes256 codes[4];
} eq_meeting;
EQ_INLINE void meet_block(const eq_layout f, const uint8_t *const *b, eq_meeting *m) {
    if (!f.codes) {
        m->scales = f.block(b);
        return;
    }
    float d[4];
    __m128i s[4];
    for (int r = 0; r < 4; r++) d[r] = f.codes(b[r], &m->codes[r], &s[r]);
    m->scales = (b256){q_lanes4(s[0], s[1], s[2], s[3]), _mm512_setzero_si512(), q_over(_mm_loadu_ps(d)), v_zero()};
}

/* Weights of a step of row r, whose block is at b: unsigned. */
EQ_INLINE b128 meet_weights(const eq_layout f, const uint8_t *b, int r, const int half, const int groups, const eq_meeting *m) {
    return f.codes ? q_more(f.vectors(&m->codes[r], half), f.offset) : f.part(b, f.groups < 8 ? groups : half);
}

/* A step of four rows, whose blocks are at b: `groups` groups of smaller blocks, or half of what is met of one of 256. */
EQ_INLINE void meet_step(const eq_layout f, const uint8_t *const *b, const int half, const int groups, const eq_meeting *m,
                         const int8_t *const *x, int64_t at, const int count, vf *acc) {
    const int parts = 2 - f.halves;
    __m512i sums[2][4];
    b128 w[4];
    for (int r = 0; r < 4; r++) {
        const uint8_t *block = b[r];
        EQ_FORGET(block); /* row by row: less waits for memory at a time */
        w[r] = meet_weights(f, block, r, half, groups, m);
        EQ_HOLD(w[r].first);
        EQ_HOLD(w[r].last);
        for (int h = 0; h < 1 + f.halves && count == 1; h++) {
            sums[h][r] = q_sums(w[r], x[0] + at, h, parts);
            EQ_HOLD(sums[h][r]);
        }
    }
    s128 scale = f.groups < 8 ? f.heads(b, groups) : q_scales(m->scales, half, f.halves, f.mins);
    if (count == 1) {
        for (int h = 0; h < 1 + f.halves; h++) acc[0] = meet_sums(f, sums[h], h, &scale, x[0] + at, acc[0]);
        return;
    }
    EQ_UNROLL
    for (int t = 0; t < count; t++) {
        const int8_t *record = x[t] + at;
        EQ_FORGET(record); /* registers are for weights: activations are loaded where they are used */
        EQ_UNROLL
        for (int h = 0; h < 1 + f.halves; h++) {
            for (int r = 0; r < 4; r++) sums[h][r] = q_sums(w[r], record, h, parts);
            acc[t] = meet_sums(f, sums[h], h, &scale, record, acc[t]);
        }
    }
}

/* Two groups where rows end that have more: those of two rows fill a vector. The same numbers as in a step of their own. */
EQ_INLINE void meet_ends(const eq_layout f, const uint8_t *const *b, const int8_t *const *x, int64_t at, const int count, vf *acc) {
    b128 w[2];
    for (int i = 0; i < 2; i++) {
        w[i] = f.pair(b[2 * i], b[2 * i + 1]);
        EQ_HOLD(w[i].first);
        EQ_HOLD(w[i].last);
    }
    s128 scale = f.heads2(b);
    for (int t = 0; t < count; t++) {
        const int8_t *record = x[t] + at;
        acc[t] = meet_sum(f, q_two_pairs(q_sums_beside(w[0], record), q_sums_beside(w[1], record)), 0, &scale, record, acc[t]);
    }
}

/* All rows, four at a time, with up to `count` tokens; in place of missing rows or tokens the last. */
EQ_INLINE void meet(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, const int count, float *tile) {
    const int64_t groups = a->width / 32, stride = groups / f.groups * f.block_bytes;
    const int64_t bytes = 4 * f.block_bytes / f.groups; /* of a step and row */
    const int64_t soon = eq_ahead(stride), last = groups / 4 * EQ_QUAD_BYTES;
    const int tokens = a->tokens;
    const uint8_t *data = (const uint8_t *)w->data + row0 * stride, *b[4];
    const int8_t *x[EQ_MEET];
    for (int t = 0; t < count; t++) x[t] = quad_record(a, token(a, t), 0);
    for (int64_t left = row1 - row0; left > 0; left -= 4, data += 4 * stride, tile += 4 * tokens) {
        const int rows = left < 4 ? (int)left : 4;
        vf acc[EQ_MEET];
        for (int r = 0; r < 4; r++) b[r] = data + (r < rows ? r : rows - 1) * stride;
        for (int t = 0; t < count; t++) acc[t] = v_zero();
        for (int64_t s = 0; s < groups / 4;) {
            const int64_t step = f.groups < 8 ? bytes : f.block_bytes;
            eq_ask(data + soon + 4 * s * bytes, 4 * step);
            if (f.groups < 8) {
                meet_step(f, b, 0, 4, NULL, x, s * EQ_QUAD_BYTES, count, acc);
                s++;
            } else {
                eq_meeting m;
                meet_block(f, b, &m);
                meet_step(f, b, 0, 4, &m, x, s * EQ_QUAD_BYTES, count, acc);
                meet_step(f, b, 1, 4, &m, x, s * EQ_QUAD_BYTES + EQ_QUAD_BYTES, count, acc);
                s += 2;
            }
            for (int r = 0; r < 4; r++) b[r] += step;
        }
        if (f.groups == 1 && groups % 4 == 1) meet_step(f, b, 0, 1, NULL, x, last, count, acc);
        else if (f.pair && groups % 4 == 2 && groups > 4) meet_ends(f, b, x, last, count, acc);
        else if (f.groups < 4 && groups % 4 == 2) meet_step(f, b, 0, 2, NULL, x, last, count, acc);
        else if (f.groups == 1 && groups % 4 == 3) meet_step(f, b, 0, 3, NULL, x, last, count, acc);
        const int whole = count == 4 && tokens == 4;
        if (whole) v_store_rows4(acc, rows, tile, 4);
        for (int t = 0; t < count && t < tokens && !whole; t++) v_store_rows(acc[t], rows, tile + t, tokens);
    }
}

#include "kernels/batch.inc.h"

EQ_INLINE void planes_linear(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, float *tile) {
    if (a->tokens > EQ_MEET) {
        batch_linear(f, w, a, row0, row1, tile);
        return;
    }
    if (a->tokens > 2) meet(f, w, a, row0, row1, 4, tile);
    else if (a->tokens == 2) meet(f, w, a, row0, row1, 2, tile);
    else meet(f, w, a, row0, row1, 1, tile);
}

#include "kernels/parts.inc.h"
#include "kernels/codes.inc.h"
