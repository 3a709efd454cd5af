/* What this processor can do: asked, and where a guarded probe is needed, tried. */
#ifndef EQ_CPU_H
#define EQ_CPU_H

#include <stdint.h>

/* Tiles: Linux has to be asked for them, and compilers before GCC 11 and Clang 12 do not know them. */
#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define EQ_HAVE_AMX 1
#endif

/* AVX-VNNI: GCC 11, Clang 13 and Visual Studio 2022 know it. */
#if (defined(__x86_64__) || defined(_M_X64)) \
    && (defined(__clang__) ? __clang_major__ >= 13 : defined(_MSC_VER) ? _MSC_VER >= 1930 : __GNUC__ >= 11)
#define EQ_HAVE_AVXVNNI 1
#endif

int32_t eq_cpu_always(void);
int32_t eq_cpu_avx2(void);
int32_t eq_cpu_avxvnni(void);
int32_t eq_cpu_avx512vnni(void);
int32_t eq_cpu_amx(void); /* asks the kernel for the tiles' registers, once granted for the whole process */
int32_t eq_cpu_neon(void);
int32_t eq_cpu_neondot(void);

int64_t eq_cpu_nanoseconds(void); /* of a clock that only goes forward */

/* Denormals count as zero between these two, on the calling thread. */
uint64_t eq_cpu_flush_denormals(void);
void eq_cpu_restore(uint64_t mode);

#endif
