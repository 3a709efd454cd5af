"""Models for the tests of sessions and commands: tiny random ones, unpacked once per run, and a real one
where there is one."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import edgeq
from edgeq import _lib, registry
from models.tiny import tiny_model

BACKEND = "native" if _lib.available() else "reference"
REAL = "smollm2-135m-q4_1.gguf"


@cache
def folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="edgeq-tests-"))
    atexit.register(shutil.rmtree, made, True)
    return made


def tiny(name: str = "llama3") -> Path:
    """The file of a tiny model."""
    return tiny_model(name, folder())


@cache
def model(name: str = "llama3", **settings: Any) -> edgeq.Model:
    """A loaded tiny model, shared by all tests that ask for the same."""
    return edgeq.load(tiny(name), **{"backend": BACKEND, "threads": 2, **settings})


def real() -> Path | None:
    """SmolLM2 from EDGEQ_TEST_MODELS or the cache of fetched models."""
    chosen = os.environ.get("EDGEQ_TEST_MODELS")
    places = [Path(chosen)] if chosen else []
    return next((p / REAL for p in [*places, registry.models_dir()] if (p / REAL).is_file()), None)
