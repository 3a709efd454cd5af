/* Rows for formats whose blocks are 256 weights, for a vocabulary with EQ_QUAD_WORDS: weights are multiplied by the integer
 * scales of their block, so that one sum of integers goes through all of it. The largest, |q| <= 32 times a scale of up to
 * 128 in Q6_K, times 32512, sixteen such products in a lane, fits 32 bits: all integers are exact. */

/* `rows` rows with `count` tokens from `first`. */
EQ_INLINE void blocks_block(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, const int rows, int first,
                            const int count, float *tile) {
    const int side = count > 1 && rows > 1 ? 2 : 1; /* rows that share what they load of a token */
    int64_t blocks = w->cols / 256, stride = blocks * f.block_bytes;
    const uint8_t *data = (const uint8_t *)w->data + row * stride;
    int64_t at[EQ_BATCH];
    vf acc[EQ_ROWS][EQ_BATCH];
    for (int t = 0; t < count; t++) at[t] = token(a, first + t) * blocks;
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) acc[r][t] = v_zero();
    for (int64_t b = 0; b < blocks; b++) {
        s256 s[EQ_ROWS];
        float d[EQ_ROWS];
        vf m[EQ_ROWS];
        vi sum[EQ_ROWS][EQ_BATCH];
        for (int r = 0; r < rows; r++) {
            for (int64_t i = 0; i < f.block_bytes; i += 64) EQ_PREFETCH(data + (rows * b + r) * f.block_bytes + i + EQ_AHEAD);
            d[r] = f.integers(data + r * stride + b * f.block_bytes, &s[r], &m[r]);
            for (int t = 0; t < count; t++) sum[r][t] = i_zero();
        }
        EQ_UNROLL
        for (int half = 0; half < 2; half++) {
            EQ_UNROLL
            for (int r = 0; r < rows; r += side) {
                w128 v[2];
                EQ_UNROLL
                for (int i = 0; i < side; i++) {
                    b128 part = f.part(data + (r + i) * stride + b * f.block_bytes, half);
                    v[i] = f.halves ? q_times2(part, s[r + i], half) : q_times(part, s[r + i], half);
                }
                EQ_UNROLL
                for (int t = 0; t < count; t++) {
                    const int8_t *x = a->quads + (2 * (at[t] + b) + half) * EQ_QUAD_BYTES;
                    if (count > 2) EQ_FORGET(x); /* registers are for sums: activations are loaded where they are used */
                    EQ_UNROLL
                    for (int i = 0; i < side; i++) sum[r + i][t] = q_sums(sum[r + i][t], v[i], x);
                }
            }
        }
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < count; t++) {
                acc[r][t] = v_fma(i_float(sum[r][t]), v_set(d[r] * a->scale[8 * (at[t] + b)]), acc[r][t]);
                if (f.mins && f.halves) acc[r][t] = v_fma(m[r], v_load(a->sum + 16 * (at[t] + b)), acc[r][t]);
                else if (f.mins) acc[r][t] = v_fma(m[r], v_load8(a->sum32 + 8 * (at[t] + b)), acc[r][t]);
            }
    }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) tile[r * a->tokens + token(a, first + t)] = v_sum(acc[r][t]);
}

/* --- half of a block's weights; the layouts are those of formats.inc.h -------------------------------------------------- */

