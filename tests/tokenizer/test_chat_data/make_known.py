"""Writes edgeq/tokenizer/chat_known.py: SHA-256 of chat templates that published models carry.

Sources: the folder models/templates, the literals in tests/test-chat-template.cpp and the vocabularies in
models/ of a llama.cpp checkout (templates of their models' authors; only digests are kept), and GGUF files
given by path.

    python -m tests.tokenizer.test_chat_data.make_known LLAMA_CPP [MODEL.gguf ...]
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from edgeq.errors import TemplateError
from edgeq.tokenizer.chat_engine import compile_template, render

TARGET = Path(__file__).parents[3] / "edgeq/tokenizer/chat_known.py"

HEAD = '''"""Chat templates that are rendered without a helper process: digests of published ones.

Made by tests/tokenizer/test_chat_data/make_known.py, which names the sources and renders each template once
to see that it stays within the budget. A digest is of the source without the white space around it.
"""

from __future__ import annotations

KNOWN: dict[str, str] = {
'''


def literals(cpp: Path) -> Iterator[tuple[str, str]]:
    """Name and template of each case of the C++ test."""
    text = cpp.read_text()
    literal = r'(?:u8|U8C\()?"(?:[^"\\]|\\.)*"'
    case = rf'/\* \.name= \*/ "([^"]*)",.*?/\* \.template_str=? \*/\s*((?:{literal}\)?\s*)+),'
    for name, body in re.findall(case, text, re.DOTALL):
        pieces = re.findall(r'"((?:[^"\\]|\\.)*)"', body)
        yield name, re.sub(r'\\(["\\n])', lambda m: "\n" if m[1] == "n" else m[1], "".join(pieces))


def of_gguf(path: Path) -> Iterator[tuple[str, str]]:
    """The templates of a GGUF file."""
    from gguf import GGUFReader

    for key, field in GGUFReader(path).fields.items():
        if "chat_template" in key and isinstance(field.contents(), str):
            yield path.stem.removeprefix("ggml-vocab-"), field.contents()


def is_frugal(source: str) -> bool:
    """Whether `source` compiles and answers, or refuses by itself, a plain conversation."""
    messages = [{"role": r, "content": "Hello there."} for r in ("system", "user", "assistant", "user")]
    variables = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
    try:
        compile_template(source)
        render(source, {"bos_token": "<s>", "eos_token": "</s>"}, variables, 100)
    except TemplateError as e:
        return "too much" not in str(e) and "cannot be read" not in str(e)
    return True


def collect(llama_cpp: Path, models: list[Path]) -> Iterator[tuple[str, str]]:
    """Name and source of every template of the sources."""
    yield from ((p.stem, p.read_text()) for p in sorted((llama_cpp / "models/templates").glob("*.jinja")))
    yield from literals(llama_cpp / "tests/test-chat-template.cpp")
    for path in [*sorted((llama_cpp / "models").glob("ggml-vocab-*.gguf")), *models]:
        yield from of_gguf(path)


def main(llama_cpp: Path, models: list[Path]) -> None:
    """Collect, digest, write."""
    found: dict[str, str] = {}
    for name, text in collect(llama_cpp, models):
        if is_frugal(text):
            found.setdefault(hashlib.sha256(text.strip().encode()).hexdigest(), name.split(" (")[0][:32])
        else:
            print(f"left out: {name}")
    found = dict(sorted(found.items(), key=lambda row: row[1].lower()))
    rows = "".join(f'    "{digest}": "{name}",\n' for digest, name in found.items())
    TARGET.write_text(HEAD + rows + "}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]])
