/* The vector vocabulary for AVX-512, continued: blocks of 32 to 128 weights whose scales are not halves or whose weights are
 * single bits or pairs; digits to base 3. */

/* eq_e8m0_half for four blocks of MXFP4 of four rows, in place of missing ones the last's */
EQ_INLINE vf q_e8m0(const uint8_t *const *b, int blocks) {
    uint32_t four[4];
    for (int r = 0; r < 4; r++) {
        const uint8_t *p = b[r], *last = p + 17 * (blocks - 1);
        four[r] = p[0] | (uint32_t)(blocks > 1 ? p[17] : *last) << 8 | (uint32_t)(blocks > 2 ? p[34] : *last) << 16
                  | (uint32_t)(blocks > 3 ? p[51] : *last) << 24;
    }
    const __m128i turn = _mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    __m512i x = _mm512_cvtepu8_epi32(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)four), turn));
    __m512i few = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), x);
    __m512i many = _mm512_slli_epi32(_mm512_sub_epi32(x, _mm512_set1_epi32(1)), 23);
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(few, _mm512_cmpgt_epi32_mask(x, _mm512_set1_epi32(1)), many));
}
EQ_INLINE __m128i q_fours(const uint8_t *const *b, int at) { /* 4 bytes of each row */
    return _mm_set_epi32((int)u32(b[3] + at), (int)u32(b[2] + at), (int)u32(b[1] + at), (int)u32(b[0] + at));
}
EQ_INLINE vf m_ue4m3(__m128i codes) { /* eq_ue4m3_half of 16; in half precision they are 2^-7 of it */
    __m256i x = _mm256_cvtepu8_epi16(codes), none = _mm256_cmpeq_epi16(x, _mm256_set1_epi16(0x7F));
    x = _mm256_andnot_si256(none, _mm256_and_si256(_mm256_slli_epi16(x, 7), _mm256_set1_epi16(0x3F80)));
    return v_mul(_mm512_cvtph_ps(x), v_set(128.0f));
}
/* Two blocks of NVFP4 of four rows: of the first 16 of each group, of the last */
EQ_INLINE s128 q_ue4m3(const uint8_t *const *b, int second) {
    const __m128i turn = _mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0); /* byte by byte, each of four rows */
    __m128i x = _mm_shuffle_epi8(q_fours(b, 0), turn), y = _mm_shuffle_epi8(q_fours(b, second), turn);
    __m128 p = _mm_castsi128_ps(x), q = _mm_castsi128_ps(y);
    vf first = m_ue4m3(_mm_castps_si128(_mm_shuffle_ps(p, q, 0x88))), last = m_ue4m3(_mm_castps_si128(_mm_shuffle_ps(p, q, 0xDD)));
    return (s128){{first, last}, {v_zero(), v_zero()}};
}
EQ_INLINE __m512i q_two(const uint8_t *p, const uint8_t *q) { /* 32 bytes, and 32 bytes */
    __m512i x = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_inserti64x4(x, _mm256_loadu_si256((const __m256i *)q), 1);
}
/* 16 bytes in every lane: 32 bits of each group; 2 where a bit is set */
EQ_INLINE b128 q_ones(__m512i x) {
    const __m512i bit = _mm512_set1_epi64((long long)0x8040201008040201);
    const __m512i half = _mm512_broadcast_i32x4(_mm_set_epi8(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m512i begin = _mm512_add_epi8(half, q_lanes(0, 0x04040404, 0x08080808, 0x0C0C0C0C));
    __m512i first = _mm512_shuffle_epi8(x, begin), last = _mm512_shuffle_epi8(x, _mm512_add_epi8(begin, _mm512_set1_epi8(2)));
    return (b128){_mm512_maskz_set1_epi8(_mm512_test_epi8_mask(first, bit), 2),
                  _mm512_maskz_set1_epi8(_mm512_test_epi8_mask(last, bit), 2)};
}
/* 32 pairs of bits for each of four groups, in 16 bytes and 16 bytes: four of a byte side by side */
EQ_INLINE __m512i q_pairs4(__m512i x) { /* bytes that each stand four times */
    const __m512i even = _mm512_set1_epi32(0x00040000), odd = _mm512_set1_epi32(0x00060002);
    __m512i low = _mm512_srlv_epi16(x, even), high = _mm512_srlv_epi16(x, odd);
    return _mm512_and_si512(_mm512_ternarylogic_epi64(_mm512_set1_epi16(255), low, high, 0xCA), _mm512_set1_epi8(3)); /* a ? b : c */
}
EQ_INLINE b128 q_pairs(const uint8_t *p, const uint8_t *q) {
    const __m512i each = _mm512_broadcast_i32x4(_mm_set_epi8(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0));
    const __m512i begin = _mm512_add_epi8(each, q_lanes(0, 0x08080808, 0, 0x08080808));
    __m512i x = _mm512_mask_broadcast_i32x4(q_each(p), 0xFF00, _mm_loadu_si128((const __m128i *)q));
    return (b128){q_pairs4(_mm512_shuffle_epi8(x, begin)),
                  q_pairs4(_mm512_shuffle_epi8(x, _mm512_add_epi8(begin, _mm512_set1_epi8(4))))};
}
/* First digits to base 3 of bytes, fractions of 256, times powers in 32-bit lanes, modulo 256. Of a byte in the high half of a
 * word, three times it has the digit above the word. */
EQ_INLINE __m512i q_digits(__m512i x, __m512i powers) {
    const __m512i three = _mm512_set1_epi16(3), high = _mm512_set1_epi16((short)0xFF00);
    powers = _mm512_or_si512(powers, _mm512_slli_epi32(powers, 16));
    __m512i even = _mm512_mulhi_epu16(_mm512_mullo_epi16(_mm512_slli_epi16(x, 8), powers), three);
    __m512i odd = _mm512_mulhi_epu16(_mm512_mullo_epi16(_mm512_and_si512(x, high), powers), three);
    return _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
}
