"""UGM: ids equal llama.cpp's, the cut has the best score, and no character map or vocabulary breaks it."""

from __future__ import annotations

import math
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import TokenizerError
from edgeq.tokenizer import from_gguf
from edgeq.tokenizer.charsmap import Charsmap, Normalizer
from edgeq.tokenizer.ugm import Unigrams
from tests.tokenizer import texts, variants

LEAF, VALUE = 0x100, 1 << 31


def charsmap(rules: dict[bytes, bytes]) -> bytes:
    """A character map with these replacements, its trie laid out by first fit."""
    values: dict[bytes, int] = {}
    blob, taken = b"", set()
    for key, text in rules.items():
        values[key] = len(blob)
        blob += text + b"\0"
    units: dict[int, int] = {0: 0}

    def place(prefix: bytes, node: int) -> None:
        labels = {key[len(prefix)] for key in rules if key.startswith(prefix) and key != prefix}
        labels |= {0} if prefix in rules else set()
        free = (b for b in range(1, 1 << 16) if b not in taken)
        base = next(b for b in free if not any(b ^ c in units for c in labels))
        taken.add(base)
        units[node] |= (node ^ base) << 10 | (LEAF if 0 in labels else 0)
        for c in labels:
            units[base ^ c] = c if c else VALUE | values[prefix]
        for c in labels - {0}:
            place(prefix + bytes([c]), base ^ c)

    place(b"", 0)
    trie = b"".join(struct.pack("<I", units.get(i, 0)) for i in range(max(units) + 256))
    return struct.pack("<I", len(trie)) + trie + blob


def vocabulary(pieces: dict[str, float], types: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
    table = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, **pieces}
    kinds = {"<pad>": 3, "</s>": 3, "<unk>": 2, **(types or {})}
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": list(table),
        "tokenizer.ggml.scores": list(table.values()),
        "tokenizer.ggml.token_type": [kinds.get(piece, 1) for piece in table],
        **{f"tokenizer.ggml.{key}": value for key, value in more.items()},
    }


@pytest.mark.parametrize("variant", variants.VARIANTS["ugm"])
def test_ids_equal_llama_cpp(variant: str) -> None:
    variants.assert_golden("ugm", variant)


