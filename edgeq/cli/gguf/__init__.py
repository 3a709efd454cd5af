"""`edgeq gguf`: work on GGUF files as files. A file here for each command, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from edgeq.cli.terminal import interrupted

COMMANDS = ("verify", "dump", "diff", "hash", "set", "unset", "rename", "template", "extract", "split", "merge")
READING = ("verify", "dump", "diff", "hash")  # these write no file


class Commands(click.Group):
    """The commands by name; a module is imported when its command is looked at."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = import_module(f"{__name__}.{cmd_name}").command
        return found if isinstance(found, click.Command) else None

    def invoke(self, ctx: click.Context) -> Any:
        with interrupted(lambda: "" if ctx.invoked_subcommand in READING else "no incomplete file is left"):
            return super().invoke(ctx)


@click.command(cls=Commands)
def command() -> None:
    """Look into GGUF files, check them, edit, compare, cut and join them."""
