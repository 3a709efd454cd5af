/* The vector vocabulary for AVX-512, continued: half a block of 256 weights at a time, as four groups of 32 in the order of
 * w128, and the integer scales of a block. */
typedef struct { __m512i first, last; } b128; /* signed bytes of the first 16 weights of each group, of the last 16 */
typedef __m512i s256;                         /* 16 scales as signed bytes, in every lane */

EQ_INLINE __m512i q_four(int a, int b, int c, int d) { /* a number for each lane */
    return _mm512_set_epi32(d, d, d, d, c, c, c, c, b, b, b, b, a, a, a, a);
}
/* One scale for each lane, in the high bytes of its words. */
EQ_INLINE __m512i s_choose(s256 s, int a, int b, int c, int d) {
    return _mm512_shuffle_epi8(s, q_four(0x00800080 + 0x01000100 * a, 0x00800080 + 0x01000100 * b, 0x00800080 + 0x01000100 * c,
                                         0x00800080 + 0x01000100 * d));
}
/* Weights times scales: both in the high bytes of words, their product is the high half of the words'. */
EQ_INLINE w128 q_scaled(b128 w, __m512i first, __m512i last) {
    const __m512i high = _mm512_set1_epi16((short)0xFF00);
    return (w128){{_mm512_mulhi_epi16(_mm512_slli_epi16(w.first, 8), first), _mm512_mulhi_epi16(_mm512_and_si512(w.first, high), first),
                   _mm512_mulhi_epi16(_mm512_slli_epi16(w.last, 8), last), _mm512_mulhi_epi16(_mm512_and_si512(w.last, high), last)}};
}
EQ_INLINE w128 q_times(b128 w, s256 s, int half) { /* a scale for each group */
    __m512i x = s_choose(s, 4 * half, 4 * half + 1, 4 * half + 2, 4 * half + 3);
    return q_scaled(w, x, x);
}
EQ_INLINE w128 q_times2(b128 w, s256 s, int half) { /* a scale for each 16 */
    const int i = 8 * half;
    return q_scaled(w, s_choose(s, i, i + 2, i + 4, i + 6), s_choose(s, i + 1, i + 3, i + 5, i + 7));
}
EQ_INLINE __m512i q_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
EQ_INLINE __m512i q_each(const uint8_t *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); } /* 16 bytes */
EQ_INLINE __m512i q_first2(__m512i x) { return _mm512_shuffle_i64x2(x, x, 0xA0); } /* lanes 0, 0, 2, 2 */
EQ_INLINE __m512i q_last2(__m512i x) { return _mm512_shuffle_i64x2(x, x, 0xF5); }  /* 1, 1, 3, 3 */
EQ_INLINE __m512i q_evens(__m512i x) { return _mm512_shuffle_i64x2(x, x, 0x88); }  /* 0, 2, 0, 2 */
EQ_INLINE __m512i q_odds(__m512i x) { return _mm512_shuffle_i64x2(x, x, 0xDD); }   /* 1, 3, 1, 3 */
/* each byte shifted right, its lane by so much, and masked */
EQ_INLINE __m512i q_field(__m512i x, int a, int b, int c, int d, int mask) {
    return _mm512_and_si512(_mm512_srlv_epi32(x, q_four(a, b, c, d)), _mm512_set1_epi8((char)mask));
}
/* low, with the bits under mask from x, whose bytes are shifted left, or right where the number is negative */
EQ_INLINE __m512i q_join(__m512i low, __m512i x, int a, int b, int c, int d, int mask) {
    x = _mm512_rolv_epi32(x, q_four(a & 31, b & 31, c & 31, d & 31)); /* what comes from other bytes is not under the mask */
    return _mm512_ternarylogic_epi64(low, x, _mm512_set1_epi8((char)mask), 0xF8); /* low | (x & mask) */
}
EQ_INLINE __m512i q_less(__m512i bytes, int n) { return _mm512_sub_epi8(bytes, _mm512_set1_epi8((char)n)); }
EQ_INLINE vf v_load8(const float *p) { return _mm512_zextps256_ps512(_mm256_loadu_ps(p)); }

/* --- scales of a block; its mins, 16, or 8 and zeros; what the scales are to be multiplied by is returned --------- */

