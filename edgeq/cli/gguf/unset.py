"""`edgeq gguf unset`: removes metadata keys."""

from __future__ import annotations

from typing import Any

import click

from edgeq.cli.gguf import edits


@click.command(epilog=edits.HOW)
@click.argument("file")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@edits.options
def command(file: str, keys: tuple[str, ...], **options: Any) -> None:
    """Remove metadata keys from FILE."""
    edits.run(file, unset=keys, **options)
