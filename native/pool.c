/* Threads: spin briefly for the next run, then sleep; spin at barriers, then yield, so that a crowded machine goes on. */
#include "pool.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef CRITICAL_SECTION eq_mutex;
typedef CONDITION_VARIABLE eq_cond;
typedef HANDLE eq_thread;
#define mutex_init(m) InitializeCriticalSection(m)
#define mutex_lock(m) EnterCriticalSection(m)
#define mutex_unlock(m) LeaveCriticalSection(m)
#define cond_init(c) InitializeConditionVariable(c)
#define cond_wait(c, m) SleepConditionVariableCS(c, m, INFINITE)
#define cond_broadcast(c) WakeAllConditionVariable(c)
#define cpu_yield() SwitchToThread()
#define process_id() ((long)GetCurrentProcessId())
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
typedef pthread_mutex_t eq_mutex;
typedef pthread_cond_t eq_cond;
typedef pthread_t eq_thread;
#define mutex_init(m) pthread_mutex_init(m, NULL)
#define mutex_lock(m) pthread_mutex_lock(m)
#define mutex_unlock(m) pthread_mutex_unlock(m)
#define cond_init(c) pthread_cond_init(c, NULL)
#define cond_wait(c, m) pthread_cond_wait(c, m)
#define cond_broadcast(c) pthread_cond_broadcast(c)
#define cpu_yield() sched_yield()
#define process_id() ((long)getpid())
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define cpu_relax() _mm_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("yield")
#else
#define cpu_relax() ((void)0)
#endif

#define SPIN_IDLE 20000    /* pauses before an idle worker sleeps: some tens of microseconds to a millisecond */
#define SPIN_BARRIER 4000  /* pauses before a waiting worker yields */
#define MAX_THREADS 256

typedef struct { eq_pool *pool; int32_t index; } worker;

struct eq_pool {
    int32_t threads;
    long process;
    eq_mutex turn; /* held by the caller of a run */
    eq_mutex sleep;
    eq_cond wake;
    eq_thread *handles;
    worker *workers;
    eq_pool_fn fn;
    void *argument;
    _Alignas(64) atomic_int generation;
    _Alignas(64) atomic_int stopping;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int phase;
};

void eq_pool_barrier(eq_pool *pool, const eq_between *between) {
    int phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->threads - 1) {
        if (between) between->last(between->argument);
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->phase, phase + 1, memory_order_release);
        return;
    }
    int more = between != NULL;
    for (int spins = 0; atomic_load_explicit(&pool->phase, memory_order_acquire) == phase; spins++) {
        if (more) more = between->wait(between->argument);
        else if (spins < SPIN_BARRIER) cpu_relax();
        else cpu_yield();
    }
}

static int wait_for_run(eq_pool *pool, int seen) {
    for (int spins = 0; spins < SPIN_IDLE; spins++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen) return 1;
        if (atomic_load_explicit(&pool->stopping, memory_order_relaxed)) return 0;
        cpu_relax();
    }
    mutex_lock(&pool->sleep);
    while (atomic_load(&pool->generation) == seen && !atomic_load(&pool->stopping)) cond_wait(&pool->wake, &pool->sleep);
    mutex_unlock(&pool->sleep);
    return !atomic_load(&pool->stopping);
}

#ifdef _WIN32
static DWORD WINAPI work(LPVOID argument) {
#else
static void *work(void *argument) {
#endif
    worker *self = argument;
    eq_pool *pool = self->pool;
    for (int seen = 0; wait_for_run(pool, seen); seen++) {
        pool->fn(pool->argument, self->index, pool->threads);
        eq_pool_barrier(pool, NULL);
    }
    return 0;
}

static int start_thread(eq_pool *pool, int32_t index) {
    pool->workers[index] = (worker){pool, index};
#ifdef _WIN32
    pool->handles[index] = CreateThread(NULL, 0, work, &pool->workers[index], 0, NULL);
    return pool->handles[index] != NULL;
#else
    sigset_t all, before; /* signals belong to the host's threads, but for those that a fault raises */
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int started = pthread_create(&pool->handles[index], NULL, work, &pool->workers[index]) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
#endif
}

/* Starts the workers; with fewer than wanted the pool is that much smaller. */
static void start(eq_pool *pool, int32_t wanted) {
    pool->process = process_id();
    pool->threads = wanted;
    atomic_store(&pool->generation, 0);
    atomic_store(&pool->stopping, 0);
    atomic_store(&pool->arrived, 0);
    atomic_store(&pool->phase, 0);
    mutex_init(&pool->sleep);
    cond_init(&pool->wake);
    int32_t started = 1;
    while (started < wanted && start_thread(pool, started)) started++;
    pool->threads = started;
}

eq_pool *eq_pool_new(int32_t threads, char *message, int64_t message_size) {
    if (threads < 1) threads = 1;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    eq_pool *pool = NULL;
#ifdef _WIN32
    pool = _aligned_malloc(sizeof *pool, 64);
#else
    if (posix_memalign((void **)&pool, 64, sizeof *pool) != 0) pool = NULL;
#endif
    eq_thread *handles = calloc((size_t)threads, sizeof *handles);
    worker *workers = calloc((size_t)threads, sizeof *workers);
    if (!pool || !handles || !workers) {
        snprintf(message, (size_t)message_size, "no memory for a pool of %d threads", (int)threads);
        free(handles);
        free(workers);
#ifdef _WIN32
        _aligned_free(pool);
#else
        free(pool);
#endif
        return NULL;
    }
    pool->handles = handles;
    pool->workers = workers;
    mutex_init(&pool->turn);
    start(pool, threads);
    return pool;
}

int32_t eq_pool_threads(const eq_pool *pool) { return pool->threads; }

int32_t eq_pool_run(eq_pool *pool, eq_pool_fn fn, void *argument) {
    if (pool->process != process_id()) { /* after a fork the parent's threads are not here */
        mutex_init(&pool->turn);
        start(pool, pool->threads);
    }
    mutex_lock(&pool->turn);
    pool->fn = fn;
    pool->argument = argument;
    if (pool->threads > 1) {
        mutex_lock(&pool->sleep);
        atomic_fetch_add(&pool->generation, 1);
        cond_broadcast(&pool->wake);
        mutex_unlock(&pool->sleep);
    }
    fn(argument, 0, pool->threads);
    eq_pool_barrier(pool, NULL);
    mutex_unlock(&pool->turn);
    return EQ_OK;
}

void eq_pool_free(eq_pool *pool) {
    if (!pool) return;
    if (pool->process == process_id()) {
        mutex_lock(&pool->sleep);
        atomic_store(&pool->stopping, 1);
        cond_broadcast(&pool->wake);
        mutex_unlock(&pool->sleep);
        for (int32_t i = 1; i < pool->threads; i++) {
#ifdef _WIN32
            WaitForSingleObject(pool->handles[i], INFINITE);
            CloseHandle(pool->handles[i]);
#else
            pthread_join(pool->handles[i], NULL);
#endif
        }
    }
    free(pool->handles);
    free(pool->workers);
#ifdef _WIN32
    _aligned_free(pool);
#else
    free(pool);
#endif
}
