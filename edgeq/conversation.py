"""A chat: messages, the template that turns them into a prompt, and the session that remembers what was run.

When the context is full the oldest turns are dropped and the rest is rendered anew; `dropped` says how
many messages went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeq.errors import ContextError, FormatError, UsageError, shown
from edgeq.generate import Generation, start
from edgeq.speculation import draft_model

if TYPE_CHECKING:
    import os

    from edgeq.model import Model
    from edgeq.sampling import Sampling

RESERVE = 64  # positions kept free for an answer when older turns can go instead


class Answer(Generation):
    """A generation that is added to the chat's messages when it ends, however it ends, unless it ended
    before its first text: then the chat is as it was. `dropped`: messages that had to go to make room for
    this answer."""

    chat: Chat
    messages: list[dict[str, Any]]
    dropped: int

    def _pieces(self) -> Iterator[Any]:
        try:
            yield from super()._pieces()
        finally:
            self.chat._answered(self)


class Chat:
    """`messages` is the history, as dictionaries with role and content; it may be edited between answers.
    `dropped` counts the messages that went because the context was full.

    `settings` are defaults of `send`: max_tokens, stop, seed and fields of `Sampling`."""

    def __init__(
        self, model: Model, *, system: str | None = None, template: str | os.PathLike[str] | None = None,
        context: int | None = None, sampling: Sampling | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        from edgeq.session import Session
        from edgeq.tokenizer.chat import ChatTemplate

        self.model = model
        self.template = ChatTemplate.for_chat(model.tokenizer, template)
        self.template.prepare()
        self.session = Session(model, 1, context)
        self.messages: list[dict[str, Any]] = []
        self.dropped = 0
        settings["draft"] = draft_model(model, settings.get("draft"))  # one for all answers: it reuses what it ran
        self._settings = {"sampling": sampling, **settings}
        self._open: Answer | None = None  # the answer in the making
        if system:
            self.messages.append({"role": "system", "content": system})

    def send(self, text: str, **settings: Any) -> Answer:
        """The answer to a message, as an iterator of text pieces. Raises ContextError if the message
        alone is too long."""
        if not isinstance(text, str):
            raise UsageError(f"a message is str, found {type(text).__name__}")
        self._end_open()
        return self._answer([*self.messages, {"role": "user", "content": text}], settings)

    def regenerate(self, **settings: Any) -> Answer:
        """Another answer to the last message of the user."""
        self._end_open()
        last = max((i for i, m in enumerate(self.messages) if _role(m) == "user"), default=None)
        if last is None:
            raise UsageError("there is no message to answer again")
        return self._answer(self.messages[: last + 1], settings)

    def clear(self) -> None:
        """Forgets all but the system message."""
        self._end_open()
        self.messages, self.dropped = [m for m in self.messages[:1] if _role(m) == "system"], 0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes messages, keys and values to a file, atomically. Raises UsageError where it cannot be
        written."""
        self._end_open()
        self.session.save(path, {"messages": self.messages, "dropped": self.dropped})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Puts a saved chat back. Raises FormatError if it is damaged or of another model."""
        self._end_open()
        extra = self.session.load(path)
        kept: dict[str, Any] = extra if isinstance(extra, dict) else {}
        messages, dropped = kept.get("messages"), kept.get("dropped")
        if not isinstance(messages, list) or not all(isinstance(_role(m), str) for m in messages):
            raise FormatError(f"{shown(path)}: a saved session, but not a saved chat")
        if type(dropped) is not int:
            raise FormatError(f"{shown(path)}: a saved session, but not a saved chat")
        self.messages, self.dropped = messages, dropped

    def close(self) -> None:
        """Ends an answer in the making, and the template's helper process, if it has one."""
        self._end_open()
        self.template.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _answer(self, messages: list[dict[str, Any]], settings: dict[str, Any]) -> Answer:
        messages, prompt, dropped = self._fitting(messages)
        answer = start(self.session, prompt, kind=Answer, **{**self._settings, **settings})
        assert isinstance(answer, Answer)
        answer.chat, answer.messages, answer.dropped = self, messages, dropped
        self._open = answer
        return answer

    def _answered(self, answer: Answer) -> None:
        self._open = None
        if answer.text or answer.finish_reason == "stop":
            self.messages = [*answer.messages, {"role": "assistant", "content": answer.text}]
            self.dropped += answer.dropped

    def _end_open(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _fitting(self, messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Sequence[int], int]:
        """The messages without as many of the oldest turns as the context demands, their prompt, and how
        many went."""
        messages, dropped = list(messages), 0
        while True:
            prompt = self.template.encode(self.model.tokenizer, messages)
            if len(prompt) + min(RESERVE, self.session.context // 8) <= self.session.context:
                return messages, prompt, dropped
            first = 1 if _role(messages[0]) == "system" else 0
            turn = next((i for i, m in enumerate(messages) if i > first and _role(m) == "user"), None)
            if turn is None:
                if len(prompt) < self.session.context:
                    return messages, prompt, dropped
                raise ContextError(
                    f"the message needs {len(prompt)} tokens, the context has {self.session.context}: "
                    f"{len(prompt) - self.session.context + 1} too many"
                )
            dropped += turn - first
            del messages[first:turn]


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None
