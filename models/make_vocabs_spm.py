"""Write models/vocabs/{spm,wpm,ugm}.gguf: small vocabularies of our own, for tests of the tokenizers.

Trained with the sentencepiece package (Apache-2.0) on words and signs of tests/tokenizer/texts.py, so that no
other vocabulary is copied. The character map of the UGM one is compiled by it too, from rules listed here.

    pip install sentencepiece protobuf
    python models/make_vocabs_spm.py
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sentencepiece

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "models/vocabs"
sys.path[:0] = [str(ROOT)]

from edgeq import gguf  # noqa: E402
from edgeq.tokenizer.wpm import cleaner  # noqa: E402
from tests.tokenizer import texts  # noqa: E402

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
NFKC_RANGES = (
    (0xA0, 0x180),
    (0x1E00, 0x2100),
    (0x2150, 0x2190),
    (0x2460, 0x2500),
    (0x3000, 0x3400),
    (0xFB00, 0x10000),
)
Row = tuple[str, float, int]


def corpus() -> Iterator[str]:
    """Lines to train on: words of many languages, a little code, runs of signs."""
    dice = texts.Dice(11)
    for _ in range(12000):
        words = [texts._cased(dice, dice.of(texts.WORDS)) for _ in range(10)]
        words += [
            dice.of(texts.CODE),
            str(dice.below(10**6)),
            dice.of("-=*_.# ") * (1 + dice.below(9)),
            dice.of(texts.EMOJI),
        ]
        yield re.sub(r"[\0-\x1f▁]+", " ", " ".join(words))


def train(lines: Iterator[str], kind: str, size: int, **options: Any) -> Any:
    """A trained model, read back as its protobuf message."""
    from sentencepiece import sentencepiece_model_pb2

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=out, model_type=kind, vocab_size=size, character_coverage=0.999,
        num_threads=1, hard_vocab_limit=kind == "bpe", split_digits=True, max_sentence_length=100000,
        minloglevel=2, **options,
    )  # fmt: skip
    return sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())


def rows(model: Any) -> list[Row]:
    """Text, score and type of every piece; user-defined ones with spaces, as GGUF has them."""
    return [
        (p.piece.replace("▁", " ") if p.type == USER_DEFINED else p.piece, p.score, p.type)
        for p in model.pieces
    ]


def write(name: str, arch: str, model: str, table: list[Row], **more: Any) -> None:
    """One GGUF file without tensors; `more` are keys below tokenizer.ggml."""
    value = gguf.Value
    metadata: dict[str, Any] = {
        "general.architecture": arch,
        "general.name": f"edgeq {name} test vocabulary",
        "tokenizer.ggml.model": model,
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": value("array[string]", [row[0] for row in table]),
        "tokenizer.ggml.scores": value("array[f32]", [row[1] for row in table]),
        "tokenizer.ggml.token_type": value("array[i32]", [row[2] for row in table]),
    }
    for key, item in more.items():
        metadata[f"tokenizer.ggml.{key}"] = value("u32", item) if type(item) is int else item
    path = TARGET / f"{name}.gguf"
    with gguf.Writer(path, metadata, overwrite=True):
        pass
    print(f"{path.relative_to(ROOT)}: {len(table)} pieces, {path.stat().st_size} bytes")


def make_spm() -> None:
    """Merges by score and byte tokens, with a chat vocabulary's special tokens and runs of white space."""
    model = train(corpus(), "bpe", 2400, byte_fallback=True, normalization_rule_name="identity")
    special = [
        (text, -1000.0, CONTROL) for text in ("<start_of_turn>", "<end_of_turn>", "[MASK]", "<|endoftext|>")
    ]
    runs = [c * n for c in " \n\t" for n in (2, 3, 4, 8)] + ["<file_sep>", "ab▁c", "fooBar", "##ing"]
    special += [(text, -1000.0, USER_DEFINED) for text in runs]
    table = rows(model)
    table[3:3] = special
    table.append(("d▁a", 3.0, NORMAL))  # a piece across a word border, with a positive score
    write("spm", "llama", "llama", table, bos_token_id=1, eos_token_id=2, unknown_token_id=0)


def make_wpm() -> None:
    """Words and their continuations in cleaned, lower-case text."""
    clean = cleaner(True, True)
    lines = (" ".join(text.translate(clean).split()) for text in corpus())
    model = train(lines, "bpe", 1600, normalization_rule_name="identity")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]"]
    table: list[Row] = [(text, 0.0, CONTROL) for text in special]
    table += [(text, 0.0, NORMAL) for text, _, kind in rows(model) if kind == NORMAL]
    known = {row[0] for row in table}
    table += [
        (p, 0.0, NORMAL) for p in ("▁" + row[0] for row in list(table)) if len(p) == 2 and p not in known
    ]
    write("wpm", "bert", "bert", table, bos_token_id=2, eos_token_id=3, unknown_token_id=1,
          seperator_token_id=3, padding_token_id=0, mask_token_id=4)  # fmt: skip


def rule(old: str, new: str) -> str:
    """A line of sentencepiece's rules: code points in hexadecimal."""
    return f"{' '.join(f'{ord(c):X}' for c in old)}\t{' '.join(f'{ord(c):X}' for c in new)}"


def rules() -> Iterator[str]:
    """What UGM's map replaces: compatibility characters, letters and accents, spaces, controls."""
    for char in (chr(point) for first, past in NFKC_RANGES for point in range(first, past)):
        if unicodedata.category(char) in ("Cn", "Cs"):
            continue
        plain, apart = unicodedata.normalize("NFKC", char), unicodedata.normalize("NFD", char)
        if plain != char:
            yield rule(char, plain)
        if len(apart) > 1 and apart != plain:
            yield rule(apart, plain)
    for char in (*range(1, 9), 0xB, 0xC, *range(0xE, 0x20), 0x7F, 0x200B):
        yield f"{char:X}\t"
    for char in (0x9, 0xA, 0xD, 0x1680, 0x2028):
        yield f"{char:X}\t20"


def make_ugm() -> None:
    """A unigram vocabulary with a character map, special tokens as in T5, user-defined and unused pieces."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as table_file:
        table_file.write("\n".join(dict.fromkeys(rules())) + "\n")
        table_file.flush()
        model = train(corpus(), "unigram", 2400, normalization_rule_tsv=table_file.name)
    special: list[Row] = [("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]
    table = special + [row for row in rows(model) if row[2] == NORMAL]
    table += [("<mask>", 0.0, USER_DEFINED), ("<ab>", -2.0, USER_DEFINED)]
    table += [(f"<extra_id_{i}>", 0.0, CONTROL) for i in range(4)]
    table = [(text, score, UNUSED if i % 500 == 499 else kind) for i, (text, score, kind) in enumerate(table)]
    charsmap = gguf.Value("array[u8]", list(model.normalizer_spec.precompiled_charsmap))
    write("ugm", "t5", "t5", table, eos_token_id=1, unknown_token_id=2, padding_token_id=0,
          add_bos_token=False, add_eos_token=True, add_space_prefix=True, remove_extra_whitespaces=True,
          precompiled_charsmap=charsmap)  # fmt: skip


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    make_spm()
    make_wpm()
    make_ugm()
