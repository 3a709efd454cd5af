"""Fuzzes the reader with atheris: only GGUFError may come out, or a file whose contents can all be looked at.

    python fuzz_reader.py FOLDER [-max_total_time=300 …]

Seeds (the small hostile cases) are written into FOLDER first; findings land in the working folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

import atheris

with atheris.instrument_imports(include=["edgeq.gguf", "edgeq.quants", "edgeq.errors"]):
    from edgeq import gguf
    from edgeq.errors import GGUFError

import ggufbytes as b
import hostile
from ggufbytes import G, T

_FILE = os.memfd_create("fuzz")
_PATH = f"/proc/self/fd/{_FILE}"


def one(data: bytes) -> None:
    os.ftruncate(_FILE, 0)
    os.pwrite(_FILE, data, 0)
    try:
        g = gguf.open(_PATH)
    except GGUFError as e:
        text = str(e)
    else:
        look(g, data)
        return
    assert text.isprintable() and len(text) < 800


def look(g: gguf.GGUFFile, data: bytes) -> None:
    with g:
        for key in g.metadata:
            value = g.metadata[key]
            if hasattr(value, "tolist"):
                assert len(value.tolist()) == len(value)
        for t in g.tensors.values():
            assert t.nbytes > 0 and t.offset + t.nbytes <= len(data)
            assert g.parts[0].read(t.offset, t.nbytes) == g.parts[0].map[t.offset : t.offset + t.nbytes]


def seeds(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny").write_bytes(G([b.kv("k", b.U8, 1)], [T("a", (1,)), T("b", (32,), b.Q8_0_TYPE)]).build())
    for case in hostile.CASES.values():
        if case.name.startswith(("file_", "split_", "tail_sparse")):
            continue
        path = case.make(folder)
        if path.stat().st_size > 2048:
            path.unlink()


if __name__ == "__main__":
    seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
