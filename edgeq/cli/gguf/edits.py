"""What the commands that edit a file have in common: their options, and what they say afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from edgeq.cli.gguf.lines import change, change_facts, write_json
from edgeq.cli.terminal import say
from edgeq.errors import shown
from edgeq.gguf import Edit, edit

HOW = """
A change within 512 bytes of the header is made where it is, in one write. For all else a new file is written
beside the old one and takes its name when it is complete and checked: that needs free space for it, but on
filesystems that can share blocks (btrfs, XFS) as long as the tensors stay where they are. Whenever the process is
killed, the file is the old one or the new one. Models that run from the file go on with the old one, but stop at a
change in place.
"""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of an edit to a command."""
    for add in (
        click.option("--json", "as_json", is_flag=True, help="Print what changed as JSON."),
        click.option("--dry-run", "-n", is_flag=True, help="Say what would be done, and write nothing."),
        click.option("--overwrite", is_flag=True, help="Write over the file of --output."),
        click.option("--output", "-o", metavar="OUT", help="Write another file, and leave FILE as it is."),
    ):
        command = add(command)
    return command


def run(file: str, output: str | None, overwrite: bool, dry_run: bool, as_json: bool, **changes: Any) -> None:
    """Edits FILE and reports it: on stderr, or as JSON on stdout."""
    done = edit(file, output=output, overwrite=overwrite, dry_run=dry_run, **changes)
    tensors = changes.get("rename_tensors") or {}
    if as_json:
        write_json(report(done, tensors, dry_run))
        return
    for c in done.changes:
        say(change(c))
    for old, new in tensors.items():
        say(f"~ tensor {shown(old)} → {shown(new)}")
    say(f"{shown(done.path)}: {_verdict(done, dry_run)}")


def report(done: Edit, tensors: dict[str, str], dry_run: bool) -> dict[str, Any]:
    """An edit as JSON types."""
    return {
        "file": done.path,
        "how": done.how,
        "dry_run": dry_run,
        "changes": [change_facts(c) for c in done.changes],
        "tensors": tensors,
    }


def _verdict(done: Edit, dry_run: bool) -> str:
    if done.how == "nothing":
        return "nothing to change"
    words = {"in place": "changed in place", "rewrite": "written anew"}[done.how]
    return f"would be {words}" if dry_run else words
