"""`edgeq gguf verify`: every check there is on a file."""

from __future__ import annotations

import json

import click

from edgeq import gguf
from edgeq.cli.show import many
from edgeq.cli.terminal import Out, say
from edgeq.errors import shown


@click.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit code tells.")
def command(file: str, as_json: bool, quiet: bool) -> int:
    """Run every check on FILE, the scales of all tensors included. Exit code 1 if it is unfit for use."""
    found = gguf.verify(file)
    broken = sum(f.severity == "error" for f in found)
    if as_json:
        rows = [{"severity": f.severity, "where": f.where, "text": f.text} for f in found]
        Out().write(json.dumps({"file": file, "sound": not broken, "findings": rows}, indent=1) + "\n")
    elif not quiet:
        for finding in found:
            Out().write(shown(str(finding), 2000) + "\n")
        warnings = len(found) - broken
        verdict = f"{many(broken, 'error')}, {many(warnings, 'warning')}" if found else "sound"
        say(f"{shown(file)}: {verdict}")
    return 1 if broken else 0
