"""Mutants of linears on tiles, asked with the tiles that tests make of AVX-512."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant


def emulated(file: str, test: str) -> In:
    tests = (f"tests/backends/test_tiles.py -k '{test}'",)
    return In("kernels: AMX", file, tests, (), ("avx512vnni", "cc"))


FUSED = "what_gates_wrote or floats_of_gates"
LINEAR = "(test_linear or test_panels) and (Q4_0 or Q4_1 or Q6_K or IQ2_S or Q8_0)"

MUTANTS: list[Mutant] = [
    *emulated("native/kernels/tiles.inc.h", LINEAR)(
        ("tiles_unpack", "[p->r % 16]", "[0]", "all rows in the first"),
        ("tiles_unpack", "(p->k0 / 32 + p->g)", "p->g", "first blocks of a row for all panels"),
        ("tiles_unpack", "2 * j + h : j", "2 * j : j", "first scale for both halves"),
        ("tiles_unpack", "if (f.mins) x[h]", "if (f.mins && h) x[h]", "min of the first half lost"),
        ("tiles_unpack", "if (j == 0) float_scales", "if (p->g == 0) float_scales", "scales of a row's first block"),
        ("tiles_micro", "t_zero(2)", "(void)0", "sums of the second rows not begun"),
        ("tiles_micro", "t_load(1, c + 16, row)", "t_load(1, c, row)",
         "sums of the first tokens for the second"),
        ("tiles_micro", "t_pass(7, x + block, 64)", "t_pass(7, x, 64)", "first tokens for both blocks"),
        ("tiles_micro", "t_load(5, w[1][k], 64)", "t_load(5, w[0][k], 64)", "first rows for both"),
        ("tiles_micro", "t_store(3, c + 16 * to + 16, row)", "t_store(3, c + 16 * to, row)",
         "last tile in place of the third"),
        ("tiles_block", "+ 16 * p->k0", "", "first activations for all"),
        ("tiles_block", "memcpy(part[r], c + r * to, (size_t)count * 4)", "(void)0",
         "tiles that are not full: sums so far lost"),
        ("tiles_block", "memcpy(c + r * to, part[r], (size_t)count * 4)", "memcpy(c + r * to, part[r], 4)",
         "tiles that are not full: only the first token"),
        ("tiles_width", "(cols / parts + span - 1) / span * span", "cols / parts", "a width that cuts blocks"),
        ("tiles_nth", "i % panels * TILES_PANEL", "0", "first rows for all"),
        ("tiles_nth", "room->w[i & 1]", "room->w[0]", "the panel at hand written over"),
        ("tiles_linear", "next.groups + steps - 1) / steps", "next.groups) / steps",
         "the next panel's last groups not unpacked"),
        ("tiles_linear", "end - t < 32 ? end - t : 32", "32", "tokens past the last"),
        ("tiles_pack", "+ t0 % 16", "", "tokens from the first lane on"),
        ("tiles_pack", "i < t1 - t0 ?", "i < 1 ?", "only the first token"),
    ),
    *emulated("native/kernels/tiles.inc.h", FUSED)(
        ("tiles_pack_outputs", "(k - k0) * tokens + t,", "(k - k0) * tokens,", "the first tokens for all blocks"),
        ("tiles_pack_outputs", "a->width + k0)", "a->width)", "all columns in place of the first"),
        ("tiles_pack_outputs", "v_load_part(y, left)", "v_load_part(x, left)",
         "of a block that is not full each first number twice"),
        ("tiles_pack_outputs", "v_load(y)", "v_load(x)", "each first number twice"),
    ),
    *emulated("native/simd/amx.h", FUSED)(
        ("t_join", "_mm512_set1_epi32(16 << 16)", "_mm512_set1_epi32(0)", "each first number twice"),
    ),
    *emulated("native/simd/amx.h", LINEAR)(
        ("t_floats", "half ?", "0 ?", "first half for both"),
        ("t_store_bf16", "(second, first)", "(first, second)", "halves swapped"),
        ("t_pairs", "v_load(x + 16), v_load(x)", "v_load(x), v_load(x + 16)", "halves swapped"),
    ),
    *emulated("native/kernels/peak.inc.h", "test_peak")(
        ("peak_tiles", "EXACT = 1 << 19", "EXACT = 1 << 24", "sums that a float32 cannot hold"),
    ),
]  # fmt: skip
