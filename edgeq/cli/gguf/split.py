"""`edgeq gguf split`: cuts a model into files of bounded size."""

from __future__ import annotations

import re

import click

from edgeq import gguf
from edgeq.cli.gguf.lines import write_json, write_lines
from edgeq.cli.show import many
from edgeq.cli.terminal import say
from edgeq.errors import UsageError, shown

_SIZE = re.compile(r"([0-9]{1,18})([KMGT]?)(i?)B?", re.IGNORECASE | re.ASCII)


@click.command()
@click.argument("file")
@click.argument("prefix", metavar="OUT_PREFIX")
@click.option("--max-tensors", type=click.IntRange(1), help="Most tensors in a part.")
@click.option("--max-size", metavar="SIZE", help="Most bytes of tensors in a part: 500M, 2G, or 2GiB.")
@click.option("--overwrite", is_flag=True, help="Write over files that are there.")
@click.option("--dry-run", "-n", is_flag=True, help="Print the names of the parts, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    file: str, prefix: str, max_tensors: int | None, max_size: str | None, overwrite: bool, dry_run: bool, as_json: bool
) -> None:
    """Split FILE into OUT_PREFIX-00001-of-0000N.gguf and so on; prints their names. FILE stays.

    Every part holds at least one tensor, so one that is larger than --max-size makes a part that is. The metadata
    goes into the first part, on top of that size. A model that is split already is split anew.
    """
    if max_tensors is None and max_size is None:
        raise UsageError("how large may a part be? Give --max-tensors N or --max-size SIZE")
    paths = gguf.split_model(
        file,
        prefix,
        max_tensors=max_tensors,
        max_bytes=None if max_size is None else size(max_size),
        overwrite=overwrite,
        dry_run=dry_run,
    )
    if as_json:
        write_json({"file": file, "dry_run": dry_run, "parts": list(paths)})
    else:
        write_lines([shown(path, 4096) for path in paths])
        say(f"{shown(file)}: {'would be ' if dry_run else ''}{many(len(paths), 'part')}")


def size(text: str) -> int:
    """Bytes that "2G" (powers of 1000) or "2GiB" (of 1024) stands for. UsageError for what is no size over 0."""
    found = _SIZE.fullmatch(text.strip())
    number = int(found[1]) if found else 0
    if not found or not number or (found[3] and not found[2]):
        raise UsageError(f"--max-size {shown(text, 40)}: expected a size such as 500M, 2G or 2GiB")
    power = "KMGT".index(found[2].upper()) + 1 if found[2] else 0
    for _ in range(power):
        number *= 1024 if found[3] else 1000
    return number
