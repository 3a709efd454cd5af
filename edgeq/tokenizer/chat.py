"""Chat templates: from a list of messages to the text, and the token ids, that a model was trained on.

Owns where a template comes from and the three ways to render it: plain conversations as the form of a
known template has them, without Jinja2; others in this process if the template is known to be harmless, and
in a helper process with limits if it is not. Jinja2 is imported when it is first needed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgeq.errors import TemplateError, shown
from edgeq.tokenizer.chat_encode import Segment, encode_segments

if TYPE_CHECKING:
    from edgeq.tokenizer.base import Tokenizer
    from edgeq.tokenizer.chat_form import Form
    from edgeq.tokenizer.chat_process import Helper

__all__ = ["ChatTemplate", "Segment"]


class ChatTemplate:
    """One chat template. Safe to share between threads.

    Only text that the template itself holds (and the special tokens of the vocabulary that it inserts) can
    become a control token; text of messages, tools and other variables never does, however it is treated.
    """

    def __init__(
        self,
        source: str,
        name: str = "template",
        tokens: Mapping[str, str] | None = None,
        helper: bool = True,
    ):
        """source: Jinja2. name: for errors. tokens: `bos_token` and others, text of control tokens.

        helper: whether a helper process may be started; without it unknown templates cannot be rendered.
        Nothing is compiled before the first rendering: a bad template does not keep a model from loading.
        """
        self.source = source
        self.name = name
        self.tokens = dict(tokens or {"bos_token": "", "eos_token": ""})
        self._may_help = helper
        self._helper: Helper | None = None
        self._lock = threading.Lock()

    # Where templates come from

    @classmethod
    def from_tokenizer(
        cls, tokenizer: Tokenizer, override: str | os.PathLike[str] | None = None, helper: bool = True
    ) -> ChatTemplate | None:
        """The template of the model file, or the one that `override` names; None where there is neither.

        override: a name of `ChatTemplate.names()` or the path of a file, as --template takes it.
        """
        tokens = _tokens(tokenizer)
        if override is None:
            source = tokenizer.chat_template
            return None if source is None else cls(source, "the file's chat template", tokens, helper)
        named = _named()
        if str(override) in named:
            return cls(named[str(override)], str(override), tokens, helper)
        if not os.path.exists(override):
            raise TemplateError(
                f"--template {shown(override)}: not a file, and not a built-in template ({', '.join(named)})"
            )
        return cls(_read(override), shown(override), tokens, helper)

    @classmethod
    def for_chat(
        cls, tokenizer: Tokenizer, override: str | os.PathLike[str] | None = None, helper: bool = True
    ) -> ChatTemplate:
        """As `from_tokenizer`, for a chat, which needs one: raises TemplateError where there is none."""
        template = cls.from_tokenizer(tokenizer, override, helper)
        if template is None:
            raise TemplateError(
                "this model file has no chat template, so it cannot tell how a chat is written; "
                f"use --template NAME|FILE, where NAME is one of {', '.join(_named())}"
            )
        return template

    @classmethod
    def named(cls, name: str) -> ChatTemplate:
        """A built-in template."""
        named = _named()
        if name not in named:
            raise TemplateError(f"template {shown(name)!r}: unknown; the built-in ones are {', '.join(named)}")
        return cls(named[name], name)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> ChatTemplate:
        """The template in a file: UTF-8, at most 64 KB."""
        return cls(_read(path), shown(path))

    @staticmethod
    def names() -> tuple[str, ...]:
        """Names of the built-in templates."""
        return tuple(_named())

    # What is known about it

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the source, white space around it left out: what `is_known` goes by."""
        source = self.source if isinstance(self.source, str) else ""
        return _sha256(source.strip().encode("utf-8", "surrogatepass"))

    @cached_property
    def is_known(self) -> bool:
        """True for templates that are built in or listed as harmless: those are rendered in this process."""
        if self._form is not None:
            return True
        from edgeq.tokenizer.chat_known import KNOWN

        return self.sha256 in KNOWN or (self.name, self.source) in _named().items()

    @cached_property
    def _form(self) -> Form | None:
        """How the template writes plain conversations; None where that takes Jinja2."""
        from edgeq.tokenizer.chat_form import form_of

        # Forms belong to exact sources. What the digest leaves out is written too, but for a last line feed.
        source = self.source if isinstance(self.source, str) else ""
        return form_of(self.sha256) if source.removesuffix("\n") == source.strip() else None

    # Rendering

    def prepare(self) -> None:
        """Begin, without waiting, what the first rendering needs: call it early, while other things load."""
        with suppress(TemplateError):  # whatever is wrong, the rendering will say
            if not self.is_known:
                self._started().start()
            elif self._form is None:
                threading.Thread(target=self._compile, daemon=True).start()

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **extra: Any,
    ) -> list[Segment]:
        """The rendered chat, as runs of text that the template wrote and runs that came from the messages.

        messages: mappings with a `role` and whatever else the template reads, plain JSON values throughout;
        they are not changed. extra: more variables, such as `documents` or `enable_thinking`.
        Raises TemplateError (the template is broken, refuses these messages, asks for too much), UsageError.
        """
        return self._render(self.tokens, messages, add_generation_prompt, tools, extra)

    def encode(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **extra: Any,
    ) -> list[int]:
        """Token ids of the rendered chat, bos included; arguments and errors as for `render`."""
        segments = self._render(_tokens(tokenizer), messages, add_generation_prompt, tools, extra)
        return encode_segments(tokenizer, segments)

    def close(self) -> None:
        """End the helper process, if there is one; the next rendering would start another."""
        with self._lock:
            if self._helper is not None:
                self._helper.close()

    def _render(
        self,
        own: Mapping[str, str],
        messages: Any,
        add_generation_prompt: bool,
        tools: Any,
        extra: Mapping[str, Any],
    ) -> list[Segment]:
        if tools is None and not extra and self._form is not None:
            written = self._form.render(own, messages, bool(add_generation_prompt))
            if written is not None:
                return _segments(*written)
        from edgeq.tokenizer.chat_input import Copy, aliased

        copy = Copy()
        variables = {
            "documents": None,
            **copy.plain(extra, "extra"),
            "messages": [aliased(m) for m in copy.messages(messages)],
            "tools": copy.plain(tools, "tools"),
            "add_generation_prompt": bool(add_generation_prompt),
        }
        if self.is_known:
            from edgeq.tokenizer import chat_engine

            return _segments(*chat_engine.render(self.source, own, variables, copy.size))
        return _segments(*self._started().render(own, variables, copy.size))

    def _compile(self) -> None:
        with suppress(TemplateError):
            from edgeq.tokenizer import chat_engine

            chat_engine.compile_template(self.source)

    def _started(self) -> Helper:
        self._check()
        with self._lock:
            if self._helper is None:
                from edgeq.tokenizer.chat_process import Helper

                self._helper = Helper(self.source)
            return self._helper

    def _check(self) -> None:
        if not isinstance(self.source, str):
            raise TemplateError(f"{self.name}: expected text, found {type(self.source).__name__}")
        from edgeq.tokenizer.chat_input import MAX_TEMPLATE

        try:
            size = len(self.source.encode())
        except UnicodeEncodeError:
            raise TemplateError(f"{self.name} is not UTF-8") from None
        if size > MAX_TEMPLATE:
            raise TemplateError(f"{self.name} has {size:,} bytes, more than the {MAX_TEMPLATE:,} it may have")
        if not self._may_help:
            raise TemplateError(
                f"{self.name} is not a known one, and the helper process to render it is switched off; "
                f"use --template NAME, where NAME is one of {', '.join(_named())}"
            )


