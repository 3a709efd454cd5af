"""Write models/golden/tokenizer_bpe.json: llama.cpp's ids for models/vocabs/bpe*.gguf under every
pre-tokenizer name.

    python models/make_tokenizer_goldens.py build/llama_oracle          # see models/oracle/build.sh
    python models/make_tokenizer_goldens.py build/llama_oracle --compare model.gguf -n 100000

Generated texts are kept as hashes of their ids, the explicit ones of the main variants with their
ids. With --compare nothing is written: edgeq's ids of that many texts are compared with llama.cpp's
on any model file; with --names also under every name of a pre-tokenizer.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

from edgeq import gguf  # noqa: E402
from edgeq.tokenizer import from_gguf  # noqa: E402
from edgeq.tokenizer.pretokenizers import PRETOKENIZERS  # noqa: E402
from models.oracle import Oracle  # noqa: E402
from tests.tokenizer import bpe_cases, texts  # noqa: E402

MAIN = ("gpt-2", "llama3", "qwen2", "holes", "plain gemma4")
CHUNK = 20000


def asked(oracle: Oracle, data: list[bytes], flags: tuple[bool, bool]) -> list[list[int]]:
    """llama.cpp's ids; it must not fail on any of them."""
    ids = oracle.tokenize(data, *flags)
    assert None not in ids, f"llama.cpp threw on {data[ids.index(None)]!r}"
    return [row for row in ids if row is not None]


def write_varied(source: Path, changes: dict[str, Any], target: Path) -> None:
    """A file with the metadata of `source`, changed."""
    with gguf.open(source) as g:
        before, after = g.metadata.typed(), bpe_cases.varied(g.metadata, changes)
        metadata = {
            key: before[key] if value is g.metadata.get(key) else _value(value)
            for key, value in after.items()
        }
        with gguf.Writer(target, metadata, overwrite=True):
            pass


def _value(value: Any) -> Any:
    return gguf.Value("u32", value) if type(value) is int else value


def golden(binary: str, name: str, folder: Path) -> dict[str, Any]:
    """What llama.cpp makes of one variant."""
    vocab, changes = bpe_cases.variants()[name]
    write_varied(bpe_cases.VOCABS / f"{vocab}.gguf", changes, folder / "vocab.gguf")
    oracle = Oracle(binary, folder / "vocab.gguf")
    out: dict[str, Any] = {}
    for flags in bpe_cases.FLAGS if name in MAIN else bpe_cases.FLAGS[:1]:
        key = "{:d}{:d}".format(*flags)
        out[key] = bpe_cases.hashes(asked(oracle, bpe_cases.generated(name), flags))
        out[f"cases {key}"] = bpe_cases.hashes(asked(oracle, bpe_cases.cases(name), flags))
    if name in MAIN:
        out["ids"] = asked(oracle, bpe_cases.cases(name), (True, True))
    return out


def compare(binary: str, path: Path, count: int, seed: int) -> bool:
    """Whether edgeq's ids equal llama.cpp's; prints the first texts where they do not."""
    with gguf.open(path) as g:
        tokenizer = from_gguf(g)
        name = str(g.metadata.get("tokenizer.ggml.pre"))
        oracle, bad, total = Oracle(binary, path), 0, 0
        for data in _chunks(count, seed, name):
            for flags in ((True, True), (True, False)):
                for text, theirs in zip(data, oracle.tokenize(data, *flags), strict=True):
                    total += 1
                    if theirs is not None and tokenizer.encode(text, *flags) != theirs:
                        bad += 1
                        if bad <= 3:
                            ours = tokenizer.encode(text, *flags)
                            print(f"{text!r}\n  llama.cpp {theirs}\n  edgeq     {ours}")
    print(f"{path.name} ({name}): {total - bad} of {total} alike", flush=True)
    return not bad


def _chunks(count: int, seed: int, name: str) -> Iterator[list[bytes]]:
    """Texts, one in six of them not UTF-8."""
    for at in range(0, count, CHUNK):
        n = min(CHUNK, count - at)
        data = [text.encode() for text in texts.texts(seed + at, n - n // 6)] + list(
            texts.broken_texts(seed + at, n // 6)
        )
        yield [bpe_cases._for(name, text) for text in data]


def compare_names(binary: str, path: Path, count: int, seed: int) -> bool:
    """`compare` under every name of a pre-tokenizer."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in PRETOKENIZERS:
            target = Path(folder) / f"{name}.gguf"
            write_varied(path, {"pre": name, "model": "gpt2"}, target)
            good &= compare(binary, target, count, seed)
            target.unlink()
    return good


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("oracle")
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--names", action="store_true")
    parser.add_argument("-n", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.compare:
        run = compare_names if args.names else compare
        sys.exit(0 if run(args.oracle, args.compare, args.n, args.seed) else 1)
    with tempfile.TemporaryDirectory() as folder:
        made = {name: golden(args.oracle, name, Path(folder)) for name in bpe_cases.variants()}
    bpe_cases.GOLDENS.parent.mkdir(exist_ok=True)
    rows = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}"
        for name, row in made.items()
    )
    bpe_cases.GOLDENS.write_text("{\n" + rows + "\n}\n", encoding="utf-8")
    size = bpe_cases.GOLDENS.stat().st_size
    print(f"{bpe_cases.GOLDENS.relative_to(ROOT)}: {len(made)} variants, {size} bytes")


if __name__ == "__main__":
    main()
