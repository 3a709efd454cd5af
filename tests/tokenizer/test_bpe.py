"""BPE beyond goldens: invalid input, missing bytes, merges, special tokens, speed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq import gguf
from edgeq.errors import TokenizerError
from edgeq.tokenizer import Tokenizer, from_gguf
from edgeq.tokenizer.bytes_text import (
    BYTE_CHARS,
    as_bytes,
    lenient_text,
    spell_bytes,
    unspell_bytes,
)
from edgeq.tokenizer.merges import Merger
from edgeq.tokenizer.special import CONTROL, NORMAL, UNUSED, USER_DEFINED
from tests.tokenizer import bpe_cases, texts
from tests.tokenizer.bpe_cases import BYTES, pieces_of, vocabulary


@pytest.fixture(scope="module")
def small() -> Iterator[Tokenizer]:
    with gguf.open(bpe_cases.VOCABS / "bpe.gguf") as g:
        yield from_gguf(g)


@pytest.fixture(scope="module")
def holes() -> Iterator[Tokenizer]:
    with gguf.open(bpe_cases.VOCABS / "bpe_holes.gguf") as g:
        yield from_gguf(g)


# Text in


def test_str_and_its_bytes_give_the_same_ids(small: Tokenizer) -> None:
    for text in texts.texts(8, 100):
        assert (
            small.encode(text)
            == small.encode(text.encode())
            == small.encode(memoryview(text.encode()))
        )  # type: ignore[arg-type]


def test_text_of_another_type_is_refused(small: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="expected str or bytes, found list"):
        small.encode([1, 2])  # type: ignore[arg-type]


def test_a_lone_surrogate_counts_as_its_three_bytes(small: Tokenizer) -> None:
    assert as_bytes("a\ud800") == b"a\xed\xa0\x80"
    assert small.encode("x\udfffy\ud83d\ude00") == small.encode(
        b"x\xed\xbf\xbfy\xed\xa0\xbd\xed\xb8\x80"
    )
    bare = from_gguf(vocabulary())
    assert pieces_of(bare, "\ud800") == [BYTES[0xED], BYTES[0xA0], BYTES[0x80]]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\xe2\x82", "\ufffd\ufffd"),
        (b"\xe2\x82a", "\ufffd\ufffda"),
        (b"\xc0\x80", "\0"),
        (b"\xe0\x81\x81", "A"),
        (b"\xf0\x80\x80\x81", "\x01"),
        (b"\xed\xa0\x80", "\ud800"),
        (b"\xf4\x8f\xbf\xbf", "\U0010ffff"),
        (b"\xf4\x90\x80\x80", "\ufffd" * 4),
        (b"\xf5\x80\x80\x80", "\ufffd" * 4),
        (b"\xf7\xbf\xbf\xbf", "\ufffd" * 4),
        (b"\xf8\x80\x80\x80\x80", "\ufffd" * 5),
        (b"\x80\xbf", "\ufffd\ufffd"),
    ],
)
def test_invalid_utf8_is_read_as_llama_cpp_reads_it(data: bytes, text: str) -> None:
    assert lenient_text(data) == text
    assert lenient_text(b"valid \xc3\xa9" + data) == "valid é" + text


@given(st.binary(max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_bytes_encode_and_decode_to_what_was_read(small: Tokenizer, data: bytes) -> None:
    ids = small.encode(data, add_special=False)
    expected = lenient_text(data).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    assert small.decode(ids, special=True) == expected


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_decoding_gives_back_any_text(small: Tokenizer, text: str) -> None:
    assert small.decode(small.encode(text, add_special=False), special=True) == as_bytes(
        text
    ).decode("utf-8", "replace")


def test_the_byte_alphabet_spells_every_byte_once() -> None:
    every = bytes(range(256))
    assert len(set(BYTE_CHARS)) == 256
    assert unspell_bytes(spell_bytes(every)) == every
    assert spell_bytes(b" \n\xadA") == "ĠĊŃA"
    assert unspell_bytes("👍") == "👍".encode()


def test_bytes_without_a_token_are_dropped_and_join_no_neighbours(holes: Tokenizer) -> None:
    assert bpe_cases.VOCABS.exists()
    for text in ("a{b", "{", "ab{{cd{", "x\0y", "\r"):
        expected = [
            i
            for part in text.replace("\0", "{").replace("\r", "{").split("{")
            for i in _merged(holes, part)
        ]
        assert holes.encode(text, add_special=False) == expected
    t = from_gguf(vocabulary("ab", merges=("a b",), tokens=["a", "b", "c", "ab"]))
    assert pieces_of(t, "axb") == ["a", "b"]
    assert pieces_of(t, "abxab") == ["ab", "ab"]


def _merged(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of `text` as one word."""
    return tokenizer._merge([c.encode() for c in spell_bytes(text.encode())]) if text else []  # type: ignore[attr-defined,no-any-return]


