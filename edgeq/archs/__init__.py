"""The architectures that edgeq runs: GGUF's `general.architecture` → a module with `lower`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from edgeq.errors import ModelError, shown

ARCHS: dict[str, str] = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3"}


def find(metadata: Mapping[str, Any]) -> tuple[str, ModuleType]:
    """Name and module of the file's architecture. Raises ModelError for none, or one that edgeq does not know."""
    name = metadata.get("general.architecture")
    kind = metadata.get("general.type", "model")
    if kind != "model":
        raise ModelError(f"general.type is {shown(kind, 60)!r}, expected 'model': this file is not a language model")
    if not isinstance(name, str):
        raise ModelError("metadata key general.architecture is missing or not a string")
    if name not in ARCHS:
        raise ModelError(f"architecture {shown(name, 60)!r} is not known; edgeq runs {', '.join(sorted(ARCHS))}")
    return name, importlib.import_module(f"edgeq.archs.{ARCHS[name]}")
