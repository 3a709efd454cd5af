"""Write models/golden/tokenizer_spm.json: llama.cpp's ids for models/vocabs/{spm,wpm,ugm}.gguf and variants.

    python models/make_tokenizer_goldens_spm.py build/llama_oracle          # see models/oracle/build.sh
    python models/make_tokenizer_goldens_spm.py build/llama_oracle --compare model.gguf -n 100000

Explicit texts are kept with their ids, generated ones as hashes. With --compare nothing is written: edgeq's
ids of that many generated texts are compared with llama.cpp's on any model file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

from edgeq import gguf  # noqa: E402
from edgeq.tokenizer import from_gguf  # noqa: E402
from models.oracle import Oracle  # noqa: E402
from tests.tokenizer import texts, variants  # noqa: E402

CHUNK = 20000


def asked(oracle: Oracle, data: list[bytes], flags: tuple[bool, bool]) -> list[list[int]]:
    """llama.cpp's ids; it must not fail on any of them."""
    ids = oracle.tokenize(data, *flags)
    assert None not in ids, f"llama.cpp threw on {data[ids.index(None)]!r}"
    return [row for row in ids if row is not None]


def golden(binary: str, vocab: str, variant: str, folder: Path) -> dict[str, object]:
    """What llama.cpp makes of one variant."""
    path = folder / "vocab.gguf"
    with gguf.open(variants.VOCABS / f"{vocab}.gguf") as g:
        metadata = g.metadata.typed()
        for key, change in variants.varied(g.metadata, variants.VARIANTS[vocab][variant]).items():
            if change is None:
                del metadata[key]
            else:
                metadata[key] = gguf.Value(*change)
        with gguf.Writer(path, metadata, overwrite=True):
            pass
    oracle = Oracle(binary, path)
    first = variant == next(iter(variants.VARIANTS[vocab]))
    out: dict[str, object] = {}
    for flags in variants.FLAGS:
        name = "".join("01"[flag] for flag in flags)
        out[f"generated {name}"] = variants.hashes(asked(oracle, variants.generated(), flags))
        cases = asked(oracle, list(variants.CASES), flags)
        out[f"cases {name}"] = cases if first else variants.hashes(cases, 1)
    return out


def write(binary: str) -> None:
    """All goldens, one line for each list."""
    variants.GOLDENS.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = {f"{v}/{w}": golden(binary, v, w, Path(folder)) for v, w in variants.all_variants()}
    lines = [
        f" {json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in row.items())
        + "\n }"
        for name, row in rows.items()
    ]
    variants.GOLDENS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{variants.GOLDENS}: {len(rows)} variants, {variants.GOLDENS.stat().st_size} bytes")


def chunks(count: int, seed: int) -> Iterator[list[bytes]]:
    """`count` texts, one in four broken, some thousands at a time."""
    broken = texts.broken_texts(seed + 1, count // 4)
    batch: list[bytes] = []
    for i, text in enumerate(texts.texts(seed, count - count // 4)):
        batch.append(text.encode())
        if i % 3 == 0:
            batch += [data for data in [next(broken, None)] if data is not None]
        if len(batch) >= CHUNK:
            yield batch
            batch = []
    yield batch + list(broken)


def compare(binary: str, model: str, count: int, seed: int) -> int:
    """Print how many texts get other ids than llama.cpp's, and the first few of them."""
    total = 0
    with gguf.open(model) as g:
        tokenizer = from_gguf(g)
    oracle = Oracle(binary, model)
    for flags in ((True, True), (False, False)):
        n = size = differ = threw = 0
        for batch in chunks(count, seed):
            for data, wanted in zip(batch, oracle.tokenize(batch, *flags), strict=True):
                n, size, threw = n + 1, size + len(data), threw + (wanted is None)
                found = tokenizer.encode(data, *flags)
                if wanted is not None and found != wanted:
                    differ += 1
                    if differ <= 3:
                        print(f"{data!r}\n  llama.cpp {wanted}\n  edgeq     {found}")
        print(f"{model} add_special={flags[0]} parse_special={flags[1]}: {n} texts, {size} bytes,"
              f" {differ} differ, llama.cpp threw on {threw}", flush=True)  # fmt: skip
        total += differ
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What llama.cpp makes of texts: goldens, or a comparison.")
    parser.add_argument("oracle", help="the program that models/oracle/build.sh builds")
    parser.add_argument("--compare", metavar="MODEL", help="a GGUF file")
    parser.add_argument("-n", type=int, default=100000, help="texts to compare")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.compare:
        sys.exit(compare(options.oracle, options.compare, options.n, options.seed) > 0)
    write(options.oracle)
