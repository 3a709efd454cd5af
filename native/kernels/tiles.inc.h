/* Linear layers for many tokens on tiles (simd/amx.h): some rows of weights become tiles of bf16, which meet blocks of 16
 * tokens, also bf16. Four tiles of 16 rows x 16 tokens sum in float32 over a panel's width; there are no scales left.
 *
 * A processor's tiles work beside its vectors. So a panel is unpacked while the one before it is multiplied, a little in
 * every step. The panel at hand stays in the nearest cache, and activations pass by: of a width that does not fit the second
 * cache, a part at a time meets all rows.
 *
 * packed: q as bf16 [T/16][K/2][16][2], one tile after the other; no other array of eq_act is used. */

enum { TILES_PANEL = 32, TILE_WORDS = 512 }; /* weight rows of a panel; bf16 numbers of a tile */

typedef uint16_t tiles_rows[EQ_KC / 32][16][32]; /* 16 rows of weights, tile after tile */
typedef struct {
    tiles_rows w[2][TILES_PANEL / 16]; /* the panel at hand and the next one, in turn */
    float part[TILES_PANEL][32]; /* outputs of tiles that are not full */
    float s[16], m[16];          /* of the block that is being unpacked */
} eq_tiles;
_Static_assert(sizeof(eq_tiles) <= EQ_LINEAR_SCRATCH, "room of a thread for a linear kernel");

/* Weights of rows [row, row + rows), from column k0 on some groups of 32; group g of row r is unpacked next. */
typedef struct {
    int64_t row, k0;
    int rows, groups, r, g;
    tiles_rows *to;
} tiles_panel;

/* Columns of a panel: parts of a row of one length, up to EQ_KC, that hold whole blocks. */
EQ_INLINE int64_t tiles_width(const eq_layout f, int64_t cols) {
    const int64_t parts = (cols + EQ_KC - 1) / EQ_KC, span = 32 * f.groups;
    return (cols / parts + span - 1) / span * span;
}

/* Panel i of `panels` for each part of rows [row0, row1); behind the last one, a panel without rows. */
EQ_INLINE tiles_panel tiles_nth(int64_t i, int64_t panels, int64_t row0, int64_t row1, int64_t width, int64_t cols, eq_tiles *room) {
    const int64_t row = row0 + i % panels * TILES_PANEL, k0 = i / panels * width;
    if (k0 >= cols) return (tiles_panel){0};
    return (tiles_panel){.row = row, .k0 = k0, .rows = (int)(row1 - row < TILES_PANEL ? row1 - row : TILES_PANEL),
                         .groups = (int)(cols - k0 < width ? cols - k0 : width) / 32, .to = room->w[i & 1]};
}

/* Unpacks `count` groups, or those that are left. Rows of a tile behind the panel's stay what they are: their outputs are
 * not looked at. */
EQ_INLINE void tiles_unpack(const eq_layout f, const eq_tensor *w, tiles_panel *p, int count, float *s, float *m) {
    const int64_t stride = w->cols / (32 * f.groups) * f.block_bytes;
    for (; count > 0 && p->r < p->rows; count--) {
        const int j = p->g % f.groups;
        const uint8_t *block = (const uint8_t *)w->data + (p->row + p->r) * stride + (p->k0 / 32 + p->g) / f.groups * f.block_bytes;
        if (j == 0) float_scales(f, block, s, m);
        const w32 v = f.values(block, j);
        vf x[2];
        for (int h = 0; h < 2; h++) {
            const int at = f.halves ? 2 * j + h : j;
            x[h] = v_mul(t_floats(v, h), v_set(s[at]));
            if (f.mins) x[h] = v_add(x[h], v_set(m[at]));
        }
        t_store_bf16(p->to[p->r / 16][p->g][p->r % 16], x[0], x[1]);
        if (++p->g == p->groups) p->g = 0, p->r++;
    }
}

/* What is done in each step of a block of tokens: groups of 32 of `next` are unpacked, and of each tile of activations some
 * lines that lie `ahead` numbers further are asked for. */
typedef struct {
    tiles_panel *next;
    float *s, *m;
    int groups, line, lines;
    int64_t ahead;
} tiles_aside;

/* c [16 * down][to] = c, or 0 if `first`, + down x across tiles of products over `steps` times 32 weights; x: activations
 * of a block from the panel's first k on, `block` numbers before those of the next. */
EQ_INLINE void tiles_micro(const eq_layout f, const eq_tensor *weight, tiles_rows *w, const int down, const int across,
                           int64_t steps, const uint16_t *x, int64_t block, float *c, int64_t to, int first, const tiles_aside *a) {
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
    for (int64_t k = 0; k < steps; k++, x += TILE_WORDS) {
        t_load(4, w[0][k], 64);
        t_pass(6, x, 64);
        t_dot(0, 4, 6);
        if (across > 1) t_pass(7, x + block, 64);
        if (across > 1) t_dot(1, 4, 7);
        if (down > 1) t_load(5, w[1][k], 64);
        if (down > 1) t_dot(2, 5, 6);
        if (down > 1 && across > 1) t_dot(3, 5, 7);
        for (int i = a->line; i < a->lines; i++) {
            EQ_PREFETCH_FAR(x + a->ahead + 32 * i);
            if (across > 1) EQ_PREFETCH_FAR(x + a->ahead + block + 32 * i);
        }
        tiles_unpack(f, weight, a->next, a->groups, a->s, a->m);
    }
    t_store(0, c, row);
    if (across > 1) t_store(1, c + 16, row);
    if (down > 1) t_store(2, c + 16 * to, row);
    if (down > 1 && across > 1) t_store(3, c + 16 * to + 16, row);
}

