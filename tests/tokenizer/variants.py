"""The small vocabularies with their metadata varied, and what is compared of each with llama.cpp's ids.

Used by the tests and by models/make_tokenizer_goldens_spm.py, which asks llama.cpp and writes the goldens.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from edgeq import gguf
from edgeq.tokenizer import Tokenizer, from_gguf
from tests.tokenizer import texts

ROOT = Path(__file__).parents[2]
VOCABS = ROOT / "models/vocabs"
GOLDENS = ROOT / "models/golden/tokenizer_spm.json"
FLAGS = ((True, True), (True, False), (False, True), (False, False))
"""add_special, parse_special."""

_KEY = "tokenizer.ggml."
_BOOL = "bool"
_SPACES = {"add_space_prefix": (_BOOL, False)}
_MERGE = {"remove_extra_whitespaces": (_BOOL, False)}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "spm": {
        "llama": {},
        "gemma": _SPACES,
        "eos": {"add_bos_token": (_BOOL, False), "add_eos_token": (_BOOL, True)},
        "phi-3 with runs": {"general.name": ("string", "Phi-3 mini")},
        "phi-3": {
            "general.name": ("string", "Phi-3 mini"),
            "token_type": ("array[i32]", lambda i, kind: 1 if kind == 4 else kind),
        },
        "ties": {"scores": ("array[f32]", lambda i, score: float(-(i // 60)))},
        "signs": {"scores": ("array[f32]", lambda i, score: float(score * (-1) ** i))},
        "i32": {"scores": ("array[i32]", lambda i, score: -i)},
        "no scores": {"scores": None},
        "no types": {"token_type": None},
        "unused": {"token_type": ("array[i32]", lambda i, kind: 5 if kind == 1 and i % 7 == 0 else kind)},
    },
    "wpm": {
        "bert": {},
        "cased": {"normalizer.lowercase": (_BOOL, False)},
        "cased, no accents": {
            "normalizer.lowercase": (_BOOL, False),
            "normalizer.strip_accents": (_BOOL, True),
        },
        "lower, accents": {"normalizer.strip_accents": (_BOOL, False)},
        "flags ignored": {"add_bos_token": (_BOOL, False), "add_eos_token": (_BOOL, True), **_SPACES},
        "user-defined": {"token_type": ("array[i32]", lambda i, kind: 4 if 500 < i < 520 else kind)},
    },
    "ugm": {
        "t5": {},
        "plain": {**_SPACES, **_MERGE},
        "prefix": _MERGE,
        "merged": _SPACES,
        "no map": {"precompiled_charsmap": None},
        "i8 map": {"precompiled_charsmap": ("array[i8]", lambda i, b: b - 256 if b > 127 else b)},
        "xlm-r": {
            "add_bos_token": (_BOOL, True),
            "bos_token_id": ("u32", 0),
            "general.architecture": ("string", "nomic-bert-moe"),
        },
        "ties": {"scores": ("array[f32]", lambda i, score: float(round(score / 3) * 3))},
        "user-defined": {"token_type": ("array[i32]", lambda i, kind: 4 if 300 < i < 312 else kind)},
    },
}
"""Vocabulary -> name -> changes: None drops a key, else type and value, or function of index and value."""

CASES: tuple[bytes, ...] = (
    b"", b" ", b"  ", b"\n", b"\n\n\n", b"\t \t", b"Hello", b" Hello", b"Hello ",
    b"  Hello  world  ", b"the of and to in is you that", b"ab c", b"ab\xe2\x96\x81c", b"d a d a",
    b"\xe2\x96\x81", b"\xe2\x96\x81\xe2\x96\x81 x",
    b"------------------------------------------------------------------------", b"a" * 300,
    b" " * 200, b"\0", b"a\0b", b"<s>Hello</s>World", b"<s> Hello </s> World", b"<unk>", b"<s",
    b"</s></s>", b"<start_of_turn>user\nhi<end_of_turn>\n", b"<0x0A>", b"<0xZZ>",
    b"[MASK]  [CLS][SEP]", b"<mask> a <mask>", b"a <mask", b"<ma", b"<extra_id_0>x<extra_id_3>",
    b"fooBar##ing", "straße ÄÖÜ naïve É e\u0301 ñ ﬁ ﬂ ½ ² Ⅷ ＡＢＣ ﷺ".encode(),
    "“ﬁ “quoted” ‘single’".encode(), "Zażółć gęślą jaźń".encode(),
    "東京都 漢字 한국어 ひらがな ｶﾞ".encode(), "👩‍👩‍👧‍👦🇩🇪❤️".encode(),
    "\u0301\u0302\u200b\u200d\ufeff\ufffd\u2028".encode(), "\U0010ffff".encode(), b"\xff",
    b"a\x80b", b"\xc3", b"\xe2\x82", b"\xe2ab", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80",
    b"\xf8\x88\x80\x80\x80", b"x\xf0 y",
)  # fmt: skip


def varied(metadata: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, tuple[str, Any] | None]:
    """The changed keys with GGUF type and value, None where the key is dropped."""
    out: dict[str, tuple[str, Any] | None] = {}
    for name, change in changes.items():
        key = name if name.startswith("general.") else _KEY + name
        if change is None:
            out[key] = None
            continue
        kind, value = change
        if callable(value):
            value = [value(i, old) for i, old in enumerate(metadata[key])]
        out[key] = (kind, value)
    return out


def plain(metadata: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` as a dict with `changes` made."""
    out = dict(metadata)
    for key, change in varied(metadata, changes).items():
        if change is None:
            del out[key]
        else:
            out[key] = change[1]
    return out


