"""`edgeq gguf merge`: joins the parts of a split model in one file."""

from __future__ import annotations

import os

import click

from edgeq import gguf
from edgeq.cli.gguf.lines import write_json
from edgeq.cli.show import size
from edgeq.cli.terminal import say
from edgeq.errors import shown


@click.command()
@click.argument("file", metavar="FIRST_PART")
@click.argument("out")
@click.option("--overwrite", is_flag=True, help="Write over OUT if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: str, out: str, overwrite: bool, as_json: bool) -> None:
    """Join the parts of a split model in the file OUT. The other parts are found by the name of the first.

    OUT appears when it is complete and checked; the parts stay.
    """
    parts = gguf.merge_model(file, out, overwrite=overwrite)
    nbytes = os.stat(out).st_size
    if as_json:
        write_json({"file": out, "parts": parts, "size": nbytes})
    else:
        say(f"{shown(out)}: {size(nbytes)}, joined from {parts} parts")