/* Tokens [t, t + count), count <= 32, with a panel's rows; c: their outputs [rows][to]. */
EQ_INLINE void tiles_block(const eq_layout f, const eq_tensor *w, const tiles_panel *p, const eq_act *a, int64_t t, int count,
                           float *c, int64_t to, float (*part)[32], const tiles_aside *aside) {
    const uint16_t *x = (const uint16_t *)a->q + t * a->width + 16 * p->k0;
    const int64_t block = 16 * (int64_t)a->width, steps = p->groups;
    const int whole = p->rows % 16 == 0 && count % 16 == 0, first = p->k0 == 0;
    float *out = whole ? c : part[0];
    const int64_t stride = whole ? to : 32;
    for (int r = 0; r < p->rows && !whole; r++) memcpy(part[r], c + r * to, (size_t)count * 4);
    if (p->rows > 16 && count > 16) tiles_micro(f, w, p->to, 2, 2, steps, x, block, out, stride, first, aside);
    else if (p->rows > 16) tiles_micro(f, w, p->to, 2, 1, steps, x, block, out, stride, first, aside);
    else if (count > 16) tiles_micro(f, w, p->to, 1, 2, steps, x, block, out, stride, first, aside);
    else tiles_micro(f, w, p->to, 1, 1, steps, x, block, out, stride, first, aside);
    for (int r = 0; r < p->rows && !whole; r++) memcpy(c + r * to, part[r], (size_t)count * 4);
}

EQ_INLINE void tiles_linear(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, float *tile,
                            void *scratch) {
    enum { TURN = 1024 }; /* tokens that meet a panel before the next one is unpacked */
    eq_tiles *room = scratch;
    const int64_t to = a->tokens, width = tiles_width(f, w->cols), panels = (row1 - row0 + TILES_PANEL - 1) / TILES_PANEL;
    t_begin();
    for (int64_t turn = 0; turn < to; turn += TURN) {
        const int64_t end = to < turn + TURN ? to : turn + TURN, blocks = (end - turn + 31) / 32;
        tiles_panel p = tiles_nth(0, panels, row0, row1, width, w->cols, room), next;
        tiles_unpack(f, w, &p, p.rows * p.groups, room->s, room->m);
        for (int64_t i = 0; p.rows; i++, p = next) {
            next = tiles_nth(i + 1, panels, row0, row1, width, w->cols, room);
            const int64_t k1 = p.k0 + 32 * p.groups, later = k1 < w->cols ? k1 : 0, steps = blocks * p.groups;
            tiles_aside aside = {.next = &next, .s = room->s, .m = room->m, .ahead = 16 * (later - p.k0)};
            aside.groups = (int)((next.rows * next.groups + steps - 1) / steps);
            if (later != p.k0) { /* each panel of a part asks for its share of the later one */
                aside.line = (int)(16 * (i % panels) / panels);
                aside.lines = (int)(16 * (i % panels + 1) / panels);
            }
            for (int64_t t = turn; t < end; t += 32) {
                const int count = (int)(end - t < 32 ? end - t : 32);
                tiles_block(f, w, &p, a, t, count, tile + (p.row - row0) * to + t, to, room->part, &aside);
            }
        }
    }
    t_end();
}

/* Activations [k, k + 32) of tokens [t0, t1), all of one block, into the packed layout. */
EQ_INLINE void tiles_pack(const eq_act *a, int64_t t0, int64_t t1, int64_t k) {
    uint32_t *to = (uint32_t *)(void *)a->q + (t0 / 16 * a->width + k) / 2 * 16;
    vf pairs[16];
    for (int64_t i = 0; i < 16; i++) pairs[i] = i < t1 - t0 ? t_pairs(a->x + (t0 + i) * a->stride + k) : v_zero();
    v_turn(pairs); /* a vector for each pair, a token in each lane */
    for (int i = 0; i < 16; i++) {
        if (t1 - t0 == 16) v_store((float *)(void *)(to + 16 * i), pairs[i]);
        else {
            float some[16];
            v_store(some, pairs[i]);
            memcpy(to + 16 * i + t0 % 16, some, (size_t)(t1 - t0) * 4);
        }
    }
}

/* The same from outputs of linears, where tokens lie side by side. */
static void tiles_pack_outputs(const eq_act *a, const float *outputs, int64_t k0, int64_t k1) {
    const int64_t tokens = a->tokens;
    for (int64_t t = 0; t < tokens; t += 16) {
        float *to = (float *)(void *)a->q + (t / 16 * a->width + k0) / 2 * 16;
        for (int64_t k = k0; k < k1; k += 2, to += 16) {
            const float *x = outputs + (k - k0) * tokens + t, *y = x + tokens;
            const int64_t left = tokens - t;
            v_store(to, left < 16 ? t_join(v_load_part(x, left), v_load_part(y, left)) : t_join(v_load(x), v_load(y)));
        }
    }
}
