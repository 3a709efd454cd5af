/* Rows for formats whose blocks are 32, 64 or 128 weights, for a vocabulary with EQ_QUADS: four groups of 32 of a row at a
 * time, `blocks` of them where a row ends. Sixteen lanes hold their sums, so that scales and mins of all four are applied at
 * once. Integers are exact. */

_Static_assert(EQ_QUAD_BYTES <= EQ_QUADS_ROOM, "activations of four groups have to fit their place");

#ifndef EQ_QUAD_HALVES /* whether a quad's dots of first and last 16 weights are apart; else lanes are */
#define EQ_QUAD_HALVES 0
#define q_dot_first(w, x) v_zero()
#define q_dot_last(w, x) v_zero()
#endif
#ifndef EQ_QUAD_WORDS
/* Weights of four groups, with their scales and mins; in place of missing ones the last's, which meet activations of 0. */
EQ_INLINE w128 quad(const eq_layout f, const uint8_t *p, const int blocks, vf *d, vf *m) {
    w128 v;
    for (int i = 0; i < 4; i++) {
        const int g = i < blocks ? i : blocks - 1;
        v.block[i] = f.values(p + g / f.groups * f.block_bytes, g % f.groups);
    }
    *d = f.scales == mxfp4_scales   ? v_e8m0(p, f.block_bytes, blocks)
         : f.scales == nvfp4_scales ? v_ue4m3(p, f.block_bytes, blocks)
                                    : v_halves(p, f.block_bytes, blocks, f.groups);
    *m = f.mins ? v_halves(p + 2, f.block_bytes, blocks, 1) : v_zero();
    return v;
}
#else
#define quad(f, p, blocks, d, m) f.quads(p, blocks, d, m)
#endif

/* Step s, `blocks` blocks, of `rows` rows with `count` tokens, each having `x` for its first step. */
EQ_INLINE void quads_step(const eq_layout f, const uint8_t *data, int64_t groups, int64_t s, const int blocks, const int rows,
                          const int8_t *const *x, const int count, vf (*acc)[EQ_BATCH]) {
    const int64_t stride = groups / f.groups * f.block_bytes;
    const int bytes = 4 / f.groups * f.block_bytes;
    const int side = count > 1 && rows > 1 ? 2 : 1; /* rows that share what they load of a token */
    EQ_UNROLL
    for (int r = 0; r < rows; r += side) {
        vf d[2], m[2];
        w128 v[2];
        EQ_UNROLL
        for (int i = 0; i < side; i++) {
            const uint8_t *block = data + (r + i) * stride + s * bytes;
            for (int64_t at = 0; at < bytes; at += 64) EQ_PREFETCH(data + (rows * s + r + i) * bytes + at + EQ_AHEAD);
            v[i] = quad(f, block, blocks, &d[i], &m[i]);
        }
        EQ_UNROLL
        for (int t = 0; t < count; t++) {
            const int8_t *record = x[t] + s * EQ_QUAD_BYTES;
            if (count > 2) EQ_FORGET(record); /* registers are for sums: activations are loaded where they are used */
            EQ_UNROLL
            for (int i = 0; i < side; i++) {
                if (EQ_QUAD_HALVES && f.halves) { /* m: the scales of the last 16 */
                    acc[r + i][t] = v_fma(q_dot_first(v[i], record), v_mul(d[i], x_scale(record)), acc[r + i][t]);
                    acc[r + i][t] = v_fma(q_dot_last(v[i], record), v_mul(m[i], x_scale(record)), acc[r + i][t]);
                    continue;
                }
                acc[r + i][t] = v_fma(q_dot(v[i], x_quad(record, f.offset)), v_mul(d[i], x_scale(record)), acc[r + i][t]);
                if (f.mins) acc[r + i][t] = v_fma(m[i], x_sums(record), acc[r + i][t]);
            }
        }
    }
}

