"""Mutants of the vector vocabularies in native/simd, each asked by the tests of its own variant alone."""

from __future__ import annotations

from collections.abc import Iterator

from tests.mutants.kernels import CORNERS, OPS
from tests.mutants.mutant import In, Mutant, Row

CROSS = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static")
CPUS = {"neon": "neon-cortex-a72", "neondot": "neondot-cortex-a76"}
ELEMENTWISE = "elementwise or gates or rope or nan or test_exp"
ATTENTION = "test_attention and (window or rounded or 0 or 1)"
LINEAR = "test_linear and (Q5_0 or Q4_1 or Q2_K or Q6_K or Q3_K or IQ2_S or IQ4_XS)"
FLOATS = "test_linear and (F16 or BF16)"
HALVES = "rounded or (test_linear and (Q4_0 or Q5_1 or Q4_K or Q6_K or Q1_0))"


class Vocabulary:
    """Mutants of one header, asked by the variant's tests that match."""

    def __init__(self, file: str, variant: str, asked: str = OPS) -> None:
        self.file, self.variant, self.asked = file, variant, asked

    def __call__(self, match: str, *rows: Row) -> Iterator[Mutant]:
        path = f"native/simd/{self.file}"
        if self.variant in CPUS:
            tests = (f"tests/backends/test_arm.py -k '{CPUS[self.variant]} and ({match})'",)
            return In("kernels: NEON vocabularies", path, tests, (), CROSS)(*rows)
        tests = (f"{self.asked} -k '{self.variant} and ({match})'",)
        group = f"kernels: {self.variant} vocabulary"
        return In(group, path, tests, (f"native/isa/{self.variant}.c",), (self.variant,))(*rows)


scalar, avx2 = Vocabulary("scalar.h", "scalar"), Vocabulary("avx2.h", "avx2")
avx512 = Vocabulary("avx512.h", "avx512vnni")
avx2_corners, avx512_corners = (Vocabulary(v.file, v.variant, CORNERS) for v in (avx2, avx512))
x86 = Vocabulary("x86.h", "avx2")
arm, neon, neondot = Vocabulary("arm.h", "neon"), Vocabulary("neon.h", "neon"), Vocabulary("neondot.h", "neondot")

# The same wrong intrinsic in each vocabulary: verb, right and wrong in scalar C, AVX (both widths) and NEON.
SIMPLE = (
    ("v_add", ("a + b", "a - b"), ("add_ps(a, b)", "sub_ps(a, b)"), ("vaddq_f32", "vsubq_f32"), "difference"),
    ("v_sub", ("a - b", "b - a"), ("sub_ps(a, b)", "sub_ps(b, a)"), ("(a, b); }", "(b, a); }"),
     "the other way round"),
    ("v_mul", ("a * b", "a * a"),
     ("mul_ps(a, b)", "mul_ps(a, _mm###_sub_ps(b, _mm###_setzero_ps()) - 0.0f * b + 1e-3f * b)"),
     ("vmulq_f32(a, b)", "vmulq_f32(a, vmulq_n_f32(b, 1.001f))"), "a little off"),
    ("v_div", ("a / b", "b / a"), ("div_ps(a, b)", "div_ps(b, a)"), ("(a, b); }", "(b, a); }"),
     "the other way round"),
    ("v_max", ("a > b ? a : b", "a > b ? b : a"), ("max_ps(a, b)", "min_ps(a, b)"),
     ("vmaxq_f32", "vminq_f32"), "smaller one"),
    ("v_min", ("a < b ? a : b", "a < b ? b : a"), ("min_ps(a, b)", "max_ps(a, b)"),
     ("vminq_f32", "vmaxq_f32"), "larger one"),
    ("v_fma", ("a * b + c", "a * b - c"), ("fmadd_ps", "fmsub_ps"),
     ("vfmaq_f32(c, a, b)", "vfmsq_f32(c, a, b)"), "sign"),
    ("v_round", ("rintf(a)", "floorf(a)"), ("TO_NEAREST_INT", "TO_NEG_INF"), ("vrndnq_f32", "vrndmq_f32"),
     "down"),
    ("v_zero", ("0.0f", "1e-3f"), ("setzero_ps()", "set1_ps(1e-3f)"), ("0.0f", "1e-3f"), "not quite zero"),
    ("v_pow2", ("127", "128"), ("set1_epi32(127)", "set1_epi32(128)"), ("127", "128"), "doubled"),
)  # fmt: skip


