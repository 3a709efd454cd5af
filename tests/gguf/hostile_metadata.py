"""Hostile headers and metadata: magic, version, counts, cuts, keys, values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ggufbytes as b
from ggufbytes import G, T
from hostile_case import HUGE, MAX, load, one, raw_array, raw_key, refuse


def magic_cases() -> None:
    good = b.small().build()
    refuse("hdr_empty", b"", "empty file")
    refuse("hdr_one_byte", b"G", "only 1 byte")
    refuse("hdr_three_bytes", b"GGU", "only 3 bytes")
    refuse("hdr_magic_only", b"GGUF", "version", "cut short")
    refuse("hdr_magic_and_version", b"GGUF" + b.u32(3), "tensor count", "cut short")
    refuse("hdr_no_kv_count", b"GGUF" + b.u32(3) + b.u64(0), "metadata count", "cut short")
    refuse("hdr_wrong_magic", b"GGML" + good[4:], "not a GGUF file", "GGML")
    refuse("hdr_lower_case", b"gguf" + good[4:], "lower case")
    refuse("hdr_escape_in_magic", b"\x1b[2J" + good[4:], "not a GGUF file", "\\x1b")
    refuse("hdr_zeros", bytes(4096), "not a GGUF file")
    refuse("hdr_random", bytes((i * 167 + 13) % 256 for i in range(4096)), "not a GGUF file")
    refuse(
        "hdr_lfs",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "git-lfs",
        "git lfs pull",
    )
    refuse("hdr_html", b"<!DOCTYPE html>\n<html><body>404</body></html>", "HTML", "download")
    refuse("hdr_html_spaces", b"\n\n  <HTML><head>", "HTML")
    refuse("hdr_html_bom", b"\xef\xbb\xbf<html>", "HTML")
    refuse("hdr_json", b'{"error": "Repository not found"}', "JSON")
    refuse("hdr_zip", b"PK\x03\x04" + bytes(60), "zip", "convert")
    refuse("hdr_pickle", b"\x80\x02}q\x00." + bytes(60), "pickle")
    refuse(
        "hdr_safetensors",
        b.u64(40) + b'{"a":{"dtype":"F32","shape":[1]}}'.ljust(40) + bytes(4),
        "safetensors",
    )
    refuse("hdr_ggjt", b"tjgg" + b.u32(3) + bytes(60), "ggjt")
    refuse("hdr_ggjt_other_order", b"ggjt" + bytes(60), "ggjt")
    refuse("hdr_ggml", b"lmgg" + bytes(60), "ggml")
    refuse("hdr_ggmf", b"fmgg" + bytes(60), "ggmf")
    refuse("hdr_ggla", b"algg" + bytes(60), "LoRA")
    refuse("hdr_gzip", b"\x1f\x8b\x08" + bytes(60), "gzip")
    refuse("hdr_swapped_magic", b"FUGG" + bytes(60), "bytes swapped")


def version_cases() -> None:
    tensors = [T("a")]
    for n in (0, 1, 4, 5, 100, 1 << 31, (1 << 32) - 1):
        words = ("GGUF version", str(n)) if n not in (1 << 31,) else ("big-endian",)
        refuse(f"version_{n}", G(tensors=tensors, version=b.u32(n)), *words)
    for n in (1, 2, 3):
        refuse(
            f"version_{n}_big_endian",
            G(tensors=tensors, version=n.to_bytes(4, "big")),
            "big-endian",
            f"version {n}",
        )
    big = b"GGUF" + (3).to_bytes(4, "big") + (1).to_bytes(8, "big") + (0).to_bytes(8, "big") + bytes(99)
    refuse("whole_file_big_endian", big, "big-endian")
    load("version_2", G(tensors=tensors, version=b.u32(2)))
    load("version_3", G(tensors=tensors))
    load("no_keys_no_tensors", G())
    load("no_keys_no_tensors_no_padding", G(last_pad=False))


def count_cases() -> None:
    good = b.small()
    for label, n in HUGE:
        refuse(f"n_tensors_{label}", G(kvs=good.kvs, tensors=good.tensors, n_tensors=n), "tensor count", str(n))
        refuse(f"n_kv_{label}", G(kvs=good.kvs, tensors=good.tensors, n_kv=n), "metadata count", str(n))
    many, keys = len(good.tensors), len(good.kvs)
    refuse("n_tensors_one_more", G(kvs=good.kvs, tensors=good.tensors, n_tensors=many + 1))
    refuse("n_kv_one_more", G(kvs=good.kvs, tensors=good.tensors, n_kv=keys + 1))
    refuse("n_kv_one_less", G(kvs=good.kvs, tensors=good.tensors, n_kv=keys - 1))
    refuse("n_kv_zero", G(kvs=good.kvs, tensors=good.tensors, n_kv=0))
    refuse("n_tensors_over_what_fits", G(tensors=[T("a")], n_tensors=4), "tensor count is 4", "hold at most")
    refuse("n_kv_over_what_fits", G(kvs=[b.kv("k", b.U8, 1)], n_kv=4), "metadata count is 4", "hold at most")
    load(
        "n_tensors_zero_with_data",
        G(kvs=good.kvs, tensors=good.tensors, n_tensors=0),
        "after the last tensor",
    )

    def big_count(n_tensors: int, n_kv: int, name: str) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            path = folder / f"{name}.gguf"
            with path.open("wb") as f:
                f.write(b"GGUF" + b.u32(3) + b.u64(n_tensors) + b.u64(n_kv))
                f.truncate(1 << 36)
            return path

        return make

    refuse("n_tensors_limit_in_64_gib", big_count(1 << 20, 0, "nt"), "tensor count", "at most")
    refuse("n_kv_limit_in_64_gib", big_count(0, 1 << 20, "nk"), "metadata count", "at most")
    refuse("n_kv_of_zeros_in_64_gib", big_count(0, 1000, "nz"), "metadata key 0", "length of 0")


def cut_cases() -> None:
    file = b.small()
    data, head = file.build(), file.head()
    places = {
        "in_counts": 20, "after_counts": 24, "in_key_length": 28, "in_key": 40,
        "after_first_key": 24 + len(file.kvs[0]),
        "in_metadata": len(head) // 2, "before_table": head.index(b.text("a") + b.u32(2)),
        "in_name": head.index(b.text("c.weight")) + 11, "in_dims": head.index(b.text("c.weight")) + 22,
        "in_offset": len(head) - 3, "after_table": len(head), "in_first_tensor": len(b.pad(head, 32)) + 10,
    }  # fmt: skip
    for name, at in places.items():
        refuse(f"cut_{name}", data[:at])
    unpadded = G(kvs=file.kvs, tensors=file.tensors, last_pad=False).build()
    refuse("cut_last_byte_of_data", unpadded[:-1], "c.weight", "cut short")
    load("valid_no_last_pad", unpadded)
    load("valid_half_of_last_pad", unpadded + bytes(7))


def key_cases() -> None:
    body = b.u32(b.U8) + b"\1"
    for label, n in (*HUGE, ("past_end", 500), ("65536", 65536)):
        refuse(f"key_length_{label}", one(b.u64(n) + b"k" + body), "metadata key 0", str(n))
    long = one(b.kv("k" * 65536, b.U8, 1))
    refuse("key_of_65536_bytes", long, "metadata key 0", "65536")
    load("key_of_65535_bytes", one(b.kv("k" * 65535, b.U8, 1)))
    refuse("key_empty", one(b.kv("", b.U8, 1)), "metadata key 0", "length of 0")
    refuse("key_not_utf8", one(b.kv(b"a\xff\xfe", b.U8, 1)), "metadata key 0", "not UTF-8")
    refuse("key_surrogate", one(b.kv(b"a\xed\xa0\x80", b.U8, 1)), "not UTF-8")
    refuse("key_overlong_nul", one(b.kv(b"a\xc0\x80", b.U8, 1)), "not UTF-8")
    refuse("key_with_nul", one(b.kv(b"llama\0x", b.U8, 1)), "NUL")
    refuse("key_twice_same", G(kvs=[b.kv("x", b.U8, 1)] * 2), "x", "twice")
    refuse("key_twice_other", G(kvs=[b.kv("x", b.U8, 1), b.kv("x", b.STRING, "y")]), "x", "twice")
    twice_far = [b.kv("x", b.U8, 1), *(b.kv(f"k{i}", b.U8, 1) for i in range(500)), b.kv("x", b.U8, 1)]
    refuse("key_twice_far_apart", G(kvs=twice_far), "x", "twice")
    refuse("key_escapes_in_message", G(kvs=[b.kv("\x1b[31m\n\u202e", b.U8, 1)] * 2), "\\x1b", "\\n", "\\u202e")
    load("key_with_escapes", one(b.kv("\x1b[31m\n\u202e", b.U8, 1)))


def type_cases() -> None:
    for n in (13, 14, 255, 1 << 31, (1 << 32) - 1):
        refuse(f"value_type_{n}", one(raw_key(n, bytes(16))), "value type", str(n))
        refuse(f"element_type_{n}", one(raw_array(n, 1, bytes(16))), "element type", str(n))
        refuse(f"element_type_{n}_empty", one(raw_array(n, 0)), "element type", str(n))
    for n in (2, 128, 255):
        refuse(f"bool_{n}", one(raw_key(b.BOOL, bytes([n]))), "bool", str(n))
    refuse("bool_2_in_array", one(raw_array(b.BOOL, 4, b"\0\1\2\1")), "bool is 2")
    for label, n in (*HUGE, ("past_end", 10**4)):
        refuse(f"string_length_{label}", one(raw_key(b.STRING, b.u64(n) + b"abc")), "key k", str(n))
    end = len(G(kvs=[raw_key(b.STRING, b.u64(0))], last_pad=False).build())
    by_one = G(kvs=[raw_key(b.STRING, b.u64(1))], last_pad=False).build()
    assert len(by_one) == end
    refuse("string_past_end_by_one", by_one, "key k", "length of 1 ")
    load("string_to_the_very_end", by_one + b"x")
    for kind in (b.U8, b.U16, b.F32, b.STRING, b.F64, b.BOOL):
        for label, n in HUGE:
            refuse(f"array_of_{kind}_{label}", one(raw_array(kind, n, bytes(64))), "array of key k", str(n))
    for kind, width in ((b.U8, 1), (b.U16, 2), (b.F32, 4), (b.F64, 8), (b.STRING, 8)):
        many = 64 // width
        more = G(kvs=[raw_array(kind, many + 1, bytes(64))], last_pad=False)
        refuse(f"array_of_{kind}_one_more", more, f"a count of {many + 1} ", f"hold at most {many};")
    for kind, width in ((b.U16, 2), (b.U32, 4), (b.U64, 8)):
        refuse(f"array_bytes_wrap_{kind}", one(raw_array(kind, (1 << 64) // width, bytes(64))), "array of key k")
        refuse(
            f"array_bytes_wrap_{kind}_plus",
            one(raw_array(kind, (1 << 64) // width + 1, bytes(64))),
            "array of key k",
        )
    inner = b.text("ok") + b.u64(1 << 40) + b"no"
    refuse("array_inner_string_too_long", one(raw_array(b.STRING, 2, inner)), "string 1 in the array of key k")
    wrap = b.text("ok") + b.u64(MAX - 7) + b"no"
    refuse("array_inner_string_wraps", one(raw_array(b.STRING, 2, wrap)), "string 1 in the array of key k")
    back = b.text("ok") + b.u64(MAX - 17) + b.text("no")
    refuse("array_inner_string_goes_back", one(raw_array(b.STRING, 3, back)), "string 1 in the array of key k")
    last = G(kvs=[raw_array(b.STRING, 3, b.text("a") + b.text("b"))], last_pad=False)
    refuse("array_one_string_short", last, "array of key k")
    load("array_of_2000_empty_strings", one(b.array("k", b.STRING, [""] * 2000)))
    load("array_of_bytes_1_mb", one(raw_array(b.U8, 1 << 20, bytes(1 << 20))))
    load("every_type", b.small())


def nested_cases() -> None:
    leaf = b.u32(b.U8) + b.u64(1) + b"\1"
    refuse("nested_2", one(raw_key(b.ARRAY, b.u32(b.ARRAY) + b.u64(1) + leaf)), "nested arrays")
    deep = leaf
    for _ in range(1500):
        deep = b.u32(b.ARRAY) + b.u64(1) + deep
    refuse("nested_1500", one(raw_key(b.ARRAY, deep)), "nested arrays")
    refuse("nested_wide", one(raw_key(b.ARRAY, b.u32(b.ARRAY) + b.u64(1000) + leaf * 1000)), "nested arrays")
    refuse("nested_empty", one(raw_key(b.ARRAY, b.u32(b.ARRAY) + b.u64(0))), "nested arrays")
