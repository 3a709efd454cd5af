"""SPM: ids equal llama.cpp's, merging is exact however it is done, and no vocabulary or text breaks it."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import TokenizerError
from edgeq.tokenizer import from_gguf
from edgeq.tokenizer.spm import SPMTokenizer, merge_long, merge_short
from tests.tokenizer import texts, variants

BYTES = [f"<0x{b:02X}>" for b in range(256)]


def vocabulary(pieces: list[str], scores: list[float] | None = None, **more: Any) -> dict[str, Any]:
    table = ["<unk>", "<s>", "</s>", *pieces]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": table,
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, *(scores or [float(-i) for i in range(len(pieces))])],
        "tokenizer.ggml.token_type": [2, 3, 3, *(6 if p in BYTES else 1 for p in pieces)],
        **{f"tokenizer.ggml.{key}": value for key, value in more.items()},
    }


@pytest.mark.parametrize("variant", variants.VARIANTS["spm"])
def test_ids_equal_llama_cpp(variant: str) -> None:
    variants.assert_golden("spm", variant)


SCORES = st.sampled_from([0.0, -0.0, 1.5, -1.0, -2.0, -3114.0, 1e-42, -3.4e38, 3.4e38])
PIECES = st.dictionaries(st.text("ab▁-", min_size=2, max_size=5), SCORES, max_size=30)


@given(PIECES, st.text("ab▁-", min_size=1, max_size=120))
@settings(max_examples=300, deadline=None)
def test_the_heap_merges_like_looking_at_every_pair(pieces: dict[str, float], word: str) -> None:
    ids = {piece: i for i, piece in enumerate(pieces)}
    scores = list(pieces.values())
    assert merge_long(word, ids.get, scores) == merge_short(word, ids.get, scores)


def test_long_word_with_a_piece_of_score_zero_among_negative_ones() -> None:
    """Baichuan: '---' has score 0 and '--' -3114; the heap once put zero last."""
    tok = from_gguf(vocabulary(["-", "--", "---", "▁"], [-9.0, -3114.0, 0.0, -8.0], add_space_prefix=False))
    for n in (6, 60, 600):
        assert tok.encode("-" * n, add_special=False) == [5] * (n // 3)


def test_a_piece_of_score_minus_infinity_is_merged_last_not_never() -> None:
    tok = from_gguf(vocabulary(["a", "aa"], [0.0, -math.inf], add_space_prefix=False))
    for n in (4, 400):
        assert tok.encode("a" * n, add_special=False) == [4] * (n // 2)


def test_integer_scores_are_compared_as_float32() -> None:
    metadata = vocabulary(["a", "b", "c", "ab", "bc"], add_space_prefix=False)
    metadata["tokenizer.ggml.scores"] = [0] * 6 + [1 << 24, (1 << 24) + 1]
    assert from_gguf(metadata).encode("abc", add_special=False) == [6, 5]


def test_the_space_goes_before_text_at_the_start_and_after_special_tokens_only() -> None:
    tok = from_gguf(vocabulary(["a", "▁", "▁a"]))
    assert tok.encode("a<s>a") == [1, 5, 1, 5]
    assert tok._encode_text(b"a", False) == [3]


@given(PIECES, st.lists(st.text("ab -", max_size=90), min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_cutting_a_text_into_words_changes_nothing(pieces: dict[str, float], lines: list[str]) -> None:
    metadata = vocabulary([*"ab▁-", *(p for p in pieces)], [0.0] * 4 + list(pieces.values()))
    whole, cut = from_gguf(metadata), from_gguf(metadata)
    assert isinstance(cut, SPMTokenizer)
    cut._length = 1 << 40
    for line in [*lines, *lines]:
        assert cut.encode(line) == whole.encode(line)


def test_generated_texts_keep_their_ids_when_seen_again() -> None:
    tok, fresh = variants.tokenizer("spm"), variants.tokenizer("spm")
    assert isinstance(fresh, SPMTokenizer)
    for text in texts.texts(31, 300):
        fresh._length = 0
        assert tok.encode(text) == fresh.encode(text)
    assert isinstance(tok, SPMTokenizer)
    assert tok._words, "so many texts are cut into words, which are remembered"


def test_str_and_bytes_are_the_same_and_a_lone_surrogate_is_three_bytes() -> None:
    tok = variants.tokenizer("spm")
    for text in texts.texts(32, 200):
        assert tok.encode(text) == tok.encode(text.encode())
    assert tok.encode("a\ud800b") == tok.encode(b"a\xed\xa0\x80b")


def test_bytes_that_are_not_utf8_become_byte_tokens() -> None:
    tok = from_gguf(vocabulary([*BYTES, "▁", "a", "▁a"]))
    byte = {b: 3 + b for b in range(256)}
    assert tok.encode(b"\x80a", add_special=False) == [259, byte[0x80], 260]
    assert tok.encode(b"\xffa", add_special=False) == [259, byte[0xFF], byte[0x61]]
    assert tok.encode(b"\xe2ab", add_special=False) == [259, byte[0xE2], byte[0x61], byte[0x62]]
    assert tok.encode(b"a\xf0\x9f", add_special=False) == [261, byte[0xF0], byte[0x9F]]
    assert tok.encode(b"\xf5\x80\x80\x80", add_special=False) == [259, byte[0xF5], *[byte[0x80]] * 3]


@pytest.mark.parametrize("missing", [BYTES, ["<0xC3>"]])
def test_a_character_without_byte_tokens_is_one_unknown_token(missing: list[str]) -> None:
    left = [b for b in BYTES if b not in missing]
    tok = from_gguf(vocabulary([*left, "▁", "a"], add_space_prefix=False))
    a = len(left) + 4
    assert tok.encode("aéa", add_special=False) == [a, 0, a]
    assert tok.encode(b"\xc3\x28a", add_special=False) == [0, a]


def test_a_vocabulary_of_one_token_loads() -> None:
    tok = from_gguf({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>"]})
    assert tok.encode("hello") == [0] * 6
    assert tok.decode([0]) == "<unk>"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scores", [math.nan] + [0.0] * 258),
        ("scores", [0.0] * 258),
        ("scores", [0.0] * 260),
        ("scores", "0"),
        ("scores", ["0"] * 259),
        ("token_type", [1] * 3),
        ("token_type", [1.5] * 2 + ["x"] * 257),
        ("tokens", []),
        ("tokens", [b"a"] * 259),
        ("tokens", 7),
        ("bos_token_id", "1"),
        ("add_space_prefix", 1),
        ("add_bos_token", "yes"),
    ],
)
def test_a_broken_vocabulary_is_refused_by_the_name_of_the_key(key: str, value: Any) -> None:
    metadata = vocabulary(BYTES)
    metadata[f"tokenizer.ggml.{key}"] = value
    with pytest.raises(TokenizerError, match=f"tokenizer.ggml.{key}"):
        from_gguf(metadata)


@pytest.mark.parametrize("piece", ["<0x-1>", "<0xZZ>", "<0x0a>", "<0x1>", "x"])
def test_a_byte_token_must_spell_a_byte(piece: str) -> None:
    metadata = vocabulary([*BYTES, piece])
    metadata["tokenizer.ggml.token_type"][-1] = 6
    with pytest.raises(TokenizerError, match="byte token"):
        from_gguf(metadata)


@given(st.lists(st.floats(width=32), min_size=8, max_size=8), st.text("ab", max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_scores_give_ids_or_are_refused(scores: list[float], text: str) -> None:
    metadata = vocabulary(["a", "b", "aa", "ab", "ba", "bb", "aab", "▁a"], scores)
    if any(score != score for score in scores):
        with pytest.raises(TokenizerError):
            from_gguf(metadata)
    else:
        tok = from_gguf(metadata)
        assert tok.decode(tok.encode(text)) == text


@pytest.mark.parametrize("char", ["a", " ", "0", "\n", "\u0301", "中", "<", "\0"])
def test_a_long_run_of_one_character_takes_near_linear_time(char: str) -> None:
    tok = variants.tokenizer("spm")
    start = time.process_time()
    ids = tok.encode(char * 200_000)
    assert time.process_time() - start < 6
    assert tok.decode(ids) == char * 200_000


def test_what_is_encoded_is_decoded() -> None:
    for variant in ("llama", "gemma"):
        tok = variants.tokenizer("spm", variant)
        for text in texts.texts(33, 300):
            ids = tok.encode(text, parse_special=False)
            if not any(tok.types[i] == 4 for i in ids) and "▁" not in text:
                assert tok.decode(ids) == text