def simple() -> Iterator[Mutant]:
    for verb, c, avx, neon_, breaks in SIMPLE:
        match = ELEMENTWISE
        yield from scalar(match, (verb, *c, breaks))
        if verb == "v_mul":
            yield from avx2(match, (verb, "mul_ps(a, b)", "mul_ps(a, a)", "square"))
            yield from avx512(match, (verb, "mul_ps(a, b)", "mul_ps(a, a)", "square"))
            yield from arm(match, (verb, "vmulq_f32(a, b)", "vmulq_f32(a, a)", "square"))
            continue
        yield from avx2(match, (verb, *avx, breaks))
        yield from avx512(match, (verb, *avx, breaks))
        yield from arm(match, (verb, *neon_, breaks))


SCALAR: list[Mutant] = [
    *scalar(ELEMENTWISE,
        ("v_set", "return x", "return 0.999f * x", "a little off"),
        ("v_load", "return *p", "return 0.999f * *p", "a little off"),
        ("v_store", "*p = x", "*p = 0.999f * x", "a little off"),
        ("v_max", "a > b ? a : b", "b > a ? b : a", "a NaN is lost"),
    ),
    *scalar(LINEAR,
        ("v_sum", "return x", "return 0.999f * x", "a little off"),
        ("v_first", "return x", "return -x", "sign"),
        ("w_bits", "& mask", "& (mask >> 1 | 1)", "top bit lost"),
        ("w_nibbles", "p[i - 16] >> 4", "p[i - 16] & 15", "low nibbles for both"),
        ("w_nibbles_table", "p[i] & 15 : p[i - 16] >> 4", "p[i] & 7 : p[i - 16] >> 4", "half of the table"),
        ("w_mask", "mask >> i & 1", "mask >> (31 - i) & 1", "bits in reverse"),
        ("w_or", "|", "&", "and"),
        ("w_shl", "1 << n", "1 << n / 2", "shift halved"),
        ("w_sub", "- n", "+ n", "sum"),
        ("w_dot16", "i < 16", "i < 15", "one product left out"),
        ("w_fma", "x + 16)) * scale", "x)) * scale", "first half of the activations for both"),
        ("w_fma2", "* scale1", "* scale0", "one scale for both"),
        ("v8_zero", "{{0}}", "{{1e-3f}}", "not quite zero"),
        ("v8_fma", "a[i] * b[i]", "a[i] * b[0]", "one factor for all"),
        ("v8_sum", "i < 8", "i < 7", "last lane left out"),
        ("v8_scale", ">> 8 * i", ">> 8 * (7 - i)", "bytes in reverse"),
        ("v8_scale", "(float)(int8_t)(uint8_t)", "(float)(uint8_t)", "signs lost"),
    ),
    *scalar("test_linear and Q8_0", ("w_bytes", "p[i]", "p[i ^ 1]", "neighbours swapped")),
    *scalar(FLOATS,
        ("v_load_half", "eq_half(*p)", "eq_half(*p & 0xFFF0)", "low bits lost"),
        ("v_load_bf16", "eq_bf16(*p)", "eq_bf16(*p & 0xFFFC)", "low bits lost"),
        ("v_load_bf16_two", "eq_bf16(p[1])", "eq_bf16(p[0])", "one weight twice"),
        ("v_load_two", "x[1] = p[1]", "x[1] = p[0]", "one activation twice"),
    ),
    *scalar("rounded",
        ("v_load_bytes", "return *p", "return *(const uint8_t *)p", "sign lost"),
        ("v_load_nibbles", "(*p >> 4) - 8", "(*p >> 4) - 7", "high nibbles one too large"),
    ),
    *scalar(HALVES,
        ("v_store_half", "eq_to_half(x)", "eq_to_half(x) & 0xFF00", "low bits lost"),
        ("v_half", "memcpy(&h, p, 2)", "memcpy(&h, p, 2), h &= 0xFFFE", "lowest bit lost"),
    ),
    *scalar(ATTENTION,
        ("v_below", "x < limit ? yes : no", "x <= limit ? yes : no", "equal counts as below"),
        ("v_iota", "return 0.0f", "return 1.0f", "counts from one"),
        ("v_top", "return x", "return -x", "sign"),
    ),
]  # fmt: skip

