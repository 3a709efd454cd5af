"""A chat: messages, the template that turns them into a prompt, and the session that remembers what was run.

When the context is full the oldest turns are dropped and the rest is rendered anew; `dropped` says how many messages went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeq.errors import ContextError, FormatError, UsageError
from edgeq.generate import Generation, start

if TYPE_CHECKING:
    import os

    from edgeq.model import Model
    from edgeq.sampling import Sampling

RESERVE = 64  # positions kept free for an answer when older turns can go instead


class Answer(Generation):
    """A generation that is added to the chat's messages when it ends, however it ends."""

    chat: Chat

    def _pieces(self) -> Iterator[Any]:
        try:
            yield from super()._pieces()
        finally:
            self.chat._answered(self)


class Chat:
    """`messages` is the history, as dictionaries with role and content; it may be edited between answers.

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
        self._settings = {"sampling": sampling, **settings}
        if system:
            self.messages.append({"role": "system", "content": system})

    def send(self, text: str, **settings: Any) -> Answer:
        """The answer to a message, as an iterator of text pieces. Raises ContextError if the message alone is too long."""
        if not isinstance(text, str):
            raise UsageError(f"a message is str, found {type(text).__name__}")
        return self._answer([*self.messages, {"role": "user", "content": text}], settings)

    def regenerate(self, **settings: Any) -> Answer:
        """Another answer to the last message of the user."""
        last = max((i for i, m in enumerate(self.messages) if m["role"] == "user"), default=None)
        if last is None:
            raise UsageError("there is no message to answer again")
        return self._answer(self.messages[: last + 1], settings)

    def clear(self) -> None:
        """Forgets all but the system message."""
        self.messages = [m for m in self.messages[:1] if m["role"] == "system"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes messages, keys and values to a file."""
        self.session.save(path, {"messages": self.messages, "dropped": self.dropped})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Puts a saved chat back. Raises FormatError if it is damaged or of another model."""
        extra = self.session.load(path)
        messages = extra.get("messages") if isinstance(extra, dict) else None
        if not isinstance(messages, list) or not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages):
            raise FormatError(f"{path}: a saved session, but not a saved chat")
        self.messages, self.dropped = messages, int(extra.get("dropped", 0))

    def close(self) -> None:
        """Ends the template's helper process, if it has one."""
        self.template.close()

    def _answer(self, messages: list[dict[str, Any]], settings: dict[str, Any]) -> Answer:
        messages, prompt = self._fitting(messages)
        chosen = {**self._settings, **settings}
        answer = start(self.session, prompt, kind=Answer, **chosen)
        assert isinstance(answer, Answer)
        answer.chat = self
        self.messages = messages
        return answer

    def _answered(self, answer: Answer) -> None:
        if answer.text or answer.finish_reason == "stop":
            self.messages.append({"role": "assistant", "content": answer.text})

    def _fitting(self, messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Sequence[int]]:
        """The messages without as many of the oldest turns as the context demands, and their prompt."""
        messages = list(messages)
        while True:
            prompt = self.template.encode(self.model.tokenizer, messages)
            if len(prompt) + min(RESERVE, self.session.context // 8) <= self.session.context:
                return messages, prompt
            first = 1 if messages[0]["role"] == "system" else 0
            turn = next((i for i, m in enumerate(messages) if i > first and m["role"] == "user"), None)
            if turn is None:
                if len(prompt) < self.session.context:
                    return messages, prompt
                raise ContextError(
                    f"the message needs {len(prompt)} tokens, the context has {self.session.context}: "
                    f"{len(prompt) - self.session.context + 1} too many"
                )
            self.dropped += turn - first
            del messages[first:turn]
