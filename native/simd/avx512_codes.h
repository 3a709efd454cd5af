/* The vector vocabulary for AVX-512, continued: codebooks. Vectors are looked up as 16-bit codes (quant/grids.gen.h) in tables
 * that pass through registers, 64 entries at a time; in large ones in memory. */

typedef struct { /* of a block of 256, in the order of its weights */
    __m512i codes[2]; /* of vectors of 8: all in the first; of vectors of 4: of either half */
    __m512i more;     /* for ternary vectors of 8: what is added to them */
    uint16_t index[32]; /* of vectors of 8 in a codebook that is too large for registers */
    uint64_t minus[4]; /* signs of b128: first 16 of the first four groups, last 16 of them; of the other four */
} codes256;

EQ_INLINE __m512i c_64(const uint16_t *table, __m512i i) {
    return _mm512_permutex2var_epi16(_mm512_loadu_si512(table), i, _mm512_loadu_si512(table + 32));
}
EQ_INLINE __m512i c_128(const uint16_t *table, __m512i i) {
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(i, _mm512_set1_epi16(64)), c_64(table, i), c_64(table + 64, i));
}
EQ_INLINE __m512i c_256(const uint16_t *table, __m512i i) {
    EQ_FORGET(table); /* or the table would be kept, in memory */
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(i, _mm512_set1_epi16(128)), c_128(table, i), c_128(table + 128, i));
}
EQ_INLINE __m512i c_512(const uint16_t *table, __m512i i) {
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(i, _mm512_set1_epi16(256)), c_256(table, i), c_256(table + 256, i));
}
EQ_INLINE __m512i c_bytes(const uint8_t *p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p)); }