AVX2: list[Mutant] = [
    *avx2(ELEMENTWISE,
        ("v_set", "set1_ps(x)", "set1_ps(0.999f * x)", "a little off"),
        ("v_load", "loadu_ps(p)", "loadu_ps(p - 1)", "one float early"),
        ("v_store", "_mm256_storeu_ps(p, x)", "_mm_storeu_ps(p, _mm256_castps256_ps128(x))",
         "upper half left out"),
        ("v_max", "max_ps(a, b)", "max_ps(b, a)", "a NaN is lost"),
    ),
    *avx2(LINEAR,
        ("v_sum", "_mm_add_ss(z, _mm_movehdup_ps(z))", "z", "odd lanes left out"),
        ("v_sum", "_mm256_extractf128_ps(x, 1)", "_mm256_extractf128_ps(x, 0)", "lower half twice"),
        ("m_load", "*)p", "*)((const char *)p + 1)", "one byte late"),
        ("m_twice", "*)p", "*)((const char *)p + 1)", "one byte late"),
        ("w_unsigned", ", 128}", ", 127}", "offset off by one"),
        ("w_bits", "_mm_cvtsi32_si128(shift)", "_mm_cvtsi32_si128(shift / 2)", "shift halved"),
        ("w_nibbles", "(4, 4, 4, 4, 0,", "(3, 4, 4, 4, 0,", "high nibbles of four bytes one bit too low"),
        ("w_nibbles_table", "w_nibbles(p).b", "_mm256_and_si256(w_nibbles(p).b, _mm256_set1_epi8(7))",
         "half of the table"),
        ("w_flags", "0x8040201008040201", "0x4080201008040201", "two bits swapped"),
        ("w_flags", "(0x0303030303030303,", "(0x0303030303030302,", "one bit from the byte before"),
        ("w_sub_unless", "x.more + n", "x.more", "offset left out"),
        ("w_or", "or_si256", "and_si256", "and"),
        ("w_shl", "_mm_cvtsi32_si128(n)", "_mm_cvtsi32_si128(n - 1)", "one bit too low"),
        ("w_sub", "x.more + n", "x.more", "offset left out"),
        ("x_arrange", "_mm256_srli_epi32(y, 16)", "_mm256_srli_epi32(x, 16)", "odd ones of the first 16 twice"),
        ("x_arrange", "(odd, 0xD8)", "(odd, 0xE4)", "packed lanes not put in order"),
        ("w_join", "from - to))", "from - to + 1))", "high bits of later groups"),
        ("w_join", "to - from))", "to - from - 1))", "high bits of earlier groups"),
        ("w_dot", "set1_epi16(0xFF)", "set1_epi16(0xFE)", "lowest bit of even weights lost"),
        ("w_dot", "m_load(x + 16)", "m_load(x)", "even activations for the odd ones"),
    ),
    *avx2("test_linear and (Q8_0 or Q5_1)",
        ("w_bytes", "m_load(p)", "m_load(p - 1)", "one early"),
        ("w_add_if", "w_flags(mask, n)", "w_flags(~mask, n)", "bits inverted"),
    ),
    *avx2(FLOATS,
        ("v_load_half", "(const __m128i *)p", "(const __m128i *)(p + 1)", "one number late"),
        ("v_load_bf16", ", 16)", ", 15)", "one bit too low"),
        ("v_load_bf16_two", "(int)0xFFFF0000", "(int)0xFFFC0000", "low bits of odd weights"),
        ("v_load_two", "b, 0xDD)), 0xD8", "b, 0xDD)), 0xE4", "places of odd activations"),
    ),
    *avx2("rounded",
        ("v_load_bytes", "cvtepi8_epi32", "cvtepu8_epi32", "sign lost"),
        ("v_load_nibbles", "_mm256_srli_epi32(x, 4)", "_mm256_srli_epi32(x, 3)", "high nibbles doubled"),
    ),
    *avx2_corners("cache_keeps", ("v_store_half", "TO_NEAREST_INT", "TO_ZERO", "towards zero")),
    *avx2(HALVES,
        ("v_half", "memcpy(&h, p, 2)", "memcpy(&h, p, 2), h &= 0xFFFE", "lowest bit lost"),
    ),
    *avx2(ATTENTION,
        ("v_below", "_CMP_LT_OQ", "_CMP_LE_OQ", "equal counts as below"),
        ("v_iota", "7, 6, 5, 4, 3, 2, 1, 0", "0, 1, 2, 3, 4, 5, 6, 7", "lanes in reverse"),
        ("v_top", "_mm256_extractf128_ps(x, 1)", "_mm256_extractf128_ps(x, 0)", "upper half not looked at"),
        ("v_first", "return _mm256_cvtss_f32(x)", "return -_mm256_cvtss_f32(x)", "sign"),
    ),
    *x86(LINEAR,
        ("v8_scale", "cvtepi8_epi32", "cvtepu8_epi32", "signs lost"),
    ),
    *x86("test_linear and (Q4_K or Q5_K or Q2_K)",
        ("v8_scale", "(int64_t)bytes", "(int64_t)(bytes & ~1ull)", "lowest bit lost"),
    ),
]  # fmt: skip

