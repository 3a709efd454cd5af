/* Small batches, of more than EQ_MEET tokens, for a vocabulary with EQ_PLANES: weights as int16 meet activations as int16, which
 * takes less than two planes once the weights are widened for enough tokens. Four rows and four groups are a step here too, and
 * its sums are those of planes.inc.h, in their order: the number of tokens changes no bit. Tokens pass one by one while a step's
 * weights are in registers; EQ_SET rows pass while a stretch of all tokens' activations is in the nearest cache. */

#define EQ_SET 32  /* rows */
#define EQ_PASS 16 /* tokens */

/* A step of four rows, whose blocks are at b, with `count` tokens, the records of which begin at x. */
EQ_INLINE void batch_step(const eq_layout f, const uint8_t *const *b, const int half, const int groups, const eq_meeting *m,
                          const int8_t *x, int count, vf *acc) {
    i128 w[4];
    for (int r = 0; r < 4; r++) {
        const uint8_t *block = b[r];
        EQ_FORGET(block);
        w[r] = q_widened(meet_weights(f, block, r, half, groups, m));
        EQ_HOLD(w[r].a);
        EQ_HOLD(w[r].b);
        EQ_HOLD(w[r].c);
        EQ_HOLD(w[r].d);
    }
    s128 scale = f.groups < 8 ? f.heads(b, groups) : q_scales(m->scales, half, f.halves, f.mins);
    for (int t = 0; t < count; t++, x += EQ_QUAD_BYTES) {
        vf sum = acc[t];
        EQ_UNROLL
        for (int h = 0; h < 1 + f.halves; h++) {
            __m512i sums[4];
            for (int r = 0; r < 4; r++) sums[r] = q_sums_words(w[r], x, h, 2 - f.halves);
            sum = meet_sums(f, sums, h, &scale, x, sum);
            EQ_HOLD(sum);
        }
        acc[t] = sum;
    }
}

/* `rows` rows with `count` tokens from `first`; tile: of these rows. */
EQ_INLINE void batch_rows(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, int rows, int first, int count,
                          float *tile) {
    const int64_t groups = a->width / 32, steps = (groups + 3) / 4, stride = groups / f.groups * f.block_bytes;
    const int64_t bytes = 4 * f.block_bytes / f.groups; /* of a step and row */
    const uint8_t *data = (const uint8_t *)w->data + row * stride;
    vf acc[EQ_SET / 4][EQ_PASS];
    for (int i = 0; 4 * i < rows; i++)
        for (int t = 0; t < count; t++) acc[i][t] = v_zero();
    for (int64_t s = 0; s < steps; s += 2)
        for (int i = 0; 4 * i < rows; i++) {
            const uint8_t *b[4];
            for (int r = 0; r < 4; r++) {
                b[r] = data + (4 * i + r < rows ? 4 * i + r : rows - 1) * stride + s * bytes;
                for (int64_t j = 0; j < 2 * bytes; j += 64) { /* of the four rows that come next, and of the next set */
                    EQ_PREFETCH(b[r] + 4 * stride + j);
                    EQ_PREFETCH_FAR(b[r] + rows * stride + j);
                }
            }
            eq_meeting m;
            if (f.groups == 8) meet_block(f, b, &m);
            for (int n = 0; n < 2 && s + n < steps; n++) {
                const int8_t *x = quad_record(a, first, 4 * (s + n));
                const int64_t left = groups - 4 * (s + n);
                if (f.groups == 8 && n == 0) batch_step(f, b, 0, 4, &m, x, count, acc[i]);
                else if (f.groups == 8) batch_step(f, b, 1, 4, &m, x, count, acc[i]);
                else if (left >= 4) batch_step(f, b, 0, 4, NULL, x, count, acc[i]);
                else if (f.groups == 1 && left == 1) batch_step(f, b, 0, 1, NULL, x, count, acc[i]);
                else if (f.groups < 4 && left == 2) batch_step(f, b, 0, 2, NULL, x, count, acc[i]);
                else if (f.groups == 1) batch_step(f, b, 0, 3, NULL, x, count, acc[i]);
                for (int r = 0; r < 4 && f.groups < 8; r++) b[r] += bytes;
            }
        }
    for (int i = 0; 4 * i < rows; i++) {
        const int some = rows - 4 * i < 4 ? rows - 4 * i : 4;
        float *out = tile + 4 * i * a->tokens + first;
        int t = 0;
        for (; t + 4 <= count; t += 4) v_store_rows4(acc[i] + t, some, out + t, a->tokens);
        for (; t < count; t++) v_store_rows(acc[i][t], some, out + t, a->tokens);
    }
}

EQ_INLINE void batch_linear(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, float *tile) {
    for (int64_t row = row0; row < row1; row += EQ_SET)
        for (int t = 0; t < a->tokens; t += EQ_PASS)
            batch_rows(f, w, a, row, (int)(row1 - row < EQ_SET ? row1 - row : EQ_SET), t, a->tokens - t < EQ_PASS ? a->tokens - t : EQ_PASS,
                 tile + (row - row0) * a->tokens);
}
