/* What simd/amx.h has of AMX, done by AVX-512 BF16: for tests on machines without tiles. */
typedef __m512 t_tile[16];
static _Thread_local t_tile t_tiles[8];
EQ_INLINE void t_begin(void) {}
EQ_INLINE void t_end(void) {}
EQ_INLINE void t_written(void) {}
EQ_INLINE void t_zero_(int t) { memset(t_tiles[t], 0, sizeof t_tiles[t]); }
EQ_INLINE void t_load_(int t, const void *p, int64_t stride) {
    for (int r = 0; r < 16; r++) t_tiles[t][r] = _mm512_loadu_ps((const char *)p + r * stride);
}
EQ_INLINE void t_store_(int t, void *p, int64_t stride) {
    for (int r = 0; r < 16; r++) _mm512_storeu_ps((char *)p + r * stride, t_tiles[t][r]);
}
EQ_INLINE void t_dot_(int c, int a, int b) {
    for (int r = 0; r < 16; r++) {
        int32_t pair[16];
        memcpy(pair, &t_tiles[a][r], sizeof pair);
        for (int k = 0; k < 16; k++)
            t_tiles[c][r] = _mm512_dpbf16_ps(t_tiles[c][r], (__m512bh)_mm512_set1_epi32(pair[k]), (__m512bh)t_tiles[b][k]);
    }
}
#define t_zero(t) t_zero_(t)
#define t_load(t, p, stride) t_load_(t, p, stride)
#define t_pass(t, p, stride) t_load_(t, p, stride)
#define t_store(t, p, stride) t_store_(t, p, stride)
#define t_dot(c, a, b) t_dot_(c, a, b)
