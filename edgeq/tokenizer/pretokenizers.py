r"""The pre-tokenizers that GGUF files name in `tokenizer.ggml.pre`: how text is cut into words
before BPE.

The patterns and flags are facts of the published vocabularies (each comes from the tokenizer.json
of its models), as collected and corrected in llama.cpp (MIT), whose ids are the reference. Here
they are a table; `splitter` runs it.

A pattern sees text in which every character beyond ASCII is replaced by its class, so `\p{L}` in it
means the ASCII letters and one more character, and `\s` is ASCII. A pattern marked `literal` sees
the text itself. A stage cuts each word of the stage before; what a pattern does not match is a word
of its own.
"""

from __future__ import annotations

from functools import partial

from edgeq.record import Record

CONTRACTION = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
WORD = r"[^\r\n\p{L}\p{N}]?[\p{L}]+"
OTHER = r" ?[^\s\p{L}\p{N}]+"
ASCII_PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""


class Stage(Record):
    """One cut: a pattern, or a rule (`thousands`, `after_thousands`) that groups runs of digits by
    three."""

    pattern: str
    literal: bool = False
    rule: str = ""


class PreTokenizer(Record):
    """How a vocabulary cuts text, and the flags that llama.cpp ties to its name.

    whole_words: a word that is a token is not merged (`ignore_merges`). newlines: the same for runs
    of newlines only.
    byte_level: tokens are spelled in the byte alphabet; otherwise as text, with <0x00> tokens for
    what is missing.
    escape_spaces: tokens hold U+2581 for a space. bos: the default id of bos and eos. cut: a
    pattern two characters long; between them a long text may be cut without changing a word.
    """

    stages: tuple[Stage, ...]
    whole_words: bool = False
    newlines: bool = False
    add_bos: bool = False
    clean_spaces: bool = True
    byte_level: bool = True
    escape_spaces: bool = False
    starts_word: bool = False
    bos: int | None = 11
    needs_merges: bool = True
    cut: str = r"[0-9A-Za-z] "


def _stages(*patterns: str | Stage) -> tuple[Stage, ...]:
    return tuple(p if isinstance(p, Stage) else Stage(p) for p in patterns)


