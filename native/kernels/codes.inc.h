/* Rows for formats with codebooks, for a vocabulary with EQ_QUAD_WORDS: as blocks.inc.h, but what is looked up for a block
 * serves both halves. The largest, |q| <= 62 times a scale of up to 31, is less than what blocks.inc.h allows for. */

EQ_INLINE void codes_block(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row, const int rows, int first,
                           const int count, float *tile) {
    const int side = count == 1 ? rows : count == 2 && rows > 1 ? 2 : 1; /* rows side by side, so that none waits for its own results */
    int64_t blocks = w->cols / 256, stride = blocks * f.block_bytes;
    const uint8_t *data = (const uint8_t *)w->data + row * stride;
    int64_t at[EQ_BATCH];
    vf acc[EQ_ROWS][EQ_BATCH];
    for (int t = 0; t < count; t++) at[t] = token(a, first + t) * blocks;
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) acc[r][t] = v_zero();
    for (int64_t b = 0; b < blocks; b++)
        for (int r = 0; r < rows; r += side) {
            codes256 c[EQ_ROWS];
            s256 s[EQ_ROWS];
            float d[EQ_ROWS];
            vi sum[EQ_ROWS][2][EQ_BATCH]; /* two, so that one can begin before the other ends */
            EQ_UNROLL
            for (int i = 0; i < side; i++) {
                const uint8_t *block = data + (r + i) * stride + b * f.block_bytes;
                for (int64_t p = 0; p < f.block_bytes; p += 64) EQ_PREFETCH(data + (rows * b + r + i) * f.block_bytes + p + EQ_AHEAD);
                d[i] = f.codes(block, &c[i], &s[i]);
                for (int t = 0; t < count; t++) sum[i][0][t] = sum[i][1][t] = i_zero();
            }
            EQ_UNROLL
            for (int half = 0; half < 2; half++) {
                const int k = count < 8 ? half : 0; /* registers are few */
                EQ_UNROLL
                for (int i = 0; i < side; i++) {
                    b128 part = f.vectors(&c[i], half);
                    w128 v = f.halves ? q_times2(part, s[i], half) : q_times(part, s[i], half);
                    EQ_UNROLL
                    for (int t = 0; t < count; t++) {
                        const int8_t *x = a->quads + (2 * (at[t] + b) + half) * EQ_QUAD_BYTES;
                        EQ_FORGET(x); /* or eight addresses would be kept, in memory */
                        sum[i][k][t] = q_sums(sum[i][k][t], v, x);
                    }
                }
            }
            EQ_UNROLL
            for (int i = 0; i < side; i++)
                for (int t = 0; t < count; t++) {
                    vi all = _mm512_add_epi32(sum[i][0][t], sum[i][1][t]);
                    acc[r + i][t] = v_fma(i_float(all), v_set(d[i] * a->scale[8 * (at[t] + b)]), acc[r + i][t]);
                }
        }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) tile[r * a->tokens + token(a, first + t)] = v_sum(acc[r][t]);
}

/* --- what the codebooks say of a block, and its scales; weights of half of it ------------------------------------------- */

EQ_INLINE float iq2_xxs_codes(const uint8_t *b, codes256 *c, s256 *s) { /* 8 times: 4 bytes, 4 fields of 7 bits, 4 bits */
    __m512i x = _mm512_loadu_si512(b + 2);
    __m256i words = _mm512_cvtepi64_epi32(_mm512_srli_epi64(x, 32));
    c->codes[0] = c_256(eq_codes_iq2_xxs, _mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(x)));
    c_minus(c_even(c_sevens(words)), c->minus);
    *s = c_odd(_mm256_cvtepi32_epi8(_mm256_srli_epi32(words, 28)));
    return v_half(b) * 0.125f;
}
EQ_INLINE b128 iq2_xxs_vectors(const codes256 *c, int half) { return c_half8(c, half, _mm_set1_epi32(0x002B1908)); }

EQ_INLINE s256 iq2_numbers(const uint8_t *p) {
    return c_odd(c_nibbles(_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p))));
}
EQ_INLINE float iq2_xs_codes(const uint8_t *b, codes256 *c, s256 *s) { /* 32 times: 9 bits, 7 of signs */
    __m512i x = _mm512_loadu_si512(b + 2);
    c->codes[0] = c_512(eq_codes_iq2_xs, x);
    c_minus(c_even(_mm512_cvtepi16_epi8(_mm512_srli_epi16(x, 9))), c->minus);
    *s = iq2_numbers(b + 66);
    return v_half(b) * 0.125f;
}
#define iq2_xs_vectors iq2_xxs_vectors

