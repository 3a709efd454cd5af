"""`edgeq tokenize`: text to token ids or pieces, with the tokenizer of a model file. No weight is read."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from edgeq import gguf, registry, tokenizer
from edgeq.cli.run import piped, read_file
from edgeq.cli.terminal import Out
from edgeq.errors import UsageError


@click.command()
@click.argument("model")
@click.argument("text", required=False)
@click.option("--file", "-f", "path", metavar="FILE", help="Read the text from a file; - is stdin.")
@click.option("--pieces", is_flag=True, help="A line per token: its id and what it writes, as a JSON string.")
@click.option("--count", is_flag=True, help="Print the number of tokens only.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: ids and pieces.")
@click.option("--no-special", is_flag=True, help="Add no BOS or EOS, whatever the file asks for.")
@click.option("--no-parse-special", is_flag=True, help="Text that spells a special token is plain text.")
def command(
    model: str,
    text: str | None,
    path: str | None,
    pieces: bool,
    count: bool,
    as_json: bool,
    no_special: bool,
    no_parse_special: bool,
) -> None:
    """Print the token ids of TEXT (or of a file, or of stdin), bytes exactly as they come."""
    if text is not None and path is not None:
        raise UsageError("a text as an argument and --file: give one of them")
    if text is not None and text != "-":
        data = os.fsencode(text)
    else:
        data = read_file(path) if path not in (None, "-") else piped()
    with gguf.open(registry.resolve(model)) as file:
        made = tokenizer.from_gguf(file)
        ids = made.encode(data, add_special=not no_special, parse_special=not no_parse_special)
        show(made, ids, pieces, count, as_json)


def show(made: Any, ids: list[int], pieces: bool, count: bool, as_json: bool) -> None:
    """Prints ids in the way that was asked for."""
    out = Out()
    written = (
        [made.token_bytes(i, special=True).decode("utf-8", "surrogateescape") for i in ids]
        if pieces or as_json
        else []
    )
    if as_json:
        out.write(json.dumps({"count": len(ids), "ids": ids, "pieces": written}) + "\n")
    elif count:
        out.write(f"{len(ids)}\n")
    elif pieces:
        out.write("".join(f"{i}\t{json.dumps(text)}\n" for i, text in zip(ids, written, strict=True)))
    else:
        out.write(" ".join(map(str, ids)) + "\n")