def _word_by_case(upper: str, lower: str, after: str) -> str:
    """Letters of one word, capitals before small ones; `upper` and `lower` hold what has no case
    too."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    return rf"{lead}[{upper}]*[{lower}]+{after}|{lead}[{upper}]+[{lower}]*{after}"


def _letters_first(
    digits: str, other: str = OTHER + r"[\r\n]*", spaces: str = SPACES, word: str = WORD
) -> str:
    """The family of GPT-4: contractions, words that swallow one character before them, digits, the
    rest."""
    return "|".join((CONTRACTION, word, digits, other, spaces))


_UPPER, _LOWER = r"A-Z\p{X}", r"a-z\p{X}"  # \p{X}: letters beyond ASCII, which count as both
_SLASHES = OTHER + r"[\r\n/]*"
_CASED = _word_by_case(_UPPER, _LOWER, f"(?:{CONTRACTION})?")
_MARKED = rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+(?:{CONTRACTION})?"
_THREE, _ONE = r"[\p{N}]{1,3}", r"[\p{N}]"
_NEWLINES = r"[^\n]+|[\n]+"
_KANJI = Stage("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", literal=True)
_DEEPSEEK_CJK = Stage("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", literal=True)
_DEEPSEEK_WORD = (
    ASCII_PUNCTUATION + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
)
_NO_CLAUSE = Stage(" ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+", literal=True)
_CASED_LETTERS = (
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a"
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943"
)
_ASIAN = (
    "[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
_YOUTU_ASIAN = (
    "[\uac00-\ud7a3\u3131-\u318e]+"
    "|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
    "|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
)
_SHRINKING_SPACES = "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4, "1,2"))

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = _letters_first(_THREE)
QWEN2 = _letters_first(_ONE)
GPT4O = "|".join((_CASED, _THREE, _SLASHES, SPACES))
MARKED = "|".join((_MARKED, _THREE, _SLASHES, SPACES))
DEEPSEEK3 = _stages(_THREE, _KANJI, rf"{_DEEPSEEK_WORD}[\r\n]*|{SPACES}")

_gpt2, _digits_gpt2 = _stages(GPT2), _stages(_ONE, GPT2)
_llama3, _qwen2 = _stages(LLAMA3), _stages(QWEN2)
_gpt4o = _stages(GPT4O)
_punctuation_gpt2 = (Stage(r"[\p{P}$+<=>^~|]+"), Stage(GPT2))
_text = partial(
    PreTokenizer, _stages(_NEWLINES), byte_level=False, escape_spaces=True, cut=r"[^\n]\n"
)


_p = PreTokenizer
_ROWS = {
    "default": _p((*_punctuation_gpt2, Stage(r"[\p{N}]+"), Stage("[0-9][0-9][0-9]"))),
    "minicpm5": _p(_stages(_THREE, _letters_first(r"[\p{N}]+")), whole_words=True),
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano": _p(
        _llama3, whole_words=True, add_bos=True
    ),
    "dbrx smaug-bpe": _p(_llama3),
    "chatglm-bpe": _p(_llama3, bos=None),
    "glm4 glm5": _p(_llama3, bos=None, whole_words=True),
    "jais-2": _p(_stages(_letters_first(_THREE, spaces=rf"\s*[\r\n]+|{_SHRINKING_SPACES}|\s"))),
    "deepseek-llm": _p(
        _stages(
            Stage("[\r\n]"),
            Stage(rf"\s?[{_CASED_LETTERS}]+", literal=True),
            Stage(
                "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                literal=True,
            ),
            Stage(r"\s+\Z"),
            _DEEPSEEK_CJK,
            Stage(r"[\p{N}]+"),
        ),
        clean_spaces=False,
    ),
    "deepseek-coder": _p(
        _stages("[\r\n]", r"\s?[\p{L}]+", r"\s?[\p{P}]+", _DEEPSEEK_CJK, _ONE),
        clean_spaces=False,
    ),
    "deepseek-v3 hunyuan-dense joyai-llm hy_v4": _p(DEEPSEEK3, clean_spaces=False),
    "spark2_5": _p(
        _stages(_THREE, _KANJI, rf"{_DEEPSEEK_WORD}|[\r\n]|\s+(?!\S)|\s+", _ONE),
        clean_spaces=False,
    ),
    "youtu": _p(
        _stages(Stage(_YOUTU_ASIAN, literal=True), "|".join((_MARKED, _ONE, _SLASHES, SPACES))),
        clean_spaces=False,
        whole_words=True,
    ),
    "falcon": _p(_stages(r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]")),
    "starcoder refact codeshell exaone minerva-7b mellum2": _p(_digits_gpt2),
    "command-r smollm": _p(_digits_gpt2, clean_spaces=False),
    "gpt-2 phi-2 mpt olmo jais exaone4 gigachat a.x-4.0 mellum modern-bert roberta-bpe": _p(_gpt2),
    "jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code": _p(_gpt2),
    "trillion granite-docling": _p(_gpt2, clean_spaces=False),
    "qwen2 deepseek-r1-qwen kormo f2llmv2 hunyuan solar-open grok-2": _p(
        _qwen2, clean_spaces=False
    ),
    "stablelm2 megrez": _p(_qwen2),
    "qwen35": _p(
        _stages(
            _letters_first(
                _ONE, r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", word=r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"
            )
        ),
        clean_spaces=False,
    ),
    "poro-chat": _p((_NO_CLAUSE,), clean_spaces=False),
    "bloom gpt3-finnish": _p((_NO_CLAUSE,)),
    "viking": _p(_stages(_NO_CLAUSE, _ONE), clean_spaces=False),
    "tekken": _p(
        _stages("|".join((_word_by_case(_UPPER, _LOWER, ""), _ONE, _SLASHES, SPACES))),
        clean_spaces=False,
        whole_words=True,
        add_bos=True,
    ),
    "chameleon": _p(
        _stages(
            "<sentinel:[0-9]+>",
            "IMGIMG[A-I]{1,4}Z",
            "[\t\n]|    |  ",
            _ONE,
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ),
        clean_spaces=False,
        add_bos=True,
    ),
    "gpt-4o llama4 kanana2 talkie minimax-m2": _p(_gpt4o, clean_spaces=False),
    "granite-embed-multi-97m": _p(
        _stages(
            "|".join(
                (
                    _word_by_case(rf"{_UPPER}\p{{M}}", rf"{_LOWER}\p{{M}}", f"(?:{CONTRACTION})?"),
                    _THREE,
                    _SLASHES,
                    SPACES,
                )
            )
        ),
        clean_spaces=False,
        whole_words=True,
    ),
    "tiny_aya cohere2moe": _p(
        _stages(Stage("", rule="after_thousands"), MARKED), clean_spaces=False
    ),
    "superbpe": _p(
        _stages(r"[\p{N}]+", Stage("", rule="thousands")),
        clean_spaces=False,
        cut="[0-9][ A-Za-z]",
    ),
    "bailingmoe bailingmoe2 llada-moe": _p(
        _stages(_letters_first(_ONE, spaces=r"\s*[\r\n]|\s+(?!\S)|\s+")), clean_spaces=False
    ),
    "seed-coder": _p(_stages(_letters_first(_ONE, r" ?[^\s\p{L}\p{N}\r\n]+")), clean_spaces=False),
    "ufakzeka": _p(_stages("|".join((WORD, _ONE, OTHER + r"[\r\n]*", SPACES))), clean_spaces=False),
    "kimi-k2": _p(
        _stages(
            rf"[\p{{H}}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{K}}]+(?:{CONTRACTION})?|{_THREE}|{OTHER}[\r\n]*|{SPACES}"
        ),
        clean_spaces=False,
        needs_merges=False,
    ),
    "afmoe": _p(
        _stages(
            Stage("", rule="after_thousands"),
            Stage(_ASIAN, literal=True),
            rf"{_DEEPSEEK_WORD}[\r\n]*|{SPACES}",
        ),
        clean_spaces=False,
    ),
    "laguna": _p(_stages(_NEWLINES, QWEN2), clean_spaces=False),
    "exaone-moe": _p(
        _stages(
            _letters_first(
                _ONE,
                OTHER + r"[\r\n/]?",
                r"\s*[\r\n]|\s+(?!\S)|\s+",
                r"[^\r\n\p{L}\p{N}]?[\p{L}][\p{L}\p{M}]*(?: [\p{L}][\p{L}\p{M}]*)*",
            )
        ),
        cut="[A-Za-z]\n",
    ),
    "gemma4 granite-embed-multi-311m": _text(newlines=True, add_bos=True),
    "mmbert": _text(newlines=True, starts_word=True),
    "sarvam-moe": _text(clean_spaces=False),
    "whitespace": _p((Stage(r"\S+", literal=True),), byte_level=False),
}

PRETOKENIZERS = {name: row for names, row in _ROWS.items() for name in names.split()}
"""Every name that llama.cpp knows, with what it stands for."""