AVX512: list[Mutant] = [
    *avx512(ELEMENTWISE,
        ("v_set", "set1_ps(x)", "set1_ps(0.999f * x)", "a little off"),
        ("v_load", "loadu_ps(p)", "loadu_ps(p - 1)", "one float early"),
        ("v_store", "_mm512_storeu_ps(p, x)", "_mm256_storeu_ps(p, _mm512_castps512_ps256(x))",
         "upper half left out"),
        ("v_max", "max_ps(a, b)", "max_ps(b, a)", "a NaN is lost"),
        ("v_sum", "_mm512_extractf32x8_ps(x, 1)", "_mm512_extractf32x8_ps(x, 0)", "lower half twice"),
    ),
    *avx512(LINEAR,
        ("w_bits", "_mm_cvtsi32_si128(shift)", "_mm_cvtsi32_si128(shift / 2)", "shift halved"),
        ("w_bits", "mask == 255 >> shift", "mask <= 255 >> shift", "bits above the mask"),
        ("w_join", "from - to)) :", "from - to - 1)) :", "high bits that move down one too high"),
        ("w_join", "to - from));", "to - from - 1));", "high bits that move up one too low"),
        ("w_join", "0xF8", "0xFC", "bits beside the mask"),
        ("w_nibbles", "_mm256_srli_epi16(x, 4)", "_mm256_srli_epi16(x, 3)", "high nibbles one bit too low"),
        ("w_nibbles_table", "(4, 4, 0, 0)", "(4, 0, 0, 0)", "low nibbles for the third eight"),
        ("w_sub", "(short)n", "(short)(n - 1)", "offset off by one"),
        ("w_sub_unless", "~mask", "mask", "bits inverted"),
    ),
    *avx512("test_linear and (Q5_1 or Q8_0)",
        ("w_add_if", ", mask, x.a", ", ~mask, x.a", "bits inverted"),
        ("w_bytes", "*)p", "*)(p - 1)", "one early"),
    ),
    *avx512("rounded",
        ("v_load_bytes", "cvtepi8_epi32", "cvtepu8_epi32", "sign lost"),
        ("v_load_nibbles", "_mm512_srli_epi32(x, 4)", "_mm512_srli_epi32(x, 3)", "high nibbles doubled"),
    ),
    *avx512(FLOATS,
        ("v_load_half", "(const __m256i *)p", "(const __m256i *)(p + 1)", "one number late"),
        ("v_load_bf16", ", 16)", ", 15)", "one bit too low"),
        ("v_load_bf16_two", "_mm512_extracti64x4_epi64(w, 1)", "_mm512_extracti64x4_epi64(w, 0)",
         "first weights twice"),
        ("v_load_two", "v_load(p + 16)", "v_load(p + 15)", "an activation twice"),
    ),
    *avx512_corners("cache_keeps", ("v_store_half", "TO_NEAREST_INT", "TO_ZERO", "towards zero")),
    *avx512(HALVES,
        ("v_half", "memcpy(&h, p, 2)", "memcpy(&h, p, 2), h &= 0xFFFE", "lowest bit lost"),
    ),
    *avx512(ATTENTION,
        ("v_below", "_CMP_LT_OQ", "_CMP_LE_OQ", "equal counts as below"),
        ("v_iota", "3, 2, 1, 0", "2, 3, 1, 0", "two lanes swapped"),
        ("v_first", "return _mm512_cvtss_f32(x)", "return -_mm512_cvtss_f32(x)", "sign"),
        ("v_top", "_mm512_reduce_max_ps(x)", "_mm512_mask_reduce_max_ps(0x7FFF, x)",
         "last lane not looked at"),
    ),
]  # fmt: skip

