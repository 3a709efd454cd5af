/* What the vocabularies for AVX2 and AVX-512 share. Included inside their target regions. */

#if defined(__GNUC__)
#define EQ_HOLD(v) __asm__("" : "+v"(v))
#define EQ_IN_MEMORY(v) __asm__("" : "+m"(v))
#else
#define EQ_HOLD(v) ((void)0)
#define EQ_IN_MEMORY(v) ((void)0)
#endif

EQ_INLINE void v8_scale(uint64_t bytes, float d, float *out) { /* out[i] = d * signed byte i */
    __m256i x = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128((int64_t)bytes));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(x), _mm256_set1_ps(d)));
}

/* --- sums of 8 integers --------------------------------------------------------------------------------------------- */
EQ_INLINE void v8_sums4(__m256i a, __m256i b, __m256i c, __m256i d, int32_t *out) {
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    _mm_storeu_si128((__m128i *)out, _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
}
EQ_INLINE void v8_sums2(__m256i a, __m256i b, int32_t *out) {
    __m256i s = _mm256_hadd_epi32(a, b);
    s = _mm256_hadd_epi32(s, s);
    _mm_storel_epi64((__m128i *)out, _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
}
