"""Tokens with a role, and which of them go around a text: from the tokenizer's files, then config.json.

The order in which the files are asked is llama.cpp's, so that the keys are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeq.convert.checkpoint import Checkpoint, model_config
from edgeq.convert.vocab.pieces import Pieces, added
from edgeq.errors import TokenizerError, shown
from edgeq.gguf import Value
from edgeq.tokenizer import from_gguf
from edgeq.tokenizer.special import END_NAMES

KEYS = {
    "bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "sep": "seperator_token_id",
    "pad": "padding_token_id", "cls": "cls_token_id", "mask": "mask_token_id",
}  # fmt: skip
"""Role → its key; the spelling of `sep` is the format's."""

TOKENS = "tokenizer.ggml.tokens"
EOS = f"tokenizer.ggml.{KEYS['eos']}"


def roles(
    checkpoint: Checkpoint, settings: dict[str, Any], data: dict[str, Any] | None, pieces: Pieces, notes: list[str]
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Ids of roles, and add_bos_token and add_eos_token, by the last part of their key. What names no token is noted;
    TokenizerError for what is no name and no id."""
    named: dict[str, str] = {}
    said: dict[str, str] = {}  # text of a token -> where it was first named
    for where, table in (
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", checkpoint.json("special_tokens_map.json") or {}),
    ):
        for role in KEYS:
            what = f"{where}: {role}_token"
            if (text := _text(table.get(f"{role}_token"), what)) is not None:
                named.setdefault(role, text)
                said.setdefault(text, what)
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
    for text in (first, last):
        if text is not None:
            said.setdefault(text, "tokenizer.json: post_processor")
    for text, what in said.items():
        if text not in places:
            notes.append(f"{what} {shown(text, 60)!r} is none of the {len(pieces.tokens)} tokens; left out")
    config = model_config(checkpoint.config)
    for role in KEYS:
        token = places.get(named[role]) if role in named else None
        listed = _ids(config, role, len(pieces.tokens), "config.json", notes)
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

    GGUF has room for two beside eos: eot and eom. That nothing ends one is noted."""
    named: list[int] = []
    for where, source in (
        ("generation_config.json", checkpoint.json("generation_config.json") or {}),
        ("config.json", model_config(checkpoint.config)),
    ):
        named += [i for i in _ids(source, "eos", n_vocab, where, notes) if i not in named]
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
    if EOS not in keys | out and not set(keys[TOKENS].value) & set(END_NAMES):
        notes.append("warning: no token ends a generation, by its role or its name: answers go on until a limit")
    return out


def _ids(config: dict[str, Any], role: str, n_vocab: int, where: str, notes: list[str]) -> list[int]:
    """The ids of a role, given alone or as a list, as far as they are tokens; others are noted, once."""
    entry = config.get(f"{role}_token_id")
    what = f"{where}: {role}_token_id"
    if entry is not None and type(entry) not in (int, list):
        raise TokenizerError(f"{what} is {shown(entry, 40)}; expected an id or a list of them")
    listed = entry if isinstance(entry, list) else [] if entry is None else [entry]
    kept = [i for i in listed if type(i) is int and 0 <= i < n_vocab]
    note = f"{what} is {shown(entry, 80)}; ids are 0 to {n_vocab - 1}, what is none is left out"
    if len(kept) < len(listed) and note not in notes:
        notes.append(note)
    return kept


def _text(entry: object, what: str) -> str | None:
    """The text of a token, given alone or as an object."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    if entry is not None and not isinstance(text, str):
        raise TokenizerError(f"{what} is {shown(entry, 60)}; expected the text of a token")
    return text if isinstance(text, str) and text else None


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
