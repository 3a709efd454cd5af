"""`edgeq bench`: how fast edgeq and other engines are here, as shares of what the machine can do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli.terminal import Out, say
from edgeq.errors import UsageError, shown

if TYPE_CHECKING:
    from edgeq.bench.contenders import Contender

EPILOG = """\b
Engines:
  --peer LABEL=PATH[,WORDS]   a llama-bench program, with words such as -nr 1
  --peer llama-cpp-python     a Python package; =PYTHON names the interpreter
  --peer mistralrs            that has it
  --cli LABEL=PATH[,WORDS]    a llama-completion program, for --first, --memory
  --ours LABEL=isa=avx2,...   edgeq itself with isa, threads, backend, kv, chunk
Each may be given several times. Engines take turns in every round. A slot
counts unless the host took more than 1 % of the time, other programs used
more than 2 %, or the cores' clock was 3 % off that of the run."""


@click.command(epilog=EPILOG)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--pp", metavar="N,...", help="Prompts of N tokens; 512 where nothing is chosen.")
@click.option("--tg", type=click.IntRange(1, 1 << 16), help="Generate N tokens; 64 where nothing is chosen.")
@click.option("--depth", metavar="N,...", help="Generate behind N tokens, as 0,4k.")
@click.option("--batch", metavar="N,...", help="Steps of N tokens, as speculation takes them.")
@click.option("--first", is_flag=True, help="Process start to the first byte of an answer.")
@click.option("--memory", is_flag=True, help="Peak memory of a process with a prompt of 512 tokens.")
@click.option("--full", is_flag=True, help="All of these, with many sizes.")
@click.option("--ours", multiple=True, metavar="LABEL=...", help="A variant of edgeq, instead of the usual one.")
@click.option("--peer", multiple=True, metavar="NAME", help="Another engine; see below.")
@click.option("--cli", multiple=True, metavar="LABEL=...", help="Another engine's command line.")
@click.option("--threads", "-t", type=click.IntRange(1, 256), help="Default: as many as are useful.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="Rounds that count.")
@click.option("--limit", type=click.FloatRange(0.1, 86400), default=120.0, show_default=True,
              help="Seconds for one slot.")  # fmt: skip
@click.option("--limits/--no-limits", default=True, help="Measure what the machine can do.")
@click.option("--json", "json_", metavar="FILE", help="Write everything, every slot too.")
@click.option("--markdown", metavar="FILE", help="Write the tables.")
@click.option("--plot", multiple=True, metavar="FILE.png|-", help="Draw bars, - on the terminal.")
@click.option("--compare", nargs=2, metavar="A.json B.json", help="Print two results with ratios; measures nothing.")
def command(models: tuple[str, ...], compare: tuple[str, str] | None, **given: Any) -> None:
    """Measure prompts, generation, small batches, start and memory of MODELs."""
    if compare:
        if models:
            raise UsageError("--compare measures nothing: leave the models out")
        compared(*compare)
        return
    if not models:
        raise UsageError("which model? edgeq bench MODEL, a file or a name that `edgeq pull --list` shows")
    measured(models, given)


def compared(a: str, b: str) -> None:
    from edgeq.bench import compare, report, result

    old, new = result.load(a), result.load(b)
    report.show(compare.compared(old, new), compare.notes(old, new))


def measured(models: tuple[str, ...], given: dict[str, Any]) -> None:
    """Measures, prints, writes."""
    from edgeq import machine, registry
    from edgeq.bench import contenders, files, report, result
    from edgeq.bench.rounds import Settings

    check_plots(given["plot"])
    who = contenders.contenders(given["ours"], given["peer"], given["cli"])
    cases = wanted(given)
    paths = [str(registry.resolve(model)) for model in models]
    threads = given["threads"] or machine.threads_to_use()
    for path in (given["json_"], given["markdown"], *(p for p in given["plot"] if p != "-")):
        if path:
            files.check(path, tuple(paths))
    settings = Settings(threads, given["rounds"], given["limit"], limits=given["limits"])
    found = run(paths, who, cases, settings)
    report.show(report.tables(found), report.notes(found))  # first: a disk that refuses must not cost the figures
    if given["json_"]:
        result.save(found, given["json_"])
    if given["markdown"]:
        files.write(given["markdown"], report.markdown(found).encode())
    for path in given["plot"]:
        draw(found, path)


def wanted(given: dict[str, Any]) -> list[Any]:
    """The cases that options name. Raises UsageError naming the option."""
    from edgeq.bench.cases import chosen, numbers

    lists: dict[str, list[int]] = {}
    for name, least in (("pp", 1), ("depth", 0), ("batch", 1)):
        try:
            lists[name] = numbers(given[name], least) if given[name] is not None else []
        except UsageError as error:
            raise UsageError(f"--{name}: {error}") from None
    pp, depth, batch = lists.values()
    return chosen(pp, given["tg"] or 0, depth, batch, given["first"], given["memory"], given["full"])


def run(paths: list[str], who: list[Contender], cases: list[Any], settings: Any) -> dict[str, Any]:
    """The result of all models, one after the other."""
    from datetime import datetime, timezone

    from edgeq.bench import host, result
    from edgeq.bench.rounds import Rounds

    machine = host.describe()
    runs = [Rounds(path, who, cases, settings, progress) for path in paths]
    models = [one.run() for one in runs]
    progress("")
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    facts = {name: getattr(settings, name) for name in settings.fields}
    return result.make(models, [one.seen for one in runs], facts, machine, words(), created)


def words() -> list[str]:
    """The command line, files by their names alone."""
    import re

    return ["edgeq", *(re.sub(r"(?<![^=,])/(?:[^/,=]+/)+", "", word) for word in sys.argv[1:])]


def progress(line: str) -> None:
    """On a terminal the last thing that happened; else only what went wrong. Empty: no more."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if terminal:
        sys.stderr.write(f"\r\x1b[K{shown(line, 100)}")
        sys.stderr.write("\n" if "left out" in line else "")
        sys.stderr.flush()
    elif "left out" in line:
        say(f"edgeq: {shown(line, 500)}")


def check_plots(paths: tuple[str, ...]) -> None:
    """Before anything is measured."""
    from importlib.util import find_spec

    for path in paths:
        if path != "-" and not path.lower().endswith(".png"):
            raise UsageError(f"--plot {shown(path)}: expected FILE.png, or - for the terminal")
        if path != "-" and find_spec("matplotlib") is None:
            raise UsageError("--plot FILE.png needs matplotlib: pip install 'edgeq[bench]'; --plot - draws here")


def draw(found: dict[str, Any], path: str) -> None:
    from edgeq.bench import plot

    if path == "-":
        Out().write(plot.terminal(found) + "\n")
    else:
        plot.png(found, path)
