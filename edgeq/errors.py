"""Every exception edgeq raises, one tree.

    EdgeqError
      FormatError (ValueError)        a file is not what it claims to be
        GGUFError                     the GGUF container is broken
        ModelError                    the container is fine, the model in it cannot be run
      UsageError (ValueError)         an argument is out of range or of the wrong kind
      TokenizerError (ValueError)     text or ids that the vocabulary cannot represent
      TemplateError (ValueError)      the chat template failed, or asked for too much
      ContextError (ValueError)       the prompt does not fit the context
      BackendError (RuntimeError)     a backend is missing, refuses a program or failed in a step
        FileChangedError              the model file changed or shrank while it was in use
      MemoryLimitError (MemoryError)  what was asked for does not fit the memory of this machine
      DownloadError (OSError)         a model could not be fetched
      Cancelled                       the caller cancelled a step

A message names the object, what was expected, what was found, and the way out.
"""

from __future__ import annotations

import operator
from typing import Any


class EdgeqError(Exception):
    """Base of every exception that edgeq raises on purpose."""


class FormatError(EdgeqError, ValueError):
    """A file is not what it claims to be."""


class GGUFError(FormatError):
    """The GGUF container is broken: header, metadata, tensor table or data section."""


class ModelError(FormatError):
    """The container can be read, but the model in it cannot be run."""


class UsageError(EdgeqError, ValueError):
    """An argument is out of range or of the wrong kind."""


class TokenizerError(EdgeqError, ValueError):
    """Text or token ids that the vocabulary cannot represent, or a vocabulary that cannot be built."""


class TemplateError(EdgeqError, ValueError):
    """The chat template failed, is missing, or asked for too much."""


class ContextError(EdgeqError, ValueError):
    """The prompt does not fit the context."""


class BackendError(EdgeqError, RuntimeError):
    """A backend is missing, refuses a program, or failed in a step."""


class FileChangedError(BackendError):
    """The model file changed or shrank while it was in use."""


class MemoryLimitError(EdgeqError, MemoryError):
    """What was asked for does not fit the memory of this machine."""


class DownloadError(EdgeqError, OSError):
    """A model could not be fetched, or what came is not what was announced."""


class Cancelled(EdgeqError):
    """The caller cancelled the step."""


def check_count(name: str, value: Any) -> Any:
    """The argument `name` as int, also where it is NumPy's, or None. UsageError unless it is None or a whole number
    from 1, such as a number of threads."""
    try:
        number = None if value is None else operator.index(value)
    except TypeError:
        number = 0
    if number is not None and (isinstance(value, bool) or number < 1):
        raise UsageError(f"{name}: expected a whole number from 1, found {shown(repr(value), 60)}")
    return number


def shown(text: object, limit: int = 200) -> str:
    """`text` made safe to print in an error: control and bidirectional characters escaped, at most `limit` long."""
    s = str(text)
    out = "".join(
        c
        if c.isprintable() and not ("\u200e" <= c <= "\u200f" or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069")
        else c.encode("unicode_escape", "backslashreplace").decode("ascii")
        for c in s[: limit + 1]
    )
    return out if len(s) <= limit and len(out) <= limit else out[: limit - 1] + "…"
