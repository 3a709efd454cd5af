"""Hostile GGUF containers, each with the outcome that edgeq must have: refused with these words, or loaded.

Made from nothing but ggufbytes.py. `CASES` maps a name to a Case; `make(folder)` writes it and returns
the path to open. As a program, `python hostile.py FOLDER` writes them all, for a look with other tools.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hostile_files
import hostile_metadata
import hostile_tensors
from hostile_case import CASES, Case

__all__ = ["CASES", "Case"]

for room in (hostile_metadata, hostile_tensors, hostile_files):
    for name in [n for n in vars(room) if n.endswith("_cases")]:
        getattr(room, name)()

if __name__ == "__main__":
    for case in CASES.values():
        folder = Path(sys.argv[1]) / case.name
        folder.mkdir(parents=True)
        print(case.outcome, case.make(folder), *case.words, sep="\t")
