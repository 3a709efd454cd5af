"""Generated texts for tokenizer tests: every script and category, white space, code, look-alikes,
broken UTF-8.

The same seed gives the same texts on every platform and Python: the generator is our own, and
categories come from edgeq's Unicode table, not from the running Python's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

from edgeq.tokenizer.unicode import RUNS, WHITE_SPACE

T = TypeVar("T")

_WORDS = (
    "the of and to in is you that it he was for on are as with his they at be this have "
    "from or one had by word but not what all were we when your can said there use an "
    "each which she do how their if will up other about out many straße Größe über naïve "
    "façade élève coração niño ação ğüşiöç İstanbul ıssız žluťoučký kůň příliš łódź "
    "zażółć Привет мир съешь ещё этих мягких французских булок Україна їжак ґанок "
    "българия Ελληνικά γλώσσα ΑΘΗΝΑ ὕδωρ שלום עולם הַשָּׁלוֹם مرحبا بالعالم السَّلَامُ "
    "فارسی نوشته اردو हिन्दी नमस्ते क्षत्रिय বাংলা ভাষা ਪੰਜਾਬੀ ગુજરાતી தமிழ் மொழி తెలుగు "
    "ಕನ್ನಡ മലയാളം සිංහල ไทย ภาษาไทย ລາວ ខ្មែរ မြန်မာ བོད་ཡིག ქართული ᲥᲐᲠᲗᲣᲚᲘ հայերեն አማርኛ "
    "ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ монгол ᠮᠣᠩᠭᠣᠯ 中文 漢字 简体字 繁體字 日本語 ひらがな カタカナ ﾊﾝｶｸ "
    "한국어 안녕하세요 조선말 ㄅㄆㄇ 你好世界 東京都 これは試験です 人工知能 𠮷野家 𝒜𝔅ℂ "
    "𐐀𐐨 ﬁﬂ ＡＢＣａｂｃ ⅧⅨ"
)
WORDS = _WORDS.split()
CONTRACTED = (
    "s", "S", "t", "T", "m", "M", "d", "D", "re", "Re", "RE", "rE", "ve", "VE", "vE", "ll", "LL", "Ll",
    "lL", "x",
)  # fmt: skip
CODE = (
    "def f(x): return x**2", "for (int i=0;i<n;++i){", "    if a != b:\n        pass\n",
    "#include <stdio.h>\n", "a->b::c", "SELECT * FROM t WHERE id='1';", "\t\treturn 0;\r\n}",
    "x = [1, 2, 3]\n\n\n", "// TODO: 0x1F", "fooBarBaz_quxHTTPServer",
    "https://example.com/a?b=c&d=%20#e", "user@host.org", "C:\\dir\\file.txt", "$HOME/.bashrc",
    "{\"key\": [null, 1.5e-7]}", "<div class=\"a\">&nbsp;</div>", "'''doc'''", "f\"{x!r:>10}\"", "λx.x",
    "--flag=value", "1,234,567.89", "3.14159", "100%", "v1.2.3-rc4", "12:34:56", "2024-02-29T00:00:00Z",
    "+49 (0)30 123456", "IMGIMGABCDZ", "<sentinel:12>", "a\u200bb", "_init__",
)  # fmt: skip
LOOK_ALIKES = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<s>", "</s>", "<unk>", "<pad>",
    "[CLS]", "[SEP]", "[MASK]", "<|im_", "im_end|>", "<|", "|>", "<bos>", "<eos>", "<start_of_turn>",
    "<end_of_turn>", "<0x0A>", "<0xFF>", "<mask>", "<|fim_prefix|>", "<extra_id_0>", "▁", "▁▁", "Ġ",
    "Ċ", "Ã©", "##ing", "[UNK]", "<|begin_of_text|>", "<file_sep>", "\ufffd",
)  # fmt: skip
EMOJI = (
    "😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️", "☎︎", "1️⃣", "👩🏿‍🚀", "🫠", "⛹🏻‍♀️",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "✨", "™️", "🅰️",
)  # fmt: skip
_LIKE_SPACES = ("\r\n", "\u200b", "\ufeff", "\x1c", "\x1f", "\u2060", "\u180e")
SPACES = (*map(chr, sorted(WHITE_SPACE)), *_LIKE_SPACES)
BROKEN = (
    b"\x80", b"\xbf\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xe2\x82", b"\xe0\x80\x80",
    b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf0\x9f\x98", b"\xf0\x80\x80\x80", b"\xf0\x82\x82\xac",
    b"\xfe", b"\xff\xff", b"\xc3\x28", b"\xe2\x28\xa1", b"\xf8\x88\x80", b"\xef\xbf\xbe",
    b"\xc2\xc2\xa9", b"\xf4\x8f\xbf\xbf", b"\xe3\x81a", b"\xf0\x9f\x98\xc3\xa9",
    b"\xf8\xa1\xa1\xa1\xa1",
)  # fmt: skip


class Dice:
    """A small counter-free generator (xorshift64*), so that seeds mean the same everywhere."""

    def __init__(self, seed: int):
        self._state = (seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64 or 1

    def below(self, n: int) -> int:
        """An int in 0..n-1."""
        x = self._state
        x ^= x >> 12
        x ^= x << 25 & (2**64 - 1)
        x ^= x >> 27
        self._state = x
        return (x * 0x2545F4914F6CDD1D % 2**64 >> 11) * n >> 53

    def of(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[self.below(len(items))]


@lru_cache(maxsize=1)
def ranges() -> dict[str, list[tuple[int, int]]]:
    """Class letter -> ranges (first, past the last) of code points; surrogates left out."""
    out: dict[str, list[tuple[int, int]]] = {}
    at = 0
    for kind, length in re.findall("([A-Z])([0-9a-f]*)", RUNS):
        end = at + int(length or "1", 16)
        if not 0xD800 <= at < 0xE000:
            out.setdefault(kind, []).append((at, min(end, 0xD800) if at < 0xD800 else end))
        at = end
    return out


def _of_class(dice: Dice, kind: str) -> str:
    first, past = dice.of(ranges()[kind])
    return chr(first + dice.below(past - first))


def _any(dice: Dice) -> str:
    """Any code point that is no surrogate, the lower planes more often."""
    point = dice.below(dice.of((0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000)))
    return chr(point) if not 0xD800 <= point < 0xE000 else "\ue000"


def _block(dice: Dice) -> str:
    """A few characters of one block of 128, which is mostly one script."""
    first, past = dice.of(ranges()["L"])
    base = (first + dice.below(past - first)) & ~0x7F
    return "".join(chr(base + dice.below(128)) for _ in range(1 + dice.below(8)))


def _cased(dice: Dice, word: str) -> str:
    if not word.isascii():
        return word
    return (word, word.capitalize(), word.upper(), word.title() + word.lower())[dice.below(4)]


def _digits(dice: Dice) -> str:
    zeros = (
        0x30,
        0x30,
        0x30,
        0x660,
        0x6F0,
        0x966,
        0x9E6,
        0xE50,
        0xFF10,
        0x1D7CE,
        0x2460,
        0xB2,
        0x2160,
    )
    zero = dice.of(zeros)
    return "".join(chr(zero + dice.below(10)) for _ in range(1 + dice.below(10)))


def _high_bytes(dice: Dice) -> bytes:
    return bytes(0x80 + dice.below(0x74) for _ in range(1 + dice.below(5)))


INGREDIENTS: tuple[Callable[[Dice], str], ...] = (
    lambda d: _cased(d, d.of(WORDS)),
    lambda d: " " + _cased(d, d.of(WORDS)),
    lambda d: d.of(WORDS) + " " + d.of(WORDS),
    lambda d: d.of(("'", "'", "’", " '")) + d.of(CONTRACTED) + d.of(("", " ", "a")),
    lambda d: d.of(CODE),
    lambda d: d.of(LOOK_ALIKES),
    lambda d: d.of(EMOJI) * (1 + d.below(2)),
    lambda d: d.of(SPACES) * (1 + d.below(d.of((1, 3, 9)))),
    lambda d: "".join(d.of(SPACES) for _ in range(1 + d.below(5))),
    lambda d: d.of(" \n\t\r") * (1 + d.below(d.of((2, 6, 40)))),
    _digits,
    lambda d: str(d.below(10**9)),
    lambda d: "".join(d.of("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(1 + d.below(4))),
    lambda d: d.of("=-*_.#~/") * (1 + d.below(20)),
    lambda d: "".join(_of_class(d, d.of("LMNPSZC")) for _ in range(1 + d.below(6))),
    lambda d: _of_class(d, d.of("LMNPSZC")) * (1 + d.below(6)),
    lambda d: d.of("aeéя中") + "".join(_of_class(d, "M") for _ in range(1 + d.below(4))),
    _block,
    lambda d: "".join(_any(d) for _ in range(1 + d.below(6))),
    lambda d: chr(d.below(32)) + chr(0x7F + d.below(34)),
    lambda d: "".join(chr(0x4E00 + d.below(0x5200)) for _ in range(1 + d.below(8))),
    lambda d: "".join(d.of("abcXYZ é") for _ in range(1 + d.below(12))),
)


def text(dice: Dice) -> str:
    """One text, usually below a hundred characters, sometimes a thousand."""
    n = 1 + dice.below(dice.of((2, 5, 12, 12, 12, 60)))
    return "".join(dice.of(INGREDIENTS)(dice) for _ in range(n))


def texts(seed: int, count: int) -> Iterator[str]:
    """`count` texts of valid Unicode without surrogates."""
    dice = Dice(seed)
    for _ in range(count):
        yield text(dice)


def broken_texts(seed: int, count: int) -> Iterator[bytes]:
    """`count` texts with invalid UTF-8 in them, none of which llama.cpp crashes on."""
    dice = Dice(seed)
    for _ in range(count):
        parts = [dice.of(INGREDIENTS)(dice).encode() for _ in range(1 + dice.below(5))]
        for _ in range(1 + dice.below(4)):
            wrong = dice.of(BROKEN) if dice.below(3) else _high_bytes(dice)
            parts.insert(dice.below(len(parts) + 1), wrong)
        data = b"".join(parts)
        if dice.below(3) == 0:
            data = data[: 1 + dice.below(len(data))]
        yield re.sub(rb"\xf4[\x90-\xbf]|[\xf5-\xf7]", b"\xff", data)