@given(
    st.dictionaries(
        st.text("abé▁", min_size=1, max_size=4), st.floats(-20, -0.125, width=32), min_size=1, max_size=20
    ),
    st.text("abé▁x", max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_no_cut_scores_better(pieces: dict[str, float], text: str) -> None:
    unknown = struct.unpack("<f", struct.pack("<f", min(pieces.values()) - 10))[0]
    best = [0.0] + [-math.inf] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            word = text[start:end]
            score = pieces.get(word, unknown if len(word) == 1 else -math.inf)
            best[end] = max(best[end], best[start] + score)
    names = list(pieces)
    found = Unigrams(names, list(pieces.values()), bytes([1] * len(names))).segment(text.encode())
    total = sum(pieces[names[token]] if token >= 0 else unknown for token in found)
    assert total == pytest.approx(best[-1], rel=1e-6)


def test_an_unknown_character_scores_ten_below_the_worst_normal_piece() -> None:
    for score, wanted in ((9.5, ["xy"]), (10.5, ["<unk>", "y"])):
        tok = from_gguf(vocabulary({"y": score, "xy": -5.0, "<c>": -100.0}, {"<c>": 3}))
        assert [tok.pieces[i] for i in tok.encode("xy", add_special=False)] == wanted


def test_a_user_defined_piece_scores_zero() -> None:
    pieces = {"▁": -1.0, "ab": -1.0, "▁ab": -50.0}
    for kind, wanted in ((1, ["▁", "ab"]), (4, ["▁ab"])):
        tok = from_gguf(vocabulary(pieces, {"▁ab": kind}, add_space_prefix=True))
        assert [tok.pieces[i] for i in tok.encode("ab", add_special=False)] == wanted


def test_spaces_follow_the_flags() -> None:
    pieces = {"▁": -3.0, "▁a": -1.0, "a": -2.0, "b": -2.0}
    for prefix, merge, text, wanted in (
        (True, True, "  a  b ", ["▁a", "▁", "b"]),
        (False, True, "a", ["▁a"]),
        (True, False, "  a", ["▁", "▁", "▁a"]),
        (False, False, "a b", ["a", "▁", "b"]),
        (True, False, "  ", ["▁", "▁"]),
        (True, True, "  ", []),
    ):
        tok = from_gguf(vocabulary(pieces, add_space_prefix=prefix, remove_extra_whitespaces=merge))
        assert [tok.pieces[i] for i in tok.encode(text, add_special=False)] == wanted


def test_neighbouring_unknown_characters_are_one_unknown_token() -> None:
    tok = from_gguf(vocabulary({"a": -1.0}))
    assert tok.encode("xéya") == [2, 3, 1]
    assert tok.encode(b"\xffa\xff", add_special=False) == [2, 3, 2]


def test_the_longest_string_is_replaced_and_user_defined_text_is_not() -> None:
    replace = Normalizer(
        Charsmap(charsmap({b"a": b"1", b"abc": b"2", b"\xc3\xa9": b"e", b"z": b""})), []
    ).apply
    assert replace(b"aabcabz\xc3\xa9") == b"121be"
    assert replace(b"\xff\xc3\xf0\x9f\x98\x80") == "��😀".encode()
    assert replace(b"a\0b") == b"1\0b"
    assert Normalizer(Charsmap(charsmap({b"ab": b"1"})), []).apply(b"a\0bab") == b"a\0b1"
    assert Normalizer(None, []).apply(b"\xf5\x80\x80\x80\xf8") == b"\xf5\x80\x80\x80\xef\xbf\xbd"
    kept = Normalizer(Charsmap(charsmap({b"a": b"1", b"b": b"2"})), [b"<ab>", b"xa"]).apply
    assert kept(b"ab<ab>b<axa") == b"12<ab>2<axa", "also the beginning of a user-defined token stays"


def test_a_unit_can_shift_its_offset() -> None:
    units = [1 << 10 | 0x200] + [0] * 511
    units[256 ^ 0x61] = 0x61 | LEAF | (256 ^ 0x61 ^ 1) << 10
    units[1] = VALUE
    blob = struct.pack("<I", 2048) + struct.pack("<512I", *units) + b"x\0"
    assert Normalizer(Charsmap(blob), []).apply(b"bab") == b"bxb"


def test_the_map_of_a_real_vocabulary() -> None:
    tok = variants.tokenizer("ugm")
    for text, same in (
        ("ﬁn", "fin"),
        ("①", "1"),
        ("e\u0301", "é"),
        ("a\u200bb", "ab"),
        ("Ａ", "A"),
        ("a\tb", "a b"),
    ):
        assert tok.encode(text) == tok.encode(same), text


RULES = st.dictionaries(st.binary(min_size=1, max_size=3), st.binary(max_size=3), min_size=1, max_size=8)


@given(RULES, st.binary())
@settings(max_examples=200, deadline=None)
def test_replacement_is_longest_match_from_left_to_right(rules: dict[bytes, bytes], text: bytes) -> None:
    rules = {key: new.replace(b"\0", b"") for key, new in rules.items() if b"\0" not in key}
    rules[b"a"] = b"?"
    text = text.replace(b"x", b"a")[:100].decode("latin-1").encode()
    out, at = b"", 0
    while at < len(text):
        used = max((len(key) for key in rules if text.startswith(key, at)), default=0)
        if used:
            out, at = out + rules[text[at : at + used]], at + used
            continue
        size = next((n for n in (1, 2) if _decodes(text[at : at + n])), 0)
        out, at = out + (text[at : at + size] if size else b"\xef\xbf\xbd"), at + max(size, 1)
    assert Normalizer(Charsmap(charsmap(rules)), []).apply(text) == out


def _decodes(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


GOOD = charsmap({b"ab": b"x", b"\xc3\xa9": b"e"})


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0",
        b"\0\0\0",
        GOOD[:4],
        struct.pack("<I", len(GOOD)) + GOOD[4:],
        b"\xff\xff\xff\xff" + GOOD[4:],
    ],
)
def test_a_map_that_ends_before_its_trie_is_refused(blob: bytes) -> None:
    with pytest.raises(TokenizerError, match="precompiled_charsmap"):
        from_gguf(vocabulary({"a": -1.0}, precompiled_charsmap=list(blob)))


def test_a_trie_that_leads_past_its_end_is_an_error_not_a_crash() -> None:
    trie = struct.pack("<2I", 0x3FFFFF << 10, 0)
    tok = from_gguf(vocabulary({"a": -1.0}, precompiled_charsmap=list(struct.pack("<I", 8) + trie + b"x\0")))
    with pytest.raises(TokenizerError, match="past its end"):
        tok.encode("é")


def test_a_replacement_without_an_end_is_an_error() -> None:
    normalizer = Normalizer(Charsmap(charsmap({b"\xc3\xa9": b"ee"})[:-1]), [])
    with pytest.raises(TokenizerError, match="expected a replacement"):
        normalizer.apply("é".encode())


def test_a_trie_that_runs_in_a_circle_is_an_error() -> None:
    units = [0] * 512
    units[0] = 1 << 10
    units[1 ^ 0x61] = units[1] = 0x61  # each is found from the other by an 'a'
    blob = struct.pack("<I", 2048) + struct.pack("<512I", *units) + b"x\0"
    normalizer = Normalizer(Charsmap(blob), [])
    assert normalizer.apply(b"a" * 50) == b"a" * 50
    with pytest.raises(TokenizerError, match="at most"):
        normalizer.apply(b"a" * 1_000_000)


def test_a_text_that_the_map_blows_up_is_an_error() -> None:
    normalizer = Normalizer(Charsmap(charsmap({b"\xc3\xa9": b"e" * 250})), [])
    assert normalizer.apply("é".encode()) == b"e" * 250
    with pytest.raises(TokenizerError, match="grows"):
        normalizer.apply("é".encode() * 1000)
    long = Normalizer(Charsmap(charsmap({b"\xc3\xa9": b"e" * 300})), [])
    with pytest.raises(TokenizerError, match="expected a replacement"):
        long.apply("é".encode())


@given(st.binary(min_size=5, max_size=600), st.integers(0, 600), st.text(max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_map_gives_ids_or_a_tokenizer_error(noise: bytes, size: int, text: str) -> None:
    blob = struct.pack("<I", size) + noise
    try:
        tok = from_gguf(vocabulary({"a": -1.0}, precompiled_charsmap=list(blob)))
        ids = tok.encode(text.encode("utf-8", "surrogatepass"))
    except TokenizerError:
        return
    assert all(0 <= token < tok.n_vocab for token in ids)


@given(st.binary(min_size=1, max_size=40), st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_real_map_gives_ids_or_a_tokenizer_error(noise: bytes, data: st.DataObject) -> None:
    blob = bytearray(variants.metadata_of("ugm")["tokenizer.ggml.precompiled_charsmap"].tolist())
    at = data.draw(st.integers(0, len(blob) - len(noise)))
    blob[at : at + len(noise)] = noise
    try:
        tok = variants.tokenizer("ugm", precompiled_charsmap=list(blob))
        for text in variants.CASES:
            tok.encode(text)
    except TokenizerError:
        pass


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scores", [math.nan] * 4),
        ("scores", [0.0]),
        ("precompiled_charsmap", "abc"),
        ("precompiled_charsmap", [1000] * 9),
        ("precompiled_charsmap", [0.5] * 9),
        ("precompiled_charsmap", 5),
        ("remove_extra_whitespaces", 1),
        ("token_type", [1]),
    ],
)
def test_a_broken_vocabulary_is_refused_by_the_name_of_the_key(key: str, value: Any) -> None:
    metadata = vocabulary({"a": -1.0})
    metadata[f"tokenizer.ggml.{key}"] = value
    with pytest.raises(TokenizerError, match=f"tokenizer.ggml.{key}"):
        from_gguf(metadata)


def test_a_vocabulary_of_one_token_loads() -> None:
    tok = from_gguf({"tokenizer.ggml.model": "t5", "tokenizer.ggml.tokens": ["a"]})
    assert tok.encode("ab") == [0]
    assert tok.encode("bb") == []


@pytest.mark.parametrize("score", [math.inf, -math.inf, -3.4e38, 3.4e38])
def test_extreme_scores_give_ids(score: float) -> None:
    tok = from_gguf(vocabulary({"a": score, "b": -1.0, "ab": score}))
    assert all(0 <= token < tok.n_vocab for token in tok.encode("abba" * 50))


@pytest.mark.parametrize("char", ["a", " ", "é", "\u0301", "中", "\0"])
def test_a_long_run_of_one_character_takes_near_linear_time(char: str) -> None:
    tok = variants.tokenizer("ugm", "plain")
    start = time.process_time()
    tok.encode(char * 200_000)
    assert time.process_time() - start < 6


def test_str_and_bytes_are_the_same() -> None:
    tok = variants.tokenizer("ugm")
    for text in texts.texts(51, 200):
        assert tok.encode(text) == tok.encode(text.encode())
