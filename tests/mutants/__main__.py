"""The command line of the mutants: see the package."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from time import monotonic

from tests.mutants.all import MUTANTS
from tests.mutants.run import run, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Shows that tests catch every mutant.")
    parser.add_argument("--only", default="", help="a regular expression: mutants whose group or name has it")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time, each in a tree of its own")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for the named tests of a mutant")
    parser.add_argument("--named", action="store_true", help="ask the named tests only, not the whole suite")
    parser.add_argument("--markdown", type=Path, help="write the table to a file")
    parser.add_argument("--list", action="store_true", help="name the mutants and end")
    args = parser.parse_args()
    chosen = [m for m in MUTANTS if re.search(args.only, f"{m.group} {m.name}")]
    if args.list:
        print("\n".join(f"{m.group}  {m.name}" for m in chosen))
        print(f"{len(chosen)} mutants")
        return 0
    began = monotonic()
    verdicts = run(chosen, max(1, args.jobs), args.limit, args.named)
    text = table(verdicts) + f"\n{len(verdicts)} mutants in {(monotonic() - began) / 60:.0f} minutes.\n"
    print(text)
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    return int(any(v.state in ("survived", "unbuilt") for v in verdicts))


if __name__ == "__main__":
    sys.exit(main())
