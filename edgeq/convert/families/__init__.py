"""The architectures that edgeq converts: the class that config.json names → a `Family`.

To add one: a file beside this with a FAMILY, and its name in MODULES."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgeq.convert.checkpoint import model_config
from edgeq.convert.families.family import Family
from edgeq.errors import ModelError, shown

MODULES = ("llama", "qwen2", "qwen3", "gemma3")


def families() -> list[Family]:
    """All of them, in order."""
    return [import_module(f"edgeq.convert.families.{name}").FAMILY for name in MODULES]


def find(config: dict[str, Any]) -> Family:
    """The family of a config.json. Raises ModelError for none, or one that edgeq does not convert."""
    known = {name: family for family in families() for name in family.classes}
    named = model_config(config).get("architectures") or config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise ModelError("config.json: architectures is missing; expected the name of the model's class")
    if named[0] not in known:
        raise ModelError(f"architecture {shown(named[0], 60)!r} is not known; edgeq converts {', '.join(known)}")
    return known[named[0]]
