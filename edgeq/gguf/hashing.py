"""Hashes of what a model holds, whatever file it lies in: tensors by name, and all of them together.

The hash of a tensor is that of its bytes as the file has them, without padding: what `edgeq gguf extract --raw`
writes. The hash of all is that of a text: a line for each tensor, in the order of their names' UTF-8 bytes, each
the JSON list [name, format, shape, hash of the tensor as lower-case hexadecimal digits] as Python's json.dumps
writes it by default (a space after each comma, non-ASCII characters escaped), shape row-major, each line ended by
"\\n". So the order of tensors, alignment, padding, splitting and all metadata make no difference; a tensor's name,
format, shape and bytes do. Files can be hashed too, as sha256sum does it: every byte of them counts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeq.errors import FormatError, GGUFError, UsageError, shown
from edgeq.gguf.part import Part
from edgeq.gguf.reader import Tensor, open

if TYPE_CHECKING:
    from edgeq.gguf.reader import StrPath

ALGORITHMS = ("sha256", "sha1", "blake2b")
_PIECE = 8 << 20  # bytes
_DIGITS = frozenset("0123456789abcdef")


class Hashes(NamedTuple):
    """`tensors` has hexadecimal digests by name, in the order of the file; `all` is None where some were left out;
    `files` has those of whole files by their names, in the order of the parts, where they were asked for."""

    algorithm: str
    tensors: dict[str, str]
    all: str | None
    files: Mapping[str, str] = MappingProxyType({})


class Mismatch(NamedTuple):
    """A hash that is not what it should be. `name` is a tensor, or None for all together or the file `file`;
    `expected` or `found` is None where that side has no such tensor or file."""

    name: str | None
    expected: str | None
    found: str | None
    file: str | None = None


def hash_tensors(
    path: StrPath, algorithm: str = "sha256", *, files: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Hashes:  # fmt: skip
    """Hashes all tensors of the model at `path`, all its parts if it is split; see above for what is hashed.

    With `files` each file as a whole too. `progress` is called with the bytes hashed so far and those there are. Memory
    is bounded. Raises UsageError for an algorithm that is not in ALGORITHMS, GGUFError if the file cannot be read or
    changed meanwhile.
    """
    if algorithm not in ALGORITHMS:
        raise UsageError(f"hash algorithm {shown(algorithm, 40)}: unknown; expected {', '.join(ALGORITHMS)}")
    with open(path) as g:
        parts = g.parts if files else ()
        done, total = 0, sum(t.nbytes for t in g.tensors.values()) + sum(p.size for p in parts)

        def hashed(pieces: Iterable[bytes]) -> str:
            nonlocal done
            digest = _new(algorithm)
            for piece in pieces:
                digest.update(piece)
                done += len(piece)
                if progress is not None:
                    progress(done, total)
            return str(digest.hexdigest())

        digests = {tensor.name: hashed(tensor.pieces()) for tensor in g.tensors.values()}
        whole = {os.path.basename(part.path): hashed(_bytes(part)) for part in parts}
        if g.changed():
            raise GGUFError(f"{shown(g.path)}: the file was changed while it was read; hash it again")
        return Hashes(algorithm, digests, _all(g.tensors.values(), algorithm, digests), whole)


def _bytes(part: Part) -> Iterator[bytes]:
    """A file from its first byte to its last."""
    for at in range(0, part.size, _PIECE):
        yield part.read(at, min(_PIECE, part.size - at))


def _new(algorithm: str) -> Any:
    # Nothing here keeps a secret: that also lets sha1 pass where a policy forbids it for security.
    return hashlib.new(algorithm, usedforsecurity=False)


def _all(tensors: Iterable[Tensor], algorithm: str, digests: dict[str, str]) -> str:
    digest = _new(algorithm)
    for t in sorted(tensors, key=lambda t: t.name.encode()):
        digest.update(json.dumps([t.name, t.format.name, list(t.shape), digests[t.name]]).encode() + b"\n")
    found: str = digest.hexdigest()
    return found


def to_text(hashes: Hashes) -> str:
    """A manifest as text: a line "algorithm digest name" for each tensor, then one with the name * for all, then one
    for each file, with a * before its name.

    A name that is no plain word, or begins with a quote or *, is written as a JSON string.
    """
    rows = [f"{hashes.algorithm} {digest} {_word(name)}" for name, digest in hashes.tensors.items()]
    if hashes.all is not None:
        rows.append(f"{hashes.algorithm} {hashes.all} *")
    rows += [f"{hashes.algorithm} {digest} *{_word(name)}" for name, digest in hashes.files.items()]
    return "".join(row + "\n" for row in rows)


def _word(name: str) -> str:
    plain = name.isascii() and name.isprintable() and " " not in name and name[0] not in '"*'
    return name if plain else json.dumps(name)


def to_json(hashes: Hashes) -> dict[str, Any]:
    """A manifest as JSON types."""
    found = {"algorithm": hashes.algorithm, "tensors": hashes.tensors, "all": hashes.all}
    return {**found, "files": dict(hashes.files)} if hashes.files else found


def from_manifest(text: str, what: str) -> Hashes:
    """Reads what `to_text` or the JSON of `to_json` wrote. FormatError names the line that is wrong; `what` is
    the manifest's name in it."""
    if text.lstrip()[:1] == "{":
        return _from_json(text, what)
    algorithm, total = "", None
    tensors: dict[str, str] = {}
    files: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        words = line.split(" ", 2)
        where = f"{what}, line {number}"
        if len(words) != 3:
            raise FormatError(f"{where}: expected an algorithm, a digest and a name, found {shown(line, 80)!r}")
        if words[0] != (algorithm or words[0]):
            raise FormatError(f"{where}: expected {algorithm} as in the lines before, found {shown(words[0], 40)}")
        algorithm = _algorithm(words[0], where)
        digest = _digest(words[1], algorithm, where)
        if words[2] == "*":
            total = digest
            continue
        what_kind, known = ("file", files) if words[2].startswith("*") else ("tensor", tensors)
        name = _name(words[2].removeprefix("*"), where)
        if name in known:
            raise FormatError(f"{where}: {what_kind} {shown(name)} appears twice")
        known[name] = digest
    if not algorithm:
        raise FormatError(f"{what}: holds no hash; expected the output of edgeq gguf hash")
    return Hashes(algorithm, tensors, total, files)


