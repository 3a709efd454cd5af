/* Tiles of AMX: 16 rows of 64 bytes. t_dot: C [16 rows][16 tokens] float32 += A [16 rows][32] x B [16 pairs][16 tokens][2],
 * bf16. */
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
#include "tests/native/emulated_tiles.h"
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
