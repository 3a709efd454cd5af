"""How far edgeq and llama.cpp are from exact arithmetic on one model.

    python -m bench.fidelity MODEL --oracle PROGRAM [--runs native native:avx2 numba ...]

Exact means the reference backend: float32 on dequantized weights, keys and values in float32. A text is cut
into chunks, each run as a sequence of its own; over all positions: mean KL divergence from exact, share of
positions with the same likeliest token, RMS error of the logits (each row about its mean). Then greedy
continuations, token by token as a session does them, against llama.cpp's: where they first differ, the exact
logits of the two tokens may differ by less than four times the RMS error of llama.cpp. PROGRAM is built by
models/oracle/build.sh.

The exit status is 1 when a run misses a bound: mean KL at most 0.7 of llama.cpp's, the likeliest token right
at more positions, the greedy bound above.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgeq
from edgeq.backends.base import Batch
from models.oracle import Oracle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]

TEXT = Path(__file__).parent / "texts" / "mixed.txt"
LLAMA = "llama.cpp"
KL_SHARE = 0.7
MARGIN_RMS = 4.0
ROWS = 16  # positions compared at a time: a vocabulary of 262,144 in float64 is 2 MB per position


@dataclass
class Distance:
    """Sums over positions, from which the means follow."""

    positions: int = 0
    kl: float = 0.0
    agree: int = 0
    squares: float = 0.0

    def add(self, exact: Logits, found: Logits) -> None:
        """Both [T, V]: logits of the same positions."""
        for at in range(0, len(exact), ROWS):
            p, q = (x[at : at + ROWS].astype(np.float64) for x in (exact, found))
            p -= p.mean(1, keepdims=True)
            q -= q.mean(1, keepdims=True)
            self.squares += float(((p - q) ** 2).mean(1).sum())
            self.agree += int((p.argmax(1) == q.argmax(1)).sum())
            lp, lq = _log_softmax(p), _log_softmax(q)
            self.kl += float((np.exp(lp) * (lp - lq)).sum())
            self.positions += len(p)

    @property
    def means(self) -> dict[str, float]:
        n = self.positions
        return {"kl": self.kl / n, "top1": self.agree / n, "rms": (self.squares / n) ** 0.5}


@dataclass
class Greedy:
    """Greedy continuations of one run against llama.cpp's."""

    prompts: int = 0
    same: int = 0
    parted: list[dict[str, Any]] = field(
        default_factory=list
    )  # where, which tokens, gap of their exact logits


def _log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = x - x.max(1, keepdims=True)
    total: NDArray[np.float64] = np.log(np.exp(x).sum(1, keepdims=True))
    return x - total


class Exact:
    """The reference backend's logits, kept on disk when a folder is given: it is slow."""

    def __init__(self, path: Path, context: int, cache: Path | None) -> None:
        self.model = edgeq.load(path, backend="reference", context=context, kv_type="F32")
        self.cache = cache
        self.key = hashlib.sha256(path.read_bytes()).hexdigest() if cache else ""

    def logits(self, ids: Sequence[int]) -> Logits:
        """float32 [T, V]"""
        if self.cache is None:
            return self.model.logits(ids)
        name = hashlib.sha256(f"{self.key} {self.model.context} {list(ids)}".encode()).hexdigest()
        file = self.cache / f"{name}.npy"
        if not file.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part.npy")
            np.save(part, self.model.logits(ids))
            part.replace(file)
        found: Logits = np.load(file)
        return found


