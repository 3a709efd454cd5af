"""The small BPE vocabularies with their metadata varied, and what is compared of each with
llama.cpp's ids.

Used by the tests and by models/make_tokenizer_goldens.py, which asks llama.cpp once and writes the
goldens.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgeq.tokenizer import Tokenizer
from edgeq.tokenizer.bytes_text import BYTE_CHARS
from edgeq.tokenizer.pretokenizers import PRETOKENIZERS
from tests.tokenizer import texts

ROOT = Path(__file__).parents[2]
VOCABS = ROOT / "models/vocabs"
GOLDENS = ROOT / "models/golden/tokenizer_bpe.json"
FLAGS = ((True, True), (True, False), (False, True), (False, False))
"""add_special, parse_special."""

_KEY = "tokenizer.ggml."
_CHUNK = 25


def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> vocabulary and changes: None drops a key, a str or bool is a value, an int an id."""
    rows: dict[str, tuple[str, dict[str, Any]]] = {
        name: ("bpe", {"pre": name}) for name in PRETOKENIZERS
    }
    for name in ("gemma4", "mmbert", "sarvam-moe", "whitespace"):
        rows[f"plain {name}"] = ("bpe_plain", {"pre": name})
    rows |= {
        "holes": ("bpe_holes", {}),
        "holes llama3": ("bpe_holes", {"pre": "llama3"}),
        "no pre": ("bpe", {"pre": None}),
        "no types": ("bpe", {"token_type": None}),
        "bos and eos": ("bpe", {"add_bos_token": True, "add_eos_token": True}),
        "default bos": ("bpe", {"add_bos_token": True, "bos_token_id": None, "eos_token_id": None}),
        "no bos": ("bpe", {"pre": "llama3", "add_bos_token": False}),
        "model gemma4": ("bpe_plain", {"model": "gemma4", "pre": None, "add_bos_token": False}),
        "phi-3": ("bpe", {"general.name": "Phi-3 mini"}),
        "jina": ("bpe", {"pre": "jina-v2-code"}),
        "modern-bert": ("bpe", {"general.name": "modern-bert base"}),
    }
    return rows


CASES: tuple[bytes, ...] = (
    b"", b" ", b"  ", b"\n", b"\n\n\n", b"\n\n\n\n\n", b"\t \t", b"Hello", b" Hello", b"Hello ",
    b"  Hello  world  ", b"\r\n\r\n", b"I'm you're HE'S they'Ve we'lL 'tis 'D x'dx",
    b"1 12 123 1234 12345 1234567 12,345.67 1a2b", b"a  b   c    d\n  e", b"=-=-=-", b"a"*300,
    b" "*700+b"x", b"\n"*40+b" "*600+b"\nq", b"-"*90, b"\0\1\x1f\x7f", b"<s>Hello</s> World",
    b"<|im_start|>user\nhi<|im_end|>\n", b"a <mask> b  [MASK] c </s>  d <unk>", b"<|im_",
    b"foo_bar fooBar FOOBar BarFOO", b"IMGIMGABCDZ<sentinel:12>    x\ty", b"x=1;\r\n\ty();",
    "straße ÄÖÜ naïve É e\u0301 ñ ﬁ ﬂ ½ ² Ⅷ ＡＢＣ ﷺ ǅ ʰ".encode(),
    "“quoted” ‘single’ 。，、।۔،".encode(), "１２３４ ٣٤٥٦ ४५६७".encode(),
    "東京都 漢字한국어ひらがな ｶﾞ 中文中文 ㄅㄆ ไทย ລາວ ខ្មែរ".encode(), "👩‍👩‍👧‍👦🇩🇪❤️1️⃣".encode(),
    "\u0301\u0302a\u0301\u200b\u200d\ufeff\ufffd\u2028\u3000\xa0\x85".encode(),
    "\U0010ffff\U000e0001\ue000\u0378\U0001fae8\U0002ebf0\U00031350\U00016ac0".encode(),
    "हिन्दी தமிழ் বাংলা".encode(), b"\x0b"*1200+b"x", b"\x0b"*300+b"x", b"\x0b"*150, b"\x0b"*75+b"x",
    b"\x0b"*40, b"\x0b"*21, b"\x0b"*13+b"x", b"\x0b"*10,
    b"'sa 'ta 'ma 'da 'rea 'vea 'lla 'SA 'TA 'MA 'DA 'REA 'VEA 'LLA",
    b"a'sx a'tx a'mx a'dx a'rex a'vex a'llx a'Sx a'Tx a'Mx a'Dx a'REx", b".\n/x =\r\n/a !/ \n/",
    b"aIMGIMGABCDZb aIMGIMGZb IMGIMGABCDEZ", b"\xff", b"a\x80b", b"\xc3", b"\xe2\x82", b"\xe2ab",
    b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80", b"\xf8\x88\x80\x80\x80", b"x\xf0 y", b"{a}\xb8\xcc",
)  # fmt: skip


BYTES = list(BYTE_CHARS)


def vocabulary(*pieces: str, merges: Any = (), **more: Any) -> dict[str, Any]:
    """All bytes, then `pieces`; keys of `more` below tokenizer.ggml, None to drop one."""
    out: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*BYTES, *pieces],
        "tokenizer.ggml.merges": list(merges) if isinstance(merges, tuple) else merges,
    }
    out |= {f"tokenizer.ggml.{key}": value for key, value in more.items()}
    return {key: value for key, value in out.items() if value is not None}


def pieces_of(tokenizer: Tokenizer, text: str | bytes, **flags: bool) -> list[str]:
    """The pieces of the ids of `text`."""
    return [tokenizer.pieces[i] for i in tokenizer.encode(text, **flags)]


def generated(name: str, count: int = 300) -> list[bytes]:
    """Texts that goldens keep only hashes of; one in four is not UTF-8."""
    return [_for(name, data) for data in _generated(count)]


def cases(name: str) -> list[bytes]:
    """The explicit texts, as this variant takes them."""
    return [_for(name, data) for data in CASES]


@lru_cache
def _generated(count: int) -> list[bytes]:
    whole = [text.encode() for text in texts.texts(77, count - count // 4)]
    return whole + list(texts.broken_texts(78, count // 4))


def _for(name: str, data: bytes) -> bytes:
    """Without what llama.cpp aborts on: a space that is left in a word where tokens are plain text,
    because words are cut at white space only or because it is written in overlong form."""
    data = re.sub(rb"\xc0\xa0|\xe0\x80\xa0|\xf0\x80\x80\xa0", b"?", data)
    return data.replace(b" ", b"\t") if "whitespace" in name else data


def varied(metadata: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` as a dict with `changes` made."""
    out = dict(metadata)
    for name, value in changes.items():
        key = name if name.startswith("general.") else _KEY + name
        if value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out


def hashes(ids: Sequence[Sequence[int]]) -> list[str]:
    """A short hash of the ids of each few texts."""
    return [_hash(ids[i : i + _CHUNK]) for i in range(0, len(ids), _CHUNK)]


def _hash(ids: Sequence[Sequence[int]]) -> str:
    data = b"".join(struct.pack(f"<{len(row) + 1}i", len(row), *row) for row in ids)
    return hashlib.sha256(data).hexdigest()[:10]
