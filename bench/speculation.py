"""What drafts are worth: answers with and without them in turn, and whether they are the same.

    python -m bench.speculation MODEL [--draft FILE] [--tasks rewrite free] [--rounds N] [-n TOKENS]

Tasks: `rewrite` repeats a piece of code with one change, greedily: most of the answer is in the prompt. `free` is a
story, sampled, with a penalty on repetition: nothing of it is there. Each answer starts as in a new process, knowing
nothing of what steps take; prompts are run once and do not count. Per task: tokens a second after the first one,
medians, and the median of the paired ratios with its 95 % bootstrap interval.

The exit status is 1 where two answers differ, and with --check where `rewrite` is less than 1.5 times as fast or `free`
more than 3 % slower.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import edgeq
from edgeq.bench.stats import ratio
from edgeq.cli.run import chat_template
from edgeq.generate import Generation, start
from edgeq.session import Session
from edgeq.speculation.pays import Costs

CODE = Path(__file__).parent / "texts" / "code.txt"


class Task(NamedTuple):
    """`least`: ratio that --check asks for."""

    prompt: str
    settings: dict[str, Any]
    least: float


TASKS = {
    "rewrite": Task(
        "Repeat this code, but the default weight is 2.0. Answer with the code only.\n\n"
        f"```python\n{CODE.read_text(encoding='utf-8')}```\n", {"temperature": 0.0}, 1.5,
    ),
    "free": Task(
        "Write a story about a lighthouse keeper who finds a letter.",
        {"temperature": 1.0, "seed": 1, "repeat_penalty": 1.2}, 0.97,
    ),
}  # fmt: skip


def encoded(model: edgeq.Model, text: str) -> list[int]:
    """A question through the file's template; as it is where there is none."""
    template = chat_template(model, None)
    if template is None:
        return model.tokenize(text)
    try:
        template.prepare()
        return template.encode(model.tokenizer, [{"role": "user", "content": text}])
    finally:
        template.close()


def answered(session: Session, prompt: Sequence[int], task: Task, n: int, drafts: dict[str, Any]) -> Generation:
    session.costs = Costs(1 + session.most_ahead)
    answer = start(session, prompt, max_tokens=n, ignore_end=True, **task.settings, **drafts)
    for _ in answer:
        pass
    return answer


def compared(model: edgeq.Model, name: str, draft: edgeq.Model | None, rounds: int, n: int) -> float:
    """Runs a task, prints a line; how many times as fast it was with drafts, 0 where answers differed."""
    task = TASKS[name]
    prompt, drafts = encoded(model, task.prompt), {"draft": draft} if draft else {}
    sessions = [model.session(context=len(prompt) + n) for _ in range(2)]
    speeds: tuple[list[float], list[float]] = ([], [])
    for turn in range(-1, rounds):  # the first turn runs the prompts and is not counted
        texts = {}
        for way in (0, 1) if turn % 2 else (1, 0):
            answer = answered(sessions[way], prompt, task, n, drafts if way else {"draft_tokens": 0})
            texts[way] = answer.ids
            if turn >= 0:
                speeds[way].append((len(answer.ids) - 1) / answer.timings.generate)
            if way:
                usage = answer.usage
        if texts[0] != texts[1]:
            print(f"{name}: the answers differ: {texts[0]} and {texts[1]}")
            return 0.0
    found = ratio(speeds[1], speeds[0])
    plain, faster = (f"{median(s):.1f}" for s in speeds)
    print(f"{name:8} {len(prompt)} + {n} tokens: {plain} -> {faster} tokens/s, {found}; {usage.drafted} drafted, "
          f"{usage.accepted} accepted; {1 + rounds} pairs of answers, all alike", flush=True)  # fmt: skip
    return found.middle


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.speculation", description="What drafts are worth.")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--draft", help="a smaller model that drafts too")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-n", type=int, default=256, help="tokens of an answer")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--backend")
    parser.add_argument("--check", action="store_true", help="exit 1 where a task is slower than it must be")
    args = parser.parse_args(words)
    model = edgeq.load(args.model, threads=args.threads, backend=args.backend)
    draft = edgeq.load(args.draft, backend=model.backend) if args.draft else None
    found = {name: compared(model, name, draft, args.rounds, args.n) for name in args.tasks}
    least = {name: TASKS[name].least if args.check else 1e-9 for name in found}
    return int(any(found[name] < least[name] for name in found))


if __name__ == "__main__":
    sys.exit(main())
