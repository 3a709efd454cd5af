/* Inside of the executor: the program as stages, the state as bytes, and what the threads of a step share. */
#ifndef EQ_EXEC_H
#define EQ_EXEC_H

#include <stdatomic.h>

#include "kernels.h"
#include "pool.h"

typedef struct { /* an op, or only the rounding of a buffer */
    const eq_op *op;     /* NULL: only round `rounds` */
    int32_t op_index;    /* its place, or that of the op whose output is rounded */
    int32_t rounds;      /* buffer that is rounded for the linears that read it, by the op that writes it; or -1 */
    int32_t floats;      /* whether something reads the floats that the op writes */
    int32_t few_later;   /* few tokens' rows are rounded whole, by a stage of its own behind that of the op; set in both */
} eq_stage;

typedef struct { int32_t first, count, sequence; } eq_span; /* neighbouring tokens of one sequence */

struct eq_exec {
    eq_program program; /* with copies of all arrays */
    eq_pool *pool;
    const eq_kernels *kernels;
    eq_stage *stages;
    char *readers;          /* of each buffer: for which linears it is rounded, EQ_READS_* */
    int64_t *watch;         /* of eq_exec_watch */
    int32_t n_stages;
    int32_t max_heads, max_head_dim, max_group;
    int64_t rows;           /* chunk, rounded up to the variant's token block */
    int64_t arena_bytes, thread_bytes, threads_bytes; /* one thread's scratch, and all of them */
    char *arena;            /* float buffers, then rounded q, scale, sum */
    char *threads;          /* scratch of each thread */
    float **buffers;        /* where each buffer lies, and the spans of tokens: of the step that runs */
    eq_span *spans;
    atomic_int *claims;     /* [threads][stages]: units taken of each thread's share; a row is whole cache lines */
    atomic_int *finished;   /* segments done, per attention unit */
    int64_t n_finished;
    float *partial;         /* attention of segments: m, l, o */
    int64_t partial_bytes;
    int32_t max_segments;
};

struct eq_state {
    const eq_exec *exec;
    int32_t sequences, context, kv_type, n_caches;
    int32_t *rings;
    char **keys, **values;    /* one per cache: [sequences][kv_heads][ring][row] */
    int64_t *cache_bytes;
};

typedef struct {
    eq_exec *exec;
    eq_state *state;
    const eq_batch *batch;
    float **buffers;
    eq_span *spans;
    int32_t n_spans;
    const int32_t *cancel;
    atomic_int stop_after;   /* index of the last stage to run */
} eq_step_context;

static inline int32_t eq_rows_of(const eq_step_context *c, int32_t buffer) { /* in this step */
    const int32_t rows = c->exec->program.buffers[buffer].outputs;
    return rows == EQ_ROWS_TOKENS ? c->batch->n_tokens : rows == EQ_ROWS_OUTPUTS ? c->batch->n_outputs : 1;
}

int64_t eq_kv_row_bytes(int32_t kv_type, int32_t head_dim);
int32_t eq_check_program(const eq_program *p, const eq_kernels *k, char *message, int64_t message_size);

int32_t eq_written(const eq_op *op); /* the buffer that an op writes, or -1 */

/* Of the next linear from `stage` on: the first weights that a thread will read, EQ_ASKED bytes of them at most. */
void eq_first_weights(const eq_step_context *c, int32_t stage, int32_t thread, const char **first, const char **end);
int eq_is_one_row(const eq_step_context *c, int32_t stage); /* a stage of one unit: work for one thread */
void eq_run_stage(eq_step_context *c, int32_t stage, int32_t thread);
int64_t eq_tile_bytes(const eq_exec *e); /* of a thread's scratch: outputs of linears, or of an attention segment */
char *eq_thread_scratch(const eq_exec *e, int32_t thread);
atomic_int *eq_claims(const eq_exec *e, int32_t thread); /* of all stages */
eq_act eq_rounded(const eq_step_context *c, int32_t buffer);

#endif
