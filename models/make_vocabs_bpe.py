"""Write models/vocabs/bpe*.gguf: small BPE vocabularies of our own, for tests of the tokenizers.

Trained with the tokenizers package (Apache-2.0) on the texts that tests/tokenizer/texts.py
generates, so no other vocabulary is copied. Merges may reach across spaces, digits and signs: every
cut of a pre-tokenizer shows in the ids.

    bpe          byte-level, all 256 bytes, special and user-defined tokens
    bpe_holes    the same without some bytes
    bpe_plain    on plain text with '▁' for a space and <0x00> tokens, as Gemma 4 has it

    python models/make_vocabs_bpe.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, trainers

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "models/vocabs"
sys.path[:0] = [str(ROOT)]

from edgeq import gguf  # noqa: E402
from edgeq.tokenizer.bytes_text import BYTE_CHARS, spell_bytes  # noqa: E402
from edgeq.tokenizer.special import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED  # noqa: E402
from tests.tokenizer import texts  # noqa: E402

SIZE = 4500
HOLES = tuple(b"\x00\x0d\x85\xb8\xcc\xef\xff{")
UNREACHED = (
    "Hello",
    " Hello",
    " world",
    "user",
    "return",
    "IMGIMGABCDZ",
    "fooBar_baz",
    "straße",
    "東京都",
    " x",
)
"""Tokens without merges, which only a pre-tokenizer that looks for whole words finds."""
Row = tuple[str, int]


def corpus() -> Iterator[str]:
    """Texts, and the same words closer together, so that there are merges across what cuts words."""
    dice = texts.Dice(31)
    yield from texts.texts(32, 6000)
    for _ in range(6000):
        joints = [
            dice.of((" ", " ", "", "\n", "'", "  ", "1", "12", "\r\n", ".", "\t", "中", "é"))
            for _ in range(6)
        ]
        yield "".join(texts._cased(dice, dice.of(texts.WORDS)) + joint for joint in joints)
    neighbours = (
        "\n",
        "\r\n",
        " ",
        "  ",
        "\t",
        "/",
        "'s",
        "'LL",
        "a",
        "B",
        "é",
        "1",
        "99",
        "中",
        "\u0301",
        "ー",
        "٣",
    )
    for _ in range(16000):
        yield "".join(
            dice.of(neighbours) + dice.of(neighbours + tuple('.,;!)=&*{}"「。€')) for _ in range(8)
        )
    for sign in " \n\t=-0a中é\u0301":
        yield sign * 600


def train(lines: Iterator[str], alphabet: list[str], size: int) -> tuple[list[str], list[str]]:
    """Pieces in order of their ids, and merges."""
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
        max_token_length=8,
    )
    tokenizer.train_from_iterator(lines, trainer)
    ids = tokenizer.get_vocab()
    rows = json.loads(tokenizer.to_str())["model"]["merges"]
    return sorted(ids, key=ids.__getitem__), [" ".join(pair) for pair in rows]


def write(name: str, table: list[Row], merges: list[str], **more: Any) -> None:
    """One GGUF file without tensors; `more` are keys below tokenizer.ggml."""
    value = gguf.Value
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": f"edgeq {name} test vocabulary",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": value("array[string]", [row[0] for row in table]),
        "tokenizer.ggml.token_type": value("array[i32]", [row[1] for row in table]),
        "tokenizer.ggml.merges": value("array[string]", merges),
    }
    for key, item in more.items():
        metadata[f"tokenizer.ggml.{key}"] = value("u32", item) if type(item) is int else item
    path = TARGET / f"{name}.gguf"
    with gguf.Writer(path, metadata, overwrite=True):
        pass
    print(f"{path.relative_to(ROOT)}: {len(table)} pieces, {path.stat().st_size} bytes")


def telling() -> list[str]:
    """Merges that are rare in texts but show where words were cut: of signs and line ends, of contractions
    and letters."""
    signs = [a + " " + b for a in ".,;!)=&*{'/$" for b in "ĊčĠa1'/!"]
    letters = [a + " " + b for a in "sStTmMdDeElL'Z" for b in "sStTmMdDrReEvVlLaAbxI'"]
    newlines = [a + " " + b for a in "Ċč" for b in "/Ċč"]
    endings = ["s", "t", "m", "d", "re", "ve", "ll", "S", "T", "M", "D", "RE", "VE", "LL"]
    contractions = [merge for end in endings for merge in (f"' {end}", f"'{end} x", f"'{end} a")]
    return [*signs, *letters, *newlines, *contractions]


def specials() -> list[Row]:
    """Control, unknown and user-defined tokens; some of the last overlap one another."""
    control = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<mask>", "[MASK]")
    own = (
        "\n\n\n\n",
        "\n\n\n",
        "        ",
        "    ",
        "\t\t",
        "<file_sep>",
        "=-=-",
        "-=",
        "fooBar",
        "中文",
    )
    return [(t, CONTROL) for t in control] + [("<unk>", UNKNOWN)] + [(t, USER_DEFINED) for t in own]


def unique(rows: list[Row]) -> list[Row]:
    """`rows` without those that repeat a text."""
    return list({row[0]: row for row in reversed(rows)}.values())[::-1]


def main() -> None:
    """Write the three files."""
    TARGET.mkdir(exist_ok=True)
    pieces, merges = train((spell_bytes(line.encode()) for line in corpus()), BYTE_CHARS, SIZE)
    merges += [merge for merge in telling() if merge not in merges]
    merges.insert(0, "ċċċċ ċċ")  # U+000B joins by sixes, so that a run shows its length
    pieces += [merge.replace(" ", "") for merge in merges]
    words = [spell_bytes(word.encode()) for word in UNREACHED]
    table = unique(specials() + [(piece, NORMAL) for piece in (*pieces, *words)])
    ids = {"bos_token_id": 0, "eos_token_id": 2, "padding_token_id": 0}
    write("bpe", table, merges, pre="gpt-2", **ids)

    without = {BYTE_CHARS[byte] for byte in HOLES}
    kept = [row for row in table if not without & set(row[0])]
    write("bpe_holes", kept, [m for m in merges if not without & set(m)], pre="smollm", **ids)

    plain = [line.replace(" ", "▁") for line in corpus()]
    counts: dict[str, int] = {}
    for character in "".join(plain):
        counts[character] = counts.get(character, 0) + 1
    alphabet = sorted(sorted(counts), key=lambda c: -counts[c])[:1500]
    pieces, merges = train(iter("\n".join(plain).split("\n")), alphabet, SIZE)
    rows = [
        ("<pad>", CONTROL),
        ("<eos>", CONTROL),
        ("<bos>", CONTROL),
        ("<unk>", UNKNOWN),
        ("<mask>", USER_DEFINED),
    ]
    rows += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    rows += [("\n" * n, NORMAL) for n in (1, 2, 3, 7)] + [(piece, NORMAL) for piece in pieces]
    write(
        "bpe_plain",
        unique(rows),
        merges,
        pre="gemma4",
        bos_token_id=2,
        eos_token_id=1,
        unknown_token_id=3,
        padding_token_id=0,
    )


if __name__ == "__main__":
    main()
