"""`edgeq gguf template`: prints the chat templates of a model, and replaces them."""

from __future__ import annotations

from typing import Any

import click

from edgeq import gguf
from edgeq.cli.gguf import edits
from edgeq.cli.gguf.lines import write_bytes, write_json, write_lines
from edgeq.cli.terminal import say
from edgeq.errors import TemplateError, UsageError, shown

KEY = "tokenizer.chat_template"  # the default one; those with a name have it behind a dot
NAMES = "tokenizer.chat_templates"  # the names


@click.command(epilog=edits.HOW)
@click.argument("file")
@click.option("--name", metavar="NAME", help="The template of this name, such as tool_use, not the default one.")
@click.option("--list", "listing", is_flag=True, help="List the templates that there are.")
@click.option("--set", "source", metavar="SOURCE", help="Put the text of this file in its place.")
@edits.options
def command(
    file: str, name: str | None, listing: bool, source: str | None, as_json: bool, **options: Any
) -> int | None:
    """Print the chat template of FILE, or replace it with --set. Exit code 1 if there is none."""
    if source is not None:
        if listing:
            raise UsageError("--list and --set: the one shows the templates, the other replaces one; give one of them")
        replace(file, name, source, as_json=as_json, **options)
        return 0
    if options["output"] or options["dry_run"]:
        raise UsageError("--output and --dry-run are for --set; to save a template, redirect stdout")
    if listing and name is not None:
        raise UsageError("--list and --name: the one shows which templates there are, the other one of them; give one")
    with gguf.open(file) as g:
        found = templates(g.metadata)
        if listing:
            print_list(g, found, as_json)
            return 0
        if name is not None and name not in found:
            raise UsageError(f"{shown(file)}: no template {shown(name)!r}; there are {_known(found)}")
        if name is None and None not in found:
            say(f"{shown(file)}: no default chat template; there are {_known(found)}")
            return 1
        if as_json:
            write_json({"file": file, "name": name, "template": g.metadata[found[name]]})
        else:
            write_bytes(g.metadata.raw(found[name]))
    return 0


def templates(metadata: gguf.Metadata) -> dict[str | None, str]:
    """Keys of the templates by name, None for the default one."""
    found: dict[str | None, str] = {}
    for key in metadata:
        if metadata.type(key) == "string" and (key == KEY or key.startswith(f"{KEY}.")):
            found[key[len(KEY) + 1 :] or None] = key
    return found


def _known(found: dict[str | None, str]) -> str:
    return ", ".join("the default one" if n is None else shown(n, 60) for n in found) or "none"


def print_list(g: gguf.GGUFFile, found: dict[str | None, str], as_json: bool) -> None:
    rows = [{"name": name, "key": key, "characters": len(g.metadata[key])} for name, key in found.items()]
    if as_json:
        write_json({"file": g.path, "templates": rows})
    else:
        write_lines(f"{shown(row['name'] or '(default)'):20} {row['characters']} characters" for row in rows)


def replace(file: str, name: str | None, source: str, as_json: bool, **options: Any) -> None:
    """Sets a template from the file `source`; a new name is entered in the list of names."""
    from edgeq.tokenizer import chat_engine
    from edgeq.tokenizer.chat_input import read_template

    text = read_template(source)
    try:
        chat_engine.compile_template(text)
    except TemplateError as error:
        say(f"warning: no chat will work with this template: {shown(error, 300)}")
    key = KEY if name is None else f"{KEY}.{name}"
    values: dict[str, gguf.Value] = {key: gguf.Value("string", text)}
    if name is not None:
        with gguf.open(file) as g:
            names = list(g.metadata[NAMES]) if g.metadata.get(NAMES) and g.metadata.type(NAMES)[6:] == "string]" else []
        if name not in names:
            values[NAMES] = gguf.Value("array[string]", [*names, name])
    edits.run(file, set=values, as_json=as_json, **options)
