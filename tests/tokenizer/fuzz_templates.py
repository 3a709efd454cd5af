"""Fuzzes chat templates with atheris: text or a TemplateError, in bounded time, and nothing is written.

    python tests/tokenizer/fuzz_templates.py FOLDER [-max_total_time=600 …]

Bytes choose pieces of real and of hostile templates. Each is rendered in this process under a timer; one that
is stopped there, and a sample of the others, is rendered by the helper process as an unknown template is: that
one has to end by itself, and to say the same. Findings land in the working folder.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import atheris

with atheris.instrument_imports(include=["edgeq.tokenizer.chat", "jinja2"]):
    from edgeq.tokenizer import chat_engine
    from edgeq.tokenizer.chat import ChatTemplate

from edgeq.errors import TemplateError
from tests.tokenizer import test_chat_hostile as hostile
from tests.tokenizer.test_chat_data.conversations import said

HERE = Path(__file__).parent
MESSAGES = said("user: Hi")
HERE_SECONDS, HELPER_SECONDS = 1.0, 15.0
WORDS = """| ~ + - * ** / // % ( ) [ ] { } , . : == in is not and or if else loop messages namespace range 10**9
    99999 'x' "y" none true join map select attr tojson replace format items split strip __class__ self"""
SAMPLE = 200  # every so manyth template goes to the helper too
count = stopped = helped = 0


class Stopped(BaseException):
    """The timer of this process; no template can catch it."""


def pieces() -> list[str]:
    """What templates are made of: the committed real ones and the hostile ones, whole and cut at their tags."""
    whole = [s for cases in (hostile.BREAKOUTS, hostile.OTHERS, hostile.BOMBS, hostile.NESTED, hostile.BROKEN)
             for s in cases.values() if len(s) < 500]  # fmt: skip
    real = [p.read_text("utf-8") for p in sorted((HERE / "test_chat_data" / "templates").iterdir())]
    cut = [part for text in (*whole, *real) for part in text.replace("{", "\0{").replace("}", "}\0").split("\0")]
    tags = ("{{", "}}", "{%", "%}", "{% endfor %}", "{% endif %}")
    return [*dict.fromkeys((*whole, *cut, *(f" {word} " for word in WORDS.split()), *tags))]


PIECES = pieces()


def source_of(data: bytes) -> str:
    made = atheris.FuzzedDataProvider(data)
    parts = []
    while made.remaining_bytes() > 2 and len(parts) < 40:
        if made.ConsumeIntInRange(0, 7):
            parts.append(PIECES[made.ConsumeIntInRange(0, len(PIECES) - 1)])
        else:
            parts.append(made.ConsumeUnicodeNoSurrogates(made.ConsumeIntInRange(0, 8)))
    return "".join(parts)


def here(source: str) -> str | None:
    """The text or the error, as the engine of this process has it; None if the timer stopped it."""
    signal.setitimer(signal.ITIMER_VIRTUAL, HERE_SECONDS)
    try:
        text, _ = chat_engine.render(source, {"bos_token": "<s>"}, variables(), 100)
    except TemplateError as e:
        return refusal(e)
    except Stopped:
        return None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return text


def refusal(error: TemplateError) -> str:
    text = str(error)
    assert text.isprintable() and len(text) < 700, text
    return "TemplateError"


def variables() -> dict[str, Any]:
    return {"messages": [dict(m) for m in MESSAGES], "tools": None, "documents": None, "add_generation_prompt": True}


def by_helper(source: str) -> str:
    template = ChatTemplate(source, tokens={"bos_token": "<s>"})
    started = time.monotonic()
    try:
        return "".join(s.text for s in template.render(MESSAGES))
    except TemplateError as e:
        return refusal(e)
    finally:
        template.close()
        assert time.monotonic() - started < HELPER_SECONDS, "the helper took too long"


def one(data: bytes) -> None:
    global count, stopped, helped
    source = source_of(data)
    count += 1
    found = here(source)
    stopped += found is None
    if found is None or count % SAMPLE == 0:
        helped += 1
        again = by_helper(source)
        assert found is None or again == found or "strftime_now" in source or "random" in source, (source, found, again)
    if count % 2000 == 0:
        assert os.listdir(".") == [], os.listdir(".")
        print(f"{count} templates, {stopped} stopped by the timer, {helped} by the helper", file=sys.stderr)


def stop(*_: Any) -> None:
    raise Stopped


if __name__ == "__main__":
    corpus = Path(sys.argv[1]).resolve()
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "seed").write_bytes(bytes(range(256)))
    work = corpus.with_name(corpus.name + "-work")
    work.mkdir(exist_ok=True)
    os.chdir(work)
    signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (1800 << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={corpus}-", *sys.argv[2:]], one)
    atheris.Fuzz()
