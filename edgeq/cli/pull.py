"""`edgeq pull`: fetches a model into the cache and prints where it lies; --list shows the names it knows."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from edgeq import registry
from edgeq.errors import UsageError


@click.command(epilog="What broke off goes on where it stopped. EDGEQ_CACHE names another folder for what is fetched.")
@click.argument("model", required=False, metavar="NAME | hf:OWNER/REPO[:FILE] | URL[#sha256=...]")
@click.option("--list", "listing", is_flag=True, help="Show the models known by name, and which are here.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: str | None, listing: bool, quiet: bool, as_json: bool) -> None:
    """Fetch a model: from the registry by NAME, from the Hugging Face hub, or from a URL."""
    if listing:
        print_list(as_json)
        return
    if model is None:
        names = ", ".join(entry.name for entry in registry.entries())
        raise UsageError(f"which model? A name ({names}), hf:OWNER/REPO[:FILE] or a URL")
    from edgeq.pull import pull
    from edgeq.pull.progress import Silent, for_stderr

    progress = Silent() if quiet else for_stderr()
    entry = registry.find(model)
    if entry is not None and not quiet:
        progress.note(f"{entry.title}; licence: {entry.licence}")
    try:
        path = pull(model, progress=progress)
    finally:
        progress.close()
    if as_json:
        print(json.dumps({"model": model, "path": str(path), "bytes": path.stat().st_size}))
    else:
        print(path)


def rows() -> list[dict[str, Any]]:
    """The registry for people and programs."""
    return [
        {
            "name": entry.name,
            "aliases": list(entry.aliases),
            "title": entry.title,
            "bytes": entry.size,
            "sha256": entry.sha256,
            "licence": entry.licence,
            "source": entry.source,
            "default": entry.default,
            "path": str(entry.path) if entry.fetched else None,
        }
        for entry in registry.entries()
    ]


def print_list(as_json: bool) -> None:
    if as_json:
        json.dump(rows(), sys.stdout, indent=1)
        print()
        return
    for row in rows():
        here = row["path"] or "not here"
        mark = ", default" if row["default"] else ""
        licence = row["licence"].split(" (")[0]
        print(f"{row['name']:20} {row['bytes'] / 1e6:6.0f} MB  {row['title']}; {licence}{mark}")
        print(f"{'':31}{here}")
