/* What this machine can do, done on a pool: reading memory, multiplying, adding. The caller takes the time. */
#include "kernels.h"
#include "pool.h"

#define LINE 8 /* words that are read together; parts of threads begin at multiples */
#define MAX_THREADS 256

/* --- reading ------------------------------------------------------------------------------------------------- */
typedef struct {
    const uint64_t *words;
    int64_t lines;
    uint64_t sums[MAX_THREADS];
} read_call;

static void read_part(void *argument, int32_t thread, int32_t threads) {
    read_call *call = argument;
    const uint64_t *p = call->words + call->lines * thread / threads * LINE;
    const uint64_t *end = call->words + call->lines * (thread + 1) / threads * LINE;
    uint64_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0; /* named, or GCC 12 keeps an array of them in memory */
    for (; p < end; p += LINE) {
        a += p[0], b += p[1], c += p[2], d += p[3];
        e += p[4], f += p[5], g += p[6], h += p[7];
    }
    call->sums[thread] = a + b + c + d + e + f + g + h;
}

int32_t eq_measure_read(eq_pool *pool, const void *data, int64_t nbytes, uint64_t *sum) {
    if (!pool || !data || !sum || (uintptr_t)data % 8) return EQ_INVALID;
    if (nbytes < 0 || nbytes % (8 * LINE) || nbytes > INT64_MAX / MAX_THREADS) return EQ_INVALID;
    read_call call = {data, nbytes / (8 * LINE), {0}};
    eq_pool_run(pool, read_part, &call);
    *sum = 0;
    for (int32_t t = 0; t < eq_pool_threads(pool); t++) *sum += call.sums[t];
    return EQ_OK;
}

/* --- multiplying --------------------------------------------------------------------------------------------- */
typedef struct {
    const eq_kernels *kernels;
    int32_t kind;
    int64_t rounds;
    int64_t products[MAX_THREADS];
    double totals[MAX_THREADS];
} peak_call;

static void peak_part(void *argument, int32_t thread, int32_t threads) {
    peak_call *call = argument;
    (void)threads;
    call->products[thread] = call->kernels->peak(call->kind, call->rounds, &call->totals[thread]);
}

int64_t eq_measure_peak(eq_pool *pool, const char *isa, int32_t kind, int64_t rounds, double *total) {
    const eq_kernels *kernels = eq_select(isa);
    if (!pool || !kernels || !total || kind < EQ_PEAK_INT8 || kind > EQ_PEAK_TILES) return -1;
    if (rounds < 0 || rounds > EQ_PEAK_ROUNDS) return -1;
    peak_call call = {.kernels = kernels, .kind = kind, .rounds = rounds};
    eq_pool_run(pool, peak_part, &call);
    int64_t products = 0;
    *total = 0.0;
    for (int32_t t = 0; t < eq_pool_threads(pool); t++) {
        products += call.products[t];
        *total += call.totals[t];
    }
    return products < 0 ? -1 : products; /* a kind that the variant lacks */
}

/* --- the clock ----------------------------------------------------------------------------------------------- */
uint64_t eq_measure_chain(int64_t steps) { /* each step needs the one before, and no compiler can shorten it */
    uint64_t x = 1;
    for (int64_t i = 0; i < steps; i++) x += x >> 3 | 1;
    return x;
}
