/* Rows for formats whose blocks are 256 weights, for a vocabulary with EQ_BLOCKS: a token's activations share one scale in each
 * block, so that the block's own scales stay integers and a row has one product in float32 for all 256 weights. Integers are
 * exact; blocks are summed in their order. */

_Static_assert(sizeof(x256) <= 2 * (EQ_QUADS_ROOM - EQ_QUAD_BYTES), "the activations of a block have to fit behind those of four groups");

/* Activations of token t for block b; behind what all tokens have for blocks of up to 128. */
EQ_INLINE x256 *block_record(const eq_act *a, int64_t t, int64_t b) {
    const int64_t steps = (a->width / 32 + 3) / 4;
    return (x256 *)(void *)(a->quads + a->tokens * steps * EQ_QUAD_BYTES) + t * (a->width / 256) + b;
}

/* `rows` rows with `count` tokens from `first`. */
EQ_INLINE void blocks_block(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, const int rows, int first,
                            const int count, float *tile) {
    const int64_t blocks = w->cols / 256, stride = blocks * f.block_bytes;
    const uint8_t *data = (const uint8_t *)w->data + row * stride;
    const x256 *x[EQ_BATCH];
    vf acc[EQ_ROWS][EQ_BATCH];
    for (int t = 0; t < count; t++) x[t] = block_record(a, token(a, first + t), 0);
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) acc[r][t] = v_zero();
    for (int64_t b = 0; b < blocks; b++)
        for (int r = 0; r < rows; r++) {
            const uint8_t *block = data + r * stride + b * f.block_bytes;
            eq_ask(data + (rows * b + r) * f.block_bytes + eq_ahead(stride), f.block_bytes);
            const scales256 both = f.scales256(block);
            const s256 scales = b_scales(both.s, f.halves), mins = b_scales(both.m, f.halves);
            const int offset = f.values(block, 0).is_signed ? 0 : f.offset; /* with signs there is none */
            d256 sums[EQ_BATCH];
            for (int t = 0; t < count; t++) sums[t] = b_begin(&x[t][b], scales, f.halves, offset);
            EQ_UNROLL
            for (int j = 0; j < 8; j++) {
                const b32 v = b_weights(f.values(block, j), f.offset);
                const __m256i scale = b_scale(scales, j, f.halves);
                for (int t = 0; t < count; t++) sums[t] = b_dot(sums[t], v, scale, &x[t][b], j);
            }
            for (int t = 0; t < count; t++) {
                acc[r][t] = b_fma(sums[t], both.d * x[t][b].scale, acc[r][t]);
                if (f.mins) acc[r][t] = b_fma(b_sums(&x[t][b], mins, f.halves), both.dmin * x[t][b].scale, acc[r][t]);
            }
        }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) tile[r * a->tokens + token(a, first + t)] = v_sum(acc[r][t]);
}

/* Natural activations [k, k + 256) of token t, rounded. */
EQ_INLINE void round_block(const eq_act *a, int64_t t, int64_t k) {
    const float *x = a->x + t * a->stride + k;
    x256 *to = block_record(a, t, k / 256);
    float largest = 0.0f; /* NaN where a value is not finite */
    for (int i = 0; i < 256; i += 32) {
        const float top = v_largest32(x + i);
        if (largest == largest && !(top <= largest)) largest = top;
    }
    to->scale = largest / 32512.0f;
    for (int g = 0; g < 8; g++) {
        int16_t q[32];
        int32_t sums[4];
        if (to->scale >= 1.17549435e-38f) w_round(x + 32 * g, 32512.0f / largest, q);
        else memset(q, 0, sizeof q); /* nothing a float holds, or not finite: then the scale says so */
        w_split(q, to->high + 32 * g, to->low + 32 * g, sums);
        for (int h = 0; h < 2; h++) { /* 65536 high + low */
            to->low_sums[2 * g + h] = (int16_t)sums[h];
            to->high_sums[2 * g + h] = (int16_t)((sums[h] - to->low_sums[2 * g + h]) / 65536);
        }
        to->high_sums32[g] = (int16_t)(to->high_sums[2 * g] + to->high_sums[2 * g + 1]);
        to->low_sums32[g] = (int16_t)(to->low_sums[2 * g] + to->low_sums[2 * g + 1]);
    }
}