EQ_INLINE float iq2_s_codes(const uint8_t *b, codes256 *c, s256 *s) { /* low bytes, signs, high pairs */
    _mm512_storeu_si512(c->index, _mm512_or_si512(c_bytes(b + 2), w_shl(w_pairs(b + 66), 8).a));
    c_minus(_mm256_loadu_si256((const __m256i *)(b + 34)), c->minus);
    *s = iq2_numbers(b + 74);
    return v_half(b) * 0.125f;
}
EQ_INLINE b128 iq2_s_vectors(const codes256 *c, int half) { return c_half8_of(eq_grid_iq2_s, c, half); }

EQ_INLINE float iq3_xxs_codes(const uint8_t *b, codes256 *c, s256 *s) { /* 64 bytes; 8 times 4 fields of 7 bits, 4 bits */
    __m256i words = _mm256_loadu_si256((const __m256i *)(b + 66));
    for (int i = 0; i < 2; i++) c->codes[i] = c_256(eq_codes_iq3_xxs, c_bytes(b + 2 + 32 * i));
    c_minus(c_even(c_sevens(words)), c->minus);
    *s = c_odd(_mm256_cvtepi32_epi8(_mm256_srli_epi32(words, 28)));
    return v_half(b) * 0.25f;
}
EQ_INLINE b128 iq3_xxs_vectors(const codes256 *c, int half) {
    return c_half4(c, half, _mm_set1_epi64x(0x3E342C241C140C04));
}

EQ_INLINE float iq3_s_codes(const uint8_t *b, codes256 *c, s256 *s) { /* low bytes, high bits, signs */
    for (int i = 0; i < 2; i++)
        c->codes[i] = c_512(eq_codes_iq3_s, w_add_if((w32){c_bytes(b + 2 + 32 * i)}, u32(b + 66 + 4 * i), 256).a);
    c_minus(_mm256_loadu_si256((const __m256i *)(b + 74)), c->minus);
    *s = c_odd(c_nibbles(_mm_cvtepu8_epi16(_mm_cvtsi32_si128((int)u32(b + 106)))));
    return v_half(b);
}
EQ_INLINE b128 iq3_s_vectors(const codes256 *c, int half) {
    return c_half4(c, half, _mm_set1_epi64x(0x0F0D0B0907050301));
}

EQ_INLINE float iq1_s_codes(const uint8_t *b, codes256 *c, s256 *s) { /* low bytes; 8 times 4 high fields of 3 bits, 3 bits, sign */
    const __m512i each = _mm512_broadcast_i32x4(_mm_set_epi8(9, 8, 9, 8, 9, 8, 9, 8, 1, 0, 1, 0, 1, 0, 1, 0));
    __m128i words = _mm_loadu_si128((const __m128i *)(b + 34));
    __m512i x = _mm512_shuffle_epi8(_mm512_cvtepu16_epi64(words), each);
    __m512i high = _mm512_sllv_epi16(x, _mm512_set1_epi64(0x0000000200050008)); /* bits 3 to 11 end in bits 8 to 10 */
    high = _mm512_mask_srli_epi16(high, 0x88888888, x, 1);
    high = _mm512_and_si512(high, _mm512_set1_epi16(0x0700));
    _mm512_storeu_si512(c->index, _mm512_or_si512(c_bytes(b + 2), high));
    c->more = c_eighth(_mm512_movepi16_mask(x));
    words = _mm_and_si128(_mm_srli_epi16(words, 12), _mm_set1_epi16(7));
    *s = c_odd(_mm_packus_epi16(words, words));
    return v_half(b) * 0.125f;
}
EQ_INLINE b128 iq1_s_vectors(const codes256 *c, int half) { return c_half3_of(eq_grid_iq1_s, c, half); }

EQ_INLINE float iq1_m_codes(const uint8_t *b, codes256 *c, s256 *s) { /* low bytes; nibbles of 3 high bits and a sign */
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(b + 32)));
    x = _mm512_or_si512(x, _mm512_slli_epi32(x, 12));
    __m512i high = _mm512_slli_epi16(_mm512_and_si512(x, _mm512_set1_epi16(7)), 8);
    _mm512_storeu_si512(c->index, _mm512_or_si512(c_bytes(b), high));
    c->more = c_eighth(_mm512_test_epi16_mask(x, _mm512_set1_epi16(8)));
    *s = c_odd(_mm_set_epi64x((int64_t)iq1_m_bytes(u32(b + 52)), (int64_t)iq1_m_bytes(u32(b + 48))));
    return iq1_m_scale(b) * 0.125f;
}
#define iq1_m_vectors iq1_s_vectors
