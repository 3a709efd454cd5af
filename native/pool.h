/* A persistent pool of threads that run one function together. Knows nothing of ops. */
#ifndef EQ_POOL_H
#define EQ_POOL_H

#include "edgeq.h"

typedef void (*eq_pool_fn)(void *argument, int32_t thread, int32_t threads);

/* Runs fn on all threads (the caller is thread 0) and returns when all are done. One run at a time; others wait. */
int32_t eq_pool_run(eq_pool *pool, eq_pool_fn fn, void *argument);

typedef struct { /* what to do at a barrier */
    void (*last)(void *argument); /* by the thread that comes last, before all go on */
    int (*wait)(void *argument);  /* by the others, over and over until it returns 0: some dozen instructions */
    void *argument;
} eq_between;

/* Inside a run: waits for all threads of the pool; `between` may be NULL. */
void eq_pool_barrier(eq_pool *pool, const eq_between *between);

#endif
