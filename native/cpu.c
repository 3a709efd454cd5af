/* What this processor can do. A feature counts when CPUID and the operating system both have it, and a probe ran. */
#include "cpu.h"

#include <stdio.h>
#include <string.h>

#include "kernels.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <time.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#define EQ_X86 1
#include <immintrin.h>
#ifdef EQ_HAVE_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef _MSC_VER
#include <intrin.h>
static void cpuid(int leaf, int sub, unsigned r[4]) { __cpuidex((int *)r, leaf, sub); }
static uint64_t xcr0(void) { return _xgetbv(0); }
#else
#include <cpuid.h>
static void cpuid(int leaf, int sub, unsigned r[4]) {
    if (!__get_cpuid_count((unsigned)leaf, (unsigned)sub, &r[0], &r[1], &r[2], &r[3])) memset(r, 0, 16);
}
static uint64_t xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#define EQ_ARM64 1
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

static const int32_t *found(void);

#ifdef EQ_X86
enum { AVX, AVX2, FMA, F16C, AVX512F, AVX512BW, AVX512DQ, AVX512VL, AVX512VNNI, AVX512BF16, AVXVNNI, AMXTILE, AMXINT8, AMXBF16, FEATURES };
static const char *const names[] = {"avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni",
                                    "avx512bf16", "avxvnni", "amxtile", "amxint8", "amxbf16"};

static void detect(int32_t on[FEATURES]) {
    unsigned one[4] = {0}, seven[4] = {0}, seven1[4] = {0};
    cpuid(1, 0, one);
    cpuid(7, 0, seven);
    cpuid(7, 1, seven1);
    uint64_t saved = one[2] >> 27 & 1 ? xcr0() : 0; /* register state that the operating system keeps */
    int ymm = (saved & 6) == 6, zmm = (saved & 0xE6) == 0xE6, tiles = (saved & 0x60000) == 0x60000;
    on[AVX] = ymm && one[2] >> 28 & 1;
    on[FMA] = on[AVX] && one[2] >> 12 & 1;
    on[F16C] = on[AVX] && one[2] >> 29 & 1;
    on[AVX2] = on[AVX] && seven[1] >> 5 & 1;
    on[AVXVNNI] = on[AVX2] && seven1[0] >> 4 & 1;
    on[AVX512F] = zmm && seven[1] >> 16 & 1;
    on[AVX512DQ] = on[AVX512F] && seven[1] >> 17 & 1;
    on[AVX512BW] = on[AVX512F] && seven[1] >> 30 & 1;
    on[AVX512VL] = on[AVX512F] && seven[1] >> 31 & 1;
    on[AVX512VNNI] = on[AVX512F] && seven[2] >> 11 & 1;
    on[AVX512BF16] = on[AVX512F] && seven1[0] >> 5 & 1;
    on[AMXTILE] = tiles && seven[3] >> 24 & 1;
    on[AMXINT8] = on[AMXTILE] && seven[3] >> 25 & 1;
    on[AMXBF16] = on[AMXTILE] && seven[3] >> 22 & 1;
}
int32_t eq_cpu_avx2(void) {
    const int32_t *on = found();
    return on[AVX2] && on[FMA] && on[F16C];
}
#ifdef EQ_HAVE_AVXVNNI
int32_t eq_cpu_avxvnni(void) {
    const int32_t *on = found();
    return eq_cpu_avx2() && on[AVXVNNI];
}
#endif
int32_t eq_cpu_avx512vnni(void) {
    const int32_t *on = found();
    return eq_cpu_avx2() && on[AVX512F] && on[AVX512BW] && on[AVX512DQ] && on[AVX512VL] && on[AVX512VNNI];
}
#ifdef EQ_HAVE_AMX
int32_t eq_cpu_amx(void) {
    const int32_t *on = found();
    if (!eq_cpu_avx512vnni() || !on[AVX512BF16]) return 0;
#ifdef EQ_EMULATE_TILES
    return 1;
#else
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 }; /* Documentation/arch/x86/xstate.rst of Linux */
    return on[AMXTILE] && on[AMXBF16] && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#endif
}
#endif
uint64_t eq_cpu_flush_denormals(void) {
    uint32_t mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040); /* flush to zero, denormals are zero */
    return mode;
}
void eq_cpu_restore(uint64_t mode) { _mm_setcsr((uint32_t)mode); }

