/* The most multiply-adds that this variant can do: independent sums in registers, operands in the first cache.
 * What is added up has a known total, so that a caller sees that the counted work was done. */

#define PEAK_VECTOR 64 /* bytes: at least as many as any vector has */
enum { PEAK_X = 3, PEAK_W = 4, PEAK_STEPS = 8 }; /* PEAK_X * PEAK_W sums: enough to hide the latency of each */

/* Bytes: a product is 6. The result: products that were added. */
static int64_t peak_bytes(int64_t rounds, double *total) {
    _Alignas(64) int8_t x[PEAK_STEPS * PEAK_X * PEAK_VECTOR];
    uint8_t w[PEAK_STEPS * PEAK_W * 4];
    memset(x, 3, sizeof x);
    memset(w, 2, sizeof w);
    vi sum[PEAK_W][PEAK_X];
    for (int i = 0; i < PEAK_W; i++)
        for (int j = 0; j < PEAK_X; j++) sum[i][j] = i_zero();
    EQ_UNROLL /* GCC 12 copies all sums at the end */
    for (int64_t r = 0; r < rounds; r++) {
        const int step = (int)(r % PEAK_STEPS); /* new operands each time, or a compiler multiplies once for all */
        vx a[PEAK_X];
        for (int j = 0; j < PEAK_X; j++) a[j] = x_load(x + (step * PEAK_X + j) * PEAK_VECTOR);
        for (int i = 0; i < PEAK_W; i++) {
            vw b = x_four(w + (step * PEAK_W + i) * 4);
            EQ_HOLD(b);
            for (int j = 0; j < PEAK_X; j++) sum[i][j] = i_dot(sum[i][j], b, a[j]);
        }
    }
    int32_t lanes[sizeof sum / 4];
    memcpy(lanes, sum, sizeof sum);
    *total = 0.0;
    for (size_t i = 0; i < sizeof sum / 4; i++) *total += lanes[i];
    return rounds * PEAK_W * PEAK_X * EQ_VL * 4;
}

/* float32: a product is 1. */
static int64_t peak_floats(int64_t rounds, double *total) {
    _Alignas(64) float x[PEAK_STEPS * PEAK_X * PEAK_VECTOR / 4], w[PEAK_STEPS * PEAK_W * PEAK_VECTOR / 4];
    for (size_t i = 0; i < sizeof x / 4; i++) x[i] = 2.0f;
    for (size_t i = 0; i < sizeof w / 4; i++) w[i] = 0.5f;
    vf sum[PEAK_W][PEAK_X];
    for (int i = 0; i < PEAK_W; i++)
        for (int j = 0; j < PEAK_X; j++) sum[i][j] = v_zero();
    for (int64_t r = 0; r < rounds; r++) {
        const int step = (int)(r % PEAK_STEPS);
        vf a[PEAK_X];
        for (int j = 0; j < PEAK_X; j++) a[j] = v_load(x + (step * PEAK_X + j) * PEAK_VECTOR / 4);
        for (int i = 0; i < PEAK_W; i++) {
            const vf b = v_load(w + (step * PEAK_W + i) * PEAK_VECTOR / 4);
            for (int j = 0; j < PEAK_X; j++) sum[i][j] = v_fma(a[j], b, sum[i][j]);
        }
    }
    float lanes[sizeof sum / 4];
    memcpy(lanes, sum, sizeof sum);
    *total = 0.0;
    for (size_t i = 0; i < sizeof sum / 4; i++) *total += lanes[i];
    return rounds * (int64_t)(sizeof sum / 4);
}

/* bf16: a product is 1; four tiles of sums, as in tiles_micro. A number of a tile gets 32 a round. */
static int64_t peak_tiles(int64_t rounds, double *total) {
    *total = 0.0;
#ifdef EQ_TILES
    enum { EXACT = 1 << 19 }; /* rounds whose sums a float32 holds */
    _Alignas(64) uint16_t x[2][512];
    _Alignas(64) float sum[256];
    for (int i = 0; i < 512; i++) x[0][i] = 0x4000, x[1][i] = 0x3F00; /* 2 and 0.5 */
    t_begin();
    t_written();
    t_load(4, x[0], 64);
    t_load(5, x[0], 64);
    t_load(6, x[1], 64);
    t_load(7, x[1], 64);
    for (int64_t done = 0; done < rounds; done += EXACT) {
        t_zero(0);
        t_zero(1);
        t_zero(2);
        t_zero(3);
        for (int64_t r = done; r < rounds && r < done + EXACT; r++) {
            t_dot(0, 4, 6);
            t_dot(1, 4, 7);
            t_dot(2, 5, 6);
            t_dot(3, 5, 7);
        }
        for (int i = 0; i < 4; i++) {
            if (i == 0) t_store(0, sum, 64);
            else if (i == 1) t_store(1, sum, 64);
            else if (i == 2) t_store(2, sum, 64);
            else t_store(3, sum, 64);
            for (int j = 0; j < 256; j++) *total += sum[j];
        }
    }
    t_end();
    return rounds * 4 * 16 * 16 * 32;
#else
    return (void)rounds, -1;
#endif
}

/* Totals are exact up to EQ_PEAK_ROUNDS rounds: a lane gets 24 of bytes and 1 of floats a round. */
static int64_t peak(int32_t kind, int64_t rounds, double *total) {
    if (kind == EQ_PEAK_TILES) return peak_tiles(rounds, total);
    return kind == EQ_PEAK_INT8 ? peak_bytes(rounds, total) : peak_floats(rounds, total);
}
