/* Linear layers for many tokens: a panel of weights is unpacked to bytes, or words, once and meets blocks of tokens that
 * lie in vector lanes.
 *
 * An activation is q = 256 high + low. For most groups of 32 the high bytes are enough. What a group loses without its
 * low bytes is known (a->lost), and where that is more than its share of EQ_PRECISION of the length of the token's
 * activations, on average over the block, both bytes are multiplied. */

#define EQ_KC 512                        /* weights per row and panel */
#ifdef EQ_TILES
#define EQ_BLOCK_TOKENS 16
#else
#define EQ_BLOCK_TOKENS (EQ_NV * EQ_VL)  /* B of the packed layout */
#endif
#define EQ_TURN_BLOCKS (1024 / EQ_BLOCK_TOKENS) /* blocks that meet a panel before the next one is unpacked */
#define EQ_PRECISION 0.01f

#include "kernels/dots.inc.h"

typedef struct {
    uint8_t w[EQ_ROW_STEP][EQ_KC]; /* value + EQ_STORED(offset); or half as many int16 */
    float s[EQ_ROW_STEP][EQ_KC / 16];
    float m[EQ_ROW_STEP][EQ_KC / 16];
    /* of the block at hand: where sums of high and low bytes start, sums of the activations; `both`: groups with both bytes */
    int32_t start[2][EQ_KC / 16][EQ_BLOCK_TOKENS];
    float sum[EQ_KC / 16][EQ_BLOCK_TOKENS];
    int16_t words[EQ_WORDS(8) ? EQ_KC / 4 : 1][EQ_BLOCK_TOKENS][2]; /* its activations, where weights are int16 */
    float part[EQ_MR][EQ_BLOCK_TOKENS]; /* outputs of a block that is not full */
    float inverse[EQ_TURN_BLOCKS][EQ_BLOCK_TOKENS]; /* 1 / sum of squares of a token's activations */
    uint8_t both[EQ_KC / 32];
} eq_panel;
_Static_assert(sizeof(eq_panel) <= EQ_LINEAR_SCRATCH, "a panel has to fit the scratch of a thread");

EQ_INLINE const int8_t *packed_high(const eq_act *a, int64_t block) {
    return (const int8_t *)a->q + 2 * block * EQ_BLOCK_TOKENS * a->width;
}
EQ_INLINE const int8_t *packed_low(const eq_act *a, int64_t block) {
    return packed_high(a, block) + EQ_BLOCK_TOKENS * (int64_t)a->width;
}

EQ_INLINE int16_t *panel_words(const eq_panel *p, int row) { return (int16_t *)(void *)p->w[row]; }

EQ_INLINE void panel_unpack(const eq_layout f, const eq_tensor *w, int64_t row, int rows, int64_t k0, int64_t k1, eq_panel *p) {
    int64_t span = 32 * f.groups, stride = w->cols / span * f.block_bytes;
    const int per = f.halves ? 2 : 1;
    for (int r = 0; r < rows; r++) {
        const uint8_t *data = (const uint8_t *)w->data + (row + r) * stride;
        for (int64_t k = k0; k < k1; k += span) {
            int64_t g = (k - k0) / 32;
            float *s = p->s[r] + per * g, *m = p->m[r] + per * g;
            const uint8_t *block = data + k / span * f.block_bytes;
            float_scales(f, block, s, m);
            for (int j = 0; j < f.groups; j++) {
                const int64_t i = k - k0 + 32 * j;
                w32 v = f.values(block, j);
                if (EQ_WORDS(f.bits)) w_store(panel_words(p, r) + i, v);
                else w_bytes_store(p->w[r] + i, v, EQ_STORED(f.offset));
            }
        }
    }
}

/* 1 / sum of squares for the tokens of some blocks. */
EQ_INLINE void panel_inverse(const eq_act *a, int64_t block, int64_t blocks, eq_panel *p) {
    int64_t groups = a->width / 32;
    for (int64_t b = 0; b < blocks; b++)
        for (int n = 0; n < EQ_NV; n++) {
            const float *power = a->power + (block + b) * EQ_BLOCK_TOKENS * groups + n * EQ_VL;
            vf sum = v_set(1e-30f);
            for (int64_t g = 0; g < groups; g++) sum = v_add(sum, v_load(power + g * EQ_BLOCK_TOKENS));
            v_store(p->inverse[b] + n * EQ_VL, v_div(v_set(1.0f), sum));
        }
}

