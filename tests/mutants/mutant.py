"""What a mutant is: a text of one function that is replaced by a wrong one. Owns no mutants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.mutants.spans import spans

ROOT = Path(__file__).resolve().parents[2]
END = "<end>"  # as the place of a mutant: its text is added at the end of the file


@dataclass(frozen=True)
class Mutant:
    """`old`, found once in `place` (a function, or "" for the whole file), becomes `new`; `breaks` says what that does.

    tests: arguments of pytest, one string per run, that are asked first. units: C files to compile for them besides its
    own; None: all that include the file. needs: what this machine must have, a program or a variant of the kernels."""

    group: str
    file: str
    place: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]
    units: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.file}:{self.place}: {self.breaks}"

    @property
    def native(self) -> bool:
        return self.file.startswith("native/")

    def applied(self, text: str) -> str:
        """The mutated text of the file. Raises ValueError where `old` is not found exactly once."""
        if self.place == END:
            return f"{text}\n{self.new}\n"
        start, end = spans(self.file, text)[self.place] if self.place else (0, len(text))
        count = text.count(self.old, start, end)
        if count != 1:
            raise ValueError(f"{self.name}: {self.old!r} is found {count} times in {self.place or 'the file'}")
        at = text.index(self.old, start, end)
        return text[:at] + self.new + text[at + len(self.old) :]


Row = tuple[str, str, str, str]  # place, old, new, breaks


@dataclass(frozen=True)
class In:
    """Makes mutants of one file: called with rows of (place, old, new, what it breaks)."""

    group: str
    file: str
    tests: tuple[str, ...]
    units: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()

    def __call__(self, *rows: Row) -> Iterator[Mutant]:
        for place, old, new, breaks in rows:
            yield Mutant(self.group, self.file, place, old, new, breaks, self.tests, self.units, self.needs)

    def asking(self, *tests: str) -> In:
        """The same file with other tests to ask first."""
        return replace(self, tests=tests)
