/* The kernel table: what an ISA variant offers to the executor. One const table per variant, made in isa/. */
#ifndef EQ_KERNELS_H
#define EQ_KERNELS_H

#include "edgeq.h"
#include "encode/encode.h"

#if defined(__GNUC__)
#define EQ_PREFETCH(p) __builtin_prefetch(p)
#define EQ_PREFETCH_FAR(p) __builtin_prefetch(p, 0, 2) /* not into the nearest cache */
#else
#define EQ_PREFETCH(p) ((void)(p))
#define EQ_PREFETCH_FAR(p) ((void)(p))
#endif

#define EQ_TILE 64         /* positions per attention tile */
#define EQ_SEGMENT 1024    /* positions whose attention is one partial result; partials are merged in order */
#define EQ_ROW_STEP 96     /* most weight rows that one call of a linear kernel takes */
#define EQ_MAX_HEAD 512      /* widest head */
#define EQ_MAX_QUERIES 128   /* of one attention job */

/* Rows of activations, and their rounding for integer dots: x ~ scale * q, |q| <= 32512 (15.98 bits), in groups of 32.
 * natural: q [T][K], scale [T][K/32], sum [T][K/16], sum32 [T][K/32]  (scale times integer sums);
 *          a variant may keep another order within the 64 bytes of a group (EQ_ARRANGE), or quads alone
 * packed:  for blocks of B tokens (the variant's): q as bytes [T/B][2][K/4][B][4], the high ones and the low ones of
 *          256 high + low; scale, lost, power [T/B][K/32][B]: lost and power are sums of squares of scale * low and of
 *          scale * 256 high; sum [T/B][K/16][B] int32, sums of 65536 high + low; no sum32.
 *          A variant with tiles: q as bf16, see tiles.inc.h. */
enum { EQ_READS_SHORT = 1, EQ_READS_LONG = 2 };
typedef struct {
    const float *x; /* [T][K], row after row `stride` floats on */
    int16_t *q;
    float *scale;
    float *sum;
    float *sum32;
    float *lost;  /* packed only */
    float *power;
    int8_t *quads; /* natural only: orders of four groups or of 256 that some variants keep instead (quad_record, block_record) */
    int32_t tokens;
    int32_t width;
    int32_t packed;
    int32_t readers; /* EQ_READS_SHORT: weights in blocks of up to 128; EQ_READS_LONG: of 256; or both */
    int64_t stride;
} eq_act;

/* Dot products of rows [row0, row1) with all tokens: tile [(row - row0) * tokens + t]. At most EQ_ROW_STEP rows.
 * scratch: EQ_LINEAR_SCRATCH bytes, 64-byte aligned, private to the thread. */
typedef void (*eq_linear_fn)(const eq_tensor *w, const eq_act *a, int64_t row0, int64_t row1, float *tile, void *scratch);
#define EQ_QUADS_ROOM 704 /* bytes of `quads` for four groups of a token */
#define EQ_LINEAR_SCRATCH (128 * 1024)

/* Attention of `queries` rows q [queries][E] against positions [first, last] of one sequence and key/value head, each
 * query i seeing [low[i], high[i]]; m, l [queries] and o [queries][E] are the running maximum, sum and output. */
typedef struct {
    const float *const *q;
    float *const *o;
    float *m;
    float *l;
    const int32_t *low;
    const int32_t *high;
    const void *keys;   /* of this sequence and head */
    const void *values;
    int32_t queries;
    int32_t head_dim;
    int32_t ring;
    int32_t kv_type;
    int32_t first;
    int32_t last;
    float scale;
    float softcap;
} eq_attend_job;

typedef struct eq_kernels {
    const char *name;
    int32_t token_block; /* B of the packed layout */
    int32_t (*works)(void);
    eq_linear_fn (*linear)(int32_t type, int32_t packed);
    int32_t (*reads)(int32_t type); /* EQ_READS_*: how a format's kernel for few tokens wants them rounded */
    void (*quantize)(const eq_act *a, int64_t t0, int64_t t1, int64_t k0, int64_t k1); /* columns: whole groups of 32; of EQ_READS_LONG: all */
    /* packed: columns [k0, k1), an even number, from outputs [k1 - k0][T] of linears; NULL: they are turned for quantize */
    void (*quantize_outputs)(const eq_act *a, const float *outputs, int64_t k0, int64_t k1);
    void (*rms_norm)(const float *x, const float *weight, float *out, int64_t n, float eps);
    void (*rope)(float *head, const float *table, int64_t rot, int32_t style);
    void (*glu)(const float *gate, const float *up, float *out, int64_t n, int32_t act);
    void (*add)(const float *a, const float *b, float *out, int64_t n);
    void (*turn)(const float *tile, int64_t from, int64_t rows, int64_t tokens, const float *bias, const float *add, float *out,
                 int64_t to);
    void (*softcap)(const float *x, float *out, int64_t n, float cap);
    void (*kv_store)(const float *k, const float *v, void *keys, void *values, int32_t cell, int32_t head_dim, int32_t kv_type);
    void (*attend)(const eq_attend_job *job, void *scratch);
    int64_t (*peak)(int32_t kind, int64_t rounds, double *total); /* see eq_measure_peak, on the calling thread */
    const eq_encoders *encoders;
} eq_kernels;

#define EQ_ATTEND_SCRATCH(head_dim) ((int64_t)(2 * EQ_TILE * (head_dim) * 4 + 64 * EQ_TILE * 4 + 1024))

extern const eq_kernels eq_kernels_scalar;
extern const eq_kernels eq_kernels_avx2;
extern const eq_kernels eq_kernels_avxvnni;
extern const eq_kernels eq_kernels_avx512vnni;
extern const eq_kernels eq_kernels_amx;
extern const eq_kernels eq_kernels_neon;
extern const eq_kernels eq_kernels_neondot;

/* All variants that were compiled in, best first, NULL at the end. */
extern const eq_kernels *const eq_variants[];
const eq_kernels *eq_select(const char *forced);

#endif
