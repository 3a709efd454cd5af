"""The pipe protocol of the llama.cpp oracle, against a stand-in program."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from models.oracle import Oracle, OracleError

STAND_IN = """#!{python}
import struct, sys
mode, data, out = sys.argv[1], sys.stdin.buffer.read(), sys.stdout.buffer
at = 0
def number():
    global at
    at += 4
    return struct.unpack_from("<I", data, at - 4)[0]
while at < len(data):
    n = number()
    if mode == "tokenize":
        text, at = data[at : at + n], at + n
        if text == b"boom":
            out.write(struct.pack("<I", 2**32 - 1))
        else:
            out.write(struct.pack(f"<I{{n}}i", n, *text))
        continue
    ids, at = struct.unpack_from(f"<{{n}}i", data, at), at + 4 * n
    if mode == "detokenize":
        out.write(struct.pack("<I", n) + bytes(ids))
    if mode == "logits":
        out.write(struct.pack(f"<{{3 * n}}f", *(x for i in ids for x in (i, i + 0.5, -i))))
    if mode == "greedy":
        m = int(sys.argv[4])
        out.write(struct.pack(f"<I{{m}}i{{m}}f", m, *range(ids[-1], ids[-1] + m), *[0.25] * m))
if mode == "pieces":
    out.write(struct.pack("<I11i", 2, 2, 1, 0, -1, -1, -1, -1, -1, 1, 0, 0))
    for shown, hidden, attributes, eog in ((b"<s>", b"", 8, 1), (b"a", b"a", 4, 0)):
        out.write(struct.pack("<I", len(shown)) + shown + struct.pack("<I", len(hidden)) + hidden)
        out.write(struct.pack("<II", attributes, eog))
if mode == "version":
    out.write(b"1.2.3\\nCPU : X = 1\\n")
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "oracle"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def oracle(tmp_path: Path) -> Oracle:
    return Oracle(program(tmp_path, STAND_IN.format(python=sys.executable)), "model.gguf")


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script with a #! line")


def test_texts_and_ids_go_through_whole(oracle: Oracle) -> None:
    texts = [b"", b"ab\x00\xff", b"boom", b"x" * 70000]
    assert oracle.tokenize(texts) == [[], [97, 98, 0, 255], None, [120] * 70000]
    assert oracle.detokenize([[104, 105], []]) == [b"hi", b""]


def test_logits_are_split_by_sequence(oracle: Oracle) -> None:
    first, second = oracle.logits_of([[1, 2], [7]])
    np.testing.assert_array_equal(first, np.array([[1, 1.5, -1], [2, 2.5, -2]], np.float32))
    np.testing.assert_array_equal(second, np.array([[7, 7.5, -7]], np.float32))
    assert oracle.logits([3]).dtype == np.float32


def test_greedy_gives_ids_and_margins(oracle: Oracle) -> None:
    assert oracle.greedy([5, 9], 3) == [9, 10, 11]
    assert oracle.greedy_of([[1], [2]], 2) == [([1, 2], [0.25, 0.25]), ([2, 3], [0.25, 0.25])]


def test_vocabulary_has_roles_and_pieces(oracle: Oracle) -> None:
    vocabulary = oracle.vocabulary()
    assert (vocabulary.bos, vocabulary.eos, vocabulary.eot, vocabulary.add_bos) == (1, 0, -1, True)
    assert [piece.shown for piece in vocabulary.pieces] == oracle.pieces() == [b"<s>", b"a"]
    assert (vocabulary.pieces[0].hidden, vocabulary.pieces[0].is_eog) == (b"", True)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\necho broken model >&2\nexit 3\n", r"ended with 3: broken model"),
        ("#!/bin/sh\nprintf '\\003\\000\\000\\000ab'\n", r"ends early: 12 bytes wanted, 2 left"),
        ("#!/bin/sh\nprintf '\\000\\000\\000\\000ab'\n", r"2 bytes more than asked"),
    ],
)
def test_a_broken_answer_is_an_error(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(OracleError, match=message):
        Oracle(program(tmp_path, script), "model.gguf").tokenize([b"a"])


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OracleError, match="cannot run"):
        Oracle(tmp_path / "nothing", "model.gguf").version()
