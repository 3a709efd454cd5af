/* Dot products of a panel's rows with the token vectors of a block, over one group of `run` = 16 or 32 weights:
 * dot[row][vector], exact. Sums that the next instruction needs stay in registers; nothing else is kept in them. */

#ifndef EQ_STORED /* what the panel's weights are too large by; a vocabulary whose dot takes signed bytes keeps them so */
#define EQ_STORED(offset) 0
EQ_INLINE vi i_load(const int32_t *p) { (void)p; return i_zero(); }
#endif
#ifndef EQ_WORDS /* whether weights of so many bits are int16 in the panel, and their activations too */
#define EQ_WORDS(bits) 0
#endif
#ifndef EQ_HOLD /* made here, in a register: GCC 12 loads operands again for every product, and adds in its own order */
#define EQ_HOLD(v) ((void)0)
#endif
#ifndef EQ_PUT_BY /* in memory, where registers are few */
#define EQ_PUT_BY(v) ((void)0)
#endif

/* Weights and activations x as bytes: start + their products. */
#ifdef EQ_INT16_SUMS
EQ_INLINE void dots_bytes(const eq_layout f, const uint8_t *w, const int rows, const int8_t *x, const int run,
                          const int32_t *start, vi (*dot)[EQ_NV]) {
    const int most = f.bits <= 4 ? 32 : f.bits == 5 ? 16 : f.bits == 6 ? 8 : 4; /* so many weights' sums fit int16 */
    const int span = most < run ? most : run;
    EQ_UNROLL
    for (int i = 0; i < run; i += span) {
        vp sum[EQ_MR][EQ_NV];
        EQ_UNROLL
        for (int j = 0; j < span; j += 4) {
            vx v[EQ_NV];
            for (int n = 0; n < EQ_NV; n++) {
                v[n] = x_load(x + (i + j) * EQ_BLOCK_TOKENS + 4 * n * EQ_VL);
                EQ_HOLD(v[n]);
            }
            for (int r = 0; r < rows; r++) {
                vw four = x_four(w + r * EQ_KC + i + j);
                EQ_HOLD(four);
                for (int n = 0; n < EQ_NV; n++) {
                    vp two = p_products(four, v[n]);
                    sum[r][n] = j == 0 ? two : p_add(sum[r][n], two);
                    EQ_HOLD(sum[r][n]);
                }
            }
        }
        for (int r = 0; r < rows; r++)
            for (int n = 0; n < EQ_NV; n++) {
                vi from = i > 0 ? dot[r][n] : EQ_STORED(f.offset) ? i_load(start + n * EQ_VL) : i_zero();
                dot[r][n] = i_widen(from, sum[r][n]);
            }
    }
}
#else
EQ_INLINE void dots_bytes(const eq_layout f, const uint8_t *w, const int rows, const int8_t *x, const int run,
                          const int32_t *start, vi (*dot)[EQ_NV]) {
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < EQ_NV; n++) dot[r][n] = EQ_STORED(f.offset) ? i_load(start + n * EQ_VL) : i_zero();
    EQ_UNROLL
    for (int i = 0; i < run; i += 4) {
        vx v[EQ_NV];
        for (int n = 0; n < EQ_NV; n++) v[n] = x_load(x + i * EQ_BLOCK_TOKENS + 4 * n * EQ_VL);
        for (int r = 0; r < rows; r++) {
            vw four = x_four(w + r * EQ_KC + i);
            for (int n = 0; n < EQ_NV; n++) dot[r][n] = i_dot(dot[r][n], four, v[n]);
        }
    }
}
#endif

/* Weights and activations x as int16, x [run/2][EQ_BLOCK_TOKENS][2]. */
#ifdef EQ_INT16_SUMS
EQ_INLINE void dots_words(const int16_t *w, const int rows, const int16_t *x, const int run, vi (*dot)[EQ_NV]) {
    EQ_UNROLL
    for (int i = 0; i < run; i += 4) {
        EQ_UNROLL
        for (int j = i; j < i + 4; j += 2) {
            vx v[EQ_NV];
            for (int n = 0; n < EQ_NV; n++) {
                v[n] = x_load((const int8_t *)(x + j * EQ_BLOCK_TOKENS + 2 * n * EQ_VL));
                EQ_HOLD(v[n]);
            }
            for (int r = 0; r < rows; r++) {
                vw two = x_four((const uint8_t *)(w + r * EQ_KC / 2 + j));
                EQ_HOLD(two);
                for (int n = 0; n < EQ_NV; n++) {
                    dot[r][n] = j == 0 ? i_words(two, v[n]) : i_add(dot[r][n], i_words(two, v[n]));
                    EQ_HOLD(dot[r][n]);
                }
            }
        }
    }
}
#else
EQ_INLINE void dots_words(const int16_t *w, const int rows, const int16_t *x, const int run, vi (*dot)[EQ_NV]) {
    (void)w, (void)rows, (void)x, (void)run, (void)dot;
}
EQ_INLINE void w_store(int16_t *p, w32 w) { (void)p, (void)w; }
EQ_INLINE void x_words(const int8_t *high, const int8_t *low, int16_t *first, int16_t *second) {
    (void)high, (void)low, (void)first, (void)second;
}
#endif
