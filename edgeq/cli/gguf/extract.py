"""`edgeq gguf extract`: one tensor or one metadata value to a file of its own."""

from __future__ import annotations

import json
import sys

import click

from edgeq import gguf
from edgeq.cli.gguf.lines import write_bytes, write_json
from edgeq.cli.show import size
from edgeq.cli.terminal import say
from edgeq.errors import UsageError, shown
from edgeq.gguf.values import plain


@click.command()
@click.argument("file")
@click.argument("name")
@click.argument("out")
@click.option("--metadata", is_flag=True, help="NAME is a metadata key, not a tensor.")
@click.option("--raw", is_flag=True, help="The bytes as the file has them, whatever OUT is called.")
@click.option("--overwrite", is_flag=True, help="Write over OUT if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(file: str, name: str, out: str, metadata: bool, raw: bool, overwrite: bool, as_json: bool) -> None:
    """Write tensor NAME of FILE to OUT: its numbers as float32 if OUT ends in .npy, else its bytes as they are.

    With --metadata the value of a key: a string as it is, anything else as JSON. OUT - is stdout.
    """
    if as_json and out == "-":
        raise UsageError("--json: stdout takes what is extracted (OUT is -); give a file as OUT")
    if out == "-" and sys.stdout is None:
        raise UsageError("OUT is -, and stdout is closed; give a file as OUT")
    with gguf.open(file) as g:
        if metadata:
            data = value(g, name, raw)
            save(data, out, overwrite, tuple(part.path for part in g.parts))
            facts = {"type": g.metadata.type(name), "bytes": len(data)}
            told = size(len(data))
        elif out == "-":
            to_stdout(g, name)
        else:
            nbytes = gguf.extract(g, name, out, numbers=out.endswith(".npy") and not raw, overwrite=overwrite)
            tensor = g.tensors[name]
            facts = {"type": tensor.format.name, "shape": list(tensor.shape), "bytes": nbytes}
            told = f"{tensor.format.name} {list(tensor.shape)}, {size(nbytes)}"
    if as_json:
        write_json({"file": out, "name": name, **facts})
    elif out != "-":
        say(f"{shown(out)}: {told}")


def value(g: gguf.GGUFFile, key: str, raw: bool) -> bytes:
    """What is written for a key."""
    if key not in g.metadata:
        raise UsageError(f"{shown(g.path)}: no metadata key {shown(key)}")
    kind = g.metadata.type(key)
    if raw or kind == "string":
        return g.metadata.raw(key)
    return json.dumps(plain(kind, g.metadata[key]), allow_nan=False).encode() + b"\n"


def save(data: bytes, out: str, overwrite: bool, sources: tuple[str, ...]) -> None:
    """`data` to a file, whole or not at all, or to stdout."""
    if out == "-":
        write_bytes(data)
        return
    from edgeq.gguf.partfile import PartFile, check_target

    check_target(out, overwrite, sources)
    file = PartFile(out, len(data))
    try:
        file.write(data)
        file.finish()
        file.commit()
    finally:
        file.discard()


def to_stdout(g: gguf.GGUFFile, name: str) -> None:
    """The bytes of a tensor into a pipe."""
    if name not in g.tensors:
        raise UsageError(f"{shown(g.path)}: no tensor {shown(name)}")
    if sys.stdout.isatty():
        raise UsageError("the bytes of a tensor are not for a terminal; send them to a file or a pipe")
    sys.stdout.flush()
    for piece in g.tensors[name].pieces():
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
