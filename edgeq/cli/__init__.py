"""The `edgeq` command: finds the subcommand, imports its module alone, turns errors into exit codes.

A command is a file here, named like it, with a click command called `command`; or with `main(arguments)`,
which returns the exit code, where the start counts and click would cost too much. Exit codes: 0 done, 1 the
answer is no or a fault of ours, 2 bad input or usage, 130 interrupted, 141 nobody reads the output any more,
129 and 143 ended by SIGHUP or SIGTERM.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from edgeq.errors import EdgeqError

if TYPE_CHECKING:
    import click

COMMANDS = {
    "run": "answer a prompt, or chat",
    "info": "what is in a model file, and the memory it needs",
    "tokenize": "text to token ids or pieces",
    "pull": "fetch a model by name, from the hub or from a URL",
    "quantize": "write a model in smaller formats",
    "gguf": "look into GGUF files, check, edit, compare, cut and join them",
    "convert": "a Hugging Face checkpoint or a PEFT adapter to a GGUF file",
    "lora": "merge adapters into a model",
    "imatrix": "which weights of a model matter, for a quantizer; merges, converts and shows such files",
    "bench": "how fast edgeq and other engines are here, and how far from the limit",
    "doctor": "what this machine and this installation can do",
}
INTERRUPTED, NO_READER = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with tidy_end():
            code = dispatch(words)
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a broken pipe is still ours to handle
            return code
    except EdgeqError as error:
        return failed(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return no_reader()
    except OSError as error:
        return failed(error)


@contextmanager
def tidy_end() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block like an error, so that files in the making are removed or kept as after
    Ctrl-C. The second such signal ends the process at once. Signals that someone handles or ignores (nohup) stay so."""
    import signal

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    ours = []
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        with suppress(ValueError):  # not in the main thread
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, end)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def dispatch(words: list[str]) -> int:
    """Chooses what to do by the first word."""
    if "_EDGEQ_COMPLETE" in os.environ:
        group()(prog_name="edgeq")
    first = words[0] if words else "--help"
    if first in ("--help", "-h", "help"):
        print(usage())
        return 0
    if first in ("--version", "-V"):
        from edgeq._version import __version__

        print(f"edgeq {__version__}")
        return 0
    if first not in COMMANDS:
        print(f"edgeq: {unknown(first)}", file=sys.stderr)
        return 2
    module = load(first)
    if hasattr(module, "main"):
        return int(module.main(words[1:]) or 0)
    return invoke(module.command, f"edgeq {first}", words[1:])


def invoke(command: click.Command, name: str, words: list[str]) -> int:
    """Runs a click command; our own handlers see every error but click's."""
    import click

    try:
        with command.make_context(name, words) as context:
            result = command.invoke(context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C or the end of the input at a question
        return INTERRUPTED


def load(name: str) -> Any:
    """The module of a command."""
    from importlib import import_module

    return import_module(f"edgeq.cli.{name}")


def group() -> click.Group:
    """All commands as one click group, for shell completion; modules are imported when looked at."""
    import click

    class Lazy(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(COMMANDS)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            found = getattr(load(cmd_name), "command", None) if cmd_name in COMMANDS else None
            return found if isinstance(found, click.Command) else None

    return Lazy("edgeq")


def usage() -> str:
    """The text of `edgeq --help`."""
    width = max(map(len, [*COMMANDS, "--version"]))
    rows = "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    options = f"  {'--version':{width}}  the version\n  {'--help':{width}}  this text"
    return (
        "Usage: edgeq COMMAND [OPTIONS] ...\n\n  Run GGUF models on the machine you have.\n\n"
        f"Commands:\n{rows}\n\nOptions:\n{options}\n\n`edgeq COMMAND --help` tells more."
    )


def unknown(name: str) -> str:
    """What to say of a word that is no command."""
    import difflib

    from edgeq.errors import shown

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(COMMANDS)}"
    return f"no command {shown(name)!r}; {hint}"


def failed(error: Exception) -> int:
    """One line on stderr; with EDGEQ_DEBUG=1 the traceback before it."""
    if os.environ.get("EDGEQ_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if sys.stderr is not None:
        print(f"edgeq: {' '.join(_said(error).split()) or type(error).__name__}", file=sys.stderr)
    return 2


def _said(error: Exception) -> str:
    """The message; of the system's own errors with the file. Those of a full disk that have none are stdout's: who
    writes files names them."""
    if not isinstance(error, OSError) or isinstance(error, EdgeqError) or not error.strerror:
        return str(error)
    from edgeq.errors import shown

    if error.filename is not None:
        return f"{shown(error.filename)}: {error.strerror}"
    full = error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None))
    return f"stdout: {error.strerror}; what was to be printed is not complete" if full else error.strerror


def no_reader() -> int:
    """The reader of our output has gone: say nothing, also not when Python flushes at its end."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives until the process ends
    return NO_READER
