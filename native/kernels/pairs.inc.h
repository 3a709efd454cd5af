/* Rows in pairs, for formats with blocks of 256 and a vocabulary with 64-byte vectors and dot products of bytes (EQ_PAIRS;
 * rows of smaller blocks: quads.inc.h): a vector holds 32 weights of one row and the same 32 of the next as unsigned bytes,
 * and meets the high and the low bytes of 32 activations. What the unsigned weights are too large by (`offset`) is taken
 * off where the sums start. All integers are exact. */

#define EQ_INDEX(j) {j, j, j, j, j, j, j, j, 8 + j, 8 + j, 8 + j, 8 + j, 8 + j, 8 + j, 8 + j, 8 + j}
static const int32_t scale_of[8][16] = { /* the scale of group j: 8 lanes for either row */
    EQ_INDEX(0), EQ_INDEX(1), EQ_INDEX(2), EQ_INDEX(3), EQ_INDEX(4), EQ_INDEX(5), EQ_INDEX(6), EQ_INDEX(7)};
#undef EQ_INDEX
#define EQ_HALF(j) 2 * j, 2 * j, 2 * j, 2 * j, 2 * j + 1, 2 * j + 1, 2 * j + 1, 2 * j + 1
static const int32_t scales_of[8][16] = { /* the two scales of group j: 4 lanes each, of the first row and of the second */
#define EQ_INDEX(j) {EQ_HALF(j), EQ_HALF((8 + j))}
    EQ_INDEX(0), EQ_INDEX(1), EQ_INDEX(2), EQ_INDEX(3), EQ_INDEX(4), EQ_INDEX(5), EQ_INDEX(6), EQ_INDEX(7)};
#undef EQ_INDEX
#undef EQ_HALF

/* `pairs` pairs of rows with `count` tokens from `first`; `alone`: there is no second row. */
EQ_INLINE void pairs_block(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, const int pairs,
                           const int alone, int first, const int count, float *tile) {
    int64_t blocks = w->cols / (32 * f.groups), stride = blocks * f.block_bytes, groups = a->width / 32;
    const uint8_t *data = (const uint8_t *)w->data + row * stride;
    const int64_t second = alone ? 0 : stride;
    vf acc[2][4];
    v8 minima[2][2][4];
    for (int p = 0; p < pairs; p++)
        for (int t = 0; t < count; t++) acc[p][t] = v_zero(), minima[p][0][t] = minima[p][1][t] = v8_zero();
    for (int64_t b = 0; b < blocks; b++) {
        const uint8_t *block[2][2];
        vf many[2][4], more[2][4];
        for (int p = 0; p < pairs; p++) {
            block[p][0] = data + 2 * p * stride + b * f.block_bytes;
            block[p][1] = block[p][0] + second;
            for (int r = 0; r < 2; r++)
                for (int64_t i = 0; i < f.block_bytes; i += 64)
                    EQ_PREFETCH(data + (2 * (pairs * b + p) + r) * f.block_bytes + i + EQ_AHEAD);
            float s[2][16], m[2][16];
            for (int r = 0; r < 2; r++) f.scales(block[p][r], s[r], m[r]);
            for (int t = 0; t < count; t++) {
                int64_t at = (first + t) * groups + b * f.groups;
                if (f.halves) many[p][t] = s_half(s[0], a->scale + at), more[p][t] = s_half(s[1], a->scale + at);
                else many[p][t] = s_pair(s[0], s[1], a->scale + at);
                for (int r = 0; r < 2 && f.mins; r++)
                    for (int h = 0; h < 1 + f.halves; h++)
                        minima[p][r][t] = v8_fma(m[r] + 8 * h, f.halves ? a->sum + 2 * at + 8 * h : a->sum32 + at,
                                                 minima[p][r][t]);
            }
        }
        EQ_UNROLL
        for (int j = 0; j < f.groups; j++) {
            xpair x[4];
            for (int t = 0; t < count; t++)
                x[t] = x_twice(a->q + 32 * ((first + t) * groups + b * f.groups + j), f.offset);
            for (int p = 0; p < pairs; p++) {
                w64 v = f.pairs(block[p][0], block[p][1], j);
                for (int t = 0; t < count; t++) {
                    vf s = f.halves ? v_choose2(many[p][t], scales_of[j], more[p][t]) : v_choose(many[p][t], scale_of[j]);
                    acc[p][t] = v_fma(p_dot(v, x[t]), s, acc[p][t]);
                }
            }
        }
    }
    for (int p = 0; p < pairs; p++)
        for (int r = 0; r < 2 - alone; r++)
            for (int t = 0; t < count; t++)
                tile[(2 * p + r) * a->tokens + first + t] = v8_sum(v_row(acc[p][t], r)) + v8_sum(minima[p][r][t]);
}

