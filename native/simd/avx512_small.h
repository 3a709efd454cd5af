/* The vector vocabulary for AVX-512, continued: blocks of 32 to 128 weights whose scales are not halves or whose weights are
 * single bits or pairs; digits to base 3. */

/* eq_e8m0_half for four blocks of MXFP4, in place of missing ones the last's; four lanes for each */
EQ_INLINE vf q_e8m0(const uint8_t *p, int blocks) {
    const uint8_t *last = p + 17 * (blocks - 1);
    const uint32_t b = blocks > 1 ? p[17] : *last, c = blocks > 2 ? p[34] : *last, d = blocks > 3 ? p[51] : *last;
    __m512i x = _mm512_set1_epi32((int)(*p | b << 8 | c << 16 | d << 24));
    x = _mm512_shuffle_epi8(x, q_four((int)0x80808000, (int)0x80808001, (int)0x80808002, (int)0x80808003));
    __m512i few = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), x);
    __m512i many = _mm512_slli_epi32(_mm512_sub_epi32(x, _mm512_set1_epi32(1)), 23);
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(few, _mm512_cmpgt_epi32_mask(x, _mm512_set1_epi32(1)), many));
}
/* eq_ue4m3_half for two blocks of NVFP4: of the first 16 of each group, of the last; in half precision they are 2^-7 of it */
EQ_INLINE void q_ue4m3(const uint8_t *p, const uint8_t *q, vf *first, vf *last) {
    __m128i x = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)(u32(p) | (uint64_t)u32(q) << 32)));
    __m128i none = _mm_cmpeq_epi16(x, _mm_set1_epi16(0x7F));
    x = _mm_andnot_si128(none, _mm_and_si128(_mm_slli_epi16(x, 7), _mm_set1_epi16(0x3F80)));
    __m512 s = _mm512_castps256_ps512(_mm256_mul_ps(_mm256_cvtph_ps(x), _mm256_set1_ps(128.0f)));
    *first = _mm512_permutexvar_ps(q_four(0, 2, 4, 6), s);
    *last = _mm512_permutexvar_ps(q_four(1, 3, 5, 7), s);
}
EQ_INLINE __m512i q_two(const uint8_t *p, const uint8_t *q) { /* 32 bytes, and 32 bytes */
    __m512i x = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_inserti64x4(x, _mm256_loadu_si256((const __m256i *)q), 1);
}
/* Of 16 bytes in every lane two to all words of a lane, `two` in the first lane and 4 further on in each next one */
EQ_INLINE __m512i q_spread(__m512i x, int two) {
    two *= 0x10001;
    return _mm512_shuffle_epi8(x, q_four(two, two + 0x04040404, two + 0x08080808, two + 0x0C0C0C0C));
}
/* 32 pairs of bits for each of four groups, in 16 bytes and 16 bytes */
EQ_INLINE w128 q_pairs(const uint8_t *p, const uint8_t *q) {
    const __m512i low = _mm512_set1_epi16(3), even = _mm512_set1_epi32(0x00040000), odd = _mm512_set1_epi32(0x00060002);
    const __m128i bytes = _mm_set_epi8(-1, 3, -1, 3, -1, 2, -1, 2, -1, 1, -1, 1, -1, 0, -1, 0);
    const __m512i begin = _mm512_mask_add_epi8(_mm512_broadcast_i32x4(bytes), 0x5555000055550000, _mm512_broadcast_i32x4(bytes), _mm512_set1_epi8(8));
    __m512i x = _mm512_mask_broadcast_i32x4(q_each(p), 0xFF00, _mm_loadu_si128((const __m128i *)q));
    __m512i first = _mm512_shuffle_epi8(x, begin);
    __m512i last = _mm512_shuffle_epi8(x, _mm512_add_epi8(begin, _mm512_set1_epi16(4)));
    return (w128){{_mm512_and_si512(_mm512_srlv_epi16(first, even), low), _mm512_and_si512(_mm512_srlv_epi16(first, odd), low),
                   _mm512_and_si512(_mm512_srlv_epi16(last, even), low), _mm512_and_si512(_mm512_srlv_epi16(last, odd), low)}};
}
/* First digits to base 3 of bytes, fractions of 256, times powers in 32-bit lanes, modulo 256; less 1. Of a byte in the high
 * half of a word, three times it has the digit above the word. */
EQ_INLINE __m512i q_digits(__m512i x, __m512i powers) {
    const __m512i three = _mm512_set1_epi16(3), high = _mm512_set1_epi16((short)0xFF00);
    powers = _mm512_or_si512(powers, _mm512_slli_epi32(powers, 16));
    __m512i even = _mm512_mulhi_epu16(_mm512_mullo_epi16(_mm512_slli_epi16(x, 8), powers), three);
    __m512i odd = _mm512_mulhi_epu16(_mm512_mullo_epi16(_mm512_and_si512(x, high), powers), three);
    return q_less(_mm512_or_si512(even, _mm512_slli_epi16(odd, 8)), 1);
}
