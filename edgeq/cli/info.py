"""`edgeq info`: what is in a model file, and the memory that running it takes. Loads no weight."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import click

from edgeq import gguf, registry
from edgeq.cli.show import count, size
from edgeq.cli.terminal import Out
from edgeq.errors import BackendError, EdgeqError, UsageError, shown

if TYPE_CHECKING:
    from edgeq.model import Model
    from edgeq.program import Program

SHOWN_ELEMENTS = 6  # of a metadata array
# What the process takes beside the model, and bytes of a token of the vocabulary: peak memory of `edgeq run` on models
# of 300 to 262144 tokens, less what `estimate` adds up otherwise (Python 3.11, Linux, x86-64).
PROCESS, PER_TOKEN = 34_000_000, 235


@click.command()
@click.argument("model")
@click.option("--context", "-c", type=click.IntRange(1, 2**31 - 1), help="Positions to estimate memory for.")
@click.option(
    "--kv", default="F16", metavar="TYPE", help="How keys and values are kept: F16, F32, Q8_0 or Q4_0."
)
@click.option("--tensors", is_flag=True, help="List all tensors.")
@click.option("--metadata", is_flag=True, help="List all metadata.")
@click.option(
    "--program", is_flag=True, help="Print the program that the model is lowered to, as the backend runs it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    model: str, context: int | None, kv: str, tensors: bool, metadata: bool, program: bool, as_json: bool
) -> None:
    """Show what MODEL is: architecture, sizes, tensor types, context, tokenizer, template, memory."""
    path = registry.resolve(model)
    with gguf.open(path) as file:
        facts = examine(file)
        loaded = estimate(str(path), context, kv.upper(), program)
        facts |= {"memory": loaded}
        if tensors:
            facts["tensors"] = [tensor_facts(t) for t in file.tensors.values()]
        if metadata:
            facts["metadata"] = {key: value_facts(file.metadata, key) for key in file.metadata}
    lines = [json.dumps(facts, indent=1)] if as_json else text(facts)
    Out().write("\n".join(lines) + "\n")


def examine(file: gguf.GGUFFile) -> dict[str, Any]:
    """What the file says of itself, as JSON types. Sizes are bytes."""
    get = file.metadata.get
    arch = get("general.architecture")
    weights = sum(elements(t) for t in file.tensors.values())
    nbytes = sum(t.nbytes for t in file.tensors.values())
    return {
        "path": file.path,
        "parts": len(file.parts),
        "size": sum(p.size for p in file.parts),
        "gguf": file.version,
        "name": get("general.name"),
        "architecture": arch,
        "parameters": weights,
        "bits_per_weight": round(8 * nbytes / weights, 3) if weights else None,
        "layers": get(f"{arch}.block_count"),
        "width": get(f"{arch}.embedding_length"),
        "context": get(f"{arch}.context_length"),
        "types": types(file),
        "tokenizer": tokenizer_facts(file.metadata),
        "template": template_facts(get("tokenizer.chat_template")),
        "warnings": list(file.warnings),
    }


def elements(tensor: gguf.Tensor) -> int:
    """Weights in a tensor."""
    n = 1
    for axis in tensor.shape:
        n *= axis
    return n


def types(file: gguf.GGUFFile) -> dict[str, dict[str, Any]]:
    """Per tensor type, by bytes: tensors, weights, bytes."""
    found: dict[str, dict[str, Any]] = {}
    for t in file.tensors.values():
        row = found.setdefault(t.format.name, {"tensors": 0, "weights": 0, "bytes": 0})
        row["tensors"] += 1
        row["weights"] += elements(t)
        row["bytes"] += t.nbytes
    return dict(sorted(found.items(), key=lambda item: -item[1]["bytes"]))


def tokenizer_facts(metadata: gguf.Metadata) -> dict[str, Any] | None:
    """Kind, pre-tokenizer, size and special ids of the vocabulary; None without one."""
    if "tokenizer.ggml.model" not in metadata:
        return None
    tokens = metadata.get("tokenizer.ggml.tokens", ())
    ids = {
        role: metadata.get(f"tokenizer.ggml.{role}_token_id")
        for role in ("bos", "eos", "eot", "unknown", "padding")
    }
    return {
        "model": metadata["tokenizer.ggml.model"],
        "pre": metadata.get("tokenizer.ggml.pre"),
        "tokens": len(tokens) if hasattr(tokens, "__len__") else None,
        "special": {role: i for role, i in ids.items() if i is not None},
    }


def template_facts(template: Any) -> dict[str, Any] | None:
    """Length and hash of the chat template, and whether it is one that is known to be harmless; None
    without one."""
    if not isinstance(template, str):
        return None
    from edgeq.tokenizer.chat import ChatTemplate

    made = ChatTemplate(template, helper=False)
    digest = hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()
    return {"characters": len(template), "sha256": digest, "known": made.is_known}


def opened(path: str, context: int | None, kv: str) -> Model:
    """The model on the default backend; on `reference` where no other works: nothing is run here."""
    from edgeq.model import load

    try:
        return load(path, context=context, kv_type=kv)
    except BackendError:
        return load(path, backend="reference", context=context, kv_type=kv)


def estimate(path: str, context: int | None, kv: str, program: bool) -> dict[str, Any]:
    """Bytes that a run which fills the context has in memory at its peak, if all of the file is read; or why the
    model cannot be run. With `program` its text too."""
    try:
        with opened(path, context, kv) as model:
            refuse_kv_type(model)
            facts: dict[str, Any] = {
                "context": model.context,
                "kv_type": kv,
                "file": sum(p.size for p in model.file.parts),
                "keys_and_values": model.kv_bytes(model.context),
                "working": PROCESS + PER_TOKEN * model.vocab
                + activations(model.executable.program, min(model.context, model.options.chunk)),
            }
            facts["total"] = facts["file"] + facts["keys_and_values"] + facts["working"]
            if program:
                facts["program"] = model.executable.program.lines()
            return facts
    except EdgeqError as error:
        if program:
            raise
        return {"error": str(error)}


def refuse_kv_type(model: Model) -> None:
    """Raises UsageError where sessions of this model cannot have its KV type."""
    from edgeq.quants import FORMATS

    block = FORMATS[model.kv_type].block
    for cache in model.plain.caches:
        if cache.head_dim % block:
            raise UsageError(
                f"KV type {model.kv_type}: layer {cache.layer} has heads of {cache.head_dim}, expected a multiple "
                f"of {block}; use F16 or F32"
            )


def activations(program: Program, rows: int) -> int:
    """Bytes that a step of `rows` tokens touches beside weights, keys and values, about: buffers in float32
    where the arena has them, and two and three quarters a number for the rounded copies that linears read. More is
    mapped: buffers of wanted rows, the logits among them, have one row in a prompt and room for all."""
    from edgeq.passes.place import place

    offsets, _ = place(program)
    spans = sorted((at, at + b.width) for at, b in zip(offsets, program.buffers) if not b.outputs)
    floats = end = 0
    for first, last in spans:  # buffers whose lives do not overlap share places
        floats += max(0, last - max(first, end))
        end = max(end, last)
    return rows * floats * 27 // 4


def tensor_facts(tensor: gguf.Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "type": tensor.format.name,
        "shape": list(tensor.shape),
        "bytes": tensor.nbytes,
        "part": tensor.part,
        "offset": tensor.offset,
    }


def value_facts(metadata: gguf.Metadata, key: str) -> dict[str, Any]:
    """Type and value of a key; of an array its length and first elements."""
    kind, value = metadata.type(key), metadata[key]
    if kind.startswith("array"):
        return {"type": kind, "length": len(value), "first": list(value[:SHOWN_ELEMENTS])}
    return {"type": kind, "value": value}


def text(facts: dict[str, Any]) -> list[str]:
    """The report for people. What the file says goes through `shown`."""
    program = facts["memory"].pop("program", None)
    if program is not None:
        return [shown(line, 400) for line in program]
    parts = f", {facts['parts']} parts" if facts["parts"] > 1 else ""
    bits = f"{facts['bits_per_weight']:.2f}" if facts["bits_per_weight"] is not None else "-"
    rows = [
        ("file", f"{shown(facts['path'])}, {size(facts['size'])}, GGUF {facts['gguf']}{parts}"),
        ("name", _word(facts["name"])),
        (
            "architecture",
            f"{_word(facts['architecture'])}, {_word(facts['layers'])} layers, width {_word(facts['width'])}",
        ),
        ("parameters", f"{count(facts['parameters'])}, {bits} bits per weight"),
        ("context", f"trained for {_word(facts['context'])} tokens"),
        ("tokenizer", _tokenizer(facts["tokenizer"])),
        ("template", _template(facts["template"])),
        ("memory", _memory(facts["memory"])),
        *(("warning", shown(w, 400)) for w in facts["warnings"]),
    ]
    lines = [f"{title:14}{value}" for title, value in rows]
    lines += [
        "",
        *_table(
            ["type", "tensors", "weights", "bytes"],
            [
                [name, str(row["tensors"]), count(row["weights"]), size(row["bytes"])]
                for name, row in facts["types"].items()
            ],
        ),
    ]
    if "tensors" in facts:
        lines += [
            "",
            *_table(
                ["tensor", "type", "shape", "bytes"],
                [
                    [shown(t["name"], 80), t["type"], " x ".join(map(str, t["shape"])), size(t["bytes"])]
                    for t in facts["tensors"]
                ],
            ),
        ]
    if "metadata" in facts:
        lines += ["", *(f"{shown(key, 80)}: {_value(value)}" for key, value in facts["metadata"].items())]
    return lines


def _word(value: Any) -> str:
    return "not given" if value is None else shown(value, 80)


def _tokenizer(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "none"
    special = ", ".join(f"{role} {_word(i)}" for role, i in facts["special"].items())
    pre = f", {_word(facts['pre'])}" if facts["pre"] is not None else ""
    return (
        f"{_word(facts['model'])}{pre}, {_word(facts['tokens'])} tokens; {special or 'no special ids given'}"
    )


def _template(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "none: prompts are completed as they are, a chat needs --template"
    how = "known to be harmless" if facts["known"] else "not a known one: rendered in a helper process"
    return f"{facts['characters']} characters, {how}"


def _memory(facts: dict[str, Any]) -> str:
    if "error" in facts:
        return f"not known: {shown(facts['error'], 300)}"
    parts = (
        f"file {size(facts['file'])}, keys and values {size(facts['keys_and_values'])} ({facts['kv_type']})"
    )
    total = f"{size(facts['total'])} at a context of {facts['context']}"
    return f"{total}: {parts}, process and working memory {size(facts['working'])}"


def _value(facts: dict[str, Any]) -> str:
    if "length" in facts:
        first = ", ".join(shown(repr(v) if isinstance(v, str) else v, 40) for v in facts["first"])
        more = ", …" if facts["length"] > len(facts["first"]) else ""
        return f"{facts['type']} of {facts['length']}: {first}{more}"
    return f"{facts['type']} {shown(facts['value'], 160)}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Columns: the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 or head[i] == "type" else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]
