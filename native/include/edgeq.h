/* edgeq: the C interface. A program over mapped weights goes in, a step runs it. No Python, no printing, no abort.
 *
 * Between the markers is what bindings read: no directives. Sizes are bytes where a name says so, else elements.
 * Functions that can fail take a message buffer and write a zero-terminated line into it. */
#ifndef EDGEQ_H
#define EDGEQ_H

#include <stdint.h>

#include "ops.gen.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/* cdef begin */

enum eq_status {
    EQ_OK = 0,
    EQ_CANCELLED = 1,
    EQ_FILE_CHANGED = 2, /* a mapped page was gone when it was read; results of the step are void */
    EQ_INVALID = 3,
    EQ_MEMORY = 4
};

/* A weight, a bias or a constant: rows x cols of a GGML type, rows contiguous. */
typedef struct { const void *data; int64_t nbytes; int64_t rows; int64_t cols; int32_t type; int32_t reserved; } eq_tensor;

/* float32 [rows of the step, width]; outputs says which rows, EQ_ROWS_*. offset: floats per row into the arena, a multiple
 * of 128, or -1 for a buffer whose memory the caller gives (inputs and outputs of the program). */
enum eq_rows { EQ_ROWS_TOKENS = 0, EQ_ROWS_OUTPUTS = 1, EQ_ROWS_ONE = 2 };
typedef struct { int64_t offset; int32_t width; int32_t outputs; } eq_buffer;

typedef struct { int32_t kv_heads; int32_t head_dim; int32_t window; int32_t layer; } eq_cache;

typedef struct {
    const eq_op *ops;
    const eq_buffer *buffers;
    const eq_tensor *tensors;
    const eq_cache *caches;
    const int32_t *inputs;
    const int32_t *outputs;
    int32_t n_ops;
    int32_t n_buffers;
    int32_t n_tensors;
    int32_t n_caches;
    int32_t n_inputs;
    int32_t n_outputs;
    int64_t arena;        /* floats per row */
    int32_t chunk;        /* most tokens of one step */
    int32_t reproducible; /* 1: prompts use the arithmetic of small batches */
} eq_program;

typedef struct {
    const int32_t *tokens;
    const int32_t *positions;
    const int32_t *sequences;
    const int32_t *outputs; /* rows of the step whose result is wanted */
    int32_t n_tokens;
    int32_t n_outputs;
} eq_batch;

typedef struct eq_pool eq_pool;
typedef struct eq_exec eq_exec;
typedef struct eq_state eq_state;

int32_t eq_abi_version(void);
const char *eq_abi_layout(void);      /* a line per struct: name size field:offset ... */
const char *eq_build_info(void);      /* compiler, target, date-free */
const char *eq_cpu_report(void);      /* JSON: features, which variants work, which is chosen */
const char *eq_isa_name(const char *forced); /* the variant that `forced` (or NULL: the best) selects; NULL if it cannot run */

eq_pool *eq_pool_new(int32_t threads, char *message, int64_t message_size);
void eq_pool_free(eq_pool *pool);
int32_t eq_pool_threads(const eq_pool *pool);

/* Copies the program; the tensors' data must stay mapped. isa NULL: the best that works. */
eq_exec *eq_exec_new(const eq_program *program, eq_pool *pool, const char *isa, char *message, int64_t message_size);
void eq_exec_free(eq_exec *exec);
const char *eq_exec_isa(const eq_exec *exec);
int64_t eq_exec_bytes(const eq_exec *exec); /* working memory, mapped but touched only as used */
/* From now on steps add what they take to nanoseconds [ops of the program][2], on the thread that calls eq_step: at work, then
 * at the barrier behind it, with all that is done there for ops of one row. NULL: no longer. */
void eq_exec_watch(eq_exec *exec, int64_t *nanoseconds);

