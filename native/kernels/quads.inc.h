/* Rows for formats whose blocks are 32, 64 or 128 weights, and 256 where a weight is a whole byte, for a vocabulary with EQ_QUADS:
 * four groups of 32 of a row at a time, `blocks` of them where a row ends. Lanes hold the sums of either half of each, so that
 * scales and mins of all four are applied at once. Integers are exact. */

_Static_assert(EQ_QUAD_BYTES <= EQ_QUADS_ROOM, "activations of four groups have to fit their place");

/* Weights of four groups, with their scales and mins; in place of missing ones the last's, which meet activations of 0. half: of
 * a block of 256 that they are. */
EQ_INLINE w128 quad(const eq_layout f, const uint8_t *p, const int half, const int blocks, vf *d, vf *m) {
    w128 v;
    for (int i = 0; i < 4; i++) {
        const int g = i < blocks ? i : blocks - 1;
        v.block[i] = f.values(p + g / f.groups * f.block_bytes, g % f.groups + 4 * half);
    }
    if (f.groups == 8) {
        const scales256 both = f.scales256(p);
        *d = v_four(both.s[0] >> 32 * half, both.d), *m = v_zero();
        return v;
    }
    *d = f.scales == mxfp4_scales   ? v_e8m0(p, f.block_bytes, blocks)
         : f.scales == nvfp4_scales ? v_ue4m3(p, f.block_bytes, blocks)
                                    : v_halves(p, f.block_bytes, blocks, f.groups);
    *m = f.mins ? v_halves(p + 2, f.block_bytes, blocks, 1) : v_zero();
    return v;
}

/* Step s, `blocks` blocks, of `rows` rows with `count` tokens, each having `x` for its first step. */
EQ_INLINE void quads_step(const eq_layout f, const uint8_t *data, int64_t groups, int64_t s, const int half, const int blocks,
                          const int rows, const int8_t *const *x, const int count, vf (*acc)[EQ_BATCH]) {
    const int64_t stride = groups / f.groups * f.block_bytes;
    const int64_t at = s * f.block_bytes * 4 / f.groups - half * (f.block_bytes / 2); /* of the step's first block */
    const int bytes = f.block_bytes * 4 / f.groups;
    const int side = count > 1 && rows > 1 ? 2 : 1; /* rows that share what they load of a token */
    EQ_UNROLL
    for (int r = 0; r < rows; r += side) {
        vf d[2], m[2];
        w128 v[2];
        EQ_UNROLL
        for (int i = 0; i < side; i++) {
            const uint8_t *block = data + (r + i) * stride + at;
            eq_ask(data + (rows * s + r + i) * bytes + eq_ahead(stride), bytes);
            v[i] = quad(f, block, half, blocks, &d[i], &m[i]);
        }
        EQ_UNROLL
        for (int t = 0; t < count; t++) {
            const int8_t *record = x[t] + s * EQ_QUAD_BYTES;
            if (count > 2) EQ_FORGET(record); /* registers are for sums: activations are loaded where they are used */
            EQ_UNROLL
            for (int i = 0; i < side; i++) {
                acc[r + i][t] = v_fma(q_dot(v[i], x_quad(record, f.offset)), v_mul(d[i], x_scale(record)), acc[r + i][t]);
                if (f.mins) acc[r + i][t] = v_fma(m[i], x_sums(record), acc[r + i][t]);
            }
        }
    }
}

/* `rows` rows with `count` tokens from `first`. */
EQ_INLINE void quads_block(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, const int rows, int first,
                           const int count, float *tile) {
    int64_t groups = a->width / 32, stride = groups / f.groups * f.block_bytes, whole = groups / 4;
    const uint8_t *data = (const uint8_t *)w->data + row * stride;
    const int8_t *x[EQ_BATCH];
    vf acc[EQ_ROWS][EQ_BATCH];
    for (int t = 0; t < count; t++) x[t] = quad_record(a, token(a, first + t), 0);
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) acc[r][t] = v_zero();
    for (int64_t s = 0; s < whole; s++) {
        quads_step(f, data, groups, s, 0, 4, rows, x, count, acc);
        if (f.groups == 8) quads_step(f, data, groups, ++s, 1, 4, rows, x, count, acc);
    }
    if (f.groups == 1 && groups % 4 == 1) quads_step(f, data, groups, whole, 0, 1, rows, x, count, acc);
    else if (f.groups < 4 && groups % 4 == 2) quads_step(f, data, groups, whole, 0, 2, rows, x, count, acc);
    else if (f.groups == 1 && groups % 4 == 3) quads_step(f, data, groups, whole, 0, 3, rows, x, count, acc);
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) tile[r * a->tokens + token(a, first + t)] = v_sum(acc[r][t]);
}
