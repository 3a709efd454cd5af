/* What this machine can do, for the limit column of bench/speed.py:
 *
 *     machine THREADS MEGABYTES   prints  read_gb_s int8_gop_s
 *
 * read: all threads sum MEGABYTES of memory, each its own part. int8: multiply-adds of bytes in registers by the
 * widest dot product that the compiler was allowed to use; 0 where there is none. Best of several passes. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__AVX512VNNI__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

enum { PASSES = 7, CHAINS = 12, ROUNDS = 2000000 };

static int threads;
static int64_t words;
static uint64_t *data;
static pthread_barrier_t gate;
static double best_read = 1e9, best_int8 = 1e9;
static volatile uint64_t sink;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__AVX512VNNI__)
#define LANES 64
static void multiply(void) {
    __m512i sum[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
    for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_set1_epi32(c);
    for (int r = 0; r < ROUNDS; r++) {
        for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_dpbusd_epi32(sum[c], a, b);
        __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    for (int c = 1; c < CHAINS; c++) sum[0] = _mm512_add_epi32(sum[0], sum[c]);
    sink += (uint64_t)_mm512_reduce_add_epi32(sum[0]);
}
#elif defined(__AVX2__)
#define LANES 32
static void multiply(void) { /* maddubs, madd, add: the three instructions that stand for a dot product */
    __m256i sum[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-2), one = _mm256_set1_epi16(1);
    for (int c = 0; c < CHAINS; c++) sum[c] = _mm256_set1_epi32(c);
    for (int r = 0; r < ROUNDS; r++) {
        for (int c = 0; c < CHAINS; c++) {
            __m256i pairs = _mm256_maddubs_epi16(a, b);
            __asm__ volatile("" : "+x"(pairs));
            sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(pairs, one));
        }
        __asm__ volatile("" : "+x"(a), "+x"(b));
    }
    int32_t out[8];
    for (int c = 1; c < CHAINS; c++) sum[0] = _mm256_add_epi32(sum[0], sum[c]);
    _mm256_storeu_si256((__m256i *)out, sum[0]);
    sink += (uint64_t)out[0];
}
#elif defined(__ARM_FEATURE_DOTPROD)
#define LANES 16
static void multiply(void) {
    int32x4_t sum[CHAINS];
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-2);
    for (int c = 0; c < CHAINS; c++) sum[c] = vdupq_n_s32(c);
    for (int r = 0; r < ROUNDS; r++) {
        for (int c = 0; c < CHAINS; c++) sum[c] = vdotq_s32(sum[c], a, b);
        __asm__ volatile("" : "+w"(a), "+w"(b));
    }
    for (int c = 1; c < CHAINS; c++) sum[0] = vaddq_s32(sum[0], sum[c]);
    sink += (uint64_t)vaddvq_s32(sum[0]);
}
#else
#define LANES 0
static void multiply(void) {}
#endif

static void read_part(int me) {
    uint64_t sum[8] = {0};
    const int64_t each = words / threads / 8 * 8;
    const uint64_t *p = data + me * each;
    for (int64_t i = 0; i < each; i += 8)
        for (int j = 0; j < 8; j++) sum[j] += p[i + j];
    for (int j = 0; j < 8; j++) sink += sum[j];
}

static void timed(int me, double *best, int multiplies) {
    for (int pass = 0; pass < PASSES; pass++) {
        pthread_barrier_wait(&gate);
        const double began = now();
        if (multiplies) multiply();
        else read_part(me);
        pthread_barrier_wait(&gate);
        const double took = now() - began;
        if (me == 0 && took < *best) *best = took;
    }
}

static void *work(void *argument) {
    const int me = (int)(intptr_t)argument;
    timed(me, &best_read, 0);
    timed(me, &best_int8, 1);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 3 || (threads = atoi(arguments[1])) < 1 || threads > 256 || (words = atoll(arguments[2]) << 17) < 1024) {
        fprintf(stderr, "machine THREADS MEGABYTES\n");
        return 2;
    }
    data = malloc((size_t)words * 8);
    if (!data) return 1;
    memset(data, 1, (size_t)words * 8);
    pthread_barrier_init(&gate, NULL, (unsigned)threads);
    pthread_t others[256];
    for (int i = 1; i < threads; i++) pthread_create(&others[i], NULL, work, (void *)(intptr_t)i);
    work((void *)0);
    for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
    const double products = 2.0 * LANES * CHAINS * (double)ROUNDS * threads;
    printf("%.2f %.1f\n", 8e-9 * (double)(words / threads / 8 * 8 * threads) / best_read, 1e-9 * products / best_int8);
    return 0;
}
