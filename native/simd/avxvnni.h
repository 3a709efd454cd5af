/* The vector vocabulary for AVX2 with VNNI on 256 bits (AVX-VNNI): that of AVX2, but the instruction that multiplies adds
 * up too, as int32, so that bytes need no sums of int16. */
#define EQ_OWN_DOTS 1
#define EQ_MR 6

EQ_INLINE __m256i m_dot(__m256i sums, __m256i a, __m256i b) { return _mm256_dpwssd_avx_epi32(sums, a, b); }

#include "simd/avx2.h"

/* Packed: weights are unsigned, of up to 8 bits. */
#define EQ_STORED(offset) (offset)
EQ_INLINE vi i_dot(vi acc, vw w, vx x) { return _mm256_dpbusd_avx_epi32(acc, w, x); }
