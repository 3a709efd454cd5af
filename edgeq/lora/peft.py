"""Adapters as the PEFT library writes them: a folder with adapter_config.json and adapter_model.safetensors.

What is not W + alpha / r · B A (or alpha / √r, rank-stabilized: Kalajdzievski 2023, arXiv 2312.03732) is refused by
name. Names and rotary order of the weights are those of the model's converter (`edgeq.convert.families`).
Source: LoraConfig and the saved layouts of github.com/huggingface/peft 0.21.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.convert import families
from edgeq.convert.checkpoint import Checkpoint, inputs, is_file, model_config
from edgeq.convert.families.family import Family, Slot, pairs_from_halves
from edgeq.convert.floats import FLOATS, decode
from edgeq.convert.safetensors import read as read_tensors
from edgeq.errors import FormatError, ModelError, UsageError, shown
from edgeq.lora.adapter import EMBEDDING, F32, Adapter, Pair, check_shape, pair
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.gguf import GGUFFile

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG = 1 << 24  # bytes
PREFIX = "base_model.model."
KEY = re.compile(r"(?P<module>.+)\.lora_((?P<half>[AB])(\.default)?\.weight|embedding_(?P<rows>[AB])(\.default)?)")
PATTERN = re.compile(r"\^?[\w.]+")  # of rank_pattern and alpha_pattern; other regular expressions could take forever
LAYER = re.compile(r"(?<=\.)\d{1,4}(?=\.)")

REFUSED = {
    "use_dora": "DoRA scales the columns of the whole weight",
    "modules_to_save": "whole layers were trained beside the adapter",
    "lora_bias": "the adapter has biases",
    "fan_in_fan_out": "the weights lie transposed",
    "layer_replication": "layers were repeated",
    "trainable_token_indices": "tokens of the embedding were trained",
    "target_parameters": "parameters that are no linears were trained",
    "alora_invocation_tokens": "it begins to act in the middle of a text",
}
"""Keys of the config whose effect is no low-rank sum, and why. Other `use_…` and `…_config` are methods too."""

KNOWN = ("use_rslora", "eva_config")
INITIAL = ("gaussian", "eva", "orthogonal")  # inits that leave the base as it is; PiSSA, OLoRA and others change it


class Base(Record):
    """The model that an adapter belongs to: what is needed of it. `heads`: query and key heads of each layer; `shapes`:
    of weights by GGUF name; `files`: those that it consists of."""

    path: str
    family: Family
    layers: int
    heads: tuple[tuple[int, int], ...]
    shapes: Mapping[str, tuple[int, ...]]
    files: tuple[str, ...] = ()

    def slots(self) -> dict[str, tuple[Slot, int]]:
        """The tensor of the file for each matrix of a checkpoint, and its layer."""
        found = {}
        for slot in self.family.slots:
            for layer in range(self.layers if "{}" in slot.target else 1):
                if len(slot.shape) == 2:
                    found[slot.of(layer).source] = slot.of(layer), layer
        return found


def base_of_file(file: GGUFFile) -> Base:
    """The base in a GGUF file. Raises ModelError for what is no model, or of an architecture that edgeq does not
    convert."""
    from edgeq.config import Config, Keys

    name = file.metadata.get("general.architecture")
    family = next((f for f in families.families() if f.arch == name), None)
    if family is None:
        raise ModelError(f"{shown(file.path)}: architecture {shown(name, 60)!r}: edgeq converts no adapters for it")
    if (kind := file.metadata.get("general.type", "model")) != "model":
        raise ModelError(f"{shown(file.path)}: general.type is {shown(kind, 60)!r}; expected a model as the base")
    try:
        config = Config.read(Keys(file.metadata, family.arch))
    except ModelError as error:
        raise ModelError(f"{shown(file.path)}: {error}") from None
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    files = tuple(part.path for part in file.parts)
    return Base(file.path, family, config.layers, tuple(zip(config.heads, config.kv_heads)), shapes, files)


def base_of_folder(path: str | Path) -> Base:
    """The base that the config.json of a checkpoint describes; nothing else of it is read. Raises ModelError for what
    edgeq does not convert."""
    config = Checkpoint(path).config
    family = families.find(config)
    h = family.hparams(model_config(config))
    base = Base(str(path), family, h.layers, ((h.heads, h.kv_heads),) * h.layers, {}, tuple(map(str, inputs(path))))
    # Of a head that is tied to the embedding too: checkpoints may have another one, which stays in the file then.
    sizes, slots = h.sizes(), [slot for slot, _ in base.slots().values()]
    return base.replace(shapes={slot.target: tuple(sizes[n] for n in slot.shape) for slot in slots})


def find_base(path: str | Path) -> Base:
    """The base at `path`: a GGUF file, or the folder of a checkpoint."""
    if Path(path).is_dir():
        return base_of_folder(path)
    from edgeq import gguf

    with gguf.open(path) as file:
        return base_of_file(file)


def is_folder(path: Any) -> bool:
    """Whether this is the folder of a PEFT adapter. Those of models may have an adapter_config.json too."""
    folder = Path(path)
    return (folder / CONFIG).is_file() and ((folder / WEIGHTS).is_file() or not (folder / "config.json").is_file())


def read(folder: str | Path, base: Base) -> Adapter:
    """The adapter in a folder, for the GGUF form of its base model.

    Raises FormatError for broken files, ModelError for what is no low-rank sum or does not belong to the base,
    UsageError where there is none."""
    config = _config(Path(folder))
    where = shown(folder)
    _check(config, where)
    halves: dict[str, dict[str, F32]] = {}
    tensors = _tensors(Path(folder))
    for name, array in tensors.items():
        found = KEY.fullmatch(name)
        stem = name.removesuffix(".base_layer.weight")
        if found is None and (f"{stem}.lora_A.weight" in tensors or f"{stem}.lora_embedding_A" in tensors):
            continue  # PEFT saves an adapted head or embedding beside the adapter, as they are in the base
        if found is None:
            raise ModelError(
                f"{where}: tensor {shown(name)} is no lora_A or lora_B of a matrix; leaving it out would make another "
                "model. Merge the adapter with PEFT, then convert the model"
            )
        half = found["half"] or f"embedding_{found['rows']}"
        if halves.setdefault(found["module"].removeprefix(PREFIX), {}).setdefault(half, array) is not array:
            raise ModelError(f"{where}: tensor {shown(name)} is there twice under two names")
    if not halves:
        raise ModelError(f"{where}: an adapter without tensors")
    alpha, slots = _number(config, "lora_alpha", where), base.slots()
    pairs: dict[str, Pair] = {}
    modules: dict[str, str] = {}
    for module, both in halves.items():
        # Patterns of the config are matched with the name that the module has in a multimodal model too.
        source = module.replace("language_model.", "", 1) + ".weight"
        if source not in slots:
            raise ModelError(
                f"{where}: module {shown(module)} is no matrix of {base.family.arch} with {base.layers} layers"
            )
        slot, layer = slots[source]
        if slot.target in pairs:
            raise ModelError(f"{where}: module {shown(module)} is there twice under two names")
        if slot.target == EMBEDDING and config.get("ensure_weight_tying"):
            raise ModelError(
                f"{where}: {CONFIG}: ensure_weight_tying: one adapter of the embedding and of the head, which a GGUF "
                "adapter cannot hold. Merge it with PEFT (merge_and_unload), then convert the model"
            )
        modules[slot.target] = module
        pairs[slot.target] = _pair(config, module, both, slot, base.heads[layer], alpha, where)
    order = {slot.target: i for i, (slot, _) in enumerate(slots.values())}
    ordered = dict(sorted(pairs.items(), key=lambda item: order[item[0]]))
    for name, made in ordered.items():
        check_shape(name, made, base.shapes, f"{where}: module {shown(modules[name])}, tensor {name}", base.path)
    return Adapter(str(folder), base.family.arch, alpha, ordered, tuple(map(str, inputs(folder))))


def _pair(
    config: Mapping[str, Any], module: str, both: Mapping[str, F32], slot: Slot, heads: tuple[int, int], alpha: float,
    where: str,
) -> Pair:  # fmt: skip
    """A and B of a module. What the factor of its own is beyond that of the file's alpha goes into B."""
    wanted_halves = ("embedding_A", "embedding_B") if slot.target == EMBEDDING else ("A", "B")
    for half in wanted_halves:
        if half not in both:
            raise ModelError(f"{where}: module {shown(module)} has no lora_{half}; the other half is there")
    a, b = (both[half] for half in wanted_halves)
    if slot.target == EMBEDDING:  # A [r, tokens] and B [width, r]: the table's transpose is what is corrected
        a, b = b.T, a.T
    found = pair(slot.target, np.ascontiguousarray(a), np.ascontiguousarray(b), where)
    wanted = _for_module(config, "rank_pattern", "r", module, where)
    if wanted not in (found.rank, None):
        raise ModelError(f"{where}: module {shown(module)} has rank {found.rank}, {CONFIG} says {wanted:g}")
    own = _for_module(config, "alpha_pattern", "lora_alpha", module, where)
    if own is None:
        unsafe = next(pattern for pattern in config["alpha_pattern"] if not PATTERN.fullmatch(pattern))
        raise ModelError(
            f"{where}: {CONFIG}: alpha_pattern has {shown(unsafe, 60)!r}; edgeq takes names of modules or their ends"
        )
    b = found.b
    if slot.heads:
        count = heads[0] if slot.heads == "heads" else heads[1]
        if b.shape[0] % (2 * count):
            raise ModelError(f"{where}: module {shown(module)} has {b.shape[0]} outputs, the model {count} heads")
        b = b[pairs_from_halves(b.shape[0], count)]
    more = own / alpha * (math.sqrt(found.rank) if config.get("use_rslora") else 1.0)
    if more != 1.0:
        with np.errstate(over="ignore"):
            b = (b * more).astype(np.float32)
    return pair(slot.target, found.a, b, where)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not is_file(path):
        raise UsageError(f"{shown(folder)}: {CONFIG} is missing; expected the folder of a PEFT adapter")
    if (size := path.stat().st_size) > MAX_CONFIG:
        raise FormatError(f"{shown(path)}: {size} bytes; at most {MAX_CONFIG} are read")
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{shown(path)}: no JSON: {shown(error, 120)}") from None
    if not isinstance(found, dict):
        raise FormatError(f"{shown(path)}: a {type(found).__name__}, expected a JSON object")
    return found


