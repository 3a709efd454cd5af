"""What a chat template is given: the text of a template file, and a caller's values as plain JSON.

Both are checked here, so that nothing a caller holds can be changed or called by a template.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from edgeq.errors import TemplateError, UsageError, shown

MAX_TEMPLATE = 64 << 10
"""Bytes of a template; the longest published one has 18 KB."""
_MAX_DEPTH = 64
_MAX_NUMBER_BITS = 1024
_REASONING = ("reasoning_content", "thinking", "reasoning")


class Copy:
    """Copies what a caller gave into plain JSON values, and counts their size."""

    def __init__(self) -> None:
        self.size = 0

    def messages(self, value: Any) -> list[dict[str, Any]]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
            raise UsageError(f"messages: expected a list of mappings, found {type(value).__name__}")
        for i, message in enumerate(value):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise UsageError(f"messages[{i}]: expected a mapping with a 'role', found {shown(message, 60)}")
        copied: list[dict[str, Any]] = self.plain(value, "messages")
        return copied

    def plain(self, value: Any, where: str, depth: int = 0) -> Any:
        self.size += 8
        if depth > _MAX_DEPTH:
            raise UsageError(f"{where}: nested more than {_MAX_DEPTH} deep")
        if isinstance(value, str):
            self.size += len(value)
            return str.__str__(value)  # of a subclass, the bare text
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and value.bit_length() <= _MAX_NUMBER_BITS:
            return int(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, Mapping):
            if not all(isinstance(k, str) for k in value):
                raise UsageError(f"{where}: expected text for keys")
            self.size += sum(map(len, value))
            return {str.__str__(k): self.plain(v, f"{where}.{shown(k, 40)}", depth + 1) for k, v in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
            return [self.plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
        raise UsageError(f"{where}: expected text, a number, a list or a mapping, found {type(value).__name__}")


def aliased(message: dict[str, Any]) -> dict[str, Any]:
    """Reasoning goes by three names; templates read it under one of two, so both are given."""
    text = next((message[k] for k in _REASONING if message.get(k) is not None), None)
    return message if text is None else {"thinking": text, **message, "reasoning_content": text}


def read_template(path: str | os.PathLike[str]) -> str:
    """Text of a template file. Whatever is not a regular file of a sensible size is refused, unread."""
    name = shown(path)
    try:
        # O_NONBLOCK: opening a FIFO would wait for its writer.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            data = os.read(fd, MAX_TEMPLATE + 1) if regular else b""
        finally:
            os.close(fd)
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise TemplateError(f"{name}: the chat template cannot be read: {shown(reason)}") from None
    if not regular:
        raise TemplateError(f"{name}: expected a file with a chat template, found something else")
    if len(data) > MAX_TEMPLATE:
        raise TemplateError(f"{name}: longer than the {MAX_TEMPLATE:,} bytes a chat template may have")
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise TemplateError(f"{name}: the chat template is not UTF-8 (byte {e.start})") from None
