"""What can be measured: cases, their names and units, and the sets that a command line asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgeq.errors import UsageError
from edgeq.record import Record

FULL_PP = (16, 64, 128, 512, 2048)
FULL_DEPTH = (0, 512, 2048, 4096, 8192)
FULL_BATCH = (1, 2, 3, 4, 5, 8, 12, 16)
SMALL_CONTEXT = 32  # positions before a small batch
MEMORY_PROMPT = 512  # tokens of the prompt whose peak memory is measured
MOST = 1 << 20  # tokens of any case

TILES = "amx"  # the variant with tiles
SPEED, COMMAND, LIMIT = ("pp", "tg", "batch"), ("first", "memory"), ("read", "int8", "float", "tiles")
UNITS = {"pp": "tokens/s", "tg": "tokens/s", "batch": "ms", "first": "s", "memory": "MB",
         "read": "GB/s", "int8": "Gop/s", "float": "Gop/s", "tiles": "Gop/s"}  # fmt: skip
DIGITS = {"tokens/s": 1, "ms": 2, "s": 3, "MB": 0, "GB/s": 1, "Gop/s": 0}


def peaks(isa: str) -> tuple[str, ...]:
    """Kinds of multiplication that a variant's prompts and tokens are held against."""
    return ("int8", "float", "tiles") if isa == TILES else ("int8", "float")


class Case(Record):
    """One thing that is measured. `kind`:

    pp      a prompt of n tokens behind nothing            value: seconds
    tg      n tokens, one at a time, from position depth   value: seconds
    batch   one step of n tokens behind a small context    value: seconds
    first   a process starts, until its first byte         value: seconds
    memory  a process with a prompt of 512 tokens          value: bytes at its peak
    read    the model's own bytes by n threads             value: bytes a second
    int8, float  the variant `isa` on n threads            value: operations a second, two per multiply-add
    tiles   bf16, by variants that have tiles              value: likewise"""

    kind: str
    n: int = 0
    depth: int = 0
    isa: str = ""

    @property
    def name(self) -> str:
        """As llama.cpp writes it: pp512, tg64, tg64@d4096; batch4, first, memory; read@t2, avx2:int8@t2."""
        if self.kind in LIMIT:
            return f"{self.isa + ':' if self.isa else ''}{self.kind}@t{self.n}"
        if self.kind in COMMAND:
            return self.kind
        return f"{self.kind}{self.n}" + (f"@d{self.depth}" if self.depth else "")

    @property
    def unit(self) -> str:
        return UNITS[self.kind]

    @property
    def more_is_better(self) -> bool:
        return self.unit in ("tokens/s", "GB/s", "Gop/s")

    @property
    def many(self) -> bool:
        """Whether steps have more tokens than EQ_SMALL_BATCH: tiles multiply those only."""
        return self.kind in ("pp", "batch") and self.n > 16

    @property
    def positions(self) -> int:
        """Of a context that has room for it."""
        if self.kind in ("pp", "tg"):
            return self.depth + self.n
        return SMALL_CONTEXT + self.n if self.kind == "batch" else 0

    def figure(self, value: float) -> float:
        """A value in the unit that people read."""
        if self.unit == "tokens/s":
            return self.n / value
        scale = {"ms": 1e3, "s": 1.0, "MB": 1e-6, "GB/s": 1e-9, "Gop/s": 1e-9}
        return value * scale[self.unit]

    def written(self, figure: float) -> str:
        return f"{figure:.{DIGITS[self.unit]}f}"

    def as_json(self) -> dict[str, str | int]:
        return {"kind": self.kind, "n": self.n, "depth": self.depth, "isa": self.isa}


def chosen(
    pp: Sequence[int], tg: int, depth: Sequence[int], batch: Sequence[int], first: bool, memory: bool, full: bool
) -> list[Case]:  # fmt: skip
    """The cases that options ask for; pp512 and tg64 where they ask for none. tg 0: not asked for."""
    if full:
        pp, depth, batch = pp or FULL_PP, depth or FULL_DEPTH, batch or FULL_BATCH
        first = memory = True
    if not (pp or tg or depth or batch or first or memory):
        pp, tg = (512,), 64
    cases = [Case("pp", n) for n in pp]
    if tg or depth:
        cases += [Case("tg", tg or 64, d) for d in depth or (0,)]
    cases += [Case("batch", n) for n in batch]
    cases += [Case(kind) for kind, wanted in (("first", first), ("memory", memory)) if wanted]
    return list(dict.fromkeys(cases))


def fitting(cases: Iterable[Case], context: int) -> tuple[list[Case], list[Case]]:
    """Those that a model of so many positions can run, and those that it cannot."""
    cases = list(cases)
    return [c for c in cases if c.positions <= context], [c for c in cases if c.positions > context]


def numbers(text: str, least: int = 1) -> list[int]:
    """[16, 128, 512] of "16,128,512"; a `k` counts 1024. Raises UsageError."""
    found = []
    for word in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(k?)", word.strip(), re.ASCII)
        value = int(match[1]) * (1024 if match[2] else 1) if match else -1
        if not least <= value <= MOST:
            raise UsageError(f"{word.strip()[:40]!r}: expected whole numbers from {least} to {MOST}, as 16,128,512")
        found.append(value)
    return found
