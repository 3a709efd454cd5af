"""The options of `edgeq run`, as tables: names as other engines have them, and what --help says."""

from __future__ import annotations

import os

from edgeq.cli.options import option
from edgeq.errors import UsageError, shown


def _pair(word: str) -> tuple[int, str]:
    layer, sign, backend = word.partition(":")
    if not sign or not backend or not layer.isdigit():
        raise UsageError(f"expected LAYER:BACKEND, as 12:numba; found {shown(word, 40)!r}")
    return int(layer), backend


def adapter(word: str) -> tuple[str, float]:
    """FILE, or FILE:SCALE; what stands behind the last colon is part of the name unless it is a number.

    A file or folder whose name is the whole word is taken as it is, with scale 1."""
    if os.path.exists(word):
        return word, 1.0
    name, _, scale = word.rpartition(":")
    try:
        return (name, float(scale)) if name else (word, 1.0)
    except ValueError:
        return word, 1.0


def _bias(word: str) -> tuple[int, float]:
    token, sign, value = word.partition("=")
    if not sign or not token.isdigit():
        raise UsageError(f"expected ID=BIAS, as 15=-2.5 or 15=-inf; found {shown(word, 40)!r}")
    return int(token), float(value)


MAIN = (
    option("-f --file", str, "FILE", "read the prompt from a file; - is stdin"),
    option(
        "-n --max-tokens", int, "N", "stop after N tokens; default: at the model's end or that of the context"
    ),
    option("--system", str, "TEXT", "the system message"),
    option("--template", str, "NAME|FILE", "a chat template other than the file's own"),
    option(
        "--raw",
        None,
        "",
        "complete the prompt as it is, without a chat template, special tokens in it included",
    ),
    option("--stop", str, "TEXT", "stop before this text; may be given several times", True),
    option("--lora", adapter, "FILE[:SCALE]", "an adapter beside the weights; several add up; scale 1 otherwise", True),
    option("--ignore-end", None, "", "go on after the model's end tokens"),
    option("--json", None, "", "print one JSON object at the end instead of text"),
    option("--stats", None, "", "print speed and memory on stderr"),
    option("-q --quiet", None, "", "print no notes on stderr"),
    option("-h --help", None, "", "show this text"),
)
MACHINE = (
    option("-t --threads", int, "N", "threads; default: as many as there are useful cores"),
    option("-c --context", int, "N", "positions; default: the trained context, 8192, or what memory allows"),
    option("--kv", str.upper, "TYPE", "how keys and values are kept: F16, F32, Q8_0 or Q4_0"),
    option("--backend", str, "NAME", "native, numba, reference, or one that another package adds"),
    option("--isa", str, "NAME", "a variant of the native kernels; default: the best that works"),
    option(
        "--split",
        _pair,
        "LAYER:BACKEND",
        "run layers from LAYER on with another backend; several times",
        True,
    ),
    option("--draft", str, "MODEL", "a smaller model with the same vocabulary that drafts for this one"),
    option("--draft-tokens", int, "N", "most tokens drafted at once; default: as many as pay; 0 drafts none"),
    option("--no-lookup", None, "", "draft nothing from the text so far; drafts never change the answer"),
    option("--reproducible", None, "", "same text however the prompt is cut up or cached; slower"),
)
SAMPLING = (
    option("--seed", int, "N", "the same seed gives the same text; default: a random one"),
    option("--temp --temperature", float, "X", "0 is greedy; default 0.8"),
    option("--top-k", int, "N", "keep the N most probable tokens; 0 is off; default 40"),
    option("--top-p", float, "X", "keep the fewest that hold this probability; 1 is off; default 0.95"),
    option("--min-p", float, "X", "keep those at least X times as probable as the first; default 0.05"),
    option("--typical --typical-p", float, "X", "locally typical sampling; 1 is off; default 1"),
    option("--repeat-penalty", float, "X", "divide logits of recent tokens; 1 is off; default 1"),
    option("--repeat-last-n", int, "N", "how far penalties look back; -1 is all; default 64"),
    option("--frequency-penalty", float, "X", "subtract per occurrence; default 0"),
    option("--presence-penalty", float, "X", "subtract once if there is any; default 0"),
    option("--dry-multiplier", float, "X", "strength of DRY against repeated runs; default 0, off"),
    option("--dry-base", float, "X", "growth of DRY with length; default 1.75"),
    option("--dry-allowed-length", int, "N", "repeated length that DRY leaves alone; default 2"),
    option("--dry-penalty-last-n", int, "N", "how far DRY looks back; -1 is all; default 64"),
    option(
        "--dry-sequence-breaker --dry-sequence-breakers",
        str,
        "TEXT",
        "no repetition across it; several times",
        True,
    ),
    option("--xtc-probability", float, "X", "chance that XTC acts; default 0"),
    option("--xtc-threshold", float, "X", "XTC drops tokens above it but the last; default 0.1"),
    option("--mirostat", int, "N", "2 is Mirostat 2; default 0, off"),
    option("--mirostat-ent --mirostat-tau", float, "X", "Mirostat's target surprise in bits; default 5"),
    option("--mirostat-lr --mirostat-eta", float, "X", "Mirostat's learning rate; default 0.1"),
    option("--logit-bias", _bias, "ID=BIAS", "add to a token's logit, -inf bans; several times", True),
)
HEAD = """Usage: edgeq run [MODEL] [PROMPT] [OPTIONS]

  Answer PROMPT with MODEL: a GGUF file, a name that `edgeq pull --list` shows,
  hf:OWNER/REPO[:FILE] or a URL. A single argument is MODEL if it names a file or
  a known model or ends in .gguf, else the prompt for the default model. Without
  PROMPT it is read from --file or stdin; on a terminal there is a chat instead.
  Generated text alone goes to stdout."""