/* What panel_micro needs to know of a block: groups with both bytes, and starts of the sums. */
EQ_INLINE void panel_meet(const eq_layout f, const eq_act *a, int64_t block, int64_t k0, int64_t k1, const float *inverse,
                          eq_panel *p) {
    int64_t groups = a->width / 32, tokens = a->tokens - block * EQ_BLOCK_TOKENS;
    float share = EQ_PRECISION * EQ_PRECISION / (float)groups * (float)(tokens < EQ_BLOCK_TOKENS ? tokens : EQ_BLOCK_TOKENS);
    for (int64_t g = k0 / 32; g < k1 / 32; g++) {
        vf sum = v_zero();
        for (int n = 0; n < EQ_NV; n++)
            sum = v_fma(v_load(a->lost + (block * groups + g) * EQ_BLOCK_TOKENS + n * EQ_VL), v_load(inverse + n * EQ_VL), sum);
        p->both[g - k0 / 32] = !(v_sum(sum) <= share);
    }
    const int8_t *high = packed_high(a, block), *low = packed_low(a, block);
    for (int64_t k = k0; EQ_WORDS(f.bits) && k < k1; k += 4)
        for (int64_t n = 0, i = k * EQ_BLOCK_TOKENS; n < EQ_NV; n++, i += 4 * EQ_VL)
            x_words(high + i, p->both[(k - k0) / 32] ? low + i : NULL, p->words[(k - k0) / 2][n * EQ_VL],
                    p->words[(k - k0) / 2 + 1][n * EQ_VL]);
    if (!EQ_STORED(f.offset) && !f.mins) return;
    const int per = f.halves ? 1 : 2; /* sums of 16 */
    for (int64_t g = 0; g < (k1 - k0) / 16 / per; g++) {
        const int64_t at = k0 / 16 + per * g;
        const int32_t *sums = (const int32_t *)(const void *)a->sum + (block * 2 * groups + at) * EQ_BLOCK_TOKENS;
        const float *scale = a->scale + (block * groups + at / 2) * EQ_BLOCK_TOKENS;
        const int32_t both = p->both[per * g / 2], offset = EQ_STORED(f.offset);
        for (int t = 0; t < EQ_BLOCK_TOKENS; t++) {
            int32_t sum = per == 2 ? sums[t] + sums[EQ_BLOCK_TOKENS + t] : sums[t];
            int32_t low = (int16_t)sum, high = (sum - low) / 65536;
            if (offset) p->start[0][g][t] = -offset * high, p->start[1][g][t] = -offset * low;
            if (f.mins) p->sum[g][t] = (float)(256 * high + both * low) * scale[t];
        }
    }
}