EQ_INLINE __m128i m_load16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
EQ_INLINE float m_first(__m128i halves) { return _mm_cvtss_f32(_mm_cvtph_ps(halves)); }
EQ_INLINE __m256 m_minus_second(__m128i halves) {
    __m128 x = _mm_cvtph_ps(halves);
    return _mm256_sub_ps(_mm256_setzero_ps(), _mm256_broadcastss_ps(_mm_movehdup_ps(x)));
}
EQ_INLINE float q2_k_integers(const uint8_t *b, s256 *s, vf *m) {
    const __m128i low = _mm_set1_epi8(15), x = m_load16(b), d = m_load16(b + 68); /* d and dmin are its last 4 bytes */
    __m512i mins = _mm512_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16(x, 4), low));
    __m256 dmin = m_minus_second(_mm_srli_si128(d, 12));
    *s = _mm512_broadcast_i32x4(_mm_and_si128(x, low));
    *m = v_mul(_mm512_cvtepi32_ps(mins), _mm512_broadcast_f32x8(dmin));
    return m_first(_mm_srli_si128(d, 12));
}
EQ_INLINE float q3_k_integers(const uint8_t *b, s256 *s, vf *m) { /* 8 bytes of nibbles, 4 bytes of pairs, d */
    const __m128i x = m_load16(b + 94);
    __m128i low = _mm_shuffle_epi8(x, _mm_set_epi8(9, 8, 7, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2));
    __m128i high = _mm_shuffle_epi8(x, _mm_set1_epi32(0x0D0C0B0A));
    low = _mm_and_si128(_mm_srlv_epi64(low, _mm_set_epi64x(4, 0)), _mm_set1_epi8(15));
    high = _mm_rolv_epi32(high, _mm_set_epi32(30, 0, 2, 4)); /* what comes from other bytes is not under the mask */
    low = _mm_ternarylogic_epi32(low, high, _mm_set1_epi8(48), 0xF8);
    *s = _mm512_broadcast_i32x4(_mm_sub_epi8(low, _mm_set1_epi8(32)));
    *m = v_zero();
    return m_first(_mm_srli_si128(x, 14));
}
EQ_INLINE float q4_k_integers(const uint8_t *b, s256 *s, vf *m) { /* d, dmin, then 8 scales and 8 mins in 12 bytes */
    const __m128i x = m_load16(b);
    __m128i low = _mm_shuffle_epi8(x, _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 15, 14, 13, 12, 7, 6, 5, 4));
    __m128i high = _mm_shuffle_epi8(x, _mm_set_epi8(11, 10, 9, 8, -1, -1, -1, -1, 7, 6, 5, 4, -1, -1, -1, -1));
    low = _mm_and_si128(_mm_srlv_epi32(low, _mm_set_epi32(4, 0, 0, 0)),
                        _mm_set_epi32(0x0F0F0F0F, 0x3F3F3F3F, 0x0F0F0F0F, 0x3F3F3F3F));
    low = _mm_ternarylogic_epi32(low, _mm_srli_epi32(high, 2), _mm_set1_epi8(48), 0xF8); /* low | (high & 48) */
    *s = _mm512_broadcast_i32x4(low);
    __m256 mins = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(low, 8)));
    *m = _mm512_zextps256_ps512(_mm256_mul_ps(mins, m_minus_second(x)));
    return m_first(x);
}
#define q5_k_integers q4_k_integers
EQ_INLINE float q6_k_integers(const uint8_t *b, s256 *s, vf *m) {
    *m = v_zero();
    *s = q_each(b + 192);
    return v_half(b + 208);
}
EQ_INLINE float iq4_xs_integers(const uint8_t *b, s256 *s, vf *m) { /* d, 8 pairs, 8 nibbles */
    const __m128i x = _mm_cvtsi64_si128((int64_t)u64(b)), fours = _mm_set1_epi32(0x00040000);
    __m128i low = _mm_shuffle_epi8(x, _mm_set_epi8(-1, 7, -1, 7, -1, 6, -1, 6, -1, 5, -1, 5, -1, 4, -1, 4));
    __m128i high = _mm_srlv_epi16(_mm_shuffle_epi8(x, _mm_set1_epi16(0x0302)), _mm_set_epi16(14, 12, 10, 8, 6, 4, 2, 0));
    low = _mm_and_si128(_mm_srlv_epi16(low, fours), _mm_set1_epi16(15));
    low = _mm_ternarylogic_epi32(low, _mm_slli_epi16(high, 4), _mm_set1_epi16(48), 0xF8);
    low = _mm_sub_epi16(low, _mm_set1_epi16(32));
    *m = v_zero();
    *s = _mm512_broadcast_i32x4(_mm_packs_epi16(low, low));
    return m_first(x);
}
