"""The head of a model card (README.md): license, tags, languages, and the models and data that a model was made of.

Of its YAML are read plain values, lists of them, and nothing else; all in linear time."""

from __future__ import annotations

import re

from edgeq.convert import naming
from edgeq.gguf import Value

SIGNS = frozenset("[]{}&*!|>'\"%@`#")  # values with one of them are more than plain text
MOST = 100  # entries of a list
HUB = "https://huggingface.co/"

TEXTS = {"license": "license", "license_name": "license.name", "license_link": "license.link"}
LISTS = {"tags": ("tags", "pipeline_tag"), "languages": ("languages", "language")}
ORIGINS = {"base_model": ("base_model", "base_models"), "dataset": ("datasets", "dataset")}
"""Key below `general.` → entries of the card (of ORIGINS the first that is there)."""


def keys(card: str, weights: int = 0) -> dict[str, Value]:
    """Keys below `general.`; `weights`: how many the model has, 0 if that is not known."""
    entries = front_matter(card)
    found = {key: Value("string", ",".join(entries[entry])) for entry, key in TEXTS.items() if entries.get(entry)}
    for key, names in LISTS.items():
        if listed := [value for name in names for value in entries.get(name, ())]:
            found[key] = Value("array[string]", listed)
    for key, names in ORIGINS.items():
        if origins := next((entries[name] for name in names if entries.get(name)), []):
            found[f"{key}.count"] = Value("u32", len(origins))
        for i, origin in enumerate(origins):
            found |= {f"{key}.{i}.{part}": Value("string", text) for part, text in _origin(origin, weights).items()}
    return found


def front_matter(card: str) -> dict[str, list[str]]:
    """The plain values of each key at the head of a card."""
    lines = card.splitlines()
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        return {}
    found: dict[str, list[str]] = {}
    listing: list[str] | None = None  # where the lines that begin with a hyphen belong
    for line in lines[1 : lines.index("---", 1)]:
        key, colon, rest = line.partition(":")
        if colon and re.fullmatch("[a-z_]+", key):
            value = rest.strip(" ")
            flow = value.startswith("[") and value.endswith("]")
            values = [plain for part in (value[1:-1].split(",") if flow else [value]) if (plain := _plain(part))]
            found[key] = values[:MOST]
            listing = None if value else found[key]
        elif listing is not None and line.lstrip(" ").startswith("- ") and len(listing) < MOST:
            if value := _plain(line.lstrip(" ")[2:]):
                listing.append(value)
        elif line.strip(" ") and not line.lstrip(" ").startswith(("-", "#")):
            listing = None  # something nested
    return found


def _plain(text: str) -> str:
    """The text of a plain or simply quoted value; "" for anything else."""
    value = text.strip(" ")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        inner = value[1:-1]
        return "" if value[0] in inner or "\\" in inner else inner
    nothing = value in ("null", "~") or value.endswith(":") or ": " in value
    return "" if nothing or set(value) & SIGNS else value


def _origin(name: str, weights: int) -> dict[str, str]:
    """Name, organization, version and address of a model or a set of data on the hub, or of what an address names."""
    found: dict[str, str] = {}
    if "://" in name:
        found["repo_url"] = name
        place = re.fullmatch(r"https?://huggingface\.co/([^/]+/[^/]+)", name)
        if place is None:
            return found
        name = place[1]
    owner, _, own = name.rpartition("/")
    found["name"] = naming.title(own)
    if (version := naming.parts(own, weights).get("version")) is not None:
        found["version"] = version
    if re.fullmatch(r"\w[\w.-]*", owner):  # else it is the path of a folder
        found["organization"] = naming.title(owner)
        found.setdefault("repo_url", f"{HUB}{owner}/{own}")
    return found
