/* How each format gives the weights of four groups as unsigned bytes, `offset` more than they are, and their scales; the
 * layouts are those of formats.inc.h. */

/* --- blocks of 32: four blocks of a row ------------------------------------------------------------------------------ */

/* The 16-bit word at byte `at` of what q_begin has loaded */
#define EQ_WORD(at, second) ((at) + 2 <= 64 ? (at) / 2 : 32 + ((at) - second) / 2)
#define EQ_TWICE(at, second) EQ_WORD(at, second), EQ_WORD(at, second)
#define EQ_NEXT(at, second) EQ_WORD(at, second), EQ_WORD(at + 2, second)
#define EQ_EACH(of, bytes, at, second) of(at, second), of(bytes + at, second), of(2 * bytes + at, second), of(3 * bytes + at, second)

/* the scale of each block for four rows, then what follows it */
#define EQ_OVER(at, second) EQ_TWICE(at, second), EQ_TWICE(at, second)
#define EQ_HEADS(name, bytes, second) \
    static const uint16_t name##_words[32] = {EQ_EACH(EQ_OVER, bytes, 0, second), EQ_EACH(EQ_OVER, bytes, 2, second)}
EQ_HEADS(q4_0, 18, 8);
EQ_HEADS(q4_1, 20, 16);
EQ_HEADS(q5_0, 22, 24);
EQ_HEADS(q5_1, 24, 32);
EQ_HEADS(q8_0, 34, 68);
/* 16 bytes of each block, from byte `at` on: nibbles */
#define EQ_RUN(at, second) EQ_NEXT(at, second), EQ_NEXT(at + 4, second), EQ_NEXT(at + 8, second), EQ_NEXT(at + 12, second)
#define EQ_BYTES(name, bytes, at, second) static const uint16_t name[32] = {EQ_EACH(EQ_RUN, bytes, at, second)}
EQ_BYTES(q4_0_nibbles, 18, 2, 8);
EQ_BYTES(q4_1_nibbles, 20, 4, 16);
EQ_BYTES(q5_0_nibbles, 22, 6, 24);
EQ_BYTES(q5_1_nibbles, 24, 8, 32);
/* 16 bits of each block, from byte `at` on, then the next 16 of each */
#define EQ_BITS(name, bytes, at, second) \
    static const uint16_t name[32] = {EQ_EACH(EQ_WORD, bytes, at, second), EQ_EACH(EQ_WORD, bytes, at + 2, second)}
EQ_BITS(q5_0_bits, 22, 2, 24);
EQ_BITS(q5_1_bits, 24, 4, 32);
/* The same of two blocks at the end of 64 bytes of a row, and of another */
#define EQ_END(bytes, at) (bytes < 32 ? 64 - 2 * bytes + at : at)
#define EQ_PAIR(of, bytes, at)                                                                                      \
    of(EQ_END(bytes, at), 64), of(EQ_END(bytes, bytes + at), 64), of(64 + EQ_END(bytes, at), 64), of(64 + EQ_END(bytes, bytes + at), 64)
#define EQ_BOTH(at) EQ_WORD(at, 64), EQ_WORD(64 + at, 64), EQ_WORD(at, 64), EQ_WORD(64 + at, 64)
#define EQ_HEADS2(name, bytes)                                                                                      \
    static const uint16_t name##_words2[32] = {EQ_BOTH(EQ_END(bytes, 0)), EQ_BOTH(EQ_END(bytes, bytes)),            \
                                               [16] = EQ_BOTH(EQ_END(bytes, 2)), EQ_BOTH(EQ_END(bytes, bytes + 2))}
