/* Linear layers for many tokens on tiles (simd/amx.h): some rows of weights become tiles of bf16, which meet blocks of 16
 * tokens, also bf16. Four tiles of 16 rows x 16 tokens sum in float32 over a panel's width; there are no scales left.
 *
 * packed: q as bf16 [T/16][K/2][16][2], one tile after the other; no other array of eq_act is used. */

enum { TILES_PANEL = 32, TILE_WORDS = 512 }; /* weight rows of a panel; bf16 numbers of a tile */

typedef struct {
    uint16_t w[TILES_PANEL / 16][EQ_KC / 32][16][32];
    float part[TILES_PANEL][32]; /* outputs of tiles that are not full */
    eq_panel bytes;
} eq_tiles;
_Static_assert(sizeof(eq_tiles) <= EQ_LINEAR_SCRATCH, "room of a thread for a linear kernel");

EQ_INLINE void tiles_unpack(const eq_layout f, const eq_tensor *w, int64_t row, int rows, int64_t k0, int64_t k1, eq_tiles *to) {
    eq_panel *p = &to->bytes;
    panel_unpack(f, w, row, rows, k0, k1, p);
    for (int r = 0; r < (rows + 15) / 16 * 16; r++)
        for (int64_t g = 0; g < (k1 - k0) / 32; g++) {
            uint16_t *at = to->w[r / 16][g][r % 16];
            if (r >= rows) {
                memset(at, 0, sizeof to->w[0][0][0]);
                continue;
            }
            const float *s = p->s[r] + (f.halves ? 2 * g : g), *m = p->m[r] + (f.halves ? 2 * g : g);
            vf x[2];
            for (int h = 0; h < 2; h++) { /* rounded like dequantized weights, then to bf16 */
                x[h] = v_mul(t_floats(p->w[r] + 32 * g + 16 * h, EQ_STORED(f.offset)), v_set(s[h * f.halves]));
                if (f.mins) x[h] = v_add(x[h], v_set(m[h * f.halves]));
            }
            t_store_bf16(at, x[0], x[1]);
        }
}

/* c [16 * down][to] = c, or 0 if `first`, + down x across tiles of products over `steps` times 32 weights; x: activations
 * of a block from the panel's first k on, `block` numbers before those of the next. */
EQ_INLINE void tiles_micro(const eq_tiles *p, const int down, const int across, int64_t steps, const uint16_t *x, int64_t block,
                           float *c, int64_t to, int first) {
    const int64_t row = 4 * to;
    t_written();
    if (first) {
        t_zero(0);
        if (across > 1) t_zero(1);
        if (down > 1) t_zero(2);
        if (down > 1 && across > 1) t_zero(3);
    } else {
        t_load(0, c, row);
        if (across > 1) t_load(1, c + 16, row);
        if (down > 1) t_load(2, c + 16 * to, row);
        if (down > 1 && across > 1) t_load(3, c + 16 * to + 16, row);
    }
    for (int64_t k = 0; k < steps; k++) {
        t_load(4, p->w[0][k], 64);
        t_load(6, x + k * TILE_WORDS, 64);
        t_dot(0, 4, 6);
        if (across > 1) t_load(7, x + block + k * TILE_WORDS, 64);
        if (across > 1) t_dot(1, 4, 7);
        if (down > 1) t_load(5, p->w[1][k], 64);
        if (down > 1) t_dot(2, 5, 6);
        if (down > 1 && across > 1) t_dot(3, 5, 7);
    }
    t_store(0, c, row);
    if (across > 1) t_store(1, c + 16, row);
    if (down > 1) t_store(2, c + 16 * to, row);
    if (down > 1 && across > 1) t_store(3, c + 16 * to + 16, row);
}

/* Tokens [t, t + count), count <= 32, with the panel's rows; c: their outputs [rows][to]. */
EQ_INLINE void tiles_block(eq_tiles *p, int rows, int64_t k0, int64_t k1, const eq_act *a, int64_t t, int count, float *c, int64_t to) {
    const uint16_t *x = (const uint16_t *)a->q + t * a->width + 16 * k0;
    const int64_t block = 16 * (int64_t)a->width, steps = (k1 - k0) / 32;
    const int whole = rows % 16 == 0 && count % 16 == 0;
    float *out = whole ? c : p->part[0];
    const int64_t stride = whole ? to : 32;
    for (int r = 0; r < rows && !whole; r++) memcpy(p->part[r], c + r * to, (size_t)count * 4);
    if (rows > 16 && count > 16) tiles_micro(p, 2, 2, steps, x, block, out, stride, k0 == 0);
    else if (rows > 16) tiles_micro(p, 2, 1, steps, x, block, out, stride, k0 == 0);
    else if (count > 16) tiles_micro(p, 1, 2, steps, x, block, out, stride, k0 == 0);
    else tiles_micro(p, 1, 1, steps, x, block, out, stride, k0 == 0);
    for (int r = 0; r < rows && !whole; r++) memcpy(c + r * to, p->part[r], (size_t)count * 4);
}

EQ_INLINE void tiles_linear(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, float *tile,
                            void *scratch) {
    enum { TURN = 1024 }; /* tokens that meet a panel before the next one is unpacked */
    eq_tiles *p = scratch;
    const int64_t to = a->tokens;
    t_begin();
    for (int64_t turn = 0; turn < to; turn += TURN)
        for (int64_t row = row0; row < row1; row += TILES_PANEL) {
            int rows = (int)(row1 - row < TILES_PANEL ? row1 - row : TILES_PANEL);
            for (int64_t k0 = 0; k0 < w->cols; k0 += EQ_KC) {
                int64_t k1 = k0 + EQ_KC < w->cols ? k0 + EQ_KC : w->cols;
                tiles_unpack(f, w, row, rows, k0, k1, p);
                for (int64_t t = turn; t < to && t < turn + TURN; t += 32) {
                    int count = (int)(to - t < 32 ? to - t : 32);
                    tiles_block(p, rows, k0, k1, a, t, count, tile + (row - row0) * to + t, to);
                }
            }
        }
    t_end();
}

/* Activations [k, k + 32) of token t, into the packed layout. */
EQ_INLINE void tiles_pack(const eq_act *a, int64_t t, int64_t k) {
    uint32_t *to = (uint32_t *)(void *)a->q + (t / 16 * a->width + k) / 2 * 16 + t % 16;
    t_activations(to, a->x + t * a->stride + k);
}
