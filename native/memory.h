/* Zeroed memory that costs nothing until touched, and arithmetic that notices overflow. */
#ifndef EQ_MEMORY_H
#define EQ_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
static inline void *eq_pages_new(int64_t n) { return n > 0 ? VirtualAlloc(NULL, (SIZE_T)n, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE) : NULL; }
static inline void eq_pages_free(void *p, int64_t n) {
    (void)n;
    if (p) VirtualFree(p, 0, MEM_RELEASE);
}
#else
#include <sys/mman.h>
static inline void *eq_pages_new(int64_t n) {
    if (n <= 0) return NULL;
    void *p = mmap(NULL, (size_t)n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
static inline void eq_pages_free(void *p, int64_t n) {
    if (p) munmap(p, (size_t)n);
}
#endif

/* a * b + c for non-negative numbers, or -1 */
static inline int64_t eq_size(int64_t a, int64_t b, int64_t c) {
    if (a < 0 || b < 0 || c < 0) return -1;
    if (a && b > (INT64_MAX - c) / a) return -1;
    return a * b + c;
}

#endif
