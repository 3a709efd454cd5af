"""`edgeq gguf rename`: gives a metadata key or a tensor another name."""

from __future__ import annotations

from typing import Any

import click

from edgeq.cli.gguf import edits


@click.command(epilog=edits.HOW)
@click.argument("file")
@click.argument("old")
@click.argument("new")
@click.option("--tensor", is_flag=True, help="OLD and NEW are names of tensors, not of metadata keys.")
@edits.options
def command(file: str, old: str, new: str, tensor: bool, **options: Any) -> None:
    """Rename metadata key OLD of FILE to NEW, in its place; with --tensor a tensor."""
    names = {old: new}
    edits.run(file, rename=None if tensor else names, rename_tensors=names if tensor else None, **options)