@lru_cache(maxsize=1)
def generated(count: int = 500) -> list[bytes]:
    """Texts that goldens keep only hashes of; one in four is not UTF-8."""
    whole = [text.encode() for text in texts.texts(2024, count - count // 4)]
    return whole + list(texts.broken_texts(2025, count // 4))


def hashes(ids: Sequence[Sequence[int]], chunk: int = 50) -> list[str]:
    """A short hash of the ids of each `chunk` texts."""
    return [_hash(ids[i : i + chunk]) for i in range(0, len(ids), chunk)]


def _hash(ids: Sequence[Sequence[int]]) -> str:
    data = b"".join(struct.pack(f"<{len(row) + 1}i", len(row), *row) for row in ids)
    return hashlib.sha256(data).hexdigest()[:12]


def all_variants() -> Iterator[tuple[str, str]]:
    """Every vocabulary with each of its variants."""
    for vocab, variants in VARIANTS.items():
        for variant in variants:
            yield vocab, variant


@cache
def metadata_of(vocab: str) -> Mapping[str, Any]:
    """The metadata of a small vocabulary."""
    with gguf.open(VOCABS / f"{vocab}.gguf") as g:
        return g.metadata


def tokenizer(vocab: str, variant: str | None = None, **changes: Any) -> Tokenizer:
    """The tokenizer of a variant, by default the first; `changes` are more keys and values, None drops."""
    name = next(iter(VARIANTS[vocab])) if variant is None else variant
    metadata = plain(metadata_of(vocab), VARIANTS[vocab][name])
    for key, value in changes.items():
        metadata.pop(_KEY + key, None)
        if value is not None:
            metadata[_KEY + key] = value
    return from_gguf(metadata)


@lru_cache(maxsize=1)
def goldens() -> dict[str, dict[str, Any]]:
    """llama.cpp's ids and hashes of them, by vocabulary/variant."""
    found: dict[str, dict[str, Any]] = json.loads(GOLDENS.read_text(encoding="utf-8"))
    return found


def assert_golden(vocab: str, variant: str) -> None:
    """All texts get llama.cpp's ids in this variant, with every combination of flags."""
    tok, row = tokenizer(vocab, variant), goldens()[f"{vocab}/{variant}"]
    for flags in FLAGS:
        name = "".join("01"[flag] for flag in flags)
        for case, wanted in zip(CASES, row[f"cases {name}"], strict=True):
            ids = tok.encode(case, *flags)
            assert (ids if isinstance(wanted, list) else hashes([ids])[0]) == wanted, (case, flags)
        found = hashes([tok.encode(text, *flags) for text in generated()])
        assert found == row[f"generated {name}"], (flags, "each hash is for 50 texts of generated()")
