/* What this processor can do: asked, and where a guarded probe is needed, tried. */
#ifndef EQ_CPU_H
#define EQ_CPU_H

#include <stdint.h>

int32_t eq_cpu_always(void);
int32_t eq_cpu_avx2(void);
int32_t eq_cpu_avx512vnni(void);
int32_t eq_cpu_neon(void);
int32_t eq_cpu_neondot(void);

/* Denormals count as zero between these two, on the calling thread. */
uint64_t eq_cpu_flush_denormals(void);
void eq_cpu_restore(uint64_t mode);

#endif