EQ_HEADS2(q4_0, 18);
EQ_HEADS2(q4_1, 20);
EQ_HEADS2(q5_0, 22);
EQ_HEADS2(q5_1, 24);
EQ_HEADS2(q8_0, 34);
#define EQ_BYTES2(name, bytes, at) static const uint16_t name[32] = {EQ_PAIR(EQ_RUN, bytes, at)}
EQ_BYTES2(q4_0_nibbles2, 18, 2);
EQ_BYTES2(q4_1_nibbles2, 20, 4);
EQ_BYTES2(q5_0_nibbles2, 22, 6);
EQ_BYTES2(q5_1_nibbles2, 24, 8);
#define EQ_BITS2(name, bytes, at) static const uint16_t name[32] = {EQ_PAIR(EQ_WORD, bytes, at), EQ_PAIR(EQ_WORD, bytes, at + 2)}
EQ_BITS2(q5_0_bits2, 22, 2);
EQ_BITS2(q5_1_bits2, 24, 4);
#undef EQ_END
#undef EQ_BITS2
#undef EQ_BYTES2
#undef EQ_HEADS2
#undef EQ_BOTH
#undef EQ_PAIR
#undef EQ_BITS
#undef EQ_BYTES
#undef EQ_RUN
#undef EQ_HEADS
#undef EQ_OVER
#undef EQ_EACH
#undef EQ_NEXT
#undef EQ_TWICE
#undef EQ_WORD

#define EQ_FOUR_BLOCKS(name, bytes, second, mins)                                                                        \
    EQ_INLINE void name##_begin(const uint8_t *b, int blocks, __m512i *ends) { q_begin(b, blocks * bytes, second, blocks == 4, ends); } \
    EQ_INLINE void name##_begin2(const uint8_t *a, const uint8_t *b, __m512i *ends) { q_begin_beside(a, b, bytes, ends); } \
    EQ_INLINE s128 name##_heads(const uint8_t *const *b, int blocks) {                                                   \
        __m512i ends[4][2];                                                                                              \
        for (int r = 0; r < 4; r++) name##_begin(b[r], blocks, ends[r]);                                                 \
        return q_heads(ends, name##_words, 3 * bytes + (mins ? 4 : 2) <= 64, mins);                                      \
    }                                                                                                                    \
    EQ_INLINE s128 name##_heads2(const uint8_t *const *b) {                                                              \
        __m512i ends[2][2];                                                                                              \
        for (int i = 0; i < 2; i++) name##_begin2(b[2 * i], b[2 * i + 1], ends[i]);                                      \
        return q_heads_beside(ends, name##_words2, mins);                                                                \
    }
EQ_FOUR_BLOCKS(q4_0, 18, 8, 0)
EQ_FOUR_BLOCKS(q4_1, 20, 16, 1)
EQ_FOUR_BLOCKS(q5_0, 22, 24, 0)
EQ_FOUR_BLOCKS(q5_1, 24, 32, 1)
EQ_FOUR_BLOCKS(q8_0, 34, 68, 0)
#undef EQ_FOUR_BLOCKS
#define iq4_nl_heads q4_0_heads
#define iq4_nl_heads2 q4_0_heads2