/* rows x EQ_BLOCK_TOKENS outputs over one panel's width; c [rows][to] is read, unless k0 is 0, added to and written. */
EQ_INLINE void panel_micro(const eq_layout f, const eq_panel *p, int row, const int rows, int64_t k0, int64_t k1, const eq_act *a,
                           int64_t block, float *c, int64_t to) {
    const int64_t groups = a->width / 32;
    const int8_t *high = packed_high(a, block), *low = packed_low(a, block);
    const float *scale = a->scale + block * EQ_BLOCK_TOKENS * groups;
    const int run = f.halves ? 16 : 32;
    vf acc[EQ_MR][EQ_NV];
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < EQ_NV; n++) acc[r][n] = k0 == 0 ? v_zero() : v_load(c + r * to + n * EQ_VL);
    for (int64_t k = k0; k < k1; k += run) {
        const int64_t g = (k - k0) / run;
        const int planes = EQ_WORDS(f.bits) ? 1 : 1 + p->both[(k - k0) / 32];
        for (int plane = 0; plane < planes; plane++) { /* one loop: code for one plane of bytes */
            vi dot[EQ_MR][EQ_NV];
            if (EQ_WORDS(f.bits)) {
                const int16_t *w = panel_words(p, row) + (k - k0);
                EQ_FORGET(w); /* or all weights of the group would be kept, in memory */
                dots_words(w, rows, p->words[(k - k0) / 2][0], run, dot);
            } else {
                const uint8_t *w = p->w[row] + (k - k0);
                const int8_t *x = (plane ? low : high) + k * EQ_BLOCK_TOKENS;
                EQ_FORGET(w);
                EQ_FORGET(x);
                dots_bytes(f, w, rows, x, run, p->start[plane][g], dot);
            }
            const float unit = EQ_WORDS(f.bits) || plane ? 1.0f : 256.0f;
            for (int n = 0; n < EQ_NV; n++) {
                vf xs = v_mul(v_load(scale + k / 32 * EQ_BLOCK_TOKENS + n * EQ_VL), v_set(unit));
                for (int r = 0; r < rows; r++) {
                    acc[r][n] = v_fma(i_float(dot[r][n]), v_mul(xs, v_set(p->s[row + r][g])), acc[r][n]);
                    EQ_PUT_BY(acc[r][n]);
                }
            }
        }
        for (int n = 0; n < EQ_NV && f.mins; n++) {
            vf sum = v_load(p->sum[g] + n * EQ_VL);
            for (int r = 0; r < rows; r++) {
                acc[r][n] = v_fma(v_set(p->m[row + r][g]), sum, acc[r][n]);
                EQ_PUT_BY(acc[r][n]);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < EQ_NV; n++) v_store(c + r * to + n * EQ_VL, acc[r][n]);
}

/* One block of tokens with all rows of the panel; meanwhile `bytes` from `next` on are asked for. */
EQ_INLINE void panel_block(const eq_layout f, eq_panel *p, int rows, int64_t k0, int64_t k1, const eq_act *a, int64_t block,
                           float *tile, const int8_t *next, int64_t bytes) {
    int64_t to = a->tokens, first = block * EQ_BLOCK_TOKENS;
    const int whole = first + EQ_BLOCK_TOKENS <= to;
    for (int r = 0; r < rows; r += EQ_MR) {
        int many = rows - r < EQ_MR ? rows - r : EQ_MR;
        float *c = tile + r * to + first;
        for (int64_t i = bytes * r / rows / 64 * 64; i < bytes * (r + many) / rows; i += 64) EQ_PREFETCH_FAR(next + i);
        if (!whole) { /* the tile has no room for lanes without tokens */
            for (int i = 0; i < many; i++) memcpy(p->part[i], c + i * to, (size_t)(to - first) * 4);
            c = p->part[0];
        }
        const int64_t step = whole ? to : EQ_BLOCK_TOKENS;
        for (int i = 0; i < many;) {
            if (many - i >= EQ_MR) panel_micro(f, p, r + i, EQ_MR, k0, k1, a, block, c + i * step, step), i += EQ_MR;
            else if (many - i >= 2) panel_micro(f, p, r + i, 2, k0, k1, a, block, c + i * step, step), i += 2;
            else panel_micro(f, p, r + i, 1, k0, k1, a, block, c + i * step, step), i += 1;
        }
        for (int i = 0; i < many && !whole; i++) memcpy(tile + (r + i) * to + first, p->part[i], (size_t)(to - first) * 4);
    }
}

EQ_INLINE void panel_linear(const eq_layout f, const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, float *tile,
                            void *scratch) {
    eq_panel *p = scratch;
    int rows = (int)(row1 - row0);
    const int64_t width = EQ_WORDS(f.bits) ? EQ_KC / 2 : EQ_KC;
    int64_t blocks = (a->tokens + EQ_BLOCK_TOKENS - 1) / EQ_BLOCK_TOKENS;
    for (int64_t first = 0; first < blocks; first += EQ_TURN_BLOCKS) {
        int64_t many = blocks - first < EQ_TURN_BLOCKS ? blocks - first : EQ_TURN_BLOCKS;
        panel_inverse(a, first, many, p);
        for (int64_t k0 = 0; k0 < w->cols; k0 += width) {
            int64_t k1 = k0 + width < w->cols ? k0 + width : w->cols;
            panel_unpack(f, w, row0, rows, k0, k1, p);
            for (int64_t b = 0; b < many; b++) {
                panel_meet(f, a, first + b, k0, k1, p->inverse[b], p);
                const int64_t after = b + 1 < many ? b + 1 : 0, from = b + 1 < many ? k0 : k1; /* the block that comes next */
                panel_block(f, p, rows, k0, k1, a, first + b, tile, packed_high(a, first + after) + from * EQ_BLOCK_TOKENS,
                            from < w->cols ? (k1 - k0) * EQ_BLOCK_TOKENS : 0);
            }
        }
    }
}

#ifndef EQ_OWN_SPLIT
/* 32 rounded activations as bytes, q ~ 256 high + low; sums: of 65536 high + low over either half, of high^2, of low^2 */
EQ_INLINE void w_split(const int16_t *q, int8_t *high, int8_t *low, int32_t *sums) {
    memset(sums, 0, 4 * sizeof *sums);
    for (int i = 0; i < 32; i++) {
        int h = (q[i] + 128) >> 8, l = q[i] - 256 * h;
        l = l < -127 ? -127 : l; /* so that its sign can be changed; an error of 1 in 32,512 */
        high[i] = (int8_t)h;
        low[i] = (int8_t)l;
        sums[i / 16] += 65536 * h + l;
        sums[2] += h * h;
        sums[3] += l * l;
    }
}
#endif

/* Activations [k, k + 32) of tokens [t0, t1), rounded, into the packed layout; all are in one vector of a block. */
EQ_INLINE void pack(const eq_act *a, int64_t t0, int64_t t1, int64_t k) {
    const int64_t block = t0 / EQ_BLOCK_TOKENS, first = t0 % EQ_BLOCK_TOKENS / EQ_VL * EQ_VL, plane = EQ_BLOCK_TOKENS * (int64_t)a->width;
    const int64_t from = t0 % EQ_VL, many = t1 - t0, row = (block * (a->width / 32) + k / 32) * EQ_BLOCK_TOKENS;
    _Alignas(64) int8_t bytes[EQ_VL][64]; /* of each lane 32 high ones, then 32 low ones */
    if (many < EQ_VL) memset(bytes, 0, sizeof bytes);
    for (int64_t t = t0; t < t1; t++) {
        const float *x = a->x + t * a->stride + k;
        float largest = v_largest32(x), scale = largest / 32512.0f; /* NaN where a value is not finite */
        int64_t lane = t % EQ_BLOCK_TOKENS, at = row + lane;
        int16_t q[32];
        int32_t sums[4];
        if (scale >= 1.17549435e-38f) w_round(x, 32512.0f / largest, q);
        else memset(q, 0, sizeof q);
        w_split(q, bytes[t % EQ_VL], bytes[t % EQ_VL] + 32, sums);
        for (int h = 0; h < 2; h++) memcpy(a->sum + 2 * row + h * EQ_BLOCK_TOKENS + lane, &sums[h], 4);
        a->scale[at] = scale;
        a->power[at] = scale * scale * (float)sums[2] * 65536.0f;
        a->lost[at] = scale * scale * (float)sums[3];
        for (int64_t i = 1; t + 1 == a->tokens && lane + i < EQ_BLOCK_TOKENS; i++) { /* lanes without tokens */
            a->lost[at + i] = a->power[at + i] = 0.0f;
            for (int h = 0; h < 2; h++) memset(a->sum + 2 * row + h * EQ_BLOCK_TOKENS + lane + i, 0, 4);
        }
    }
    int8_t *to = (int8_t *)a->q + 2 * block * plane + k * EQ_BLOCK_TOKENS + 4 * first;
    for (int c = 0; c < 16; c += EQ_VL) { /* fours of bytes, turned so that tokens lie in lanes */
        vf x[EQ_VL];
        for (int i = 0; i < EQ_VL; i++) x[i] = v_load((const float *)(const void *)bytes[i] + c);
        v_turn(x);
        for (int i = 0; i < EQ_VL; i++) {
            int8_t *fours = to + (c + i) / 8 * plane + (c + i) % 8 * 4 * EQ_BLOCK_TOKENS;
            float some[EQ_VL];
            if (many == EQ_VL) {
                v_store((float *)(void *)fours, x[i]);
                continue;
            }
            v_store(some, x[i]);
            memcpy(fours + 4 * from, some + from, (size_t)(4 * many));
        }
    }
}
