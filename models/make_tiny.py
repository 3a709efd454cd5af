"""Makes the tiny models: `python -m models.make_tiny` from the root of the repository.

    python -m models.make_tiny                   writes the committed ones anew, models/tiny/files/*.gguf.xz
    python -m models.make_tiny --to FOLDER       writes all of them, as GGUF files, into a folder

Needs numpy and the `gguf` package; no other engine takes part. The same bytes come out on every machine.
"""

from __future__ import annotations

import argparse
import lzma
import tempfile
from pathlib import Path

from models.tiny import FILES
from models.tiny.specs import ARCHS, SPECS
from models.tiny.writer import write

# Weights are float32 on a grid, so two of four bytes are zero: tell LZMA that position matters.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}]


def pack(folder: Path) -> None:
    """Writes the compressed models per architecture into `folder`, and removes others from it."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.gguf.xz"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        for spec in ARCHS:
            plain = Path(scratch) / f"{spec.name}.gguf"
            write(spec, plain)
            packed = lzma.compress(plain.read_bytes(), check=lzma.CHECK_CRC32, filters=FILTERS)
            (folder / f"{spec.name}.gguf.xz").write_bytes(packed)
            print(f"{spec.name:24} {plain.stat().st_size:>9} bytes, packed {len(packed):>7}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, help="write plain GGUF files here")
    arguments = parser.parse_args()
    if arguments.to is None:
        pack(FILES)
        return
    arguments.to.mkdir(parents=True, exist_ok=True)
    for name, spec in SPECS.items():
        write(spec, arguments.to / f"{name}.gguf")


if __name__ == "__main__":
    main()
