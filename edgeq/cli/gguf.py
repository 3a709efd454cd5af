"""`edgeq gguf`: work on GGUF files as files. `verify` runs every check there is."""

from __future__ import annotations

import json

import click

from edgeq import gguf
from edgeq.cli.terminal import say
from edgeq.errors import shown


@click.group()
def command() -> None:
    """Check GGUF files."""


@command.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit code tells.")
def verify(file: str, as_json: bool, quiet: bool) -> int:
    """Run every check on FILE, the scales of all tensors included. Exit code 1 if it is unfit for use."""
    found = gguf.verify(file)
    broken = sum(f.severity == "error" for f in found)
    if as_json:
        rows = [{"severity": f.severity, "where": f.where, "text": f.text} for f in found]
        print(json.dumps({"file": file, "sound": not broken, "findings": rows}, indent=1))
    elif not quiet:
        for finding in found:
            print(shown(str(finding), 2000))
        warnings = len(found) - broken
        verdict = f"{broken} errors, {warnings} warnings" if found else "sound"
        say(f"{shown(file)}: {verdict}")
    return 1 if broken else 0