def _from_json(text: str, what: str) -> Hashes:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise FormatError(f"{what}: is not JSON: {shown(e, 80)}") from None
    algorithm, tensors, total = (found.get(k) for k in ("algorithm", "tensors", "all"))
    if not isinstance(tensors, dict):
        raise FormatError(f"{what}: expected the output of edgeq gguf hash --json, found no object of tensors")
    algorithm = _algorithm(algorithm, what)
    digests = {name: _digest(v, algorithm, f"{what}, tensor {shown(name)}") for name, v in tensors.items()}
    whole = found.get("files") or {}
    if not isinstance(whole, dict):
        raise FormatError(f"{what}: files: expected an object of digests by name")
    whole = {name: _digest(v, algorithm, f"{what}, file {shown(name)}") for name, v in whole.items()}
    return Hashes(algorithm, digests, None if total is None else _digest(total, algorithm, f"{what}, all"), whole)


def _algorithm(word: Any, where: str) -> str:
    if word not in ALGORITHMS:
        raise FormatError(f"{where}: expected one of {', '.join(ALGORITHMS)}, found {shown(word, 40)!r}")
    return str(word)


def _digest(word: Any, algorithm: str, where: str) -> str:
    n = 2 * _new(algorithm).digest_size
    if not isinstance(word, str) or len(word) != n or not set(word.lower()) <= _DIGITS:
        raise FormatError(f"{where}: expected {n} hexadecimal digits of {algorithm}, found {shown(word, 80)!r}")
    return word.lower()


def _name(word: str, where: str) -> str:
    if not word.startswith('"'):
        return word
    try:
        return str(json.loads(word))
    except (ValueError, RecursionError):
        raise FormatError(f"{where}: expected a name or a JSON string, found {shown(word, 80)}") from None


def mismatches(expected: Hashes, found: Hashes) -> list[Mismatch]:
    """Where two results of one algorithm differ, tensors in the order of `expected`; empty if they agree."""
    names = [*expected.tensors, *(n for n in found.tensors if n not in expected.tensors)]
    wrong = [
        Mismatch(n, expected.tensors.get(n), found.tensors.get(n))
        for n in names
        if expected.tensors.get(n) != found.tensors.get(n)
    ]
    if None not in (expected.all, found.all) and expected.all != found.all:
        wrong.append(Mismatch(None, expected.all, found.all))
    # file by file, whatever they are called: a model may have been renamed
    for old, new in zip_longest(expected.files.items(), found.files.items(), fillvalue=(None, None)):
        if old[1] != new[1]:
            wrong.append(Mismatch(None, old[1], new[1], old[0] or new[0]))
    return wrong