NEON: list[Mutant] = [
    *arm(ELEMENTWISE,
        ("v_set", "vdupq_n_f32(x)", "vdupq_n_f32(0.999f * x)", "a little off"),
        ("v_load", "vld1q_f32(p)", "vld1q_f32(p - 1)", "one float early"),
        ("v_store", "vst1q_f32(p, x)", "vst1_f32(p, vget_low_f32(x))", "upper half left out"),
    ),
    *arm("test_linear and (Q5_0 or Q4_1 or Q2_K or Q6_K)",
        ("v_sum", "vaddvq_f32(x)", "vaddv_f32(vget_low_f32(x))", "upper half left out"),
        ("v_half_all", "memcpy(&h, p, 2)", "memcpy(&h, p, 2), h &= 0xFFFE", "lowest bit lost"),
        ("v8_zero", "(v8){v_zero(), v_zero()}", "(v8){v_zero(), v_set(1e-3f)}", "not quite zero"),
        ("v8_fma", "v_load(b + 4), c.b", "v_load(b), c.b", "upper half"),
        ("v8_sum", "v_add(x.a, x.b)", "v_add(x.a, x.a)", "lower half twice"),
        ("v8_scale", "vmovl_high_s16(x)", "vmovl_s16(vget_low_s16(x))", "lower half twice"),
        ("w_field", "vdupq_n_s8((int8_t)-shift)", "vdupq_n_s8((int8_t)-(shift & 3))", "shift by four lost"),
        ("w_bits", "vld1q_u8(p + 16)", "vld1q_u8(p)", "lower half twice"),
        ("w_nibbles", "vshrq_n_u8(x, 4)", "vshrq_n_u8(x, 3)", "high nibbles one bit too low"),
        ("w_flags", "vdupq_n_u8(2)", "vdupq_n_u8(1)", "upper half one byte off"),
        ("w_sub_unless", "vbicq_s8(v, on.b)", "vandq_s8(v, on.b)", "upper half inverted"),
        ("w_or", "vorrq_s8(x.b, y.b)", "vorrq_s8(x.b, y.a)", "upper half"),
        ("w_shl", "vshlq_s8(x.b, c)", "x.b", "upper half not shifted"),
        ("w_sub", "vsubq_s8(x.b, v)", "x.b", "upper half left alone"),
    ),
    *arm("test_linear and (IQ4_NL or IQ3_S or Q8_0 or Q5_1 or Q4_0)",
        ("v_first", "x, 0", "vnegq_f32(x), 0", "sign"),
        ("v_half", "v_first(v_half_all(p))", "-v_first(v_half_all(p))", "sign"),
        ("w_bytes", "p + 16", "p + 15", "upper half one early"),
        ("w_unsigned", "vreinterpretq_s8_u8(b)", "vreinterpretq_s8_u8(a)", "lower half twice"),
        ("w_nibbles_table", "vshrq_n_u8(x, 4)", "vshrq_n_u8(x, 5)", "high nibbles halved"),
        ("w_mask", "vandq_s8(on.b, v)", "on.b", "all ones in the upper half"),
        ("w_add_if", "vaddq_s8(x.b, more.b)", "vsubq_s8(x.b, more.b)", "difference in the upper half"),
    ),
    *arm(FLOATS,
        ("v_load_half", "vld1_u16(p)", "vld1_u16(p + 1)", "one number late"),
        ("v_load_bf16", "vld1_u16(p), 16", "vld1_u16(p), 15", "one bit too low"),
        ("v_load_bf16_two", "vget_high_u16(w)", "vget_low_u16(w)", "first weights twice"),
        ("v_load_two", "v_load(p + 4)", "v_load(p + 3)", "an activation twice"),
    ),
    *arm("rounded",
        ("v_four", "memcpy(&x, p, 4)", "memcpy(&x, p, 2), x &= 0xFFFF", "last two of four bytes"),
        ("v_load_bytes", "vreinterpret_s8_u8(v_four(p))", "vabs_s8(vreinterpret_s8_u8(v_four(p)))", "sign lost"),
        ("v_load_nibbles", "vshrq_n_s32(x, 4)", "vshrq_n_s32(x, 3)", "high nibbles doubled"),
    ),
    *arm("rounded", ("v_store_half", "vcvt_f16_f32(x)", "vcvt_f16_f32(vmulq_n_f32(x, 1.01f))", "a little off")),
    *arm("test_attention and 50",
        ("v_below", "vcltq_f32", "vcleq_f32", "equal counts as below"),
        ("v_iota", "0, 1, 2, 3", "0, 1, 3, 2", "two lanes swapped"),
        ("v_top", "vmaxvq_f32(x)", "vmaxv_f32(vget_low_f32(x))", "upper half not looked at"),
    ),
    *neon("test_linear and (Q5_0 or Q6_K or Q4_K or Q2_K)",
        ("w_dot16", "vmlal_high_s16(sum, w1, x1)", "vmlal_high_s16(sum, w1, x0)", "last four"),
        ("w_fma", "w_dot16(w.b, x + 16)", "w_dot16(w.b, x)", "upper half"),
        ("w_fma2", "scale1);", "scale0 + 0 * scale1);", "one scale for both"),
    ),
    *neondot("test_linear and (Q5_0 or Q6_K or Q4_K or Q2_K)",
        ("x_arrange", "vqrshrn_n_s16(x2, 8), x3, 8", "vqrshrn_n_s16(x3, 8), x2, 8", "high bytes swapped"),
        ("w_fma", "vld1q_s8(p + 48)", "vld1q_s8(p + 32)", "low bytes of the upper half"),
        ("w_dot16", "vshlq_n_s32(dot, 8)", "vshlq_n_s32(dot, 7)", "high bytes halved"),
        ("w_fma2", "scale1);", "scale0 + 0 * scale1);", "one scale for both"),
    ),
]  # fmt: skip

MUTANTS = [*simple(), *SCALAR, *AVX2, *AVX512, *NEON]