EQ_INLINE b128 q2_k_part(const uint8_t *b, int half) {
    const uint8_t *p = b + 16 + 32 * half;
    return (b128){q_field(q_each(p), 0, 2, 4, 6, 3), q_field(q_each(p + 16), 0, 2, 4, 6, 3)};
}
EQ_INLINE b128 q3_k_part(const uint8_t *b, int half) {
    const uint8_t *p = b + 32 + 32 * half;
    const int to = 2 - 4 * half; /* bit 4 half + i of a byte is the third bit of group i */
    __m512i first = q_join(q_field(q_each(p), 0, 2, 4, 6, 3), q_each(b), to, to - 1, to - 2, to - 3, 4);
    __m512i last = q_join(q_field(q_each(p + 16), 0, 2, 4, 6, 3), q_each(b + 16), to, to - 1, to - 2, to - 3, 4);
    return (b128){q_less(first, 4), q_less(last, 4)};
}
EQ_INLINE b128 q4_k_part(const uint8_t *b, int half) {
    __m512i x = q_load(b + 16 + 64 * half);
    return (b128){q_field(q_first2(x), 0, 4, 0, 4, 15), q_field(q_last2(x), 0, 4, 0, 4, 15)};
}
EQ_INLINE b128 q5_k_part(const uint8_t *b, int half) {
    __m512i x = q_load(b + 48 + 64 * half);
    const int to = 4 - 4 * half;
    return (b128){q_join(q_field(q_first2(x), 0, 4, 0, 4, 15), q_each(b + 16), to, to - 1, to - 2, to - 3, 16),
                  q_join(q_field(q_last2(x), 0, 4, 0, 4, 15), q_each(b + 32), to, to - 1, to - 2, to - 3, 16)};
}
EQ_INLINE b128 q6_k_part(const uint8_t *b, int half) {
    const uint8_t *high = b + 128 + 32 * half;
    __m512i x = q_load(b + 64 * half);
    return (b128){q_less(q_join(q_field(q_evens(x), 0, 0, 4, 4, 15), q_each(high), 4, 2, 0, -2, 48), 32),
                  q_less(q_join(q_field(q_odds(x), 0, 0, 4, 4, 15), q_each(high + 16), 4, 2, 0, -2, 48), 32)};
}
EQ_INLINE b128 iq4_xs_part(const uint8_t *b, int half) {
    __m512i x = q_load(b + 8 + 64 * half);
    return (b128){q_table(x, 0, iq4_values), q_table(x, 4, iq4_values)};
}

EQ_INLINE b128 tq2_0_part(const uint8_t *b, int half) {
    const uint8_t *p = b + 32 * half;
    return (b128){q_less(q_field(q_each(p), 0, 2, 4, 6, 3), 1), q_less(q_field(q_each(p + 16), 0, 2, 4, 6, 3), 1)};
}
EQ_INLINE float tq2_0_integers(const uint8_t *b, s256 *s, vf *m) {
    *s = _mm512_set1_epi8(1);
    *m = v_zero();
    return v_half(b + 64);
}
EQ_INLINE b128 tq1_0_part(const uint8_t *b, int half) { /* digits of b to b + 31; of the last, b + 32 to b + 47, and 4 more */
    if (half == 0) return (b128){q_digits(q_each(b), q_four(1, 3, 9, 27)), q_digits(q_each(b + 16), q_four(1, 3, 9, 27))};
    const __m512i x = q_each(b + 32), powers = _mm512_set_epi32(27, 9, 3, 1, 27, 27, 27, 27, 3, 3, 3, 3, 81, 81, 81, 81);
    __m512i first = _mm512_mask_broadcast_i32x4(x, 0x000F, _mm_loadu_si128((const __m128i *)b));
    __m512i last = _mm512_mask_broadcast_i32x4(x, 0x000F, _mm_loadu_si128((const __m128i *)(b + 16)));
    last = _mm512_mask_set1_epi32(last, 0xF000, (int)u32(b + 48));
    return (b128){q_digits(first, q_four(81, 1, 9, 81)), q_digits(last, powers)};
}
EQ_INLINE float tq1_0_integers(const uint8_t *b, s256 *s, vf *m) {
    *s = _mm512_set1_epi8(1);
    *m = v_zero();
    return v_half(b + 52);
}

/* blocks of 32 have neither */
#define q4_0_integers NULL
#define q4_1_integers NULL
#define q5_0_integers NULL
#define q5_1_integers NULL
#define q8_0_integers NULL
#define iq4_nl_integers NULL
#define q4_0_part NULL
#define q4_1_part NULL
#define q5_0_part NULL
#define q5_1_part NULL
#define q8_0_part NULL
#define iq4_nl_part NULL
#define mxfp4_integers NULL
#define nvfp4_integers NULL
#define q1_0_integers NULL
#define q2_0_integers NULL
#define mxfp4_part NULL
#define nvfp4_part NULL
#define q1_0_part NULL
#define q2_0_part NULL