/* kv_type: GGML id of F16 (1), F32 (0), Q8_0 (8) or Q4_0 (2). rings: positions per cache, multiples of 64. */
eq_state *eq_state_new(const eq_exec *exec, int32_t sequences, int32_t context, const int32_t *rings, int32_t kv_type,
                       char *message, int64_t message_size);
void eq_state_free(eq_state *state);
int64_t eq_state_bytes(const eq_state *state);
int32_t eq_state_copy(eq_state *state, int32_t source, int32_t target, int32_t length);
int64_t eq_state_snapshot_bytes(const eq_state *state, int32_t length);
int32_t eq_state_save(const eq_state *state, int32_t sequence, int32_t length, void *out, int64_t nbytes);
int32_t eq_state_load(eq_state *state, int32_t sequence, int32_t length, const void *data, int64_t nbytes);

/* Up to this many tokens, a step works token by token: each gets the bits that it gets alone. */
enum { EQ_SMALL_BATCH = 16 };
/* One step. inputs, outputs: one pointer per program input and output. cancel: a word any thread may set, or NULL. */
int32_t eq_step(eq_exec *exec, eq_state *state, const eq_batch *batch, const float *const *inputs, float *const *outputs,
                const int32_t *cancel, char *message, int64_t message_size);

/* Position of the largest of n values, the first of equals; -1 if one is NaN or infinite, or n is not positive. */
int32_t eq_first_maximum(const float *x, int32_t n);

/* File mappings that a step may read: a page that has gone away reads as zeros and marks the mapping. */
int32_t eq_guard_add(const void *start, int64_t nbytes); /* a slot, or -1 where this is not supported or slots ran out */
void eq_guard_remove(int32_t slot);
int32_t eq_guard_hit(int32_t slot);

/* While watched, SIGINT sets *word and then reaches the host's handler. For one thread at a time, the one that handles
 * signals; 0 if nothing is watched now (no handler in place, another watch, or not supported). */
int32_t eq_interrupt_watch(int32_t *word);
void eq_interrupt_release(void);

/* Rows of any weight format as float32: out [rows, cols]. */
int32_t eq_dequantize(const eq_tensor *tensor, int64_t first_row, int64_t rows, float *out);
/* Floats x [rows, cols] as rows of a format, out [rows, bytes of a row], with a small sum of importance [cols] times squared
 * error; importance NULL: all alike. x is finite, importance finite and not negative. The same bytes for every isa. */
int32_t eq_encode(int32_t type, const char *isa, const float *x, int64_t rows, int64_t cols, const float *importance, uint8_t *out);
/* Of rows x and what a format made of them: for each block the sums of w x^2 and of w x y, y the numbers that the block stands
 * for; sums [rows * blocks of a row, 2]. Types of blocks of at most 256 weights. */
int32_t eq_block_sums(int32_t type, const float *x, const uint8_t *data, int64_t rows, int64_t cols, const float *importance,
                      double *sums);

/* What the machine can do, for benchmarks: the caller takes the time, and checks that the work was done. */
enum eq_peak_kind { EQ_PEAK_INT8 = 0, EQ_PEAK_FLOAT = 1, EQ_PEAK_TILES = 2 }; /* bf16, of variants with tiles */
enum { EQ_PEAK_ROUNDS = 16777216 };
/* All threads read their part once. data: 8-byte aligned; nbytes: a multiple of 64. sum: of all 8-byte words. */
int32_t eq_measure_read(eq_pool *pool, const void *data, int64_t nbytes, uint64_t *sum);
/* Multiply-adds in registers on all threads, by the variant that `isa` (or NULL: the best) selects; at most
 * EQ_PEAK_ROUNDS rounds. The result: how many; -1 for bad arguments. total: 6 for each of int8, 1 of the others. */
int64_t eq_measure_peak(eq_pool *pool, const char *isa, int32_t kind, int64_t rounds, double *total);
/* x := x + (x >> 3 | 1), from 1, in 64 bits: time over steps is that of a fixed number of cycles. */
uint64_t eq_measure_chain(int64_t steps);

/* cdef end */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
