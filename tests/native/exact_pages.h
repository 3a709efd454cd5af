/* Forced into every file of the library by builds with sanitizers (-include): what the library maps for itself gets
 * poisoned pages before and behind its exact size, so that the address sanitizer sees accesses outside of it. */
#ifndef EXACT_PAGES_H
#define EXACT_PAGES_H

#include <sanitizer/asan_interface.h>
#include <stddef.h>
#include <sys/mman.h>

enum { EXACT_FENCE = 65536 };

static inline size_t exact_room(size_t n) { return (n + EXACT_FENCE - 1) / EXACT_FENCE * EXACT_FENCE + 2 * (size_t)EXACT_FENCE; }

static inline void *exact_map(size_t n, int protection, int flags) {
    if (n > (size_t)1 << 60) return MAP_FAILED;
    char *p = (char *)mmap(NULL, exact_room(n), protection, flags, -1, 0);
    if (p == (char *)MAP_FAILED) return p;
    ASAN_POISON_MEMORY_REGION(p, EXACT_FENCE);
    ASAN_POISON_MEMORY_REGION(p + EXACT_FENCE + n, exact_room(n) - EXACT_FENCE - n);
    return p + EXACT_FENCE;
}
static inline int exact_unmap(void *p, size_t n) {
    char *start = (char *)p - EXACT_FENCE;
    ASAN_UNPOISON_MEMORY_REGION(start, EXACT_FENCE); /* not all of it: that would touch an eighth as much memory */
    ASAN_UNPOISON_MEMORY_REGION(start + EXACT_FENCE + n / 8 * 8, exact_room(n) - EXACT_FENCE - n / 8 * 8);
    return munmap(start, exact_room(n));
}

/* guard.c maps at a fixed place; that stays as it is */
#define mmap(start, n, protection, flags, file, offset) \
    ((start) ? mmap(start, n, protection, flags, file, offset) : exact_map(n, protection, flags))
#define munmap(p, n) exact_unmap(p, n)

#endif
