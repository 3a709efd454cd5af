"""The calibration text that comes with edgeq: written for it, under its licence.

Files hold documents of one kind, apart by lines of `%%%%`. They are mixed evenly, so that the first chunks have a share
of everything too.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

NAME = "edgeq-calibration-1"  # what matrices made with it name as their dataset; a new text gets a new number
SEPARATOR = "\n%%%%\n"


def kinds() -> dict[str, list[str]]:
    """Documents by kind, which is the name of their file."""
    folder = files("edgeq.imatrix") / "calibration"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".txt")), key=lambda f: f.name)
    return {f.name.removesuffix(".txt"): f.read_text(encoding="utf-8").strip("\n").split(SEPARATOR) for f in found}


@cache
def text() -> str:
    """All documents, kinds mixed evenly, a blank line between two."""
    placed = [((i + 0.5) / len(documents), kind, document.strip("\n"))
              for kind, documents in kinds().items() for i, document in enumerate(documents)]  # fmt: skip
    return "\n\n".join(document for _, _, document in sorted(placed)) + "\n"
