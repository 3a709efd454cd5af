"""Who is measured: edgeq, variants of it, and other engines, as the command line names them."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from edgeq.errors import UsageError, shown
from edgeq.record import Record

PACKAGES = {"llama-cpp-python": "llama_python", "mistralrs": "mistral"}
VARIANT: dict[str, Callable[[str], Any]] = {"isa": str, "threads": int, "backend": str, "kv": str.upper, "chunk": int}


class Contender(Record):
    """One column of the table. `kind`: the module of engines/ that measures speed, or "" where nothing does.

    program, words: of llama-bench; python: the interpreter that has the package ("" is ours);
    cli: program and words for first token and memory; variant: settings of edgeq."""

    label: str
    kind: str = ""
    program: str = ""
    words: tuple[str, ...] = ()
    python: str = ""
    cli: tuple[str, ...] = ()
    variant: tuple[tuple[str, Any], ...] = ()

    @property
    def ours(self) -> bool:
        return self.kind == "own"

    def as_json(self) -> dict[str, Any]:
        return {"label": self.label, "kind": self.kind, "words": [os.path.basename(self.program), *self.words],
                "cli": [os.path.basename(self.cli[0]), *self.cli[1:]] if self.cli else [],
                "variant": dict(self.variant)}  # fmt: skip


def contenders(ours: Sequence[str], peers: Sequence[str], clis: Sequence[str]) -> list[Contender]:
    """All, the one that others are compared with first. Raises UsageError."""
    found = [_ours(text) for text in ours] or [Contender("edgeq", "own")]
    found += [_peer(text) for text in peers]
    labels = ["limits", *(c.label for c in found)]  # the first is how results call the machine itself
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise UsageError(f"{shown(twice, 60)} is given twice: every --ours and --peer needs a label of its own")
    for text in clis:
        label, command = _named("--cli", text)
        at = next((i for i, c in enumerate(found) if c.label == label), len(found))
        if at < len(found) and (found[at].ours or found[at].cli):
            raise UsageError(f"--cli {shown(label, 60)}: that label has a command line already")
        found[at : at + 1] = [(found[at] if at < len(found) else Contender(label)).replace(cli=tuple(command))]
    return found


def _ours(text: str) -> Contender:
    label, _, settings = text.partition("=")
    variant: dict[str, Any] = {}
    for part in settings.split(",") if settings else ():
        key, _, value = part.partition("=")
        if key not in VARIANT or not value:
            raise UsageError(
                f"--ours {shown(text, 80)}: expected LABEL=KEY=VALUE,... with keys {', '.join(VARIANT)}; found "
                f"{shown(part, 40)!r}"
            )
        try:
            variant[key] = VARIANT[key](value)
        except ValueError:
            raise UsageError(f"--ours {key}={shown(value, 40)}: expected a whole number") from None
    return Contender(_label("--ours", label), "own", variant=tuple(variant.items()))


def _peer(text: str) -> Contender:
    name, _, python = text.partition("=")
    if name in PACKAGES:
        return Contender(name, PACKAGES[name], python=_program("--peer", python) if python else "")
    if "=" not in text:
        raise UsageError(
            f"--peer {shown(text, 80)}: expected LABEL=LLAMA-BENCH[,WORDS], or a package: {', '.join(PACKAGES)}"
        )
    label, (program, *words) = _named("--peer", text)
    return Contender(label, "llama_bench", program, tuple(words))


def _named(option: str, text: str) -> tuple[str, list[str]]:
    """Label, program and words of LABEL=PROGRAM[,WORDS]."""
    label, sign, rest = text.partition("=")
    program, _, words = rest.partition(",")
    if not sign or not program:
        raise UsageError(f"{option} {shown(text, 80)}: expected LABEL=PROGRAM[,WORDS]")
    try:
        return _label(option, label), [_program(option, program), *shlex.split(words)]
    except ValueError as error:
        raise UsageError(f"{option} {shown(text, 80)}: {error}") from None


def _label(option: str, label: str) -> str:
    if not 0 < len(label) <= 40 or not label.isprintable():
        raise UsageError(f"{option}: a label of 1 to 40 letters comes first, found {shown(label, 60)!r}")
    return label


def _program(option: str, path: str) -> str:
    found = shutil.which(os.path.expanduser(path))
    if found is None:
        raise UsageError(f"{option} {shown(path)}: there is no such program")
    return os.path.abspath(found)
