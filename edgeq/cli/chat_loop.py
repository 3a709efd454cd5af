"""The chat on a terminal: reads lines and commands, streams answers. What a chat remembers is
`edgeq.conversation`'s affair."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeq.cli.show import ending, stats
from edgeq.cli.terminal import Out, harmless, say
from edgeq.errors import EdgeqError, UsageError

if TYPE_CHECKING:
    from edgeq.conversation import Answer
    from edgeq.model import Model

HELP = """\
/help            this text
/clear           forget the conversation, but not the system message
/system [TEXT]   show the system message, or set it (- removes it)
/save FILE       write the conversation to a file
/load FILE       go on with a saved one
/regen           answer the last message again
/stats           speed and memory of the last answer
/exit            leave; so do Ctrl-D, and Ctrl-C at an empty prompt
A line that ends in \\ goes on in the next one; \"\"\" begins and ends a text of several lines.
// begins a message with /. Ctrl-C stops an answer."""
BLOCK = '"""'


class ChatLoop:
    """A conversation with a person. `read(prompt)` gives a line, or raises EOFError; `note` shows a line
    of ours."""

    def __init__(
        self,
        model: Model,
        given: dict[str, Any],
        settings: dict[str, Any],
        *,
        read: Callable[[str], str] | None = None,
        out: Out | None = None,
        note: Callable[[str], None] = say,
    ) -> None:
        from edgeq.conversation import Chat

        self.model, self.given = model, given
        self.chat = Chat(model, system=given["system"], template=given["template"], **settings)
        self.read, self.out, self.note = read or reader(), out or Out(), note
        self.last: Answer | None = None

    def run(self) -> int:
        """Until the person leaves; the exit code."""
        if not self.given["quiet"]:
            self.note("a chat: /help shows the commands, Ctrl-D leaves")
        with self.chat:
            while True:
                try:
                    text = self.message()
                except EOFError:
                    self.note("")
                    return 0
                except KeyboardInterrupt:
                    self.note("")
                    if typed():  # a line was begun: it is dropped, the chat goes on
                        continue
                    return 130
                if text.startswith("/") and not text.startswith("//"):
                    if not self.command(text):
                        return 0
                elif text.strip():
                    self.guarded(self.say, text.removeprefix("/") if text.startswith("//") else text)

    def message(self) -> str:
        """A message of one or several lines."""
        text = self.read("> ")
        lines: list[str] = []
        if text.lstrip().startswith(BLOCK):
            text = text.lstrip()[len(BLOCK) :]
            while BLOCK not in text:
                lines.append(text)
                text = self.read("... ")
            before, _, after = text.partition(BLOCK)
            return "\n".join([*lines, before + after]).strip("\n")
        while text.endswith("\\"):
            lines.append(text[:-1])
            text = self.read("... ")
        return "\n".join([*lines, text])

    def guarded(self, act: Callable[[str], None], text: str) -> None:
        """An error, or Ctrl-C, ends what was asked for, not the chat."""
        try:
            act(text)
        except BrokenPipeError:
            raise
        except (EdgeqError, OSError) as error:
            self.out.end()
            self.note(f"edgeq: {' '.join(str(error).split())}")
        except KeyboardInterrupt:
            self.out.end()
            self.note("(stopped)")

    def say(self, text: str) -> None:
        """Sends a message and streams its answer."""
        self.answer(self.chat.send(text))

    def answer(self, answer: Answer) -> None:
        """Streams an answer."""
        if answer.dropped and not self.given["quiet"]:
            full = f"the context of {self.chat.session.context} tokens is full"
            self.note(f"({full}: the oldest {answer.dropped} messages were dropped)")
        self.last = answer
        with answer:
            for piece in answer:
                self.out.write(piece)
        self.out.end()
        if not self.given["quiet"]:
            if answer.finish_reason == "cancelled":
                self.note("(stopped)")
            ending(answer)
        if self.given["stats"]:
            self.stats("")

    def command(self, line: str) -> bool:
        """Does what a line with / says; False to leave."""
        name, _, rest = line[1:].partition(" ")
        if name in ("exit", "quit"):
            return False
        action = (
            getattr(self, name, None)
            if name in ("help", "clear", "system", "save", "load", "regen", "stats")
            else None
        )
        if action is None:
            self.note(f"no command /{harmless(name)}; /help shows all (// begins a message with /)")
        else:
            self.guarded(action, rest.strip())
        return True

    def help(self, rest: str) -> None:
        self.note(HELP)

    def clear(self, rest: str) -> None:
        self.chat.clear()
        self.note("(forgotten)")

    def system(self, rest: str) -> None:
        messages = self.chat.messages
        now = messages[0].get("content") if messages and messages[0].get("role") == "system" else None
        if not rest:
            self.note(
                f"system message: {harmless(str(now))}"
                if now
                else "no system message; the template may have its own"
            )
            return
        new = [] if rest == "-" else [{"role": "system", "content": rest}]
        self.chat.messages = new + (messages if now is None else messages[1:])
        self.note("(removed)" if rest == "-" else "(set; /clear forgets what was said before)")

    def save(self, rest: str) -> None:
        self.chat.save(_file(rest, "/save"))
        self.note(f"(saved to {harmless(rest)})")

    def load(self, rest: str) -> None:
        self.chat.load(_file(rest, "/load"))
        self.note(f"(a conversation of {len(self.chat.messages)} messages)")

    def regen(self, rest: str) -> None:
        self.answer(self.chat.regenerate())

    def stats(self, rest: str) -> None:
        if self.last is None:
            self.note("there was no answer yet")
            return
        self.note("\n".join(stats(self.model, self.last)))
        held = len(self.chat.session.tokens())
        self.note(
            f"context   {held} of {self.chat.session.context} tokens, {self.chat.dropped} messages dropped"
        )


def _file(name: str, command: str) -> str:
    if not name:
        raise UsageError(f"{command} needs the name of a file")
    return os.path.expanduser(name)


def reader() -> Callable[[str], str]:
    """Reads lines with editing and history where there is readline."""
    if sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() uses it from now on
        return lambda prompt: _clean(input(prompt))

    def plain(prompt: str) -> str:
        if sys.stderr is not None:
            print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        return line.decode("utf-8", "replace").rstrip("\r\n")

    return plain


def _clean(line: str) -> str:
    """A terminal may send bytes that are no UTF-8."""
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def typed() -> bool:
    """Whether the line that was interrupted had something in it."""
    readline = sys.modules.get("readline")
    return bool(readline and readline.get_line_buffer())
