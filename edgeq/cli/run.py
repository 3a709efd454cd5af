"""`edgeq run`: answers a prompt, or chats on a terminal. Owns what the words on the command line mean.

The start counts: nothing is imported before it is needed, and what can run beside something else does.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from edgeq.cli.options import explain, parse
from edgeq.cli.run_options import HEAD, MACHINE, MAIN, SAMPLING
from edgeq.cli.show import ending, report, stats
from edgeq.cli.terminal import Out, say
from edgeq.errors import UsageError, shown

if TYPE_CHECKING:
    from edgeq.generate import Generation
    from edgeq.model import Model
    from edgeq.tokenizer.chat import ChatTemplate

QUESTION = "Why is the sky blue?"  # answered when nothing is asked
PROMPT_MAX = 1 << 26  # bytes of a prompt that are read


def main(words: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    started = time.perf_counter()
    given, rest = parse(words, (*MAIN, *MACHINE, *SAMPLING))
    if given["help"]:
        print(explain(HEAD, [("Options", MAIN), ("Machine", MACHINE), ("Sampling", SAMPLING)]))
        return 0
    name, prompt = positions(rest, given)
    check(given)
    gc.disable()  # nothing that loading makes is garbage; `one_shot` and the chat turn it on again
    try:
        return _run(name, prompt, given, started)
    finally:
        gc.enable()


def _run(name: str | None, prompt: bytes | None, given: dict[str, Any], started: float) -> int:
    if prompt is None:
        prompt = waiting(given, name)
    settings = sampling(given)
    with ExitStack() as stack:
        model = stack.enter_context(opened(name, given))
        if given["draft"] is not None:
            settings["draft"] = stack.enter_context(drafting(model, given))
        loaded = time.perf_counter() - started
        notes(model, given)
        if prompt is None:
            from edgeq.cli.chat_loop import ChatLoop

            gc.enable()
            return ChatLoop(model, given, settings).run()
        return one_shot(model, prompt, given, settings, loaded)


def warm() -> None:
    """Begins to import what the first logits need, to be called when the C step is about to compute them."""
    import threading

    threading.Thread(target=lambda: __import__("edgeq.sampling.chain"), name="edgeq imports").start()


def positions(rest: list[str], given: dict[str, Any]) -> tuple[str | None, bytes | None]:
    """MODEL and PROMPT from the words that are no options; None for one that is not there."""
    if len(rest) > 2:
        raise UsageError(
            f"at most a model and a prompt, found {len(rest)} arguments; put the prompt in quotes"
        )
    if len(rest) == 2:
        name, prompt = rest
    elif len(rest) == 1 and (given["file"] is not None or _is_model(rest[0])):
        name, prompt = rest[0], None
    else:
        name, prompt = None, rest[0] if rest else None
    if prompt is not None and given["file"] is not None:
        raise UsageError("a prompt as an argument and --file: give one of them")
    if prompt == "-":
        return name, piped()
    if given["file"] is not None:
        return name, piped() if given["file"] == "-" else read_file(given["file"])
    return name, None if prompt is None else os.fsencode(prompt)


def _is_model(word: str) -> bool:
    if word.lower().endswith(".gguf"):
        return True
    from edgeq import registry

    return registry.is_model(word)


def check(given: dict[str, Any]) -> None:
    """Options that contradict each other."""
    if given["raw"]:
        for other in ("system", "template"):
            if given[other] is not None:
                raise UsageError(f"--raw and --{other}: a raw prompt goes through no template")
    n = given["max_tokens"]
    if n is not None and n < 0:
        if n != -1:  # llama.cpp's word for no limit
            raise UsageError(f"-n {n}: expected a whole number from 0, or -1 for no limit")
        given["max_tokens"] = None


def waiting(given: dict[str, Any], name: str | None) -> bytes | None:
    """The prompt that stdin holds; None where a person sits there, for a chat."""
    if sys.stdin is not None and sys.stdin.isatty():
        if given["json"] or given["raw"]:
            raise UsageError(
                f"--{'json' if given['json'] else 'raw'} needs a prompt: an argument, --file, or stdin"
            )
        return None
    text = piped()
    if text.strip():
        return text
    if name is not None:
        raise UsageError(
            "no prompt: there is none as an argument, and stdin is empty; on a terminal this is a chat"
        )
    say(f"nothing was asked, so this is the answer to: {QUESTION}")
    return QUESTION.encode()


def piped() -> bytes:
    """All of stdin."""
    if sys.stdin is None:
        return b""
    return _bounded(getattr(sys.stdin, "buffer", sys.stdin), "stdin")


def read_file(path: str) -> bytes:
    """The bytes of a prompt file."""
    try:
        with open(path, "rb") as file:
            return _bounded(file, shown(path))
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"--file {shown(path)}: {shown(getattr(error, 'strerror', None) or error)}"
        ) from None


def _bounded(stream: Any, name: str) -> bytes:
    data = stream.read(PROMPT_MAX + 1)
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    if len(data) > PROMPT_MAX:
        raise UsageError(f"{name}: a prompt of more than {PROMPT_MAX >> 20} MiB fits no context")
    return bytes(data)


def sampling(given: dict[str, Any]) -> dict[str, Any]:
    """What was asked of the sampler and of the token loop, as `generate` takes it."""
    settings = {row.name: given[row.name] for row in SAMPLING if given[row.name] not in (None, [])}
    for name, value in settings.items():
        if isinstance(value, list):
            settings[name] = tuple(value)
    return {
        **settings,
        "max_tokens": given["max_tokens"],
        "stop": tuple(given["stop"]),
        "ignore_end": given["ignore_end"],
        "lookup": not given["no_lookup"],
        "draft_tokens": given["draft_tokens"],
    }


def found(name: str | None, given: dict[str, Any]) -> str | os.PathLike[str]:
    """The file of a model; fetched before if it must be."""
    if name is not None and os.path.lexists(name):
        return name
    from edgeq import registry
    from edgeq.pull.progress import Silent, for_stderr

    progress = Silent() if given["quiet"] else for_stderr()
    try:
        return registry.resolve(name or registry.default_model(), progress=progress)
    finally:
        progress.close()


def opened(name: str | None, given: dict[str, Any]) -> Model:
    """The model, loaded."""
    from edgeq.model import load

    return load(
        found(name, given),
        backend=given["backend"],
        threads=given["threads"],
        context=given["context"],
        kv_type=given["kv"] or "F16",
        isa=given["isa"],
        reproducible=given["reproducible"],
        split=given["split"],
        lora=given["lora"],
    )


def drafting(model: Model, given: dict[str, Any]) -> Model:
    """The model that drafts, loaded, on the threads of the other."""
    from edgeq.model import load

    return load(
        found(given["draft"], given),
        backend=model.backend,
        context=model.context,
        kv_type=model.kv_type,
        isa=given["isa"],
    )


def notes(model: Model, given: dict[str, Any]) -> None:
    """On stderr: the context and what limited it, and why an answer may take its time."""
    from edgeq.model import DEFAULT_CONTEXT

    if given["quiet"]:
        return
    if given["context"] is not None:
        why = f"as asked; trained for {model.trained_context}"
    elif model.context == model.trained_context:
        why = "all that the model was trained for"
    elif model.context == DEFAULT_CONTEXT:
        why = f"the default; trained for {model.trained_context}, --context takes more"
    else:
        why = f"what memory allows; trained for {model.trained_context}"
    say(f"context: {model.context} tokens ({why})")
    if getattr(model.executable, "cold", False):
        say("numba backend: compiles its kernels first, which takes some seconds once on a machine")


def one_shot(
    model: Model, prompt: bytes, given: dict[str, Any], settings: dict[str, Any], loaded: float
) -> int:
    """Answers one prompt; the exit code."""
    answer = begin(model, prompt, given, settings)
    gc.enable()
    if not answer.sampler.plain:
        warm()
    out = Out()
    interrupted = False
    try:
        for piece in answer:
            if not given["json"]:
                out.write(piece)
    except KeyboardInterrupt:
        interrupted = True
    out.end()
    if given["json"]:
        import json

        out.write(json.dumps(report(model, answer, loaded)) + "\n")
    if not given["quiet"]:
        ending(answer)
    if given["stats"]:
        say("\n".join(stats(model, answer, loaded)))
    return 130 if interrupted or answer.finish_reason == "cancelled" else 0


def begin(model: Model, prompt: bytes, given: dict[str, Any], settings: dict[str, Any]) -> Generation:
    """The answer to a prompt, through a template unless --raw says otherwise or there is none."""
    from edgeq.generate import start

    if given["raw"]:
        return start(model.session(), prompt, parse_special=True, **settings)
    from edgeq.tokenizer.chat import ChatTemplate

    template = chat_template(model, given["template"])
    if template is None:
        if given["system"] is not None:
            ChatTemplate.for_chat(model.tokenizer)  # raises: a system message needs a template
        if not given["quiet"]:
            say("this file has no chat template: the prompt is completed as it is (--template gives it one)")
        return start(model.session(), prompt.removesuffix(b"\n"), parse_special=False, **settings)
    try:
        template.prepare()  # runs while the tokenizer is built
        session, tokenizer = model.session(), model.tokenizer
        messages = [{"role": "system", "content": given["system"]}] if given["system"] else []
        messages.append({"role": "user", "content": _text(prompt)})
        return start(session, template.encode(tokenizer, messages), **settings)
    finally:
        template.close()


def chat_template(model: Model, override: str | None) -> ChatTemplate | None:
    """The template to use; that of the file is found without its tokenizer."""
    from edgeq.tokenizer.chat import ChatTemplate

    source = model.file.metadata.get("tokenizer.chat_template")
    if override is None and isinstance(source, str):
        return ChatTemplate(source, "the file's chat template")
    return ChatTemplate.from_tokenizer(model.tokenizer, override)


def _text(prompt: bytes) -> str:
    text = prompt.removesuffix(b"\n").decode("utf-8", "replace")
    if "\ufffd" in text and text.encode() != prompt.removesuffix(b"\n"):
        say("the prompt is not UTF-8: what cannot be read is replaced (--raw takes bytes as they are)")
    return text