#elif defined(EQ_ARM64)
enum { NEON, DOTPROD, I8MM, FEATURES };
static const char *const names[] = {"neon", "dotprod", "i8mm"};
static void detect(int32_t on[FEATURES]) {
    on[NEON] = 1;
    on[DOTPROD] = on[I8MM] = 0;
#if defined(__linux__)
    on[DOTPROD] = (int32_t)(getauxval(AT_HWCAP) >> 20 & 1);
    on[I8MM] = (int32_t)(getauxval(AT_HWCAP2) >> 13 & 1);
#elif defined(__APPLE__)
    int32_t value = 0;
    size_t size = sizeof value;
    if (sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, NULL, 0) == 0) on[DOTPROD] = value;
    size = sizeof value, value = 0;
    if (sysctlbyname("hw.optional.arm.FEAT_I8MM", &value, &size, NULL, 0) == 0) on[I8MM] = value;
#elif defined(_WIN32)
    on[DOTPROD] = IsProcessorFeaturePresent(43); /* PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE */
#endif
}
int32_t eq_cpu_neon(void) { return 1; }
int32_t eq_cpu_neondot(void) {
    return found()[DOTPROD];
}
#if defined(__GNUC__)
uint64_t eq_cpu_flush_denormals(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | (uint64_t)1 << 24));
    return mode;
}
void eq_cpu_restore(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
uint64_t eq_cpu_flush_denormals(void) { return 0; }
void eq_cpu_restore(uint64_t mode) { (void)mode; }
#endif

#else
enum { NONE, FEATURES };
static const char *const names[] = {"none"};
static void detect(int32_t on[FEATURES]) { on[NONE] = 1; }
uint64_t eq_cpu_flush_denormals(void) { return 0; }
void eq_cpu_restore(uint64_t mode) { (void)mode; }
#endif

int32_t eq_cpu_always(void) { return 1; }

/* Asked once a thread: in a virtual machine a CPUID can take tens of microseconds. */
static const int32_t *found(void) {
    static _Thread_local int32_t on[FEATURES];
    static _Thread_local int known;
    if (!known) detect(on);
    known = 1;
    return on;
}

const eq_kernels *const eq_variants[] = {
#ifdef EQ_X86
#ifdef EQ_HAVE_AMX
    &eq_kernels_amx,
#endif
    &eq_kernels_avx512vnni,
#ifdef EQ_HAVE_AVXVNNI
    &eq_kernels_avxvnni,
#endif
    &eq_kernels_avx2,
#elif defined(EQ_ARM64)
    &eq_kernels_neondot, &eq_kernels_neon,
#endif
    &eq_kernels_scalar, NULL,
};

const eq_kernels *eq_select(const char *forced) {
    for (int i = 0; eq_variants[i]; i++) {
        if (forced && strcmp(forced, eq_variants[i]->name) != 0) continue;
        if (eq_variants[i]->works()) return eq_variants[i];
    }
    return NULL;
}

int64_t eq_cpu_nanoseconds(void) {
#ifdef _WIN32
    LARGE_INTEGER ticks, second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&second);
    return ticks.QuadPart / second.QuadPart * 1000000000 + ticks.QuadPart % second.QuadPart * 1000000000 / second.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
#endif
}

const char *eq_isa_name(const char *forced) {
    const eq_kernels *k = eq_select(forced);
    return k ? k->name : NULL;
}

const char *eq_cpu_report(void) {
    static _Thread_local char text[1024];
    const int32_t *on = found();
    int n = snprintf(text, sizeof text, "{\"features\": {");
    for (int i = 0; i < FEATURES; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s\"%s\": %s", i ? ", " : "", names[i], on[i] ? "true" : "false");
    n += snprintf(text + n, sizeof text - (size_t)n, "}, \"variants\": {");
    for (int i = 0; eq_variants[i]; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s\"%s\": %s", i ? ", " : "", eq_variants[i]->name,
                      eq_variants[i]->works() ? "true" : "false");
    const eq_kernels *best = eq_select(NULL);
    snprintf(text + n, sizeof text - (size_t)n, "}, \"chosen\": \"%s\"}", best ? best->name : "none");
    return text;
}