def test_an_overlong_space_where_tokens_are_plain_text_is_a_byte_and_no_crash() -> None:
    t = from_gguf(vocabulary(tokens=["a", "▁a", "▁", "<0x20>"], merges=("▁ a",), pre="sarvam-moe"))
    assert pieces_of(t, b"a a\xc0\xa0a") == ["a", "▁a", "<0x20>", "a"]


# Merges


def test_lowest_rank_merges_first_and_leftmost_of_equals() -> None:
    t = from_gguf(vocabulary("ab", "bc", "aa", "abc", merges=("b c", "a a", "a b", "a bc")))
    assert pieces_of(t, "abc") == ["abc"]
    assert pieces_of(t, "aaa") == ["aa", "a"]
    assert pieces_of(t, "aab") == ["aa", "b"]


@pytest.mark.parametrize("engine", ["plain", "library"])
def test_merges_without_a_resulting_token_and_repeated_ones_do_no_harm(engine: str) -> None:
    ids = {piece.encode(): i for i, piece in enumerate([*BYTES, "ab", "abc", "cd"])}
    merges = [b"x y", b"a b", b"c d", b"a b", b"ab c", b"xy z", b"ab cd"]
    merger = Merger(ids, merges)
    run = getattr(merger, engine)
    assert run([b"a", b"b", b"c", b"d", b"x", b"y"]) == [
        ids[b"ab"],
        ids[b"cd"],
        ids[b"x"],
        ids[b"y"],
    ]
    assert run([b"a", b"b", b"c"]) == [ids[b"abc"]]


def test_a_word_that_is_a_token_is_not_merged_where_the_name_says_so() -> None:
    table = vocabulary("hello", "he", merges=("h e",))
    assert pieces_of(from_gguf(table), "hello") == ["he", "l", "l", "o"]
    assert pieces_of(
        from_gguf(table | {"tokenizer.ggml.pre": "llama3"}), "hello", add_special=False
    ) == ["hello"]


