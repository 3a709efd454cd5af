"""Tokens with a role, and which of them go around a text: from the tokenizer's files, then config.json.

The order in which the files are asked is llama.cpp's, so that the keys are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeq.convert.checkpoint import Checkpoint, model_config
from edgeq.convert.vocab.pieces import Pieces, added
from edgeq.errors import shown
from edgeq.gguf import Value
from edgeq.tokenizer import from_gguf

KEYS = {
    "bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "sep": "seperator_token_id",
    "pad": "padding_token_id", "cls": "cls_token_id", "mask": "mask_token_id",
}  # fmt: skip
"""Role → its key; the spelling of `sep` is the format's."""

EOS = f"tokenizer.ggml.{KEYS['eos']}"


def roles(
    checkpoint: Checkpoint, settings: dict[str, Any], data: dict[str, Any] | None, pieces: Pieces, notes: list[str]
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Ids of roles, and add_bos_token and add_eos_token, by the last part of their key."""
    named = {role: text for role in KEYS if (text := _text(settings.get(f"{role}_token"))) is not None}
    for name, text in _map(checkpoint.json("special_tokens_map.json") or {}):
        named.setdefault(name, text)
    first, last, byte_level = frame(data)
    adds: dict[str, bool] = {}
    if first is not None:
        named.setdefault("bos", first)
        adds["bos"] = first in (named.get("bos"), named.get("cls"))
    named_eos = named.get("eos")
    if last is not None:
        named["eos"] = last
        adds["eos"] = True
    for role in ("bos", "eos"):
        asked = settings.get(f"add_{role}_token")
        if role not in adds and (byte_level or isinstance(asked, bool)):
            adds[role] = asked is True and not byte_level
    if pieces.model == "gpt2":
        adds.setdefault("bos", False)  # runtimes would take the habit of the pre-tokenizer's best-known model
    ids: dict[str, int] = {}
    places = {text: i for i, text in reversed(list(enumerate(pieces.tokens)))} | {
        a.text: a.id for a in added(settings, data) if a.id < len(pieces.tokens)
    }
    config = model_config(checkpoint.config)
    for role in KEYS:
        token = places.get(named[role]) if role in named else None
        listed = _ids(config.get(f"{role}_token_id"), len(pieces.tokens))
        if token is not None or listed:
            ids[role] = listed[0] if token is None else token
        others = [i for i in listed if i != ids.get(role)]
        if others and role != "eos":  # whose others are for `more_ends`
            notes.append(f"config.json: {role}_token_id is {shown(listed, 80)}; GGUF has one, made {ids[role]}")
    out = {KEYS[role]: Value("u32", token) for role, token in ids.items()}
    if last is not None and named_eos not in (None, last) and named_eos in places:  # it still ends an answer
        out["eot_token_id"] = Value("u32", places[named_eos])
    return (
        out,
        {f"add_{role}_token": Value("bool", value) for role, value in adds.items()},
    )


def frame(data: dict[str, Any] | None) -> tuple[str | None, str | None, bool]:
    """The special tokens that tokenizer.json puts before and behind one text, and whether it names byte level alone,
    which puts none."""
    first = last = None
    byte_level = False
    for step in _steps((data or {}).get("post_processor")):
        byte_level = byte_level or step.get("type") == "ByteLevel"
        single = step.get("single")
        if step.get("type") == "TemplateProcessing" and isinstance(single, list) and len(single) > 1:
            first, last = _special(single[0]), _special(single[-1])
    return first, last, byte_level and first is None and last is None


def more_ends(checkpoint: Checkpoint, keys: dict[str, Value], n_vocab: int, notes: list[str]) -> dict[str, Value]:
    """Keys for tokens that end a generation by generation_config.json or config.json, where runtimes would not know.

    GGUF has room for two beside eos: eot and eom."""
    named: list[int] = []
    for source in (checkpoint.json("generation_config.json") or {}, model_config(checkpoint.config)):
        named += [i for i in _ids(source.get("eos_token_id"), n_vocab) if i not in named]
    out: dict[str, Value] = {}
    if named and EOS not in keys:  # also where runtimes know the token as an end by its name
        out[EOS] = Value("u32", named.pop(0))
    for token in named:
        known = from_gguf({key: value.value for key, value in (keys | out).items()})
        if token in known.end_ids:
            continue
        free = [role for role in ("eot", "eom") if getattr(known, f"{role}_id") is None]
        if free:
            out[f"tokenizer.ggml.{free[0]}_token_id"] = Value("u32", token)
        else:
            notes.append(f"token {token} ends a generation too, and GGUF has no key left to say so")
    return out


def _ids(entry: object, n_vocab: int) -> list[int]:
    """The ids of a role, given alone or as a list, as far as they are tokens."""
    listed = entry if isinstance(entry, list) else [entry]
    return [i for i in listed if type(i) is int and 0 <= i < n_vocab]


def _text(entry: object) -> str | None:
    """The text of a token, given alone or as an object."""
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) and entry else None


def _map(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for role in KEYS:
        if (text := _text(table.get(f"{role}_token"))) is not None:
            yield role, text


def _steps(section: object) -> Iterator[dict[str, Any]]:
    if isinstance(section, dict):
        inner = section.get("processors")
        if isinstance(inner, list):
            for step in inner:
                yield from _steps(step)
        else:
            yield section


def _special(step: object) -> str | None:
    entry = step.get("SpecialToken") if isinstance(step, dict) else None
    text = entry.get("id") if isinstance(entry, dict) else None
    return text if isinstance(text, str) else None
