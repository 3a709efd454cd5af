"""Writes tiny checkpoints: safetensors with the format's own few bytes, JSON, a byte-level tokenizer."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoints.specs import Spec, tensors
from models.tiny.vocab import byte_letters

Stored = tuple[str, NDArray[Any]]  # dtype as safetensors names it, and the array of its bytes
WORDS = ("th", "he", "in", "er", "Ġt", "Ġa", "Ġthe", "on", "an", "re")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def stored(values: NDArray[np.floating[Any]], dtype: str) -> Stored:
    """Numbers as a checkpoint holds them."""
    if dtype == "BF16":  # cut off, not rounded: any BF16 will do
        return dtype, (np.asarray(values, "<f4").view(np.uint32) >> 16).astype("<u2")
    return dtype, values.astype({"F32": "<f4", "F16": "<f2"}[dtype])


def write_safetensors(path: Path, entries: Mapping[str, Stored], metadata: dict[str, str] | None = None) -> None:
    """A file of the tensors in this order."""
    header: dict[str, Any] = {"__metadata__": metadata or {"format": "pt"}}
    at = 0
    for name, (dtype, array) in entries.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(a.tobytes() for _, a in entries.values()))


def weights(spec: Spec) -> dict[str, NDArray[np.float32]]:
    """Random weights by name, such that logits spread and every norm counts."""
    draw = np.random.RandomState(1)
    found = {}
    for name, shape in tensors(spec).items():
        values = draw.standard_normal(shape) * (0.3 if len(shape) == 1 else 1.5 / np.sqrt(shape[-1]))
        if name.endswith("norm.weight") and "gemma" not in spec.text["model_type"]:
            values += 1.0
        found[name] = values.astype(np.float32)
    return found


def write_spec(spec: Spec, folder: Path) -> None:
    """The checkpoint's files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(spec.config, indent=1))
    entries = {spec.prefix + name: stored(values, spec.dtype) for name, values in weights(spec).items()}
    if spec.prefix:
        entries["vision_tower.patch.weight"] = stored(np.ones((4, 4), np.float32), spec.dtype)
    write_shards(folder, entries, spec.shards)
    write_tokenizer(folder, spec.text["vocab_size"])


def write_shards(folder: Path, entries: Mapping[str, Stored], shards: int = 1) -> None:
    """One file, or several with an index."""
    if shards == 1:
        write_safetensors(folder / "model.safetensors", entries)
        return
    names = list(entries)
    index = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = names[i::shards]
        write_safetensors(folder / file, {name: entries[name] for name in part})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def tokenizer_json(pattern: str = QWEN2) -> dict[str, Any]:
    """A byte-level BPE of 256 bytes and a few words."""
    letters = byte_letters()
    pairs = [w for w in WORDS if len(w) == 2] + ["Ġthe"]
    merges = [[w[:-2], w[-2:]] if w == "Ġthe" else [w[0], w[1]] for w in pairs]
    vocab = {text: i for i, text in enumerate([*letters, *pairs])}
    merges[-1] = ["Ġt", "he"]
    added = [{"id": len(vocab) + i, "content": text, "special": True, "normalized": False, "lstrip": False,
              "rstrip": False, "single_word": False} for i, text in enumerate(SPECIAL)]  # fmt: skip
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": level, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": merges},
    }  # fmt: skip


def write_tokenizer(folder: Path, vocab: int) -> None:
    """tokenizer.json and tokenizer_config.json."""
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "bos_token": None, "clean_up_tokenization_spaces": False, "model_max_length": 128,
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
