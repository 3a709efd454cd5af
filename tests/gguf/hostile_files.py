"""Hostile files as files: rubbish at the end, sparse giants, things that are no files, split models."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import ggufbytes as b
from ggufbytes import G, T
from hostile_case import load, one, raw_array, raw_key, refuse


def sparse_tail(folder: Path) -> Path:
    path = folder / "sparse_tail.gguf"
    path.write_bytes(b.small().build())
    os.truncate(path, 4 << 30)
    return path


def sparse_string(folder: Path) -> Path:
    path = folder / "sparse_string.gguf"
    path.write_bytes(b"GGUF" + b.u32(3) + b.u64(0) + b.u64(1) + raw_key(b.STRING, b.u64(1 << 32)))
    os.truncate(path, 6 << 30)
    return path


def sparse_strings(folder: Path) -> Path:
    path = folder / "sparse_strings.gguf"
    path.write_bytes(b"GGUF" + b.u32(3) + b.u64(0) + b.u64(1) + raw_array(b.STRING, 1 << 28))
    os.truncate(path, 6 << 30)
    return path


def sparse_numbers(folder: Path) -> Path:
    path = folder / "sparse_numbers.gguf"
    path.write_bytes(b"GGUF" + b.u32(3) + b.u64(0) + b.u64(1) + raw_array(b.F64, 1 << 28))
    os.truncate(path, 6 << 30)
    return path


def tail_and_text_cases() -> None:
    load("tail_rubbish", G(tensors=[T("a")], tail=b"rubbish" * 99), "693 bytes after the last tensor")
    load("tail_one_byte", G(tensors=[T("a")], tail=b"\n"), "1 bytes after")
    load("tail_gguf_again", G(tensors=[T("a")], tail=b.small().build()), "after the last tensor")
    load("tail_sparse_4_gib", sparse_tail, "after the last tensor")
    refuse("header_over_limit_string", sparse_string, "key k", "a header over")
    refuse("header_over_limit_numbers", sparse_numbers, "key k", "a header over")
    refuse("strings_over_limit", sparse_strings, "key k", "at most")
    for label, raw in (
        ("not_utf8", b"\xff\xfe\x80"), ("escapes", b"\x1b]0;owned\7\x1b[2J"), ("newlines", b"a\nb\r\nc"),
        ("nul", b"a\0b"), ("right_to_left", "\u202egpj.exe".encode()), ("surrogate", b"\xed\xa0\x80"),
        ("long", b"x" * 1_000_000),
    ):  # fmt: skip
        load(f"general_name_{label}", one(b.kv("general.name", b.STRING, raw)))
    load(
        "tokens_not_utf8",
        one(b.array("tokenizer.ggml.tokens", b.STRING, [b"\xff", b"\x80\x80", b"", b"x" * 16000])),
    )


def not_a_file_cases() -> None:
    def folder_case(folder: Path) -> Path:
        (folder / "folder.gguf").mkdir()
        return folder / "folder.gguf"

    def fifo(folder: Path) -> Path:
        os.mkfifo(folder / "fifo.gguf")
        return folder / "fifo.gguf"

    def link_loop(folder: Path) -> Path:
        (folder / "loop.gguf").symlink_to("loop.gguf")
        return folder / "loop.gguf"

    def unix_socket(folder: Path) -> Path:
        here = os.getcwd()
        os.chdir(folder)  # the address of a socket has 107 bytes at most
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.bind("socket.gguf")
        finally:
            os.chdir(here)
        return folder / "socket.gguf"

    def good_link(folder: Path) -> Path:
        (folder / "target").write_bytes(b.small().build())
        (folder / "link.gguf").symlink_to("target")
        return folder / "link.gguf"

    def fifo_link(folder: Path) -> Path:
        os.mkfifo(folder / "fifo")
        (folder / "fifo_link.gguf").symlink_to("fifo")
        return folder / "fifo_link.gguf"

    refuse("file_folder", folder_case, "is a folder")
    refuse("file_fifo", fifo, "is a FIFO")
    refuse("file_link_to_fifo", fifo_link, "is a FIFO")
    refuse("file_dev_zero", lambda _: Path("/dev/zero"), "character device")
    refuse("file_dev_null", lambda _: Path("/dev/null"), "character device")
    refuse("file_link_loop", link_loop, "cannot be opened")
    refuse("file_socket", unix_socket, "cannot be opened")
    refuse("file_missing", lambda folder: folder / "missing.gguf", "cannot be opened", "No such file")
    refuse("file_name_too_long", lambda folder: folder / ("x" * 5000), "cannot be opened")
    refuse("file_name_with_nul", lambda folder: folder / "a\0b", "cannot be opened", "null")
    refuse("file_name_with_escapes", lambda folder: folder / "\x1b[2J\n.gguf", "cannot be opened", "\\x1b[2J\\n")
    refuse("file_under_a_file", lambda _: Path("/dev/null/x.gguf"), "cannot be opened")
    load("file_link", good_link)


def split_part(
    no: object, count: object, total: object, tensors: list[T], types: dict[str, int] | None = None
) -> bytes:
    kvs = []
    for key, value, kind in (("no", no, b.U16), ("count", count, b.U16), ("tensors.count", total, b.I32)):
        if value is not None:
            kvs.append(b.kv(f"split.{key}", (types or {}).get(key, kind), value))
    return G(kvs=kvs, tensors=tensors).build()


def split_files(*parts: bytes | None, first: int = 0, name: str = "m-{:05d}-of-{:05d}.gguf") -> Callable[[Path], Path]:
    """Writes the parts (None: not there); opens part `first`."""

    def make(folder: Path) -> Path:
        for i, data in enumerate(parts):
            if data is not None:
                (folder / name.format(i + 1, len(parts))).write_bytes(data)
        return folder / name.format(first + 1, len(parts))

    return make


def split_cases() -> None:
    a, c, d = [T("a")], [T("c")], [T("d")]
    p1, p2, p3 = split_part(0, 3, 3, a), split_part(1, 3, 3, c), split_part(2, 3, 3, d)
    load("split_valid", split_files(p1, p2, p3))
    load("split_count_1", split_part(0, 1, 1, a))
    load("split_count_0_after_a_merge", split_part(0, 0, 1, a))
    refuse("split_second_missing", split_files(p1, None, p3), "part 2 of 3 is missing", "m-00002-of-00003.gguf")
    refuse("split_last_missing", split_files(p1, p2, None), "part 3 of 3 is missing")
    refuse("split_second_opened", split_files(p1, p2, p3, first=1), "part 2 of 3", "m-00001-of-00003.gguf")
    refuse("split_same_part_twice", split_files(p1, p2, p2), "split.no is 1; expected 2")
    refuse("split_first_twice", split_files(p1, p1, p3), "split.no is 0; expected 1")
    refuse("split_other_count", split_files(p1, split_part(1, 4, 3, c), p3), "split.count is 4; expected 3")
    refuse(
        "split_no_missing_in_first",
        split_files(split_part(None, 2, 2, a), split_part(1, 2, 2, c)),
        "split.no is missing",
    )
    refuse(
        "split_no_missing_in_second",
        split_files(split_part(0, 2, 2, a), split_part(None, 2, 2, c)),
        "split.no is missing",
    )
    refuse("split_count_missing", split_part(0, None, 1, a), "split.no without split.count")
    refuse(
        "split_count_missing_in_second",
        split_files(split_part(0, 2, 2, a), split_part(1, None, 2, c)),
        "split.count",
    )
    refuse(
        "split_total_missing",
        split_files(split_part(0, 2, None, a), split_part(1, 2, None, c)),
        "split.tensors.count",
    )
    refuse(
        "split_total_wrong",
        split_files(split_part(0, 2, 3, a), split_part(1, 2, 3, c)),
        "is 3",
        "hold 2 tensors",
    )
    refuse("split_total_negative", split_files(split_part(0, 2, -1, a), split_part(1, 2, -1, c)), "is -1")
    refuse(
        "split_tensor_twice",
        split_files(split_part(0, 2, 2, a), split_part(1, 2, 2, a)),
        "tensor a",
        "already",
    )
    refuse("split_count_u32", split_part(0, 2, 2, a, {"count": b.U32}), "split.count has type u32; expected u16")
    refuse(
        "split_no_string",
        split_part("0", 2, 2, a, {"no": b.STRING}),
        "split.no has type string; expected u16",
    )
    refuse("split_no_i32", split_part(0, 2, 2, a, {"no": b.I32}), "split.no has type i32; expected u16")
    total = split_files(split_part(0, 2, 2, a, {"tensors.count": b.U16}), split_part(1, 2, 2, c))
    refuse("split_total_u16", total, "split.tensors.count has type u16; expected i32")
    refuse("split_count_65535", split_files(split_part(0, 65535, 9, a)), "split.count is 65535")
    refuse("split_no_past_count", split_files(split_part(7, 2, 2, a), split_part(1, 2, 2, c)), "split.no is 7")
    refuse("split_odd_name", split_part(0, 2, 2, a), "its name must end in -00001-of-00002.gguf")
    refuse(
        "split_name_is_pattern_only",
        split_files(p1, p2, p3, name="-{:05d}-of-{:05d}.gguf"),
        "its name must end in",
    )
    refuse("split_second_cut", split_files(p1, p2[:-40], p3), "m-00002-of-00003.gguf", "cut short")
    refuse("split_second_empty", split_files(p1, b"", p3), "m-00002-of-00003.gguf", "empty file")

    def second_is_folder(folder: Path) -> Path:
        (folder / "m-00001-of-00003.gguf").write_bytes(p1)
        (folder / "m-00002-of-00003.gguf").mkdir()
        return folder / "m-00001-of-00003.gguf"

    refuse("split_second_is_a_folder", second_is_folder, "m-00002-of-00003.gguf", "is a folder")
