"""Runs mutants one after the other on a tree, and writes the table."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

from edgeq import _lib
from native.toolchain import BuildError
from tests.mutants.mutant import Mutant
from tests.mutants.tree import Tree

SUITE = "tests"
COLUMNS = (("caught", "timeout"), ("timeout",), ("left out",), ("survived", "unbuilt"))


@dataclass(frozen=True)
class Verdict:
    """`state`: caught, timeout (caught by the time limit), survived, left out, or unbuilt (no valid mutant)."""

    mutant: Mutant
    state: str
    by: str
    seconds: float


def missing(mutant: Mutant) -> str:
    """What the mutant's tests need and this machine lacks; empty if nothing."""
    from tests.backends.conftest import ISAS, works

    lacking = [need for need in mutant.needs if not (works(need) if need in ISAS else shutil.which(need))]
    return ", ".join(lacking)


def judge(tree: Tree, mutant: Mutant, limit: float, named: bool) -> Verdict:
    began = monotonic()

    def verdict(state: str, by: str) -> Verdict:
        return Verdict(mutant, state, by, monotonic() - began)

    if lacking := missing(mutant):
        return verdict("left out", f"needs {lacking}")
    rounds: list[tuple[tuple[str, ...] | None, tuple[str, ...]]] = [(mutant.units, mutant.tests)]
    if not named:
        rounds.append((None, (SUITE,)))
    with tree.mutated(mutant):
        for units, tests in rounds:
            try:
                library = tree.build(mutant, units) if mutant.native and units != () else None
            except BuildError as error:
                return verdict("unbuilt", str(error)[-600:])
            for arguments in tests:
                result = tree.test(arguments, limit if tests is mutant.tests else 6 * limit, library)
                if result.state != "passed":
                    return verdict("timeout" if result.state == "timeout" else "caught", result.said)
    return verdict("survived", "")


def baseline(tree: Tree, mutants: Sequence[Mutant], limit: float) -> list[str]:
    """Runs every named test on the tree as it is; what does not pass."""
    asked = sorted({arguments for m in mutants if not missing(m) for arguments in m.tests})
    found = []
    for arguments in asked:
        result = tree.test(arguments, 3 * limit)
        if result.state != "passed":
            found.append(f"{arguments}: {result.said}")
    tree.keep_built()
    return found


def run(mutants: Sequence[Mutant], jobs: int, limit: float, named: bool) -> list[Verdict]:
    """Verdicts in the order of the mutants. SystemExit where the tests do not pass without a mutant."""
    if not _lib.available():  # or every mutant of the kernels would count as left out
        raise SystemExit(f"{_lib.why_not()}; `python native/build.py` builds the library")
    with tempfile.TemporaryDirectory(prefix="edgeq-mutants-", ignore_cleanup_errors=True) as scratch:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for i in range(jobs):
            tree = Tree(Path(scratch, str(i)))
            if broken := baseline(tree, mutants, limit):
                raise SystemExit("the tests do not pass without a mutant:\n" + "\n".join(broken))
            trees.put(tree)

        def one(mutant: Mutant) -> Verdict:
            tree = trees.get()
            try:
                found = judge(tree, mutant, limit, named)
            finally:
                trees.put(tree)
            print(f"{found.state:9} {found.seconds:6.1f} s  {mutant.name}  [{found.by}]", flush=True)
            return found

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, mutants))


def table(verdicts: Sequence[Verdict]) -> str:
    """Markdown: a row per group, then the survivors by name."""
    groups: dict[str, list[Verdict]] = {}
    for v in verdicts:
        groups.setdefault(v.mutant.group, []).append(v)
    rows = ["| group | mutants | caught | by the time limit | left out | survivors |", "|---|---|---|---|---|---|"]
    total = [0] * 5
    for group, found in groups.items():
        count = [sum(v.state in states for v in found) for states in COLUMNS]
        numbers = [len(found), *count]
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        rows.append(f"| {group} | {' | '.join(map(str, numbers))} |")
    rows.append(f"| all | {' | '.join(map(str, total))} |")
    bad = [v for v in verdicts if v.state in ("survived", "unbuilt")]
    rows += ["", "Survivors:" if bad else "No survivors.", *(f"- {v.mutant.name} {v.by}".rstrip() for v in bad)]
    late = [v for v in verdicts if v.state == "timeout"]
    rows += ["", "Caught by the time limit:", *(f"- {v.mutant.name}" for v in late)] if late else []
    return "\n".join(rows) + "\n"
