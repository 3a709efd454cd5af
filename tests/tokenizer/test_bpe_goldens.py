"""Ids equal llama.cpp's: every pre-tokenizer name and flag on the committed vocabularies, against
committed goldens."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import pytest

from edgeq import gguf
from edgeq.tokenizer import Tokenizer, from_gguf
from edgeq.tokenizer.pretokenizers import PRETOKENIZERS
from tests.tokenizer import bpe_cases

GOLDENS: dict[str, dict[str, Any]] = json.loads(bpe_cases.GOLDENS.read_text(encoding="utf-8"))
VARIANTS = bpe_cases.variants()


@lru_cache(maxsize=1)
def metadata() -> dict[str, dict[str, Any]]:
    """Vocabulary -> its metadata, arrays as lists."""
    out = {}
    for name in {vocab for vocab, _ in VARIANTS.values()}:
        with gguf.open(bpe_cases.VOCABS / f"{name}.gguf") as g:
            out[name] = {
                k: v.tolist() if hasattr(v, "tolist") else v for k, v in g.metadata.items()
            }
    return out


def tokenizer(variant: str) -> Tokenizer:
    vocab, changes = VARIANTS[variant]
    return from_gguf(bpe_cases.varied(metadata()[vocab], changes))


def test_every_name_and_variant_has_goldens() -> None:
    assert set(GOLDENS) == set(VARIANTS) >= set(PRETOKENIZERS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_ids_equal_those_of_llama_cpp(variant: str) -> None:
    t = tokenizer(variant)
    golden = GOLDENS[variant]
    texts, cases = bpe_cases.generated(variant), bpe_cases.cases(variant)
    for flags in bpe_cases.FLAGS:
        key = "{:d}{:d}".format(*flags)
        if key in golden:
            assert (
                bpe_cases.hashes([t.encode(case, *flags) for case in cases])
                == golden[f"cases {key}"]
            )
            assert bpe_cases.hashes([t.encode(text, *flags) for text in texts]) == golden[key]


@pytest.mark.parametrize("variant", [name for name, golden in GOLDENS.items() if "ids" in golden])
def test_ids_of_explicit_texts(variant: str) -> None:
    t = tokenizer(variant)
    for case, expected in zip(bpe_cases.cases(variant), GOLDENS[variant]["ids"], strict=True):
        assert t.encode(case) == expected, case


@pytest.mark.parametrize("variant", ["gpt-2", "llama3", "plain gemma4"])
def test_the_library_gives_the_same_ids(variant: str) -> None:
    plain, library = tokenizer(variant), tokenizer(variant)
    plain._merge._plain_left, library._merge._plain_left = 1 << 60, 0  # type: ignore[attr-defined]
    for text in bpe_cases.generated(variant):
        assert library.encode(text) == plain.encode(text), text
    assert plain._merge._library is None  # type: ignore[attr-defined]
    assert library._merge._library is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize("variant", ["gpt-2", "qwen2", "holes", "plain gemma4", "plain sarvam-moe"])
def test_decoding_gives_back_the_text(variant: str) -> None:
    t = tokenizer(variant)
    for data in bpe_cases.generated(variant)[:200]:
        text = data.decode()
        if variant == "holes":
            text = "".join(c for c in text if c.isascii() and c not in "\x00\r{")
        if "plain" in variant:  # '▁' is a space there, and <0xFF> a byte
            text = text.replace("▁", "").replace("<0x", "")
        assert t.decode(t.encode(text, add_special=False), special=True) == text