/* part: of up to four blocks of a row; pair: of the last two blocks of either of two rows */
EQ_INLINE b128 q4_0_part(const uint8_t *b, int blocks) {
    __m512i ends[2];
    q4_0_begin(b, blocks, ends);
    return q_nibbles(q_words(ends, q4_0_nibbles));
}
EQ_INLINE b128 q4_0_pair(const uint8_t *a, const uint8_t *b) {
    __m512i ends[2];
    q4_0_begin2(a, b, ends);
    return q_nibbles(q_words(ends, q4_0_nibbles2));
}
EQ_INLINE b128 q4_1_part(const uint8_t *b, int blocks) {
    __m512i ends[2];
    q4_1_begin(b, blocks, ends);
    return q_nibbles(q_words(ends, q4_1_nibbles));
}
EQ_INLINE b128 q4_1_pair(const uint8_t *a, const uint8_t *b) {
    __m512i ends[2];
    q4_1_begin2(a, b, ends);
    return q_nibbles(q_words(ends, q4_1_nibbles2));
}
EQ_INLINE b128 q5_0_part(const uint8_t *b, int blocks) {
    __m512i ends[2];
    q5_0_begin(b, blocks, ends);
    return q_add_bits(q_nibbles(q_words(ends, q5_0_nibbles)), q_words(ends, q5_0_bits));
}
EQ_INLINE b128 q5_0_pair(const uint8_t *a, const uint8_t *b) {
    __m512i ends[2];
    q5_0_begin2(a, b, ends);
    return q_add_bits(q_nibbles(q_words(ends, q5_0_nibbles2)), q_words(ends, q5_0_bits2));
}
EQ_INLINE b128 q5_1_part(const uint8_t *b, int blocks) {
    __m512i ends[2];
    q5_1_begin(b, blocks, ends);
    return q_add_bits(q_nibbles(q_words(ends, q5_1_nibbles)), q_words(ends, q5_1_bits));
}
EQ_INLINE b128 q5_1_pair(const uint8_t *a, const uint8_t *b) {
    __m512i ends[2];
    q5_1_begin2(a, b, ends);
    return q_add_bits(q_nibbles(q_words(ends, q5_1_nibbles2)), q_words(ends, q5_1_bits2));
}
EQ_INLINE b128 q_iq4(__m512i x) { return (b128){q_table(x, 0, iq4_values, 128), q_table(x, 4, iq4_values, 128)}; }
EQ_INLINE b128 iq4_nl_part(const uint8_t *b, int blocks) {
    __m512i ends[2];
    q4_0_begin(b, blocks, ends);
    return q_iq4(q_words(ends, q4_0_nibbles));
}
EQ_INLINE b128 iq4_nl_pair(const uint8_t *a, const uint8_t *b) {
    __m512i ends[2];
    q4_0_begin2(a, b, ends);
    return q_iq4(q_words(ends, q4_0_nibbles2));
}
EQ_INLINE b128 q8_0_part(const uint8_t *b, int blocks) { /* wide loads that cross lines would wait longer for memory */
    return q_more((b128){q_gather(b + 2, 34, blocks), q_gather(b + 18, 34, blocks)}, 128);
}
EQ_INLINE b128 q8_0_pair(const uint8_t *a, const uint8_t *b) {
    return q_more((b128){q_from(a + 2, a + 36, b + 2, b + 36), q_from(a + 18, a + 52, b + 18, b + 52)}, 128);
}

EQ_INLINE s128 mxfp4_heads(const uint8_t *const *b, int blocks) {
    vf s = q_e8m0(b, blocks);
    return (s128){{s, s}, {v_zero(), v_zero()}};
}
EQ_INLINE b128 mxfp4_part(const uint8_t *b, int blocks) {
    __m512i x = q_gather(b + 1, 17, blocks);
    return (b128){q_table(x, 0, e2m1_values, 12), q_table(x, 4, e2m1_values, 12)};
}
EQ_INLINE s128 mxfp4_heads2(const uint8_t *const *b) { return mxfp4_heads(b, 2); }
EQ_INLINE b128 mxfp4_pair(const uint8_t *a, const uint8_t *b) { return q_beside(mxfp4_part(a, 2), mxfp4_part(b, 2)); }

/* --- blocks of 64 or 128: four groups of a row; in place of a missing block the last ------------------------------------- */

EQ_INLINE s128 nvfp4_heads(const uint8_t *const *b, int groups) { return q_ue4m3(b, groups > 2 ? 36 : 0); }
EQ_INLINE b128 nvfp4_part(const uint8_t *b, int groups) {
    __m512i x = q_two(b + 4, b + (groups > 2 ? 36 : 0) + 4);
    __m512i low = q_table(x, 0, e2m1_values, 12), high = q_table(x, 4, e2m1_values, 12);
    return (b128){_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high)};
}
EQ_INLINE s128 q1_0_heads(const uint8_t *const *b, int groups) {
    vf s = q_halves(b, 0);
    (void)groups;
    return (s128){{s, s}, {v_zero(), v_zero()}};
}
EQ_INLINE b128 q1_0_part(const uint8_t *b, int groups) {
    (void)groups;
    return q_ones(q_each(b + 2));
}
EQ_INLINE s128 q2_0_heads(const uint8_t *const *b, int groups) {
    vf s = q_half_and_half(q_halves(b, 0), q_halves(b, groups > 2 ? 18 : 0));
    return (s128){{s, s}, {v_zero(), v_zero()}};
}
EQ_INLINE s128 q2_0_heads2(const uint8_t *const *b) { return q2_0_heads(b, 2); }
EQ_INLINE b128 q2_0_part(const uint8_t *b, int groups) { return q_pairs(b + 2, b + (groups > 2 ? 18 : 0) + 2); }
EQ_INLINE b128 q2_0_pair(const uint8_t *a, const uint8_t *b) { return q_pairs(a + 2, b + 2); }
#define nvfp4_pair NULL /* sums of 16 do not lie so */
#define nvfp4_heads2 NULL
#define q1_0_pair NULL
#define q1_0_heads2 NULL