def chunks(ids: Sequence[int], bos: int | None, size: int, total: int) -> list[list[int]]:
    """Whole chunks of `size` tokens, `total` or more; each starts with BOS where the file asks for it."""
    own = size - (bos is not None)
    head = [] if bos is None else [bos]
    cut = [head + list(ids[at : at + own]) for at in range(0, len(ids) - own + 1, own)]
    wanted = -(-total // size)
    if len(cut) < wanted:
        found = f"the text gives {len(cut)} chunks of {size} tokens"
        raise SystemExit(f"{found}, {wanted} are needed: --text or --tokens")
    return cut[:wanted]


def open_run(path: Path, name: str, context: int, threads: int) -> edgeq.Model:
    """A run is BACKEND or BACKEND:ISA, as native:avx2. Keys and values in F16."""
    backend, _, isa = name.partition(":")
    model = edgeq.load(
        path, backend=backend, isa=isa or None, context=context, kv_type="F16", threads=threads
    )
    ran = getattr(model.executable, "isa", isa)
    if isa and ran != isa:
        raise SystemExit(f"{name}: {ran} ran instead")
    return model


def continuation(model: edgeq.Model, prompt: Sequence[int], n: int) -> list[int]:
    """n greedy ids, one step each; a tie goes to the lower id, an end token does not end it."""
    state = model.executable.new_state(1, len(prompt) + n, "F16")
    row = model.executable.step(state, Batch.single(prompt, 0))[0][0]
    out = [int(row.argmax())]
    while len(out) < n:
        row = model.executable.step(state, Batch.single(out[-1:], len(prompt) + len(out) - 1))[0][0]
        out.append(int(row.argmax()))
    return out


def measure(
    exact: Exact, oracle: Oracle, runs: dict[str, edgeq.Model], parts: Sequence[Sequence[int]], step: int,
    say: Callable[[str], None],
) -> dict[str, Distance]:  # fmt: skip
    """Distance of llama.cpp and of every run from exact, over all chunks. `step`: most tokens of one step."""
    found = {name: Distance() for name in (LLAMA, *runs)}
    for i, part in enumerate(parts):
        wanted = exact.logits(part)
        found[LLAMA].add(wanted, oracle.logits(part, batch=step))
        for name, model in runs.items():
            found[name].add(wanted, np.concatenate(list(model.logits_chunks(part, step))))
        now = "  ".join(f"{name} {distance.means['kl']:.5f}" for name, distance in found.items())
        say(f"chunk {i + 1} of {len(parts)}: mean KL so far: {now}")
    return found


def compare_greedy(
    exact: Exact, oracle: Oracle, runs: dict[str, edgeq.Model], prompts: Sequence[Sequence[int]], n: int,
    rms: float,
) -> dict[str, Greedy]:  # fmt: skip
    """Every run's continuations against llama.cpp's; gaps are of exact logits after the shared tokens."""
    theirs = [ids for ids, _ in oracle.greedy_of(prompts, n)]
    found = {name: Greedy(len(prompts)) for name in runs}
    for name, model in runs.items():
        for i, (prompt, wanted) in enumerate(zip(prompts, theirs, strict=True)):
            ours = continuation(model, prompt, n)
            at = next((k for k in range(n) if ours[k] != wanted[k]), None)
            if at is None:
                found[name].same += 1
                continue
            row = exact.logits([*prompt, *wanted[:at]])[-1]
            gap = abs(float(row[ours[at]]) - float(row[wanted[at]]))
            tokens = {LLAMA: wanted[at], "edgeq": ours[at], "exact": int(row.argmax())}
            ok = gap < MARGIN_RMS * rms
            found[name].parted.append({"prompt": i, "step": at, **tokens, "gap": gap, "ok": ok})
    return found


def misses(found: dict[str, Distance], greedy: dict[str, Greedy]) -> Iterator[str]:
    """One line for every bound that a run does not hold."""
    theirs = found[LLAMA].means
    for name, distance in found.items():
        ours = distance.means
        if name == LLAMA:
            continue
        if not ours["kl"] <= KL_SHARE * theirs["kl"]:
            share = ours["kl"] / theirs["kl"]
            yield f"{name}: mean KL {ours['kl']:.3g} is {share:.2f} of llama.cpp's, over {KL_SHARE}"
        if not ours["top1"] > theirs["top1"]:
            yield f"{name}: likeliest token agrees at {ours['top1']:.2%}, llama.cpp's at {theirs['top1']:.2%}"
    for name, result in greedy.items():
        for case in result.parted:
            if not case["ok"]:
                place = f"prompt {case['prompt']} parts at step {case['step']}"
                yield f"{name}: {place} with a gap of {case['gap']:.4f}"


def table(found: dict[str, Distance], greedy: dict[str, Greedy]) -> str:
    """What a reader wants to see, in Markdown."""
    theirs = found[LLAMA].means
    lines = [
        "| run | mean KL | of llama.cpp's | same top-1 | RMS logit error | greedy: same, parted, worst gap |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, distance in found.items():
        m = distance.means
        text = ""
        if name in greedy:
            g = greedy[name]
            worst = max((case["gap"] for case in g.parted), default=0.0)
            text = f"{g.same}, {len(g.parted)}, {worst:.4f} (bound {MARGIN_RMS * theirs['rms']:.4f})"
        share = m["kl"] / theirs["kl"]
        lines.append(f"| {name} | {m['kl']:.3g} | {share:.3g} | {m['top1']:.2%} | {m['rms']:.5f} | {text} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--oracle", required=True, help="the llama_oracle program")
    parser.add_argument(
        "--runs", nargs="+", default=["native"], help="BACKEND or BACKEND:ISA, as native:avx2"
    )
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--tokens", type=int, default=2048, help="at least so many positions")
    parser.add_argument("--chunk", type=int, default=256, help="positions per chunk")
    parser.add_argument("--step", type=int, default=512, help="tokens per step: 1 measures decoding")
    parser.add_argument(
        "--greedy", type=int, default=64, metavar="N", help="tokens of each continuation; 0: none"
    )
    parser.add_argument(
        "--prompt", type=int, default=32, help="tokens of each prompt: the first of every chunk"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="keep exact logits here (4 bytes × tokens × vocabulary)")
    parser.add_argument("--json", type=Path, help="write the result here")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    context = max(wanted.chunk, wanted.prompt + wanted.greedy)
    oracle = Oracle(wanted.oracle, wanted.model, wanted.threads)
    vocabulary = oracle.vocabulary()
    ids = oracle.tokenize([wanted.text.read_bytes()], add_special=False, parse_special=False)[0] or []
    parts = chunks(ids, vocabulary.bos if vocabulary.add_bos else None, wanted.chunk, wanted.tokens)
    exact = Exact(wanted.model, context, wanted.cache)
    with ExitStack() as stack:
        stack.enter_context(exact.model)
        runs = {
            name: stack.enter_context(open_run(wanted.model, name, context, wanted.threads))
            for name in wanted.runs
        }
        found = measure(exact, oracle, runs, parts, wanted.step, lambda line: print(line, file=sys.stderr))
        greedy: dict[str, Greedy] = {}
        if wanted.greedy:
            prompts = [part[: wanted.prompt] for part in parts]
            greedy = compare_greedy(exact, oracle, runs, prompts, wanted.greedy, found[LLAMA].means["rms"])
    missed = list(misses(found, greedy))
    print(
        f"{wanted.model.name}: {found[LLAMA].positions} positions in chunks of {wanted.chunk}, "
        f"{min(wanted.step, wanted.chunk)} a step\n"
    )
    print(table(found, greedy), *missed, sep="\n")
    if wanted.json:
        record = {
            "model": wanted.model.name, "sha256": hashlib.sha256(wanted.model.read_bytes()).hexdigest(),
            "text": wanted.text.name, "text_sha256": hashlib.sha256(wanted.text.read_bytes()).hexdigest(),
            "positions": found[LLAMA].positions, "chunk": wanted.chunk, "step": wanted.step,
            "threads": wanted.threads,
            "oracle": oracle.version().split("\n"), "machine": platform.machine(),
            "runs": {name: distance.means for name, distance in found.items()},
            "greedy": {name: asdict(result) for name, result in greedy.items()}, "missed": missed,
        }  # fmt: skip
        wanted.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
