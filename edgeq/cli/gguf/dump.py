"""`edgeq gguf dump`: metadata and tensor table of a file, as they are."""

from __future__ import annotations

from typing import Any

import click

from edgeq import gguf
from edgeq.cli.gguf.lines import brief, facts, tensor_facts, write_bytes, write_json, write_lines
from edgeq.cli.show import many, size, table
from edgeq.errors import UsageError, shown
from edgeq.gguf.values import plain


@click.command()
@click.argument("file")
@click.option("--full", is_flag=True, help="Show long strings and arrays in full.")
@click.option("--key", "-k", metavar="KEY", help="Print one value alone: a string as it is, an array as JSON.")
@click.option("--no-metadata", is_flag=True, help="Leave out the metadata.")
@click.option("--no-tensors", is_flag=True, help="Leave out the tensors.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: str, full: bool, key: str | None, no_metadata: bool, no_tensors: bool, as_json: bool) -> None:
    """Print metadata and tensors of FILE: types, values, shapes, sizes, offsets from the start of the file."""
    with gguf.open(file) as g:
        if key is not None:
            one(g, key, as_json)
        elif as_json:
            write_json(report(g, full, not no_metadata, not no_tensors))
        else:
            lines = heading(g)
            if not no_metadata:
                lines += ["", *metadata(g, full)]
            if not no_tensors:
                lines += ["", *tensors(g)]
            write_lines(lines)


def one(g: gguf.GGUFFile, key: str, as_json: bool) -> None:
    """Prints the value of `key`, in full."""
    if key not in g.metadata:
        raise UsageError(f"{shown(g.path)}: no metadata key {shown(key)}")
    kind = g.metadata.type(key)
    if as_json:
        write_json({"key": key, **facts(kind, g.metadata[key])})
    elif kind == "string":
        write_bytes(g.metadata.raw(key))
    elif kind.startswith("array"):
        write_json(plain(kind, g.metadata[key]))
    else:
        write_lines([brief(kind, g.metadata[key])])


def report(g: gguf.GGUFFile, full: bool, metadata: bool, tensors: bool) -> dict[str, Any]:
    """All of it as JSON types."""
    found: dict[str, Any] = {
        "file": g.path,
        "gguf": g.version,
        "alignment": g.alignment,
        "parts": [{"file": p.path, "size": p.size, "data_offset": p.header.data_offset} for p in g.parts],
    }
    if metadata:
        found["metadata"] = {k: facts(g.metadata.type(k), v, full) for k, v in g.metadata.items()}
    if tensors:
        found["tensors"] = [tensor_facts(t) for t in g.tensors.values()]
    return found


def heading(g: gguf.GGUFFile) -> list[str]:
    first = g.parts[0]
    lines = [
        f"{shown(g.path)}: {size(sum(p.size for p in g.parts))}, GGUF {g.version}, alignment {g.alignment}, "
        f"{many(len(g.metadata), 'key')}, {many(len(g.tensors), 'tensor')} from byte {first.header.data_offset} on"
    ]
    if len(g.parts) > 1:
        lines += [f"part {i}: {p.shown}, {size(p.size)}" for i, p in enumerate(g.parts)]
    return lines


def metadata(g: gguf.GGUFFile, full: bool) -> list[str]:
    width = max(map(len, map(g.metadata.type, g.metadata)), default=0)
    return [
        f"{kind:{width}}  {shown(key, 1000)} = {brief(kind, value, full)}"
        for key, value in g.metadata.items()
        if (kind := g.metadata.type(key))
    ]


def tensors(g: gguf.GGUFFile) -> list[str]:
    split = len(g.parts) > 1
    return table(
        [*(["part"] if split else []), "offset", "bytes", "type", "shape", "tensor"],
        (
            [
                *([str(t.part)] if split else []),
                str(t.offset),
                str(t.nbytes),
                t.format.name,
                " x ".join(map(str, t.shape)) or "-",
                shown(t.name),
            ]
            for t in g.tensors.values()
        ),
        left=(-3, -2, -1),
    )
