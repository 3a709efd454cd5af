"""The files of a Hugging Face checkpoint: a folder with config.json, safetensors and the tokenizer's files.

Reads JSON, text and safetensors; never pickles. No name in a file leads outside the folder; links in it are followed,
as the cache of the hub is made of them. Knows no architecture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgeq.convert.safetensors import Tensor, read
from edgeq.errors import FormatError, ModelError, UsageError, shown

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_JSON = 256 << 20  # bytes; the largest tokenizer.json are 35 MB
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INPUTS = (".json", ".safetensors", ".model", ".jinja", ".txt", ".md", *PICKLES)


class Checkpoint:
    """A checkpoint's folder. `config` is config.json; `tensors` are read when first asked for."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(
                f"{shown(folder)}: not a folder; expected a checkpoint with config.json and safetensors files"
            )
        config = self.json("config.json")
        if config is None:
            raise UsageError(f"{shown(folder)}: config.json is missing; expected a Hugging Face checkpoint")
        self.config = config
        self._tensors: dict[str, Tensor] | None = None
        self._read: dict[Path, tuple[int, int]] = {}  # file -> size and time of change

    def json(self, name: str) -> dict[str, Any] | None:
        """The JSON object of a file, or None without it. FormatError for anything else in it, and for a key that is
        there twice with two values."""
        raw = self.bytes(name)
        if raw is None:
            return None
        where = shown(self.folder / name)
        try:
            found = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_unambiguous)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{where}: no JSON: {shown(error, 120)}") from None
        if not isinstance(found, dict):
            raise FormatError(f"{where}: a {type(found).__name__}, expected a JSON object")
        return found

    def text(self, name: str) -> str | None:
        """A text file, or None without it. FormatError if it is not UTF-8."""
        raw = self.bytes(name)
        try:
            return None if raw is None else raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(f"{shown(self.folder / name)}: not UTF-8: {error}") from None

    def bytes(self, name: str) -> bytes | None:
        """A small file, or None without it."""
        path = self.folder / name
        if not is_file(path):
            return None
        size = path.stat().st_size
        if size > MAX_JSON:
            raise FormatError(f"{shown(path)}: {size} bytes; at most {MAX_JSON} are read")
        return path.read_bytes()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of every shard by its name. Raises FormatError for missing, broken or contradictory shards."""
        if self._tensors is None:
            index = self.json(INDEX)
            wanted = None if index is None else self._weight_map(index)
            paths = self._single() if wanted is None else self._shards(wanted)
            self._tensors = self._read_all(paths, wanted)
        return self._tensors

    @property
    def files(self) -> list[Path]:
        """What no output may be written over."""
        return inputs(self.folder)

    def release(self) -> None:
        """Forgets the weights that were read and kept."""
        for file in {id(t.file): t.file for t in (self._tensors or {}).values()}.values():
            file.release()

    def check_unchanged(self) -> None:
        """Raises FormatError if a file of weights was changed since it was opened."""
        for path, before in self._read.items():
            if _stamp(path) != before:
                raise FormatError(f"{shown(path)}: changed while it was read; start again")

    def _weight_map(self, index: dict[str, Any]) -> dict[str, str]:
        found = index.get("weight_map")
        if not isinstance(found, dict) or not found:
            raise FormatError(f"{shown(self.folder / INDEX)}: weight_map is missing or no JSON object")
        for name, shard in found.items():
            # A name with a path in it would reach files outside the folder.
            if not isinstance(shard, str) or not shard.endswith(".safetensors") or set(shard) & set("/\\:\0"):
                raise FormatError(
                    f"{shown(self.folder / INDEX)}: tensor {shown(name)} is in {shown(shard, 80)}; "
                    "expected the name of a safetensors file in the same folder"
                )
        return found

    def _shards(self, wanted: dict[str, str]) -> list[Path]:
        names = sorted(set(wanted.values()))
        missing = [name for name in names if not is_file(self.folder / name)]
        if missing:
            raise FormatError(
                f"{shown(self.folder)}: {len(missing)} of {len(names)} shards are missing: "
                f"{shown(', '.join(missing), 300)}; fetch them"
            )
        return [self.folder / name for name in names]

    def _single(self) -> list[Path]:
        if is_file(self.folder / SINGLE):
            return [self.folder / SINGLE]
        found = sorted(path for path in self.folder.glob("*.safetensors") if is_file(path))
        if len(found) == 1:
            return found
        if found:
            raise FormatError(
                f"{shown(self.folder)}: {len(found)} safetensors files and no {INDEX} to say which belong together"
            )
        pickled = sorted(p.name for p in self.folder.iterdir() if p.suffix in PICKLES)
        if pickled:
            raise UsageError(
                f"{shown(self.folder / pickled[0])}: a pickle, which runs code when it is loaded; edgeq loads none. "
                "Take the safetensors of the model, or save them: load the checkpoint with transformers where that "
                "is safe, then model.save_pretrained(FOLDER, safe_serialization=True)"
            )
        raise UsageError(f"{shown(self.folder)}: no safetensors file")

    def _read_all(self, paths: list[Path], wanted: dict[str, str] | None) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for path in paths:
            self._read[path] = _stamp(path)
            for tensor in read(path):
                if tensor.name in found:
                    raise FormatError(
                        f"tensor {shown(tensor.name)} is in {shown(found[tensor.name].file.path)} and in {shown(path)}"
                    )
                if wanted is not None and wanted.get(tensor.name) != path.name:
                    raise FormatError(f"{shown(path)}: tensor {shown(tensor.name)} is not there by {INDEX}")
                found[tensor.name] = tensor
        for name, shard in (wanted or {}).items():
            if name not in found:
                raise FormatError(f"tensor {shown(name)} is missing in {shown(shard)}, where {INDEX} has it")
        return found


def is_file(path: Path) -> bool:
    """Whether there is a file. FormatError for something else of that name: reading a FIFO would never end."""
    if os.path.isfile(path):
        return True
    if os.path.lexists(path):
        what = "a link that leads to no file" if os.path.islink(path) else "no regular file"
        raise FormatError(f"{shown(path)}: {what}; expected a file")
    return False


def inputs(folder: str | Path) -> list[Path]:
    """The files that the checkpoint or the adapter in a folder consists of, read or not."""
    return [path for pattern in ("*", "*/*") for path in Path(folder).glob(pattern) if path.suffix in INPUTS]


def model_config(config: dict[str, Any]) -> dict[str, Any]:
    """config.json with the text model's part of a multimodal one at the top."""
    text = config.get("text_config")
    if text is None:
        return config
    if not isinstance(text, dict):
        raise ModelError(f"config.json: text_config is a {type(text).__name__}, expected a JSON object")
    return {**config, **text}


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        for key, value in pairs:
            if value != found[key]:
                values = f"{shown(value, 40)} and {shown(found[key], 40)}"
                raise ValueError(f"{shown(key, 60)!r} is there twice, with {values}; expected one")
    return found


def _stamp(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
