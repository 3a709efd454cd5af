"""Chat templates of a checkpoint: chat_template.jinja with others beside it, or tokenizer_config.json, or
chat_template.json of processors. Text is taken over as it is; it is compiled to see whether that works,
never rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeq.convert.checkpoint import Checkpoint
from edgeq.errors import TemplateError, TokenizerError, shown
from edgeq.gguf import Value

KEY = "tokenizer.chat_template"
MORE = "additional_chat_templates"


def keys(checkpoint: Checkpoint, settings: dict[str, Any], notes: list[str]) -> dict[str, Value]:
    """The default template and the named ones as GGUF keys; none without a template. One that is broken is noted."""
    found = templates(checkpoint, settings)
    notes += faults(found)
    out = {}
    named = {re.sub("[^A-Za-z0-9]", "_", name): text for name, text in found.items() if name and name != "default"}
    if named:
        out[f"{KEY}s"] = Value("array[string]", sorted(named))
        out |= {f"{KEY}.{name}": Value("string", text) for name, text in sorted(named.items())}
    if "default" in found:
        out[KEY] = Value("string", found["default"])
    return out


def faults(found: dict[str, str]) -> Iterator[str]:
    """Warnings of templates that no chat will work with."""
    from edgeq.tokenizer import chat_engine
    from edgeq.tokenizer.chat_input import MAX_TEMPLATE

    for name, text in found.items():
        try:
            if (size := len(text.encode("utf-8", "surrogatepass"))) > MAX_TEMPLATE:
                raise TemplateError(f"{size:,} bytes, more than the {MAX_TEMPLATE:,} that one may have")
            chat_engine.compile_template(text)
        except TemplateError as error:
            which = "the chat template" if name == "default" else f"the chat template {shown(name, 60)!r}"
            yield f"warning: no chat will work with {which} of the checkpoint: {shown(error, 300)}"


def templates(checkpoint: Checkpoint, settings: dict[str, Any]) -> dict[str, str]:
    """Template by name; "default" is the one for plain chats. A file of its own wins, as in transformers."""
    alone = checkpoint.text("chat_template.jinja")
    if alone is not None:
        found = {"default": alone}
        for path in sorted((checkpoint.folder / MORE).glob("*.jinja")):
            found[path.stem] = checkpoint.text(f"{MORE}/{path.name}") or ""
        return found
    entry = settings.get("chat_template")
    if entry is None:
        entry = (checkpoint.json("chat_template.json") or {}).get("chat_template")
    if entry is None or isinstance(entry, str):
        return {} if entry is None else {"default": entry}
    if isinstance(entry, dict):
        entry = [{"name": name, "template": text} for name, text in entry.items()]
    if not isinstance(entry, list) or not all(
        isinstance(e, dict) and isinstance(e.get("name"), str) and isinstance(e.get("template"), str) for e in entry
    ):
        raise TokenizerError(
            f"tokenizer_config.json: chat_template is {shown(entry, 60)}; expected a string, or names and templates"
        )
    return {e["name"]: e["template"] for e in entry}
