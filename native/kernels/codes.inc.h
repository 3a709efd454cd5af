/* Formats with codebooks, for a vocabulary with EQ_PLANES: what is looked up for a block of 256 serves both halves. */

/* --- what the codebooks say of a block, and its scales; weights of half of it ------------------------------------------- */

EQ_INLINE float iq2_xxs_codes(const uint8_t *b, codes256 *c, __m128i *s) { /* 8 times: 4 bytes, 4 fields of 7 bits, 4 bits */
    __m512i x = _mm512_loadu_si512(b + 2);
    __m256i words = _mm512_cvtepi64_epi32(_mm512_srli_epi64(x, 32));
    c->codes[0] = c_256(eq_codes_iq2_xxs, _mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(x)));
    c_minus(c_even(c_sevens(words)), c->minus);
    *s = c_odd(_mm256_cvtepi32_epi8(_mm256_srli_epi32(words, 28)));
    return v_half(b) * 0.125f;
}
EQ_INLINE b128 iq2_xxs_vectors(const codes256 *c, int half) { return c_half8(c, half, _mm_set1_epi32(0x002B1908)); }

EQ_INLINE __m128i iq2_numbers(const uint8_t *p) {
    return c_odd(c_nibbles(_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p))));
}
EQ_INLINE float iq2_xs_codes(const uint8_t *b, codes256 *c, __m128i *s) { /* 32 times: 9 bits, 7 of signs */
    __m512i x = _mm512_loadu_si512(b + 2);
    c->codes[0] = c_512(eq_codes_iq2_xs, x);
    c_minus(c_even(_mm512_cvtepi16_epi8(_mm512_srli_epi16(x, 9))), c->minus);
    *s = iq2_numbers(b + 66);
    return v_half(b) * 0.125f;
}
#define iq2_xs_vectors iq2_xxs_vectors

EQ_INLINE float iq2_s_codes(const uint8_t *b, codes256 *c, __m128i *s) { /* low bytes, signs, high pairs */
    _mm512_storeu_si512(c->index, _mm512_or_si512(c_bytes(b + 2), w_shl(w_pairs(b + 66), 8).a));
    c_minus(_mm256_loadu_si256((const __m256i *)(b + 34)), c->minus);
    *s = iq2_numbers(b + 74);
    return v_half(b) * 0.125f;
}
EQ_INLINE b128 iq2_s_vectors(const codes256 *c, int half) { return c_half8_of(eq_grid_iq2_s, c, half); }

EQ_INLINE float iq3_xxs_codes(const uint8_t *b, codes256 *c, __m128i *s) { /* 64 bytes; 8 times 4 fields of 7 bits, 4 bits */
    __m256i words = _mm256_loadu_si256((const __m256i *)(b + 66));
    for (int i = 0; i < 2; i++) c->codes[i] = c_256(eq_codes_iq3_xxs, c_bytes(b + 2 + 32 * i));
    c_minus(c_even(c_sevens(words)), c->minus);
    *s = c_odd(_mm256_cvtepi32_epi8(_mm256_srli_epi32(words, 28)));
    return v_half(b) * 0.25f;
}
EQ_INLINE b128 iq3_xxs_vectors(const codes256 *c, int half) {
    return c_half4(c, half, _mm_set1_epi64x(0x3E342C241C140C04));
}

EQ_INLINE float iq3_s_codes(const uint8_t *b, codes256 *c, __m128i *s) { /* low bytes, high bits, signs */
    for (int i = 0; i < 2; i++)
        c->codes[i] = c_512(eq_codes_iq3_s, w_add_if((w32){c_bytes(b + 2 + 32 * i)}, u32(b + 66 + 4 * i), 256).a);
    c_minus(_mm256_loadu_si256((const __m256i *)(b + 74)), c->minus);
    *s = c_odd(c_nibbles(_mm_cvtepu8_epi16(_mm_cvtsi32_si128((int)u32(b + 106)))));
    return v_half(b);
}
EQ_INLINE b128 iq3_s_vectors(const codes256 *c, int half) {
    return c_half4(c, half, _mm_set1_epi64x(0x0F0D0B0907050301));
}

EQ_INLINE float iq1_s_codes(const uint8_t *b, codes256 *c, __m128i *s) { /* low bytes; 8 times 4 high fields of 3 bits, 3 bits, sign */
    const __m512i each = _mm512_broadcast_i32x4(_mm_set_epi8(9, 8, 9, 8, 9, 8, 9, 8, 1, 0, 1, 0, 1, 0, 1, 0));
    __m128i words = _mm_loadu_si128((const __m128i *)(b + 34));
    __m512i x = _mm512_shuffle_epi8(_mm512_cvtepu16_epi64(words), each);
    __m512i high = _mm512_sllv_epi16(x, _mm512_set1_epi64(0x0000000200050008)); /* bits 3 to 11 end in bits 8 to 10 */
    high = _mm512_mask_srli_epi16(high, 0x88888888, x, 1);
    high = _mm512_and_si512(high, _mm512_set1_epi16(0x0700));
    _mm512_storeu_si512(c->index, _mm512_or_si512(c_bytes(b + 2), high));
    c->more = c_eighth(_mm512_movepi16_mask(x));
    words = _mm_and_si128(_mm_srli_epi16(words, 12), _mm_set1_epi16(7));
    *s = c_odd(_mm_packus_epi16(words, words));
    return v_half(b) * 0.125f;
}
EQ_INLINE b128 iq1_s_vectors(const codes256 *c, int half) { return c_half3_of(eq_grid_iq1_s, c, half); }

EQ_INLINE float iq1_m_codes(const uint8_t *b, codes256 *c, __m128i *s) { /* low bytes; nibbles of 3 high bits and a sign */
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(b + 32)));
    x = _mm512_or_si512(x, _mm512_slli_epi32(x, 12));
    __m512i high = _mm512_slli_epi16(_mm512_and_si512(x, _mm512_set1_epi16(7)), 8);
    _mm512_storeu_si512(c->index, _mm512_or_si512(c_bytes(b), high));
    c->more = c_eighth(_mm512_test_epi16_mask(x, _mm512_set1_epi16(8)));
    *s = c_odd(_mm_set_epi64x((int64_t)iq1_m_bytes(u32(b + 52)), (int64_t)iq1_m_bytes(u32(b + 48))));
    return iq1_m_scale(b) * 0.125f;
}
#define iq1_m_vectors iq1_s_vectors
