"""Files that a run writes: looked at before anything is measured, written whole or not at all."""

from __future__ import annotations

import os

from edgeq.errors import UsageError, shown
from edgeq.gguf.partfile import PartFile, check_target


def check(path: str, models: tuple[str, ...]) -> None:
    """Raises UsageError where `path` cannot become a file, or is one of the models."""
    check_target(path, True, models)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UsageError(f"{shown(path)}: {shown(folder)} is no folder that can be written to; choose another")


def write(path: str, data: bytes) -> None:
    """Replaces `path`. Raises GGUFError, naming it, where the disk refuses; what stood there then stays."""
    file = PartFile(path, len(data))
    try:
        file.write(data)
        file.finish()
        file.commit()
    finally:
        file.discard()