/* `rows` rows with `count` tokens from `first`. */
EQ_INLINE void quads_block(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, const int rows, int first,
                           const int count, float *tile) {
    int64_t groups = a->width / 32, stride = groups / f.groups * f.block_bytes, whole = groups / 4, steps = (groups + 3) / 4;
    const uint8_t *data = (const uint8_t *)w->data + row * stride;
    const int8_t *x[EQ_BATCH];
    vf acc[EQ_ROWS][EQ_BATCH];
    for (int t = 0; t < count; t++) x[t] = a->quads + token(a, first + t) * steps * EQ_QUAD_BYTES;
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) acc[r][t] = v_zero();
    for (int64_t s = 0; s < whole; s++) quads_step(f, data, groups, s, 4, rows, x, count, acc);
    if (f.groups == 1 && groups % 4 == 1) quads_step(f, data, groups, whole, 1, rows, x, count, acc);
    else if (f.groups < 4 && groups % 4 == 2) quads_step(f, data, groups, whole, 2, rows, x, count, acc);
    else if (f.groups == 1 && groups % 4 == 3) quads_step(f, data, groups, whole, 3, rows, x, count, acc);
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) tile[r * a->tokens + token(a, first + t)] = v_sum(acc[r][t]);
}

#ifdef EQ_QUAD_WORDS
/* --- four blocks, with their scales and mins; the layouts are those of formats.inc.h --------------- */

/* Where 16-bit word `word` of block i is in two loads of 64 bytes, from the first block's begin and from byte `second` */
#define EQ_WORD(i, bytes, second, word) \
    (i * bytes + 2 * word + 2 <= 64 ? i * bytes / 2 + word : 32 + (i * bytes - second) / 2 + word)
#define EQ_FOUR(i, bytes, second, word)                                                       \
    EQ_WORD(i, bytes, second, word), EQ_WORD(i, bytes, second, word), EQ_WORD(i, bytes, second, word), \
        EQ_WORD(i, bytes, second, word)
#define EQ_ALL(bytes, second, word) \
    EQ_FOUR(0, bytes, second, word), EQ_FOUR(1, bytes, second, word), EQ_FOUR(2, bytes, second, word), EQ_FOUR(3, bytes, second, word)
/* the scale in 4 lanes for each block, then what follows it */
#define EQ_HEADS(name, bytes, second) \
    static const uint16_t name##_heads[32] = {EQ_ALL(bytes, second, 0), EQ_ALL(bytes, second, 1)}
EQ_HEADS(q4_0, 18, 8);
EQ_HEADS(q4_1, 20, 16);
EQ_HEADS(q5_0, 22, 24);
EQ_HEADS(q5_1, 24, 32);
EQ_HEADS(q8_0, 34, 68);
#undef EQ_HEADS
/* 8 words of each block: those that hold its 16 bytes of nibbles; or those of its fifth bits, over and over */
#define EQ_RUN(i, bytes, second, word)                                                                              \
    EQ_WORD(i, bytes, second, word), EQ_WORD(i, bytes, second, (word + 1)), EQ_WORD(i, bytes, second, (word + 2)),   \
        EQ_WORD(i, bytes, second, (word + 3)), EQ_WORD(i, bytes, second, (word + 4)), EQ_WORD(i, bytes, second, (word + 5)), \
        EQ_WORD(i, bytes, second, (word + 6)), EQ_WORD(i, bytes, second, (word + 7))
#define EQ_NIBBLES(name, bytes, second, word)                                                                    \
    static const uint16_t name##_nibbles[32] = {EQ_RUN(0, bytes, second, word), EQ_RUN(1, bytes, second, word), \
                                                EQ_RUN(2, bytes, second, word), EQ_RUN(3, bytes, second, word)}
EQ_NIBBLES(q4_0, 18, 8, 1);
EQ_NIBBLES(q4_1, 20, 16, 2);
EQ_NIBBLES(q5_0, 22, 24, 3);
EQ_NIBBLES(q5_1, 24, 32, 4);
#undef EQ_NIBBLES
#undef EQ_RUN
#define EQ_EIGHT(i, bytes, second, word) EQ_FOUR(i, bytes, second, word), EQ_FOUR(i, bytes, second, word)
#define EQ_BITS(name, bytes, second, word)                                                                    \
    static const uint16_t name[32] = {EQ_EIGHT(0, bytes, second, word), EQ_EIGHT(1, bytes, second, word), \
                                      EQ_EIGHT(2, bytes, second, word), EQ_EIGHT(3, bytes, second, word)}
