"""Split models: the names of their parts, and the rules that hold the parts together.

Parts are NAME-00001-of-00003.gguf and so on, in one folder, the names taken from the first part's own name.
The first part has all metadata; every part says which it is (split.no, from 0) and of how many (split.count).
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from edgeq.errors import GGUFError, shown
from edgeq.gguf import limits
from edgeq.gguf.part import Part

KEYS = {"split.no": "u16", "split.tensors.count": "i32", "split.count": "u16"}  # as llama.cpp orders them


def part_name(prefix: str, index: int, count: int) -> str:
    """The file of part `index`, counted from 0."""
    return f"{prefix}-{index + 1:05d}-of-{count:05d}.gguf"


def open_parts(path: str) -> tuple[Part, ...]:
    """The file at `path` and, if it is the first part of a split model, the others. Raises GGUFError."""
    with ExitStack() as stack:
        first = Part(path)
        stack.callback(first.close)
        parts = [first]
        count = _count(first)
        if count > 1:
            prefix = _prefix(first, count)
            for i in range(1, count):
                part = _open_other(first, part_name(prefix, i, count), i, count)
                stack.callback(part.close)
                parts.append(part)
            _check_tensors(parts)
        stack.pop_all()
        return tuple(parts)


def _number(part: Part, key: str) -> int | None:
    """The value of a split key, None if it is missing; GGUFError if its type is wrong."""
    metadata = part.header.metadata
    if key not in metadata:
        return None
    if metadata.type(key) != KEYS[key]:
        raise GGUFError(f"{part.shown}: key {key} has type {metadata.type(key)}; expected {KEYS[key]}")
    value: int = metadata[key]
    return value


def _need(part: Part, key: str) -> int:
    value = _number(part, key)
    if value is None:
        raise GGUFError(f"{part.shown}: key {key} is missing; every part of a split model needs it")
    return value


def _count(first: Part) -> int:
    """How many parts the model has; 1 for a file that is not split."""
    count = _number(first, "split.count")
    index = _number(first, "split.no")
    if count is None and index is not None:
        raise GGUFError(f"{first.shown}: key split.no without split.count")
    return count or 1


def _prefix(first: Part, count: int) -> str:
    """The part of the path before -00001-of-…"""
    if count > limits.MAX_PARTS:
        raise GGUFError(f"{first.shown}: key split.count is {count}; at most {limits.MAX_PARTS} parts are supported")
    index = _need(first, "split.no")
    if index >= count:
        raise GGUFError(f"{first.shown}: key split.no is {index}; expected less than split.count, {count}")
    ending = part_name("", index, count)
    folder, name = os.path.split(first.path)
    if not name.endswith(ending) or name == ending:
        raise GGUFError(f"{first.shown}: this is part {index + 1} of {count}, so its name must end in {ending}")
    prefix = name[: -len(ending)]
    if index:
        raise GGUFError(
            f"{first.shown}: this is part {index + 1} of {count}; open the first, {shown(part_name(prefix, 0, count))}"
        )
    return os.path.join(folder, prefix)


def _open_other(first: Part, path: str, index: int, count: int) -> Part:
    if not os.path.lexists(path):
        raise GGUFError(
            f"{first.shown}: part {index + 1} of {count} is missing: expected {shown(os.path.basename(path))} beside it"
        )
    part = Part(path)
    try:
        for key, due in (("split.no", index), ("split.count", count)):
            if (found := _need(part, key)) != due:
                raise GGUFError(f"{part.shown}: key {key} is {found}; expected {due}")
    except BaseException:
        part.close()
        raise
    return part


def _check_tensors(parts: list[Part]) -> None:
    seen: dict[str, Part] = {}
    for part in parts:
        for info in part.header.tensors:
            if info.name in seen:
                raise GGUFError(f"{part.shown}: tensor {shown(info.name)} is in {seen[info.name].shown} already")
            seen[info.name] = part
    total = _need(parts[0], "split.tensors.count")
    if total != len(seen):
        raise GGUFError(
            f"{parts[0].shown}: key split.tensors.count is {total}, the {len(parts)} parts hold {len(seen)} "
            "tensors; a part is missing tensors or belongs to another model"
        )