/* 32 bytes of signs, in the order of the weights */
EQ_INLINE void c_minus(__m256i signs, uint64_t *minus) {
    const __m128i order = _mm_set_epi8(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0);
    _mm256_storeu_si256((__m256i *)minus, _mm256_shuffle_epi8(signs, _mm256_broadcastsi128_si256(order)));
}
/* Bytes of 7 bits of signs, completed to an even number of them */
EQ_INLINE __m256i c_even(__m256i signs) {
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i odd = _mm256_broadcastsi128_si256(_mm_set_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
    __m256i first = _mm256_shuffle_epi8(odd, _mm256_and_si256(signs, low));
    __m256i last = _mm256_shuffle_epi8(odd, _mm256_and_si256(_mm256_srli_epi16(signs, 4), low));
    return _mm256_ternarylogic_epi32(signs, first, last, 0x96); /* exclusive or of all */
}
/* Four fields of 7 bits in each 32, each into a byte */
EQ_INLINE __m256i c_sevens(__m256i x) {
    x = _mm256_ternarylogic_epi32(_mm256_set1_epi32(0x3FFF), x, _mm256_slli_epi32(x, 2), 0xCA); /* a ? b : c */
    x = _mm256_ternarylogic_epi32(_mm256_set1_epi32(0x007F007F), x, _mm256_slli_epi32(x, 1), 0xCA);
    return _mm256_and_si256(x, _mm256_set1_epi8(127));
}
EQ_INLINE __m128i c_odd(__m128i numbers) { /* 2 n + 1 */
    return _mm_or_si128(_mm_add_epi8(numbers, numbers), _mm_set1_epi8(1));
}
EQ_INLINE __m128i c_nibbles(__m128i words) { /* of the low byte of a word, into both */
    return _mm_and_si128(_mm_or_si128(words, _mm_slli_epi16(words, 4)), _mm_set1_epi8(15));
}

EQ_INLINE __m512i c_eighth(uint32_t down) { /* what ternary vectors are shifted by, and 8 less: they are 0, 8 or 16 */
    return _mm512_mask_blend_epi16(down, _mm512_set1_epi8(-7), _mm512_set1_epi8(-9));
}
/* Which codes belong to the words of b128's lanes, those of first and last in turn: vectors of 8, each for four words; of 4 in
 * half of a block, each for two */
#define EQ_EIGHT(n) n, n, n, n, n + 1, n + 1, n + 1, n + 1
#define EQ_EIGHTS(n) {EQ_EIGHT(n), EQ_EIGHT(n + 4), EQ_EIGHT(n + 8), EQ_EIGHT(n + 12)}
static const uint16_t c_eights[4][32] = {EQ_EIGHTS(0), EQ_EIGHTS(2), EQ_EIGHTS(16), EQ_EIGHTS(18)};
#undef EQ_EIGHTS
#undef EQ_EIGHT
#define EQ_FOUR(n) n, n, n + 1, n + 1, n + 2, n + 2, n + 3, n + 3
#define EQ_FOURS(n) {EQ_FOUR(n), EQ_FOUR(n + 8), EQ_FOUR(n + 16), EQ_FOUR(n + 24)}
static const uint16_t c_fours[2][32] = {EQ_FOURS(0), EQ_FOURS(4)};
#undef EQ_FOURS
#undef EQ_FOUR
EQ_INLINE __m512i c_spread(__m512i codes, const uint16_t *order) {
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), codes);
}
EQ_INLINE __m512i c_levels2(__m512i codes, __m128i levels) { /* 16 levels, those of 2 bits over and over */
    const __m512i shifts = _mm512_broadcast_i32x4(_mm_set_epi16(6, 4, 2, 0, 6, 4, 2, 0));
    codes = _mm512_and_si512(_mm512_srlv_epi16(codes, shifts), _mm512_set1_epi8(15));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(levels), codes);
}
EQ_INLINE __m512i c_levels4(__m512i codes, __m128i levels) { /* codes of up to 7: what is above them is not looked at */
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(levels), _mm512_srlv_epi16(codes, _mm512_set1_epi32(0x00040000)));
}
EQ_INLINE __m512i c_signed(__m512i x, uint64_t minus) {
    return _mm512_mask_sub_epi8(x, minus, _mm512_setzero_si512(), x);
}
EQ_INLINE __m128i c_pair(const uint64_t *grid, const uint16_t *i) {
    __m128i x = _mm_loadl_epi64((const __m128i *)(grid + i[0]));
    return _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(x), (const double *)(grid + i[1])));
}
EQ_INLINE __m512i c_vectors(const uint64_t *grid, const uint16_t *i) { /* of four groups */
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(c_pair(grid, i)), c_pair(grid, i + 4), 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c_pair(grid, i + 8)), c_pair(grid, i + 12), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
/* half of a block: signed vectors of 8, by code or from the codebook; ternary ones; signed vectors of 4 */
EQ_INLINE b128 c_half8(const codes256 *c, int half, __m128i levels) {
    const int i = 2 * half;
    return (b128){c_signed(c_levels2(c_spread(c->codes[0], c_eights[i]), levels), c->minus[i]),
                  c_signed(c_levels2(c_spread(c->codes[0], c_eights[i + 1]), levels), c->minus[i + 1])};
}
EQ_INLINE b128 c_half8_of(const uint64_t *grid, const codes256 *c, int half) {
    return (b128){c_signed(c_vectors(grid, c->index + 16 * half), c->minus[2 * half]),
                  c_signed(c_vectors(grid, c->index + 16 * half + 2), c->minus[2 * half + 1])};
}
EQ_INLINE b128 c_half3_of(const uint64_t *grid, const codes256 *c, int half) { /* 8 times, and what is added to all */
    __m512i first = c_spread(c->more, c_eights[2 * half]);
    __m512i last = c_spread(c->more, c_eights[2 * half + 1]);
    return (b128){_mm512_add_epi8(_mm512_slli_epi16(c_vectors(grid, c->index + 16 * half), 3), first),
                  _mm512_add_epi8(_mm512_slli_epi16(c_vectors(grid, c->index + 16 * half + 2), 3), last)};
}
EQ_INLINE b128 c_half4(const codes256 *c, int half, __m128i levels) {
    return (b128){c_signed(c_levels4(c_spread(c->codes[half], c_fours[0]), levels), c->minus[2 * half]),
                  c_signed(c_levels4(c_spread(c->codes[half], c_fours[1]), levels), c->minus[2 * half + 1])};
}