EQ_BITS(q5_0_first, 22, 24, 1);
EQ_BITS(q5_0_last, 22, 24, 2);
EQ_BITS(q5_1_first, 24, 32, 2);
EQ_BITS(q5_1_last, 24, 32, 3);
#undef EQ_BITS
#undef EQ_EIGHT
#undef EQ_ALL
#undef EQ_FOUR
#undef EQ_WORD

EQ_INLINE w128 q4_0_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    __m512i ends[2];
    q_begin(p, 18, blocks, 8, ends);
    q_heads(ends, q4_0_heads, d, m);
    return q_sub(q_nibbles(q_words(ends, q4_0_nibbles)), 8);
}
EQ_INLINE w128 q4_1_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    __m512i ends[2];
    q_begin(p, 20, blocks, 16, ends);
    q_heads(ends, q4_1_heads, d, m);
    return q_nibbles(q_words(ends, q4_1_nibbles));
}
EQ_INLINE w128 q5_0_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    __m512i ends[2];
    q_begin(p, 22, blocks, 24, ends);
    q_heads(ends, q5_0_heads, d, m);
    return q_sub_unless(q_nibbles(q_words(ends, q5_0_nibbles)), q_words(ends, q5_0_first), q_words(ends, q5_0_last), 16);
}
EQ_INLINE w128 q5_1_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    __m512i ends[2];
    q_begin(p, 24, blocks, 32, ends);
    q_heads(ends, q5_1_heads, d, m);
    return q_add_if(q_nibbles(q_words(ends, q5_1_nibbles)), q_words(ends, q5_1_first), q_words(ends, q5_1_last), 16);
}
EQ_INLINE w128 q8_0_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    __m512i ends[2];
    q_begin(p, 34, blocks, 68, ends);
    q_heads(ends, q8_0_heads, d, m);
    return q_signed(q_gather(p + 2, 34, blocks), q_gather(p + 18, 34, blocks));
}
EQ_INLINE w128 iq4_nl_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    __m512i ends[2];
    q_begin(p, 18, blocks, 8, ends);
    q_heads(ends, q4_0_heads, d, m);
    __m512i x = q_words(ends, q4_0_nibbles);
    return q_signed(q_table(x, 0, iq4_values), q_table(x, 4, iq4_values));
}
EQ_INLINE w128 mxfp4_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    __m512i x = q_gather(p + 1, 17, blocks);
    *d = q_e8m0(p, blocks);
    *m = v_zero();
    return q_signed(q_table(x, 0, e2m1_values), q_table(x, 4, e2m1_values));
}
EQ_INLINE w128 nvfp4_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    const uint8_t *last = p + (blocks > 2 ? 36 : 0);
    __m512i x = q_two(p + 4, last + 4), low = q_table(x, 0, e2m1_values), high = q_table(x, 4, e2m1_values);
    q_ue4m3(p, last, d, m);
    return q_signed(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
}
EQ_INLINE w128 q1_0_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    __m512i x = q_each(p + 2);
    (void)blocks;
    *d = v_half_all(p);
    *m = v_zero();
    w128 ones = {{_mm512_set1_epi16(1), _mm512_set1_epi16(1), _mm512_set1_epi16(1), _mm512_set1_epi16(1)}};
    return q_sub_unless(ones, q_spread(x, 0x0100), q_spread(x, 0x0302), 2);
}
EQ_INLINE w128 q2_0_quads(const uint8_t *p, int blocks, vf *d, vf *m) {
    const uint8_t *last = p + (blocks > 2 ? 18 : 0);
    *d = _mm512_mask_blend_ps(0xFF00, v_half_all(p), v_half_all(last));
    *m = v_zero();
    return q_sub(q_pairs(p + 2, last + 2), 1);
}
/* blocks of 256 have none */
#define q2_k_quads NULL
#define q3_k_quads NULL
#define q4_k_quads NULL
#define q5_k_quads NULL
#define q6_k_quads NULL
#define iq4_xs_quads NULL
#define tq1_0_quads NULL
#define tq2_0_quads NULL
#endif