/* --- blocks of 256: half a block of a row ---------------------------------------------------------------------------- */

EQ_INLINE b128 q2_k_part(const uint8_t *b, int half) {
    const uint8_t *p = b + 16 + 32 * half;
    return (b128){q_kept(q_each(p), 3, 12, 48, 192), q_kept(q_each(p + 16), 3, 12, 48, 192)};
}
EQ_INLINE b128 q3_k_part(const uint8_t *b, int half) {
    const uint8_t *p = b + 32 + 32 * half;
    const int to = 2 - 4 * half; /* bit 4 half + i of a byte is the third bit of group i */
    return (b128){q_join(q_field(q_each(p), 0, 2, 4, 6, 3), q_each(b), to, to - 1, to - 2, to - 3, 4),
                  q_join(q_field(q_each(p + 16), 0, 2, 4, 6, 3), q_each(b + 16), to, to - 1, to - 2, to - 3, 4)};
}
EQ_INLINE b128 q4_k_part(const uint8_t *b, int half) {
    __m512i x = q_load(b + 16 + 64 * half);
    return (b128){q_kept(q_first2(x), 15, 240, 15, 240), q_kept(q_last2(x), 15, 240, 15, 240)};
}
EQ_INLINE b128 q5_k_part(const uint8_t *b, int half) {
    __m512i x = q_load(b + 48 + 64 * half);
    const int to = 4 - 4 * half;
    return (b128){q_join(q_field(q_first2(x), 0, 4, 0, 4, 15), q_each(b + 16), to, to - 1, to - 2, to - 3, 16),
                  q_join(q_field(q_last2(x), 0, 4, 0, 4, 15), q_each(b + 32), to, to - 1, to - 2, to - 3, 16)};
}
EQ_INLINE b128 q6_k_part(const uint8_t *b, int half) {
    const uint8_t *high = b + 128 + 32 * half;
    __m512i x = q_load(b + 64 * half);
    return (b128){q_join(q_field(q_evens(x), 0, 0, 4, 4, 15), q_each(high), 4, 2, 0, -2, 48),
                  q_join(q_field(q_odds(x), 0, 0, 4, 4, 15), q_each(high + 16), 4, 2, 0, -2, 48)};
}
EQ_INLINE b128 iq4_xs_part(const uint8_t *b, int half) {
    return q_iq4(q_load(b + 8 + 64 * half));
}

EQ_INLINE b256 tq2_0_block(const uint8_t *const *b) { return q_even_scales(b, 64); }
EQ_INLINE b128 tq2_0_part(const uint8_t *b, int half) {
    const uint8_t *p = b + 32 * half;
    return (b128){q_field(q_each(p), 0, 2, 4, 6, 3), q_field(q_each(p + 16), 0, 2, 4, 6, 3)};
}
EQ_INLINE b256 tq1_0_block(const uint8_t *const *b) { return q_even_scales(b, 52); }
EQ_INLINE b128 tq1_0_part(const uint8_t *b, int half) { /* digits of b to b + 31; of the last, b + 32 to b + 47, and 4 more */
    if (half == 0) return (b128){q_digits(q_each(b), q_lanes(1, 3, 9, 27)), q_digits(q_each(b + 16), q_lanes(1, 3, 9, 27))};
    const __m512i x = q_each(b + 32), powers = _mm512_set_epi32(27, 9, 3, 1, 27, 27, 27, 27, 3, 3, 3, 3, 81, 81, 81, 81);
    __m512i first = _mm512_mask_broadcast_i32x4(x, 0x000F, _mm_loadu_si128((const __m128i *)b));
    __m512i last = _mm512_mask_broadcast_i32x4(x, 0x000F, _mm_loadu_si128((const __m128i *)(b + 16)));
    last = _mm512_mask_set1_epi32(last, 0xF000, (int)u32(b + 48));
    return (b128){q_digits(first, q_lanes(81, 1, 9, 81)), q_digits(last, powers)};
}
