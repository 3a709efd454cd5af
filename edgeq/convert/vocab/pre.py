"""The pre-tokenizer's name: which of GGUF's names stands for the cuts that a tokenizer.json makes.

GGUF files do not hold the patterns that cut text into words; `tokenizer.ggml.pre` names a set that runtimes know.
The name is found by what it does: the pre-tokenizer of tokenizer.json, run by the `tokenizers` package, and every set
that edgeq knows cut the same texts, made to tell the sets apart. This needs no list of known
models, sees a changed pattern in a fine-tune, and does not care how a pattern is written.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from edgeq.convert.checkpoint import Checkpoint
from edgeq.errors import TokenizerError, shown
from edgeq.tokenizer.bytes_text import unspell_bytes
from edgeq.tokenizer.pretokenizers import PRETOKENIZERS, PreTokenizer, Stage
from edgeq.tokenizer.splitter import Splitter

NAMES = (
    "llama-bpe", "qwen2", "smollm", "gpt-2", "tekken", "gpt-4o", "deepseek-v3", "deepseek-llm", "deepseek-coder",
    "falcon", "starcoder", "dbrx", "stablelm2", "command-r",
)  # fmt: skip
"""Of names that stand for the same cuts and the same rule for whole words, these come first: what llama.cpp's converter
writes for the models that most others are made of."""

TEXTS = (
    "Hello world, it's 2024 and THEY'LL say I'm there; don't! we'Ve 'Tis 'twas rock'n'roll O'Neil x'lly",
    "1 12 123 1234 12345 1234567 12345678901 3.14 0x1F 1,000,000 a1b22c333d4444",
    "  two   three    four\ttab\t\ttabs \t mixed\n\n\nlines \n \r\n windows\r\n\r\n  end  ",
    "def f(x):\n    return x**2 + a[i]['k'] != b->c /* c */ // d\n\t\t#e == f && g || h <= {}; ++i\n",
    "///\n//\r\n...\n!!!\n\n?? /\n/ a/b/c ~~~ ``` --- ___ === <<< >>> $5 $x ^y |z `w` %d @e #f &g *h",
    "Grüße, naïve café, ελληνικά, Привет мир; 日本語のテキスト 漢字。 한국어 我在apple工作1314天 漢字123",
    "camelCase HTMLParser iPhone eBay McDonald XMLHttpRequest ABCdef ABC DEF aB Ab",
    "' '' ''' 's 'S 't 'T 're 'RE 've 'VE 'm 'M 'll 'LL 'd 'D 'x 's's a'sb A'SB 1's !'s  's \n's",
    " leading", "trailing ", "\n", " ", "  ", "\t", "a", "1", "!", " !", " 1", " \n", "\n ", "   \n   x", "\n\n\n\n x",
    "x" * 40 + " " * 70 + "y" + " " * 300 + "z" + "\n" * 20, "!?" * 20 + "\n" * 3 + "a!b?c",
    "<sentinel:12> IMGIMGABZ <|x|> [INST] {{}} \\n \\t C:\\dir http://a.b/c?d=e&f=g#h u@h.tld 12:34:56 2024-01-31",
    "two words more words.and,then;no:space(paren)[bracket]{brace} x_y_z a-b--c a.b..c 1_000 3e-5 #1 @x",
)  # fmt: skip
"""All of these must be cut alike."""

RARE = (
    "Ελληνικά ΑΒΓδε МИР ЯблокО ǅungla ʰaʷ ªº İıß", "हिन्दी ไทยภาษา ខ្មែរ မြန်မာ",
    "שלום עולם مرحبا ქართული",
    "e\u0301 n\u0303o a\u0308\u0323b \u0301start \u20dd1\u0301 2\u0302a !\u0301? \n\u0301x", "５６７ ٣٤٥٦ ½ Ⅳ²",
    "中文字符，標點！カタカナ と ㄅㄆㄇ ㅋㅋ", "🙂 🙂🙂 👨‍👩‍👧 🇩🇪 ✅ → ∑ ∫ © ™ € £¥",
    "¿qué? ¡no! «oui» „ja“ ‘x’ — – … • § ¶ ‰ №",
    "\u00a0nbsp\u3000wide\u200bzero", "a\u0000b\u0007c\u001bd\u007fe",
)  # fmt: skip
"""Of names that agree on the texts above, the one that cuts most of these alike: runtimes' patterns are near to the
originals, and not all the same for capitals beyond ASCII, combining marks and unusual spaces."""


Cuts = dict[str, list[bytes]]  # text → its words
Difference = tuple[str, list[bytes], list[bytes]]  # a text, the words wanted, the words made


def name(checkpoint: Checkpoint, data: dict[str, Any], settings: dict[str, Any]) -> tuple[str, str | None]:
    """The name for tokenizer.json's pre-tokenizer, and what it does otherwise. TokenizerError where no name fits."""
    wanted = cut(_tokenizer(data).pre_tokenizer)
    whole = data["model"].get("ignore_merges") is True
    found = names(wanted, whole, settings.get("clean_up_tokenization_spaces"))
    section = shown(json.dumps(data.get("pre_tokenizer"), ensure_ascii=True), 300)
    if not found:
        nearest = min(_sets(), key=lambda stages: len(_otherwise(stages, wanted, TEXTS)))
        known = next(n for n in (*NAMES, *PRETOKENIZERS) if PRETOKENIZERS[n].stages == nearest)
        raise TokenizerError(
            f"{shown(checkpoint.folder / 'tokenizer.json')}: no pre-tokenizer that GGUF names cuts text as this one "
            f"does. Nearest is {known}: {_first(_otherwise(nearest, wanted, TEXTS)[0])}. Its pre_tokenizer: {section}"
        )
    off = _otherwise(PRETOKENIZERS[found[0]].stages, wanted, RARE)
    if not off:
        return found[0], None
    return found[0], (
        f"pre-tokenizer {found[0]}, as GGUF has it, cuts {len(off)} of {len(RARE)} unusual texts otherwise than "
        f"tokenizer.json: {_first(off[0])}"
    )


