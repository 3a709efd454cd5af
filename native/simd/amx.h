/* Tiles of AMX: 16 rows of 64 bytes. t_dot: C [16 rows][16 tokens] float32 += A [16 rows][32] x B [16 pairs][16 tokens][2],
 * bf16. With EQ_EMULATE_TILES the same is done on AVX-512 BF16, for tests on machines without tiles. */
#define EQ_TILES 1

EQ_INLINE vf t_floats(const uint8_t *w, int offset) { /* 16 bytes less the offset */
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)w));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(x, _mm512_set1_epi32(offset)));
}
EQ_INLINE void t_store_bf16(uint16_t *to, vf first, vf second) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}
EQ_INLINE void t_activations(uint32_t *to, const float *x) { /* 32 floats, as pairs 16 words apart */
    uint32_t pair[16];
    _mm512_storeu_si512(pair, (__m512i)_mm512_cvtne2ps_pbh(v_load(x + 16), v_load(x)));
    for (int i = 0; i < 16; i++) to[16 * i] = pair[i];
}

#ifdef EQ_EMULATE_TILES
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
#define t_store(t, p, stride) t_store_(t, p, stride)
#define t_dot(c, a, b) t_dot_(c, a, b)
#else
/* Palette 1, eight tiles of 16 rows of 64 bytes: Intel SDM, LDTILECFG. */
static const struct {
    uint8_t palette, start, zero[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} t_shape = {.palette = 1,
             .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
             .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
_Static_assert(sizeof t_shape == 64, "what LDTILECFG reads");
EQ_INLINE void t_begin(void) { /* not the intrinsic: that of GCC 12 names 8 of the 64 bytes as read */
    __asm__ volatile("ldtilecfg %0" : : "m"(t_shape));
}
EQ_INLINE void t_end(void) { _tile_release(); }
EQ_INLINE void t_written(void) { __asm__ volatile("" : : : "memory"); } /* GCC does not know that t_load reads memory */
#define t_zero(t) _tile_zero(t)
#define t_load(t, p, stride) _tile_loadd(t, p, stride)
#define t_store(t, p, stride) _tile_stored(t, p, stride)
#define t_dot(c, a, b) _tile_dpbf16ps(c, a, b)
#endif
