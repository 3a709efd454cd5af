"""Hostile tensor tables: alignment, names, shapes, types, offsets."""

from __future__ import annotations

import ggufbytes as b
from ggufbytes import G, T
from hostile_case import HUGE, MAX, TOP, load, one, refuse


def alignment_cases() -> None:
    key = "general.alignment"
    for n in (0, 1, 2, 3, 4, 13, 24, 33, 1 << 21, 1 << 31, (1 << 32) - 1):
        refuse(f"alignment_{n}", one(b.kv(key, b.U32, n)), key, f"is {n};", "power of two")
    for label, kind, value in (
        ("u64", b.U64, 32), ("i32", b.I32, 32), ("u8", b.U8, 32), ("f32", b.F32, 32.0),
        ("string", b.STRING, "32"), ("bool", b.BOOL, 1),
    ):  # fmt: skip
        refuse(f"alignment_{label}", one(b.kv(key, kind, value)), key, "expected u32")
    refuse("alignment_array", one(b.array(key, b.U32, [32])), key, "expected u32")
    pair = [T("a", (3,)), T("b", (3,))]
    refuse("alignment_64_offsets_32", G(kvs=[b.kv(key, b.U32, 64)], tensors=pair, alignment=32))
    refuse("alignment_32_offsets_64", G(kvs=[b.kv(key, b.U32, 32)], tensors=pair, alignment=64))
    for n in (8, 16, 64, 4096, 1 << 20):
        load(f"alignment_valid_{n}", G(kvs=[b.kv(key, b.U32, n)], tensors=pair, alignment=n))


def name_cases() -> None:
    ten = G(tensors=[T("@" * 10)]).build()
    for label, n in (*HUGE, ("2_30", 1 << 30), ("past_end", 5000)):
        data = ten.replace(b.text("@" * 10), b.u64(n) + b"@" * 10)
        refuse(f"name_length_{label}", data, "name of tensor 0", str(n))
    refuse("name_empty", G(tensors=[T("")]), "name of tensor 0", "length of 0")
    refuse("name_of_65_bytes", G(tensors=[T("n" * 65)]), "name of tensor 0", "65")
    load("name_of_64_bytes", G(tensors=[T("n" * 64)]))
    refuse("name_not_utf8", G(tensors=[T(b"\xff")]), "not UTF-8")
    refuse("name_with_nul", G(tensors=[T(b"a\0b")]), "NUL")
    refuse("name_twice", G(tensors=[T("a"), T("b"), T("a")]), "tensor a", "twice")
    load("name_with_escapes", G(tensors=[T("\x1b]0;x\7\n")]))
    load("name_path", G(tensors=[T("../../etc/passwd")]))


def shape_cases() -> None:
    for n in (5, 6, 10**6, 1 << 31, (1 << 32) - 1):
        refuse(f"n_dims_{n}", G(tensors=[T("a", n_dims=n)]), "tensor a", f"{n} dimensions")
    load("n_dims_0", G(tensors=[T("a", ())]))
    load("n_dims_4", G(tensors=[T("a", (4, 1, 2, 1))]))
    for label, dims in (
        ("zero", (0,)), ("zero_second", (4, 0)), ("zero_and_huge", (0, 1 << 62, 1 << 62)),
        ("negative", (MAX,)), ("negative_pair", (MAX, MAX)), ("min_int64", (TOP,)), ("top_second", (4, TOP)),
    ):  # fmt: skip
        refuse(f"dim_{label}", G(tensors=[T("a", dims, data=bytes(16))]), "tensor a", "dimension")
    for label, dims in (
        ("product_wraps_to_0", (1 << 32, 1 << 32)), ("product_wraps_to_4", (4, (1 << 62) + 1)),
        ("product_of_four", (1 << 16, 1 << 16, 1 << 16, 1 << 16)), ("bytes_wrap_to_0", (1 << 62,)),
        ("bytes_wrap_to_16", ((1 << 62) + 4,)), ("bytes_wrap_padded", ((1 << 62) - 1,)),
        ("largest", (TOP - 1,)), ("all_largest", (TOP - 1,) * 4), ("thousand_times", (4000,)),
        ("one_row_more", (4, 3)),
        ("one_more", (9,)),
    ):  # fmt: skip
        refuse(f"shape_{label}", G(tensors=[T("a", dims, data=bytes(16))]), "tensor a", "needs", "the file ends")
    pair = [T("a", (1 << 61,), data=b"", offset=0), T("b", (1 << 61,), data=b"", offset=1 << 63)]
    refuse("shape_sum_wraps", G(tensors=pair), "tensor a")
    for fmt, ne in (
        (b.Q4_0_TYPE, 31),
        (b.Q4_0_TYPE, 33),
        (b.Q4_0_TYPE, 1),
        (b.Q4_K_TYPE, 128),
        (b.Q4_K_TYPE, 257),
    ):
        refuse(
            f"row_{ne}_of_type_{fmt}",
            G(tensors=[T("a", (ne, 32), fmt, data=bytes(9999))]),
            "tensor a",
            f"{ne} weights",
        )
    refuse(
        "row_scalar_of_q4_0",
        G(tensors=[T("a", (), b.Q4_0_TYPE, data=bytes(64))]),
        "tensor a",
        "multiple of 32",
    )


def tensor_type_cases() -> None:
    for n in (4, 5, 31, 32, 33, 36, 37, 38):
        refuse(f"tensor_type_removed_{n}", G(tensors=[T("a", (256,), n, data=bytes(999))]), "tensor a", "removed")
    for n in (43, 44, 100, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 32) - 4):
        signed = n if n < 1 << 31 else n - (1 << 32)
        refuse(
            f"tensor_type_{n}",
            G(tensors=[T("a", (256,), n, data=bytes(999))]),
            "tensor a",
            "unknown",
            str(signed),
        )


def offset_cases() -> None:
    def pair(second: int, first: int = 0) -> G:
        return G(tensors=[T("a", (8,), offset=first), T("b", (8,), offset=second)], tail=bytes(256))

    refuse("offset_unaligned", pair(33), "tensor b", "alignment")
    refuse("offset_unaligned_early", pair(31), "tensor b", "alignment")
    refuse("offset_overlap_all", pair(0), "tensor b", "overlaps")
    refuse("offset_overlap_half", G(tensors=[T("a", (16,)), T("b", (8,), offset=32)]), "tensor b", "overlaps")
    refuse("offset_gap", pair(64), "tensor b", "gap")
    refuse("offset_gap_before_first", pair(64, 32), "tensor a", "gap")
    refuse("offset_order_swapped", pair(0, 32), "tensor a", "gap")
    refuse("offset_one_tib", pair(1 << 40), "tensor b", "gap")
    for label, n in (
        ("top", TOP),
        ("wraps_to_header", MAX - 31),
        ("ends_at_2_64", MAX - 31 - 32),
        ("max", MAX),
    ):
        refuse(f"offset_{label}", pair(n), "tensor b")
    end = G(tensors=[T("a", (8,)), T("b", (8,), data=b"")])
    refuse("offset_at_the_end", end, "tensor b", "needs 32 bytes", "the file ends")
    refuse("data_missing", G(tensors=[T("a", (8,), data=b"")]), "tensor a", "needs 32 bytes")