def names(wanted: Cuts, whole_words: bool, clean_spaces: object) -> list[str]:
    """Every name that stands for these cuts, likeliest first.

    Where none has the rule for whole words too, the cuts decide: the rule changes rare words alone."""
    off = {s: len(_otherwise(s, wanted, RARE)) for s in _sets() if not _otherwise(s, wanted, TEXTS)}

    def key(n: str) -> tuple[bool, int, bool, int]:
        row = PRETOKENIZERS[n]
        clean = isinstance(clean_spaces, bool) and row.clean_spaces != clean_spaces
        place = NAMES.index(n) if n in NAMES else len(NAMES)
        return row.whole_words != whole_words, off[row.stages], clean, place

    return sorted((n for n, row in candidates() if row.stages in off), key=key)


def cut(by: Any) -> Cuts:
    """All texts, cut by a pre-tokenizer of the `tokenizers` package: the bytes of each word."""
    if by is None:
        return {text: [text.encode()] for text in TEXTS + RARE}
    from edgeq.convert.vocab.probe import refusing

    with refusing("cut text with its pre_tokenizer"):
        return {text: [unspell_bytes(piece) for piece, _ in by.pre_tokenize_str(text)] for text in TEXTS + RARE}


def candidates() -> list[tuple[str, PreTokenizer]]:
    """The sets for byte-level BPE."""
    return [(n, row) for n, row in PRETOKENIZERS.items() if row.byte_level and row.needs_merges]


def own_words(stages: tuple[Stage, ...], text: str) -> list[bytes]:
    """What a set of edgeq makes of a text."""
    return [word.encode() for word in _splitter(stages).words(text)]


def _sets() -> dict[tuple[Stage, ...], None]:
    """The sets, each once."""
    return dict.fromkeys(row.stages for _, row in candidates())


@cache
def _splitter(stages: tuple[Stage, ...]) -> Splitter:
    return Splitter(PreTokenizer(stages))


def _otherwise(stages: tuple[Stage, ...], wanted: Cuts, texts: tuple[str, ...]) -> list[Difference]:
    """The texts that a set cuts otherwise."""
    found = [(text, wanted[text], own_words(stages, text)) for text in texts]
    return [row for row in found if row[1] != row[2]]


def _first(difference: Difference) -> str:
    """The first word of a text that is cut otherwise, in words."""
    text, wanted, made = difference
    at = next(i for i, (a, b) in enumerate(zip([*wanted, b""], [*made, b""])) if a != b)
    ours, theirs = (repr(b"".join(row[at : at + 1]).decode("utf-8", "replace")) for row in (made, wanted))
    return f"of {shown(repr(text), 60)} it makes word {at + 1} {shown(ours, 60)}, expected {shown(theirs, 60)}"


def _tokenizer(data: dict[str, Any]) -> Any:
    from edgeq.convert.vocab.probe import load

    # The vocabulary plays no part in the cuts, and leaving it out saves a second for a large one.
    model = {"type": "BPE", "vocab": {}, "merges": []}
    return load({**data, "model": model, "added_tokens": [], "post_processor": None, "decoder": None})
