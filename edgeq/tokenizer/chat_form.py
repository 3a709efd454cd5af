"""Plain conversations written without Jinja2, for known chat templates that treat them regularly.

Owns what a form is and how it is filled in. Which template has which form was found out, and tried against
Jinja2, by a script; `chat_forms` holds its results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.tokenizer.chat_marked import Spans

LETTERS = {"system": "s", "user": "u", "assistant": "a"}
"""What roles are called in the names of joints."""
START, PROMPT, END = "^", "+", "."
"""Likewise the start of a conversation, its end with a generation prompt, and its end without one."""
BOS, EOS = "␂", "␃"
"""Stand in a joint for the texts of these tokens."""
TRIM_LEFT, TRIM_RIGHT = "⇤", "⇥"
"""First, or last, in a joint: the content on that side of it loses its white space on the side of the joint."""
MAX_MESSAGES = 64
"""Messages of a conversation; longer ones were not tried."""
_TOKENS = {ord(BOS): "bos_token", ord(EOS): "eos_token"}
_MAX_TOKEN = 256


class Form(Record):
    """What a template writes around the contents of messages, where nothing but the roles decides that."""

    joints: dict[str, str]
    """Text between two neighbours, named by their letters: "^s" in front of a system message that comes first,
    "ua" between user and assistant, "u+" behind the user where an answer is asked for. What is not listed is
    not regular."""
    avoids: tuple[str, ...] = ()
    """Texts that the template looks for in contents: a conversation with one of them is not regular."""
    filled: str = ""
    """Letters of the roles whose content the template treats in another way if it is blank."""

    def render(
        self, own: Mapping[str, str], messages: Any, add_generation_prompt: bool
    ) -> tuple[str, Spans] | None:
        """What `chat_engine.render` gives, or None for what this form was not made for.

        own: texts of special tokens; messages: as a caller gives them, unchecked."""
        if type(messages) not in (list, tuple) or not 0 < len(messages) <= MAX_MESSAGES:
            return None
        letters = [self._letter(m) for m in messages]
        order = "".join([START, *letters, PROMPT if add_generation_prompt else END])
        pairs = [order[i : i + 2] for i in range(len(order) - 1)]
        tokens: dict[int, Any] = {stand: own.get(name) for stand, name in _TOKENS.items()}
        if not all(letters) or not all(pair in self.joints for pair in pairs):
            return None
        if any(type(text) is not str or len(text) > _MAX_TOKEN for text in tokens.values()):
            return None
        return _filled([self.joints[pair] for pair in pairs], [m["content"] for m in messages], tokens)

    def _letter(self, message: Any) -> str:
        """Letter of the message's role; "" if the message is not regular."""
        if type(message) is not dict or len(message) != 2:
            return ""
        role, content = message.get("role"), message.get("content")
        if type(role) is not str or type(content) is not str or any(text in content for text in self.avoids):
            return ""
        letter = LETTERS.get(role, "")
        return "" if letter in self.filled and not content.strip() else letter


def form_of(digest: str) -> Form | None:
    """The form of the template with this SHA-256, if it has one."""
    from edgeq.tokenizer.chat_forms import FORM_OF, FORMS

    return Form(*FORMS[FORM_OF[digest]]) if digest in FORM_OF else None


def _filled(joints: Sequence[str], contents: list[str], tokens: Mapping[int, str]) -> tuple[str, Spans] | None:
    """Text and spans; None for a blank text, which is refused elsewhere."""
    for i, joint in enumerate(joints):
        if joint[:1] == TRIM_LEFT:
            contents[i - 1] = contents[i - 1].rstrip()
        if joint[-1:] == TRIM_RIGHT:
            contents[i] = contents[i].lstrip()
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    at = 0
    for joint, content in zip(joints, [*contents, ""]):
        written = joint.strip(TRIM_LEFT + TRIM_RIGHT).translate(tokens)
        end = at + len(written)
        if written:
            start = spans.pop()[0] if spans and spans[-1][1] == at else at
            spans.append((start, end))
        parts += [written, content]
        at = end + len(content)
    text = "".join(parts)
    return (text, tuple(spans)) if text.strip() else None
