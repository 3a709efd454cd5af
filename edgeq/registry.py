"""Small real models by name, and where fetched files lie. Fetches nothing itself: edgeq.pull does.

The names come from models/registry.toml, which a wheel carries as edgeq/_registry.toml.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgeq.errors import DownloadError, UsageError, shown

if TYPE_CHECKING:
    from edgeq.pull.progress import Progress

HERE = Path(__file__).resolve().parent


class Part(NamedTuple):
    """A piece of a model file: a member of a wheel on the package index. Sizes are bytes."""

    project: str
    version: str
    wheel: str
    wheel_sha256: str
    member: str
    size: int
    sha256: str


class Entry(NamedTuple):
    """A model of the registry; its parts in order make up the file."""

    name: str
    aliases: tuple[str, ...]
    title: str
    file: str
    size: int
    sha256: str
    licence: str
    licence_source: str
    source: str
    default: bool
    parts: tuple[Part, ...]

    @property
    def path(self) -> Path:
        """Where the file lies once it is fetched."""
        return models_dir() / self.file

    @property
    def fetched(self) -> bool:
        """Whether the whole file is there; its checksum was compared when it came."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False


@cache
def entries() -> tuple[Entry, ...]:
    """Every model of the registry, in its order."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    places = (HERE / "_registry.toml", HERE.parent / "models" / "registry.toml")
    file = next((place for place in places if place.exists()), None)
    if file is None:
        raise UsageError(f"{places[0]}: the list of models is missing; install edgeq again")
    with file.open("rb") as stream:
        rows = tomllib.load(stream)["model"]
    found = []
    for row in rows:
        parts = tuple(Part(**part) for part in row.pop("part"))
        row = {"aliases": (), "default": False, **row}
        found.append(Entry(**{**row, "aliases": tuple(row["aliases"])}, parts=parts))
    return tuple(found)


def find(name: str) -> Entry | None:
    """The entry with this name or alias, in any case of letters."""
    wanted = name.casefold()
    return next((e for e in entries() if wanted in (e.name.casefold(), *map(str.casefold, e.aliases))), None)


def default_model() -> str:
    """The name of the model that runs when none is given."""
    return next(entry.name for entry in entries() if entry.default)


def cache_dir() -> Path:
    """EDGEQ_CACHE, or edgeq's folder among the platform's caches. Not created here."""
    chosen = os.environ.get("EDGEQ_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    try:
        return user_cache_path("edgeq", appauthor=False)
    except RuntimeError as error:  # no home folder to be found
        raise DownloadError(f"no cache folder ({error}); EDGEQ_CACHE names one") from None


def models_dir() -> Path:
    """The folder of fetched model files."""
    return cache_dir() / "models"


def is_remote(text: str) -> bool:
    """Whether this names something to fetch that the registry does not know."""
    return text.lower().startswith(("hf:", "http://", "https://"))


def is_model(text: str) -> bool:
    """Whether a lone argument of `edgeq run` means a model and not a prompt."""
    if text.lower().endswith(".gguf") or is_remote(text):
        return True
    if len(text) > 4096 or "\0" in text or "\n" in text:
        return False
    return os.path.isfile(text) or find(text) is not None


def resolve(name: str | os.PathLike[str], *, fetch: bool = True, progress: Progress | None = None) -> Path:
    """The file for a path, a registry name, `hf:OWNER/REPO[:FILE]` or a URL; fetched first where it must be.

    A path wins over a name. Raises UsageError for a name that nobody knows, and DownloadError when fetching
    failed or when `fetch` is off and the file is not in the cache.
    """
    text = os.fspath(name)
    entry = None if os.path.lexists(text) else find(text)
    if entry is not None and entry.fetched:
        return entry.path
    if entry is not None or (is_remote(text) and not os.path.lexists(text)):
        from edgeq import pull

        found = pull.cached(text)
        if found is not None:
            return found
        if not fetch:
            raise DownloadError(f"{shown(text)} is not in the cache {models_dir()}; `edgeq pull {shown(text)}` gets it")
        return pull.pull(text, progress=progress)
    if os.path.lexists(text) or text.lower().endswith(".gguf") or os.path.dirname(text):
        return Path(text)  # whoever opens it says what is wrong with it
    raise UsageError(unknown(text))


def unknown(text: str) -> str:
    """What to say of a name that is no file and not in the registry."""
    import difflib

    names = [name for entry in entries() for name in (entry.name, *entry.aliases)]
    near = difflib.get_close_matches(text.casefold(), names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    known = ", ".join(entry.name for entry in entries())
    return f"{shown(text)} is neither a file nor a known model; {hint}known models: {known}"
