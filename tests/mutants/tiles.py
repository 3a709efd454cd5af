"""Mutants of linears on tiles, asked with the tiles that tests make of AVX-512."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant


def emulated(file: str, test: str) -> In:
    tests = (f"tests/backends/test_tiles.py -k '{test}'",)
    return In("kernels: AMX", file, tests, (), ("avx512vnni", "cc"))


LINEAR = "test_linear and (Q4_0 or Q4_1 or Q6_K or IQ2_S or Q8_0)"

MUTANTS: list[Mutant] = [
    *emulated("native/kernels/tiles.inc.h", LINEAR)(
        ("tiles_unpack", "(rows + 15) / 16 * 16", "rows / 16 * 16",
         "rows of a tile that is not full left as they were"),
        ("tiles_unpack", "p->w[r] + 32 * g + 16 * h", "p->w[r] + 32 * g", "first half for both"),
        ("tiles_unpack", "v_set(s[h * f.halves])", "v_set(s[0])", "first scale for both halves"),
        ("tiles_unpack", "if (f.mins) x[h]", "if (f.mins && h) x[h]", "min of the first half lost"),
        ("tiles_unpack", "(f.halves ? 2 * g : g), *m", "g, *m", "scales of halves taken for those of groups"),
        ("tiles_micro", "t_zero(2)", "(void)0", "sums of the second rows not begun"),
        ("tiles_micro", "t_load(1, c + 16, row)", "t_load(1, c, row)",
         "sums of the first tokens for the second"),
        ("tiles_micro", "t_load(7, x + block + k * TILE_WORDS, 64)", "t_load(7, x + k * TILE_WORDS, 64)",
         "first tokens for both blocks"),
        ("tiles_micro", "t_load(5, p->w[1][k], 64)", "t_load(5, p->w[0][k], 64)", "first rows for both"),
        ("tiles_micro", "t_store(3, c + 16 * to + 16, row)", "t_store(3, c + 16 * to, row)",
         "last tile in place of the third"),
        ("tiles_block", "+ 16 * k0", "", "first activations for all"),
        ("tiles_block", "memcpy(p->part[r], c + r * to, (size_t)count * 4)", "(void)0",
         "tiles that are not full: sums so far lost"),
        ("tiles_block", "memcpy(c + r * to, p->part[r], (size_t)count * 4)",
         "memcpy(c + r * to, p->part[r], 4)",
         "tiles that are not full: only the first token"),
        ("tiles_linear", "to - t < 32 ? to - t : 32", "32", "tokens past the last"),
        ("tiles_linear", "tiles_unpack(f, w, row,", "tiles_unpack(f, w, row0,", "first rows for all"),
        ("tiles_pack", "+ t % 16", "", "all tokens in the first lane"),
    ),
    *emulated("native/simd/amx.h", LINEAR)(
        ("t_floats", "_mm512_set1_epi32(offset)", "_mm512_set1_epi32(0 * offset)", "offset kept"),
        ("t_store_bf16", "(second, first)", "(first, second)", "halves swapped"),
        ("t_activations", "v_load(x + 16), v_load(x)", "v_load(x), v_load(x + 16)", "halves swapped"),
    ),
    *emulated("native/kernels/peak.inc.h", "test_peak")(
        ("peak_tiles", "EXACT = 1 << 19", "EXACT = 1 << 24", "sums that a float32 cannot hold"),
    ),
]  # fmt: skip
