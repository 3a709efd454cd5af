"""Typed reads of the tokenizer's metadata: every value is checked here, once, and a wrong one is
refused by name."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, TypeVar

from edgeq.errors import TokenizerError, shown
from edgeq.tokenizer.bytes_text import piece_bytes

T = TypeVar("T")
Metadata = Mapping[str, Any]

ROLE_KEYS: dict[str, tuple[str, ...]] = {
    "bos": ("bos_token_id",),
    "eos": ("eos_token_id",),
    "eot": ("eot_token_id",),
    "eom": ("eom_token_id",),
    "unk": ("unknown_token_id",),
    "sep": ("seperator_token_id",),
    "pad": ("padding_token_id",),
    "mask": ("mask_token_id",),
    "fim_pre": ("fim_pre_token_id", "prefix_token_id"),
    "fim_suf": ("fim_suf_token_id", "suffix_token_id"),
    "fim_mid": ("fim_mid_token_id", "middle_token_id"),
    "fim_pad": ("fim_pad_token_id",),
    "fim_rep": ("fim_rep_token_id",),
    "fim_sep": ("fim_sep_token_id",),
}
"""The role of a special token -> its keys below `tokenizer.ggml.`; a later key overrides."""


def text_value(metadata: Metadata, key: str) -> str | None:
    """The string at `key`, or None where it is missing."""
    found: str | None = _value(metadata, key, str, "a string")
    return found


def bool_value(metadata: Metadata, key: str, default: bool) -> bool:
    """The bool at `key`."""
    found = _value(metadata, key, bool, "a bool")
    return default if found is None else found


def _value(metadata: Metadata, key: str, kind: type, wanted: str) -> Any:
    found = metadata.get(key)
    if found is None or isinstance(found, kind):
        return found
    raise TokenizerError(f"{key}: expected {wanted}, found {_described(found)}")


def _described(value: object) -> str:
    if isinstance(value, (bool, int, float, str)):
        return f"{type(value).__name__} {shown(value, 40)}"
    return "an array"


def string_list(metadata: Metadata, key: str) -> list[str] | None:
    """The array of strings at `key`, or None; bytes that are not UTF-8 come as escaped surrogates."""
    found = metadata.get(key)
    if found is None:
        return None
    items = _items(found, key, "strings", ("string",), metadata)
    if _stored(metadata, key) is None and not set(map(type, items)) <= {str}:
        raise TokenizerError(f"{key}: expected an array of strings, found other values in it")
    return items


def number_list(
    metadata: Metadata, key: str, length: int, types: tuple[str, ...]
) -> list[Any] | None:
    """The array of numbers at `key`, which must have `length` elements of one of the GGUF `types`;
    or None."""
    found = metadata.get(key)
    if found is None:
        return None
    items = _items(found, key, "numbers", types, metadata)
    if _stored(metadata, key) is None and not set(map(type, items)) <= {int, float}:
        raise TokenizerError(f"{key}: expected an array of numbers, found other values in it")
    if len(items) != length:
        raise TokenizerError(
            f"{key}: expected {length} values, one for each token, found {len(items)}"
        )
    return items


def _stored(metadata: Metadata, key: str) -> str | None:
    """The type of `key` in the file, where the metadata come from one."""
    type_of = getattr(metadata, "type", None)
    return None if type_of is None else str(type_of(key))


def _items(
    found: Any, key: str, what: str, types: tuple[str, ...], metadata: Metadata
) -> list[Any]:
    listed = isinstance(found, Sequence) or hasattr(found, "tolist")
    if not listed or isinstance(found, (str, bytes, int, float)):
        raise TokenizerError(f"{key}: expected an array of {what}, found {_described(found)}")
    stored = _stored(metadata, key)
    if stored is not None and stored not in {f"array[{t}]" for t in types}:
        raise TokenizerError(
            f"{key}: expected an array of {' or '.join(types)}, found {shown(stored)}"
        )
    items = found.tolist() if hasattr(found, "tolist") else list(found)
    return items if isinstance(items, list) else list(items)


def bytes_list(metadata: Metadata, key: str) -> list[bytes] | None:
    """The array of strings at `key` as the bytes of the file, or None."""
    tobytes = getattr(metadata.get(key), "tobytes", None)
    if tobytes is not None and _stored(metadata, key) == "array[string]":
        return list(tobytes())
    items = string_list(metadata, key)
    return None if items is None else [piece_bytes(item) for item in items]


def first_ranks(items: Sequence[T]) -> dict[T, int]:
    """Item -> the first place where it stands."""
    return dict(zip(reversed(items), range(len(items) - 1, -1, -1), strict=True))


def read_types(metadata: Metadata, n_vocab: int) -> bytearray:
    """The type of every token (`edgeq.tokenizer.special`): normal where the file has none, odd ones
    undefined."""
    types = number_list(metadata, "tokenizer.ggml.token_type", n_vocab, ("i32",))
    if types is None:
        return bytearray(b"\1") * n_vocab
    try:
        out = bytearray(types)
    except (ValueError, TypeError):
        out = bytearray(t if isinstance(t, int) and 0 <= t <= 255 else 0 for t in types)
    return out.translate(bytes(t if t <= 6 else 0 for t in range(256)))


def read_roles(
    metadata: Metadata, n_vocab: int, roles: MutableMapping[str, int | None], warnings: list[str]
) -> None:
    """Fill `roles` with the ids the file names; an id that is no token is left out with a warning."""
    for role, keys in ROLE_KEYS.items():
        if (default := roles.get(role)) is not None and default >= n_vocab:
            roles[role] = None
        for key in (f"tokenizer.ggml.{k}" for k in keys):
            found = metadata.get(key)
            if found is None:
                continue
            if not isinstance(found, int) or isinstance(found, bool):
                raise TokenizerError(f"{key}: expected a token id, found {_described(found)}")
            if 0 <= found < n_vocab:
                roles[role] = found
            else:
                warnings.append(
                    f"{key} is {found}, but the vocabulary has {n_vocab} tokens; ignored"
                )
