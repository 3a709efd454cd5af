"""Cutting text into words: nothing lost, long texts cut where no word crosses, time linear in the
text."""

from __future__ import annotations

import time
import unicodedata
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.tokenizer import splitter
from edgeq.tokenizer.pretokenizers import PRETOKENIZERS, PreTokenizer
from edgeq.tokenizer.splitter import Splitter, class_view, literal_view
from tests.tokenizer import texts

DISTINCT: dict[PreTokenizer, str] = {}
for _name, _pre in PRETOKENIZERS.items():
    DISTINCT.setdefault(_pre, _name)
NAMES = sorted(DISTINCT.values())


def words(name: str, text: str) -> list[str]:
    return list(Splitter(PRETOKENIZERS[name]).words(text))


@pytest.mark.parametrize("name", NAMES)
def test_words_joined_are_the_text(name: str) -> None:
    cut = Splitter(PRETOKENIZERS[name])
    for text in texts.texts(3, 200):
        found = list(cut.words(text))
        assert "".join(found) == text
        assert all(found)


@given(text=st.text(max_size=60), name=st.sampled_from(NAMES))
@settings(max_examples=300, deadline=None)
def test_words_joined_are_any_text(text: str, name: str) -> None:
    assert "".join(words(name, text)) == text


@pytest.mark.parametrize("name", NAMES)
def test_a_long_text_is_cut_into_the_same_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    joined = ["".join(islice(texts.texts(seed, 12), 12)) for seed in range(25)]
    joined += [
        " ".join(texts.WORDS),
        "1234 5678 a1 b22 c 333 4444 x",
        "It's 12 o'clock\r\n a \n b\n\n c d. e\n f",
    ]
    whole = [words(name, text) for text in joined]
    monkeypatch.setattr(splitter, "_CHUNK", 2)
    assert [words(name, text) for text in joined] == whole


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gpt-2", "it's 123  x", ["it", "'s", " 123", " ", " x"]),
        ("gpt-2", "IT'S", ["IT", "'", "S"]),
        ("llama3", "IT'S 12345", ["IT", "'S", " ", "123", "45"]),
        ("qwen2", "a12\r\n\r\n b", ["a", "1", "2", "\r\n\r\n", " b"]),
        ("smollm", " 12", [" ", "1", "2"]),
        ("deepseek-v3", "日本 abc,def", ["日本", " abc", ",def"]),
        ("gpt-4o", "fooBAR's", ["foo", "BAR's"]),
        ("tekken", "fooBar's", ["foo", "Bar", "'s"]),
        ("superbpe", "1234567 12", ["1", "234", "567", " ", "12"]),
        ("afmoe", "abc1234", ["abc", "1", "234"]),
        ("kimi-k2", "汉字abc'll 1", ["汉字", "abc'll", " ", "1"]),
        ("qwen35", "e\u0301a", ["e\u0301a"]),
        ("qwen2", "e\u0301a", ["e", "\u0301a"]),
        ("gemma4", "a b\n\nc", ["a b", "\n\n", "c"]),
        ("bloom", "a,b (c", ["a", ",", "b", " (", "c"]),
        ("jais-2", " " * 600 + "x", [" " * 512, " " * 64, " " * 16, " " * 4, " " * 2, " ", " x"]),
        ("exaone-moe", "the sky is 1", ["the sky is", " ", "1"]),
        ("deepseek-llm", "€  ", ["€", "  "]),
        ("deepseek-llm", "😀  ", ["😀", "  "]),
        ("kimi-k2", "a汉b", ["a", "汉", "b"]),
        ("kimi-k2", "\ufa6e汉a", ["\ufa6e汉", "a"]),
        ("chameleon", "a     b", ["a", "    ", " b"]),
        ("chameleon", "IMGIMGACZ<sentinel:3>", ["IMGIMGACZ", "<", "sentinel", ":", "3", ">"]),
    ],
)
def test_words_by_hand(name: str, text: str, expected: list[str]) -> None:
    assert words(name, text) == expected


def test_a_view_has_one_character_for_each_and_keeps_ascii() -> None:
    ascii_text = "".join(map(chr, range(128)))
    assert class_view(ascii_text) == literal_view(ascii_text) == ascii_text
    text = "é\u0301٣。€\xa0\u200b漢\U000e0000\ud800\U0002a6df\ufa6e"
    kinds = (
        splitter.LETTER, splitter.MARK, splitter.NUMBER, splitter.PUNCTUATION, splitter.SYMBOL,
        splitter.SPACE, splitter.REST, splitter.HAN_LETTER, splitter.REST, splitter.REST,
        splitter.HAN_LETTER, splitter.HAN_REST,
    )  # fmt: skip
    assert class_view(text) == "".join(kinds)
    assert literal_view(text) == text.replace("\xa0", "\x0b")


def test_classes_agree_with_python_where_both_know_the_character() -> None:
    kinds = {
        "L": {splitter.LETTER, splitter.HAN_LETTER},
        "M": {splitter.MARK},
        "N": {splitter.NUMBER},
    }
    kinds |= {"P": {splitter.PUNCTUATION}, "S": {splitter.SYMBOL}, "Z": {splitter.SPACE}}
    newer = tuple(map(int, unicodedata.unidata_version.split("."))) > (15, 1, 0)
    unknown = {splitter.REST, splitter.HAN_REST} if newer else set()
    for point in range(0x80, 0x30000):
        kind = unicodedata.category(chr(point))[0]
        if kind in kinds:
            assert class_view(chr(point)) in kinds[kind] | unknown, hex(point)


RUNS = (
    "a",
    "A",
    "é",
    "1",
    "１",
    " ",
    "\n",
    "\xa0",
    "\u0301",
    "中",
    ".",
    "'",
    "\0",
    "\u0378",
    "a ",
    "aA",
    " \n",
    "x's",
)


@pytest.mark.parametrize("name", NAMES)
def test_time_is_linear_in_runs(name: str) -> None:
    cut = Splitter(PRETOKENIZERS[name])
    list(cut.words("warm é"))
    for sign in (*RUNS, " " * 1000 + "x", " " * 5000 + "\n"):
        seconds = [_seconds(cut, (sign * n)[:n]) for n in (3_000, 48_000)]
        assert seconds[1] < 0.1 + 60 * seconds[0], f"{name}: {sign!r} took {seconds}"


def _seconds(cut: Splitter, text: str) -> float:
    start = time.process_time()
    for _ in cut.words(text):
        pass
    return time.process_time() - start


@pytest.mark.parametrize(
    "text", [" " * 10**6, "a" * 10**6, "\n" * 10**6, "\u0301" * 10**6, "1" * 10**6]
)
def test_a_million_equal_characters(text: str) -> None:
    assert sum(map(len, Splitter(PRETOKENIZERS["llama3"]).words(text))) == len(text)