def _check(config: Mapping[str, Any], where: str) -> None:
    """Raises ModelError for all that is no plain LoRA."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{where}: {CONFIG}: peft_type {shown(kind, 40)!r}; edgeq converts 'LORA'")
    problems = {key: why for key, why in REFUSED.items() if config.get(key)}
    problems |= {k: "a method that edgeq does not know" for k, v in config.items()
                 if (k.startswith("use_") or k.endswith("_config")) and v and k not in (*KNOWN, *problems)}  # fmt: skip
    if config.get("bias", "none") != "none":
        problems["bias"] = "biases were trained beside the adapter"
    init = config.get("init_lora_weights", True)
    if not isinstance(init, bool) and init is not None and init not in INITIAL:
        raise ModelError(
            f"{where}: {CONFIG}: init_lora_weights is {shown(init, 60)}: training began with another base than the "
            "model's. Save the adapter with PEFT for the model's own (path_initial_model_for_weight_conversion of "
            "save_pretrained), or merge it there (merge_and_unload) and convert the model"
        )
    for key, why in problems.items():
        raise ModelError(
            f"{where}: {CONFIG}: {key} is {shown(config[key], 60)}: {why}, which a GGUF adapter cannot hold. "
            "Merge it with PEFT (merge_and_unload), then convert the model"
        )


def _tensors(folder: Path) -> dict[str, F32]:
    path = folder / WEIGHTS
    if not is_file(path):
        pickled = folder / "adapter_model.bin"
        hint = "; adapter_model.bin is a pickle, which edgeq does not load: save it anew" if pickled.is_file() else ""
        raise UsageError(f"{shown(folder)}: {WEIGHTS} is missing{hint}")
    found = {}
    for tensor in read_tensors(path):
        if tensor.dtype not in FLOATS:
            raise FormatError(f"{shown(path)}: tensor {shown(tensor.name)}: {tensor.dtype}, expected floats")
        with np.errstate(over="ignore", invalid="ignore"):
            found[tensor.name] = decode(tensor.array(), tensor.dtype)
    return found


def _number(config: Mapping[str, Any], key: str, where: str) -> float:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e9:
        raise ModelError(f"{where}: {CONFIG}: {key} is {shown(value, 40)}; expected a number over 0")
    return float(value)


def _for_module(config: Mapping[str, Any], patterns: str, default: str, module: str, where: str) -> float | None:
    """A number that may differ by module: that of the first pattern that is the end of the module's name; None where
    that cannot be known, after a regular expression that could take forever."""
    given = config.get(patterns) or {}
    if not isinstance(given, dict):
        raise ModelError(f"{where}: {CONFIG}: {patterns} is {shown(given, 40)}; expected a JSON object")
    for pattern in given:
        if not PATTERN.fullmatch(pattern):
            return None
        if re.match(rf"(.*\.)?({pattern})$", module):
            return _number(given, pattern, where)
    return _number(config, default, where)