@given(
    st.lists(
        st.tuples(st.text("abc", min_size=1, max_size=3), st.text("abc", min_size=1, max_size=3)),
        max_size=25,
    ),
    st.lists(st.text("abc", min_size=1, max_size=40), min_size=1, max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_both_engines_agree_on_any_merges(pairs: list[tuple[str, str]], words: list[str]) -> None:
    results = [a + b for a, b in pairs][::2]  # every other merge has no token of its own
    ids = {piece.encode(): i for i, piece in enumerate(dict.fromkeys(["a", "b", "c", *results]))}
    merger = Merger(ids, [f"{a} {b}".encode() for a, b in pairs])
    for word in words:
        run = [c.encode() for c in word]
        assert merger.plain(run) == merger.library(run)


# Special tokens


def special_vocabulary(**more: Any) -> dict[str, Any]:
    kinds = [NORMAL] * 256 + [CONTROL, CONTROL, USER_DEFINED, USER_DEFINED, UNUSED]
    return vocabulary(
        "<s>",
        "</s>",
        "  ",
        "<s><s>",
        "gone",
        token_type=kinds,
        bos_token_id=256,
        eos_token_id=257,
        **more,
    )


def test_control_tokens_are_read_only_when_asked_for() -> None:
    t = from_gguf(special_vocabulary())
    assert t.encode("a<s>", parse_special=True) == [BYTES.index("a"), 256]
    assert pieces_of(t, "a<s>", parse_special=False) == ["a", "<", "s", ">"]
    assert pieces_of(t, "a  b<s><s><s>", parse_special=False) == [
        "a",
        "  ",
        "b",
        "<s><s>",
        "<",
        "s",
        ">",
    ]
    assert t.decode([256, 258, 97, 260]) == "  a"
    assert t.decode([256, 257], special=True) == "<s></s>"
    assert t.end_ids == {257}


def test_bos_and_eos_are_added_as_the_file_says() -> None:
    assert from_gguf(special_vocabulary()).encode("") == []
    t = from_gguf(special_vocabulary(add_bos_token=True, add_eos_token=True))
    assert t.encode("a") == [256, BYTES.index("a"), 257]
    assert t.encode("a", add_special=False) == [BYTES.index("a")]
    assert (t.bos_id, t.eos_id, t.add_bos, t.add_eos) == (256, 257, True, True)


def test_longer_special_tokens_win_wherever_they_stand() -> None:
    kinds = [NORMAL] * 256 + [USER_DEFINED] * 3
    t = from_gguf(vocabulary("bcde", "abc", "ab", token_type=kinds))
    assert pieces_of(t, "abcde") == ["a", "bcde"]
    assert pieces_of(t, "abcabab") == ["abc", "ab", "ab"]


def test_ends_of_generation_are_known_by_name() -> None:
    t = from_gguf(vocabulary("<|im_end|>", "<|endoftext|>", "<|eom_id|>", "</s>", eos_token_id=256))
    assert t.end_ids == {256, 257, 258, 259}
    assert t.token_bytes(257) == b""
    harmony = from_gguf(
        vocabulary("<|return|>", "<|call|>", "<|end|>", "<|message|>", eos_token_id=256)
    )
    assert harmony.end_ids == {256, 257}
    assert harmony.token_bytes(258) == b"<|end|>"
    gemma = from_gguf(vocabulary("<eos>", "<|tool_response>", "</s>", eos_token_id=256))
    assert gemma.end_ids == {256, 257}


def test_tidying_takes_spaces_where_the_vocabulary_wants_it() -> None:
    text = " a . b ? ' c 's d 're e 't f , '"
    assert from_gguf(vocabulary()).tidied(text) == " a. b?'c's d're e 't f, '"
    assert from_gguf(vocabulary(pre="qwen2")).tidied(text) == text


# Time and memory


@pytest.mark.parametrize(
    "sign",
    ["a", "é", " ", "\n", "1", "\u0301", "中", "\U0001f600", "{", "\0", "<s>", "<|im_start|>"],
)
def test_a_million_equal_characters_encode_in_bounded_time(small: Tokenizer, sign: str) -> None:
    text = sign * (10**6 // len(sign.encode()))
    start = time.process_time()
    ids = small.encode(text)
    assert time.process_time() - start < 30
    assert small.decode(ids, special=True) == text


def test_many_special_tokens_do_not_slow_long_texts() -> None:
    names = [f"<unused{i}>" for i in range(6000)] + ["\n" * n for n in range(2, 32)]
    t = from_gguf(vocabulary(*names, token_type=[NORMAL] * 256 + [USER_DEFINED] * len(names)))
    start = time.process_time()
    assert len(t.encode("<unused" * 50_000)) == 350_000
    assert len(t.encode("\n" * 310_000)) == 10_000
    assert len(t.encode("a<unused7>" * 20_000)) == 40_000
    assert time.process_time() - start < 20


def test_words_kept_are_bounded(small: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeq.tokenizer import bpe

    monkeypatch.setattr(bpe, "_CACHED_WORDS", 50)
    small.encode(" ".join(f"w{i}" for i in range(1000)) + " " + "x" * 1000)
    words = small._words  # type: ignore[attr-defined]
    assert len(words) <= 50
    assert max(map(len, words)) <= 64


def test_start_needs_no_heavy_import() -> None:
    code = (
        "import sys; from edgeq import gguf; from edgeq.tokenizer import from_gguf\n"
        f"t = from_gguf(gguf.open({str(bpe_cases.VOCABS / 'bpe.gguf')!r})); t.encode('Why? é')\n"
        "print(sorted({'numpy', 'tokenizers', 'sentencepiece', 'jinja2', 'regex'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=bpe_cases.ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
