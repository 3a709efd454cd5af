"""`edgeq gguf set`: gives metadata keys values."""

from __future__ import annotations

import os
import stat
from typing import Any

import click

from edgeq import gguf
from edgeq.cli.gguf import edits
from edgeq.errors import UsageError, shown
from edgeq.gguf import limits
from edgeq.gguf.values import from_text, type_name


@click.command(epilog=edits.HOW)
@click.argument("file")
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option("--type", "-t", "kind", metavar="TYPE", help="Type of the values: u8 … f64, bool, string, array[TYPE].")
@click.option("--from-file", is_flag=True, help="VALUE is the name of a file that holds the value.")
@edits.options
def command(file: str, pairs: tuple[str, ...], kind: str | None, from_file: bool, **options: Any) -> None:
    """Set metadata keys of FILE.

    A key keeps the type that it has. A new one gets that of --type, or the one that its value looks like: true,
    7 (u32), -7 (i32), 0.5 (f32), [1, 2] (array), anything else is a string. Arrays are written as JSON.
    """
    if kind is not None:
        type_name(kind)
    with gguf.open(file) as g:
        known = {key: g.metadata.type(key) for key in g.metadata}
    values: dict[str, gguf.Value] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"expected KEY=VALUE, found {shown(pair, 60)!r}")
        if key in values:
            raise UsageError(f"metadata key {shown(key)}: given twice")
        values[key] = from_text(key, read(text) if from_file else text, kind or known.get(key))
    edits.run(file, set=values, **options)


def read(path: str) -> str:
    """The text in a regular file, its bytes as they are. UsageError if it cannot be read."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(limits.MAX_HEADER + 1) if regular else b""
    except (OSError, ValueError) as error:
        why = shown(getattr(error, "strerror", None) or error)
        raise UsageError(f"--from-file {shown(path)}: {why}; VALUE is then the name of a file") from None
    if not regular:
        raise UsageError(f"--from-file {shown(path)}: is no regular file; VALUE is then the name of a file")
    if len(data) > limits.MAX_HEADER:
        raise UsageError(f"{shown(path)}: over {limits.MAX_HEADER} bytes; no header can hold that")
    return data.decode("utf-8", "surrogateescape")


def _at_once(path: str, flags: int) -> int:
    """Opens a file, without waiting for the writer of a FIFO."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