def _named() -> Mapping[str, str]:
    """The built-in templates, which a file with one of its own does not need."""
    from edgeq.tokenizer.chat_named import NAMED

    return NAMED


def _read(path: str | os.PathLike[str]) -> str:
    from edgeq.tokenizer.chat_input import read_template

    return read_template(path)


def _sha256(data: bytes) -> str:
    # The interpreter has its own, under a name that changed with 3.12: hashlib loads OpenSSL, which takes
    # several milliseconds.
    for module in ("_sha2", "_sha256"):
        with suppress(ImportError):
            return str(__import__(module).sha256(data).hexdigest())
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _segments(text: str, spans: Sequence[Sequence[int]]) -> list[Segment]:
    out: list[Segment] = []
    at = 0
    for start, end in spans:
        out += [Segment(text[at:start], False), Segment(text[start:end], True)]
        at = end
    return [s for s in (*out, Segment(text[at:], False)) if s.text]


def _tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """Variables for special tokens: bos and eos always, the others where the vocabulary has them."""
    roles = ("bos", "eos", "unk", "pad", "sep", "mask")
    found = {f"{role}_token": getattr(tokenizer, f"{role}_id") for role in roles}
    texts = {name: tokenizer.pieces[i] for name, i in found.items() if i is not None}
    return {"bos_token": "", "eos_token": "", **texts}
