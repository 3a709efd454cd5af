"""WPM: ids equal llama.cpp's, cleaning is Unicode 15.1's on every Python, and no vocabulary breaks it."""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import pytest

from edgeq.errors import TokenizerError
from edgeq.tokenizer import from_gguf
from edgeq.tokenizer.wpm import Cleaner, cleaner, first_decomposed, kind_of, lower_case
from tests.tokenizer import texts, variants


def vocabulary(pieces: list[str], **more: Any) -> dict[str, Any]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    ids = {"bos_token_id": 2, "seperator_token_id": 3, "unknown_token_id": 1, "padding_token_id": 0}
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": special + pieces,
        "tokenizer.ggml.token_type": [3] * 4 + [1] * len(pieces),
        **{f"tokenizer.ggml.{key}": value for key, value in {**ids, **more}.items()},
    }


@pytest.mark.parametrize("variant", variants.VARIANTS["wpm"])
def test_ids_equal_llama_cpp(variant: str) -> None:
    variants.assert_golden("wpm", variant)


def cleaned(text: str, lower: bool = True, strip: bool = True) -> list[str]:
    return text.translate(cleaner(lower, strip)).split()


def test_text_is_cleaned_and_cut_at_signs() -> None:
    assert cleaned("Hello, World! it's $5") == ["hello", ",", "world", "!", "it", "'", "s", "$", "5"]
    assert cleaned("Ünïcödé É e\u0301x") == ["unicode", "e", "ex"]
    assert cleaned("東京x都") == ["東", "京", "x", "都"]
    assert cleaned("a\u00a0b\u2028c\u200bd\x00e\ufffdf\x07") == ["a", "b", "cdef"]
    assert cleaned("İ ΑΣ") == ["i", "ας".replace("ς", "σ")]
    assert cleaned("한") == ["\u1112"], "as in llama.cpp: the first of the decomposition"


def test_the_first_ideographs_of_extension_e_are_letters_as_in_llama_cpp() -> None:
    assert cleaned("\U0002b91fx") == ["\U0002b91fx"]
    assert cleaned("\U0002b920x") == ["\U0002b920", "x"]


def test_options_keep_case_and_accents() -> None:
    assert cleaned("École 한", lower=False, strip=False) == ["École", "한"]
    assert cleaned("École", lower=True, strip=False) == ["école"]
    assert cleaned("École", lower=False, strip=True) == ["Ecole"]


def test_the_lower_case_is_pythons_where_python_knows_the_letter() -> None:
    table = lower_case()
    for point, lower in table.items():
        if unicodedata.category(chr(point)) != "Cn" and point != 0x130:
            assert chr(point).lower() == chr(lower)
    known = [c for c in range(0x2C00) if len(chr(c).lower()) == 1 and chr(c).lower() != chr(c)]
    assert set(known) <= set(table)
    assert len(table) == 1433


def test_kinds_are_those_of_unicode_15_1() -> None:
    for char, kind in (
        ("a", "L"), ("\u0301", "M"), ("1", "N"), ("!", "P"), ("$", "S"), ("\n", " "), ("\u3000", " "),
        ("\0", "C"), ("\u200b", "C"), ("\ue000", "C"), ("\U00013439", "C"), ("\U0010fffd", "C"),
        ("\x1c", "C"), ("\u0378", ""), ("\U0001e5d0", ""), ("\U0010ffff", ""), ("\u2ffc", "S"), ("\x85", " "),
    ):  # fmt: skip
        assert kind_of(ord(char)) == kind, hex(ord(char))
    for point in range(0x3000):
        if (kind := kind_of(point)) not in ("", " ") and (now := unicodedata.category(chr(point))) != "Cn":
            assert now[0] == kind, hex(point)


def test_letters_newer_than_unicode_15_1_stay_as_they_are() -> None:
    """U+113C5 decomposes since Unicode 16, which Python 3.14 has and llama.cpp's table has not."""
    assert first_decomposed(0x113C5) == 0x113C5
    assert Cleaner(True, True)[0xA7CB] == "\ua7cb"


def test_the_longest_piece_wins_and_a_rest_makes_the_word_unknown() -> None:
    tok = from_gguf(vocabulary(["▁un", "▁u", "aff", "affable", "able", "▁unaffab", "n", "▁a"]))
    assert tok.encode("unaffable", add_special=False) == [1], "▁unaffab leaves 'le'"
    assert tok.encode("unable", add_special=False) == [4, 8]
    assert tok.encode("unn a", add_special=False) == [4, 10, 11]
    assert tok.encode("unx a", add_special=False) == [1, 11]
    assert tok.encode("a") == [2, 11, 3]
    assert tok.encode("") == [2, 3]
    assert tok.decode(tok.encode("unable a")) == "unable a"


def test_bytes_that_are_not_utf8_are_left_out() -> None:
    tok = variants.tokenizer("wpm")
    assert tok.encode(b"the\xff of") == tok.encode("the of")
    assert tok.encode(b"the\xf5\x80\x80\x80 of") == tok.encode("the of"), "llama.cpp dies of this one"
    assert tok.encode("the\ud800 of") == tok.encode("the of")


def test_a_vocabulary_without_special_tokens_loads() -> None:
    tok = from_gguf({"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": ["▁a"]})
    assert tok.encode("a b") == [0]
    assert len(tok.warnings) >= 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("normalizer.lowercase", 1),
        ("normalizer.strip_accents", "yes"),
        ("token_type", [1]),
        ("tokens", [1]),
        ("seperator_token_id", "x"),
    ],
)
def test_a_broken_vocabulary_is_refused_by_the_name_of_the_key(key: str, value: Any) -> None:
    metadata = vocabulary(["▁a"])
    metadata[f"tokenizer.ggml.{key}"] = value
    with pytest.raises(TokenizerError, match=f"tokenizer.ggml.{key}"):
        from_gguf(metadata)


@pytest.mark.parametrize("char", ["a", " ", "!", "\u0301", "中", "\0"])
def test_a_long_run_of_one_character_takes_near_linear_time(char: str) -> None:
    tok = from_gguf(vocabulary(["▁a", "a", "aa", "aaaaaaa", "▁!", "▁中"]))
    start = time.process_time()
    tok.encode(char * 1_000_000)
    assert time.process_time() - start < 6


def test_str_and_bytes_are_the_same() -> None:
    tok = variants.tokenizer("wpm")
    for text in texts.texts(41, 200):
        assert tok.encode(text) == tok.encode(text.encode())
