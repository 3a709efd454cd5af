"""What the name of a model says of it: SmolLM2-135M-Instruct is SmolLM2 of 135M weights, tuned for instructions.

    parts("gemma-3-270m-it")   {"basename": "gemma-3", "size_label": "270M", "finetune": "it"}

The words are read as llama.cpp's converter reads ordinary names, so that the keys are the same.
"""

from __future__ import annotations

import re

# Digits and letters of ASCII alone: a Kelvin sign is no K.
VERSION = re.compile(r"(v|iter)?\d+(\.\d+)*", re.IGNORECASE | re.ASCII)
FORMAT = re.compile(r"i?q\d(_\w)*|b?fp?(16|32)", re.IGNORECASE | re.ASCII)
SIZE = re.compile(r"(?P<more>a|\d+x)?(?P<count>\d+([._]\d+)?)(?P<unit>[kmbt])(?P<tenth>\d)?", re.IGNORECASE | re.ASCII)
SIZES = ("small", "mini", "medium", "large", "xl", "xxl")
TUNED = ("chat", "instruct", "vision", "lora")


def title(name: str) -> str:
    """A name in words, with capitals but where there are numbers or capitals already."""
    words = name.replace("-", " ").split()
    plain = (w.title() if w.islower() and not re.match(r"v\d+(\.\d+)*$|\d", w) else w for w in words)
    return " ".join(plain) or "model"


def parts(name: str, weights: int = 0) -> dict[str, str]:
    """Keys below `general.` that a name without spaces gives; none where it is but a name. `weights`: how many the
    model has, 0 if that is not known; a number far from it is no size, but a length of texts."""
    words = [] if " " in name else [w for w in name.split("-") if w]
    read = [_read(word, weights) if i else _first(word) for i, word in enumerate(words)]
    if any(kind == "size_label" and any(c.isdigit() for c in text) for kind, text in read):
        read = [("", text) if kind == "size_label" and text.isalpha() else (kind, text) for kind, text in read]
    base = 0
    while base < len(read) and (read[base][0] == "version" or (not read[base][0] and read[base][1][0].isalpha())):
        base += 1
    if base == len(read):  # a version at the very end is the model's, not part of its name
        while base and read[base - 1][0] == "version":
            base -= 1
    found: dict[str, list[str]] = {}
    for kind, text in read[base:]:
        if kind != "format" and not (kind == "size_label" and text in found.get(kind, ())):
            found.setdefault(kind or "finetune", []).append(text)
    if found and base:
        found["basename"] = [text for _, text in read[:base]]
    return {kind: "-".join(texts) for kind, texts in found.items()}


def _first(word: str) -> tuple[str, str]:
    """The kind of the first word, or of one that names no size and no tuning, and how it is written."""
    if VERSION.fullmatch(word):
        return "version", word
    return ("format", word.upper()) if FORMAT.fullmatch(word) else ("", word)


def _read(word: str, weights: int) -> tuple[str, str]:
    kind, text = _first(word)
    size = SIZE.fullmatch(word)
    if kind:
        return kind, text
    if size:
        count = size["count"].replace("_", ".") + (f".{size['tenth']}" if size["tenth"] else "")  # 7b1 is 7.1B
        unit = size["unit"].upper()
        label = f"{size['more'] or ''}{count}{unit}"
        if weights and not size["more"] and count.count(".") < 2:
            off = abs(float(count) * 1000.0 ** "_KMBT".index(unit) - weights)
            if off > 7 * weights / 8:
                return "finetune", label.replace(unit, unit.lower())
        return "size_label", label
    if word.lower() in SIZES:
        return "size_label", word
    return ("finetune" if word.lower() in TUNED else ""), word
