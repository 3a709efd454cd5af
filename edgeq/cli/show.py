"""What is said of an answer: why it ended, speed, memory; and numbers as people read them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgeq.cli.terminal import say

if TYPE_CHECKING:
    from edgeq.generate import Generation
    from edgeq.model import Model


def size(nbytes: float) -> str:
    """Bytes with a unit, three digits or so."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if nbytes < 1024 or unit == "GiB":
            break
        nbytes /= 1024
    return f"{nbytes:.0f} {unit}" if unit == "bytes" else f"{nbytes:.1f} {unit}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (-1,)) -> list[str]:
    """Columns two spaces apart: those numbered in `left` to the left, the others (numbers) to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    words = {i % len(widths) for i in left}
    return [
        "  ".join(c.ljust(w) if i in words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in cells
    ]


def alike(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Tensors and what became of each, summed up: the first one's name, what became of it, how many there are."""
    found: dict[str, tuple[str, str, int]] = {}
    for name, what in rows:
        first, _, n = found.get(what, (name, what, 0))
        found[what] = first, what, n + 1
    return list(found.values())


def count(n: float) -> str:
    """A large number, as 134.5 M."""
    for unit in ("", " K", " M", " B"):
        if n < 1000 or unit == " B":
            break
        n /= 1000
    return f"{n:.0f}" if not unit else f"{n:.1f}{unit}"


def many(n: int, what: str) -> str:
    """So many of what is counted: 1 tensor, 2 tensors."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def rate(tokens: int, seconds: float) -> str:
    """Tokens per second."""
    return f"{tokens / seconds:.1f} tokens/s" if tokens > 0 and seconds > 0 else "-"


def peak_memory() -> int | None:
    """Most bytes that this process ever had in memory, mapped files included; None where the system does
    not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def stats(model: Model, answer: Generation, loaded: float | None = None) -> list[str]:
    """Speed and memory of an answer, as lines."""
    usage, times = answer.usage, answer.timings
    new = usage.prompt - usage.cached
    cached = f" ({usage.cached} of {usage.prompt} were cached)" if usage.cached else ""
    lines = [] if loaded is None else [f"load      {loaded * 1e3:.0f} ms"]
    lines += [
        f"prompt    {new} tokens{cached} in {times.prompt * 1e3:.0f} ms, {rate(new, times.prompt)}",
        f"first     token after {times.first_token * 1e3:.0f} ms",
        f"generate  {usage.generated} tokens, {rate(usage.generated - 1, times.generate)}",
    ]
    if usage.drafted:
        share = 100 * usage.accepted / usage.drafted
        lines.append(f"drafts    {usage.drafted} tokens, {usage.accepted} of them accepted ({share:.0f} %)")
    peak = peak_memory()
    parts = [
        f"file {size(sum(p.size for p in model.file.parts))}",
        f"keys and values {size(answer.session.state.nbytes)} when full",
    ]
    lines.append("memory    " + ", ".join(parts + ([f"peak {size(peak)}"] if peak else [])))
    return lines


def ending(answer: Generation) -> None:
    """Says why an answer stopped, where the model itself did not end it."""
    n = len(answer.ids)
    if answer.finish_reason == "length":
        say(f"stopped after {n} tokens, as -n asked")
    elif answer.finish_reason == "context":
        say(f"stopped after {n} tokens: the context of {answer.session.context} is full (--context for more)")


def report(model: Model, answer: Generation, loaded: float) -> dict[str, Any]:
    """What --json prints; times are seconds."""
    usage, times = answer.usage, answer.timings
    return {
        "text": answer.text,
        "ids": answer.ids,
        "finish_reason": answer.finish_reason,
        "usage": {name: getattr(usage, name) for name in usage.fields},
        "timings": {
            "load": loaded,
            "prompt": times.prompt,
            "first_token": times.first_token,
            "generate": times.generate,
        },
        "model": {"path": model.file.path, "architecture": model.arch, "context": model.context},
        "seed": answer.sampler.seed,
    }
