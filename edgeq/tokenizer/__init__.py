"""Text to token ids and back, built from the metadata of a GGUF file.

`from_gguf` picks the kind of tokenizer; `Tokenizer` is what every kind offers. Chat templates live
in `edgeq.tokenizer.chat`.
"""

from __future__ import annotations

from edgeq.tokenizer.base import Tokenizer, from_gguf

__all__ = ["Tokenizer", "from_gguf"]
