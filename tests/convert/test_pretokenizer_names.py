"""The pre-tokenizer's name is found by what it does: for patterns of published models, and for none that differs."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers

from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.vocab import pre
from edgeq.errors import TokenizerError
from edgeq.tokenizer.pretokenizers import PRETOKENIZERS
from models.checkpoints.writer import QWEN2, tokenizer_json

LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD, ENDS = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"{LEAD}{UPPER}*{LOWER}+|{LEAD}{UPPER}+{LOWER}*|\p{{N}}|{TAIL}"
GPT4O = rf"{LEAD}{UPPER}*{LOWER}+{ENDS}|{LEAD}{UPPER}+{LOWER}*{ENDS}|\p{{N}}{{1,3}}|{TAIL}"
DEEPSEEK3 = (
    r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)  # fmt: skip
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2])


def splits(*patterns: str) -> Any:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*(pre_tokenizers.Split(Regex(p), "isolated") for p in patterns), level])


@pytest.mark.parametrize(
    ("name", "cuts", "whole_words", "clean"),
    [
        ("llama-bpe", splits(LLAMA3), True, True),
        ("qwen2", splits(QWEN2), False, False),
        ("stablelm2", splits(QWEN2), False, True),
        ("gpt-2", GPT2, False, True),
        ("smollm", DIGITS, False, False),
        ("starcoder", DIGITS, False, True),
        ("tekken", splits(TEKKEN), True, False),
        ("gpt-4o", splits(GPT4O), False, False),
        ("deepseek-v3", splits(*DEEPSEEK3), False, False),
    ],
)
def test_published_patterns_get_the_name_of_llama_cpp(name: str, cuts: Any, whole_words: bool, clean: bool) -> None:
    assert pre.names(pre.cut(cuts), whole_words, clean)[0] == name


def test_the_same_cuts_written_otherwise_get_the_same_name() -> None:
    words = "|".join(
        f"'{a}" for s in ("s", "t", "re", "ve", "m", "ll", "d") for a in {s, s.upper(), s.title(), s.swapcase()}
    )
    words += "|'rE|'vE|'lL"
    assert pre.names(pre.cut(splits(QWEN2.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", words))), False, False)[0] == "qwen2"


@pytest.mark.parametrize(
    "pattern",
    [
        QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,2}|"),
        QWEN2.replace(r" ?[^\s", r"[^\s"),
        QWEN2.replace("(?i:", "(?:"),
        QWEN2.replace(r"|\s+(?!\S)", ""),
        r"\S+|\s+",
    ],
)
def test_a_pattern_that_differs_gets_no_name(pattern: str, tmp_path: Path) -> None:
    assert pre.names(pre.cut(splits(pattern)), False, False) == []
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TokenizerError, match=r"Nearest is .*: of .* it makes .*, expected"):
        pre.name(Checkpoint(tmp_path), tokenizer_json(pattern), {})


def test_the_texts_tell_sets_apart() -> None:
    """Two sets that no text tells apart are the same in all that was tried; a new set must not join them unseen."""
    alike = set()
    for one, other in combinations(pre._sets(), 2):
        if all(pre.own_words(one, t) == pre.own_words(other, t) for t in (*pre.TEXTS, *pre.RARE)):
            first, second = (next(n for n, row in PRETOKENIZERS.items() if row.stages == s) for s in (one, other))
            alike.add((first, second))
    assert alike == {("minicpm5", "llama3"), ("qwen2", "bailingmoe")}


@pytest.mark.parametrize("name", sorted(n for n, _ in pre.candidates()))
def test_every_name_is_a_set_that_cuts_all_of_a_text(name: str) -> None:
    stages = PRETOKENIZERS[name].stages
    for text in (*pre.TEXTS, *pre.RARE):
        assert b"".join(pre.own_words(stages, text)) == text.encode()
