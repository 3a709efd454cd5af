"""Writes goldens.json: what `transformers` makes of the conversations with each template.

The templates are those of the folder templates/, the built-in ones, and those of GGUF files given by path,
which are recorded by their SHA-256. A refusal is recorded as null.

    pip install transformers gguf
    python -m tests.tokenizer.test_chat_data.make_goldens [MODEL.gguf ...]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from edgeq.tokenizer.chat_named import NAMED
from tests.tokenizer.test_chat_data.conversations import CONVERSATIONS, TOKENS
from tests.tokenizer.test_chat_data.make_known import of_gguf

HERE = Path(__file__).parent


def rendered(source: str) -> dict[str, str | None]:
    """Conversation -> text, by `transformers`."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    out: dict[str, str | None] = {}
    for name, (messages, given) in CONVERSATIONS.items():
        arguments: dict[str, Any] = {"add_generation_prompt": True, **given, **TOKENS}
        try:
            out[name] = render_jinja_template([messages], chat_template=source, **arguments)[0][0]
        except (TemplateError, TypeError):
            out[name] = None
    return out


def main(models: list[Path]) -> None:
    """Render everything, write the file."""
    import transformers

    sources = {p.name: p.read_text() for p in sorted((HERE / "templates").glob("*.jinja"))}
    sources |= {f"named {name}": source for name, source in NAMED.items()}
    for path in models:
        for _, source in of_gguf(path):
            sources[hashlib.sha256(source.strip().encode()).hexdigest()] = source
    goldens = {name: rendered(source) for name, source in sources.items()}
    text = json.dumps({"transformers": transformers.__version__, "goldens": goldens}, indent=1, ensure_ascii=False)
    (HERE / "goldens.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main([Path(p) for p in sys.argv[1:]])
