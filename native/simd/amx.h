/* Tiles of AMX: 16 rows of 64 bytes. t_dot: C [16 rows][16 tokens] float32 += A [16 rows][32] x B [16 pairs][16 tokens][2],
 * bf16. */
#define EQ_TILES 1

EQ_INLINE vf t_floats(w32 w, int half) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(half ? _mm512_extracti64x4_epi64(w.a, 1) : _mm512_castsi512_si256(w.a)));
}
EQ_INLINE void t_store_bf16(uint16_t *to, vf first, vf second) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}
EQ_INLINE vf t_pairs(const float *x) { /* 32 numbers as bf16, two in a lane */
    return (vf)_mm512_cvtne2ps_pbh(v_load(x + 16), v_load(x));
}
EQ_INLINE vf t_join(vf first, vf second) { /* two numbers as bf16 in each lane */
    const __m512i lane = _mm512_cvtps_epi32(v_iota()), from = _mm512_or_si512(lane, _mm512_slli_epi32(lane, 16));
    const __m512i words = _mm512_or_si512(from, _mm512_set1_epi32(16 << 16));
    return (vf)_mm512_permutexvar_epi16(words, (__m512i)_mm512_cvtne2ps_pbh(second, first));
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
#define t_pass(t, p, stride) _tile_stream_loadd(t, p, stride) /* of what will not be read again soon */
#define t_store(t, p, stride) _tile_stored(t, p, stride)
#define t_dot(c, a, b) _tile_dpbf16ps(c, a, b)
#endif