EQ_INLINE void pairs_linear(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, float *tile) {
    for (int64_t row = row0; row < row1;) {
        int64_t rows = row1 - row >= 4 ? 4 : row1 - row >= 2 ? 2 : 1;
        float *out = tile + (row - row0) * a->tokens;
        for (int t = 0; t < a->tokens;) {
            int left = a->tokens - t;
            if (rows == 4 && left >= 4) pairs_block(f, w, a, row, 2, 0, t, 4, out), t += 4;
            else if (rows == 4 && left >= 2) pairs_block(f, w, a, row, 2, 0, t, 2, out), t += 2;
            else if (rows == 4) pairs_block(f, w, a, row, 2, 0, t, 1, out), t += 1;
            else if (rows == 2) pairs_block(f, w, a, row, 1, 0, t, 1, out), t += 1;
            else pairs_block(f, w, a, row, 1, 1, t, 1, out), t += 1;
        }
        row += rows;
    }
}

/* --- weights j of two blocks as unsigned bytes; the layouts are those of formats.inc.h ------------------------------ */

static const uint8_t iq4_unsigned[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241}; /* + 128 */

EQ_INLINE w64 q4_0_pairs(const uint8_t *b0, const uint8_t *b1, int j) { (void)j; return p_nibbles(b0 + 2, b1 + 2); }
EQ_INLINE w64 q4_1_pairs(const uint8_t *b0, const uint8_t *b1, int j) { (void)j; return p_nibbles(b0 + 4, b1 + 4); }
EQ_INLINE w64 q5_0_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    (void)j;
    return p_add_if(p_nibbles(b0 + 6, b1 + 6), u32(b0 + 2), u32(b1 + 2), 16);
}
EQ_INLINE w64 q5_1_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    (void)j;
    return p_add_if(p_nibbles(b0 + 8, b1 + 8), u32(b0 + 4), u32(b1 + 4), 16);
}
EQ_INLINE w64 q8_0_pairs(const uint8_t *b0, const uint8_t *b1, int j) { (void)j; return p_signed(b0 + 2, b1 + 2); }
EQ_INLINE w64 iq4_nl_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    (void)j;
    return p_table(p_nibbles(b0 + 2, b1 + 2), iq4_unsigned);
}
EQ_INLINE w64 iq4_xs_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    return p_table(p_nibbles(b0 + 8 + 16 * j, b1 + 8 + 16 * j), iq4_unsigned);
}
EQ_INLINE w64 q4_k_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    return p_bits(b0 + 16 + 32 * (j / 2), b1 + 16 + 32 * (j / 2), 4 * (j & 1), 15);
}
EQ_INLINE w64 q5_k_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    w64 low = p_bits(b0 + 48 + 32 * (j / 2), b1 + 48 + 32 * (j / 2), 4 * (j & 1), 15);
    return p_or_shifted(low, p_bits(b0 + 16, b1 + 16, j, 1), 4);
}
EQ_INLINE w64 q6_k_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    int part = j / 4, k = j % 4, low = 64 * part + 32 * (k & 1), high = 128 + 32 * part;
    return p_or_shifted(p_bits(b0 + low, b1 + low, 4 * (k / 2), 15), p_bits(b0 + high, b1 + high, 2 * k, 3), 4);
}
EQ_INLINE w64 q2_k_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    return p_bits(b0 + 16 + 32 * (j / 4), b1 + 16 + 32 * (j / 4), 2 * (j % 4), 3);
}
EQ_INLINE w64 q3_k_pairs(const uint8_t *b0, const uint8_t *b1, int j) {
    w64 low = p_bits(b0 + 32 + 32 * (j / 4), b1 + 32 + 32 * (j / 4), 2 * (j % 4), 3);
    return p_or_shifted(low, p_bits(b0, b1, j, 1), 2);
}
