"""Writes edgeq/tokenizer/chat_forms.py: forms of the known and the built-in chat templates.

A form is read off from how a template renders conversations of words that are easy to find again. It is kept
only if it then gives what Jinja2 gives for thousands of random conversations, which also hold the texts that
the template itself has. Needs the sources of the templates, as make_known does:

    python -m tests.tokenizer.test_chat_data.make_forms LLAMA_CPP [MODEL.gguf ...]
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from jinja2 import nodes

from edgeq.errors import TemplateError
from edgeq.tokenizer import chat_engine
from edgeq.tokenizer.chat_form import BOS, END, EOS, LETTERS, MAX_MESSAGES, PROMPT, START, TRIM_LEFT, TRIM_RIGHT, Form
from edgeq.tokenizer.chat_known import KNOWN
from edgeq.tokenizer.chat_marked import Spans
from edgeq.tokenizer.chat_named import NAMED
from edgeq.tokenizer.chat_sandbox import Refusal
from tests.tokenizer.test_chat_data.make_known import collect

TARGET = Path(__file__).parents[3] / "edgeq/tokenizer/chat_forms.py"
HEAD = '''"""How known chat templates write plain conversations: the fields of `chat_form.Form`.

Made by tests/tokenizer/test_chat_data/make_forms.py, which names the sources and tries each form against
Jinja2. A digest is that of `chat_known`.
"""
# ruff: noqa: E501

from __future__ import annotations

FORMS: tuple[tuple[dict[str, str], tuple[str, ...], str], ...] = (
{forms})

FORM_OF: dict[str, int] = {{
{digests}}}
"""SHA-256 of a template -> index in FORMS."""
'''
ROLES = {letter: role for role, letter in LETTERS.items()}
STEPS = ("^u u+", "^s su u+", "ua au", "u.", "a.")
"""Joints of a question, with a system message, in a longer chat, and of chats that ask for no answer. Those that
contradict the ones before them are left out; other conversations are too rare to be worth their joints."""
MAX_JOINT = 240
"""Characters of a joint. Longer ones hold whole texts of a model's makers, which are not copied here."""
LONGEST = 5
"""Messages of the conversations of which all possible ones are tried."""
BLANK = ("", " ", "\n", " \t\n ")
ODD_SPACE = "\t\u2003\x1f"
"""White space that no template writes next to a content."""
WORDS = [
    *["Hi", "a b", "é中😀", "{{ bos_token }}", "{% raw %}", "<s>", "</s>", "<|im_end|>", "<|im_start|>system\n"],
    *["[INST]", "[/INST]", "<think>", "</think>", "<start_of_turn>", "\\n", "'", '"', "\x00", "\ud800", "\u2028"],
    *["system", "user", "assistant", "ß", "İ", "0", "-1", "None", "true", "[]", "{}", "&lt;", "%s", "{}", BOS, EOS],
    *[" ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u200b", "x" * 3000],
]
TOKENS = ("", "<s>", "</s>", "<|begin_of_text|>", "<|im_end|>", " ", "\n\n", "▁", BOS, EOS, "Zq0x")

Messages = list[dict[str, str]]
quoted = partial(json.dumps, ensure_ascii=False)


class Prober:
    """Renders conversations with one template; remembers what orders of roles gave."""

    def __init__(self, source: str):
        self.source = source
        self._joints: dict[str, list[str] | None] = {}

    def render(self, own: dict[str, str], messages: Messages, prompt: bool) -> tuple[str, Spans] | None:
        """As Jinja2 does; None where the template raises."""
        given = {"documents": None, "messages": messages, "tools": None, "add_generation_prompt": prompt}
        variables = {**given, "strftime_now": _refuse}  # what asks for the date has no form
        try:
            return chat_engine.render(self.source, own, variables, sum(len(m["content"]) for m in messages))
        except TemplateError:
            return None

    def joints(self, order: str) -> list[str] | None:
        """What stands around the contents of a conversation, "^u+" for one; None if that is not regular."""
        if order not in self._joints:
            self._joints[order] = self._probe(order)
        return self._joints[order]

    def _probe(self, order: str) -> list[str] | None:
        words = [f"Zq{i}x" for i in range(len(order) - 2)]
        bare = self._around(order, words, "")
        spaced = self._around(order, words, ODD_SPACE)
        if bare is None or spaced is None or set("".join(bare)) & {TRIM_LEFT, TRIM_RIGHT}:
            return None
        found: list[str] = []
        for i, (joint, wide) in enumerate(zip(bare, spaced)):
            left, right = ODD_SPACE if i else "", ODD_SPACE if i < len(words) else ""
            ways = {
                left + joint + right: joint,
                joint + right: TRIM_LEFT + joint,
                left + joint: joint + TRIM_RIGHT,
                joint: TRIM_LEFT + joint + TRIM_RIGHT,
            }
            if not left or not right:
                ways.update({joint: TRIM_LEFT + joint if left else joint + TRIM_RIGHT, left + joint + right: joint})
            if wide not in ways:
                return None
            found.append(ways[wide])
        return found

    def _around(self, order: str, words: list[str], space: str) -> list[str] | None:
        """The text cut at its words, which must be there once, in order, as all that is not the template's."""
        messages = said(order[1:-1], [space + word + space for word in words])
        result = self.render({"bos_token": BOS, "eos_token": EOS}, messages, order[-1] == PROMPT)
        if result is None:
            return None
        out, rest = [], result[0]
        for word in words:
            joint, found, rest = rest.partition(word)
            if not found:
                return None
            out.append(joint)
        return None if "Zq" in "".join([*out, rest]) else [*out, rest]


def _refuse(format: str) -> str:
    raise Refusal("the date")


def said(letters: str, contents: list[str]) -> Messages:
    """Messages of roles, given by letter."""
    return [{"role": ROLES[letter], "content": content} for letter, content in zip(letters, contents, strict=True)]


def orders(joints: set[str], longest: int = LONGEST) -> Iterator[str]:
    """Every conversation of up to `longest` messages that has only neighbours of `joints`."""
    for n in range(1, longest + 1):
        for letters, end in product(product(ROLES, repeat=n), (PROMPT, END)):
            order = START + "".join(letters) + end
            if all(order[i : i + 2] in joints for i in range(n + 1)):
                yield order


def read_off(prober: Prober, names: set[str]) -> dict[str, str] | None:
    """Text of each joint; None if one is not the same wherever it occurs, or too long."""
    joints: dict[str, str] = {}
    for order in orders(names):
        found = prober.joints(order)
        if found is None:
            return None
        for i, joint in enumerate(found):
            if joints.setdefault(order[i : i + 2], joint) != joint or len(joint) > MAX_JOINT:
                return None
    return joints if set(joints) == names else None


def constants(source: str) -> list[str]:
    """Texts that the template has in its expressions, short ones first."""
    tree = chat_engine._environment().parse(source)
    return sorted({n.value for n in tree.find_all(nodes.Const) if isinstance(n.value, str) and n.value}, key=len)


def differs(prober: Prober, form: Form, messages: Messages, prompt: bool, own: dict[str, str] | None = None) -> bool:
    """Whether the form covers a conversation and gives something else than Jinja2 does."""
    own = {"bos_token": "<s>", "eos_token": "</s>"} if own is None else own
    found = form.render(own, messages, prompt)
    return found is not None and found != prober.render(own, messages, prompt)


def covering(joints: dict[str, str]) -> list[str]:
    """A few conversations that have every joint."""
    rest, chosen = set(joints), []
    for order in orders(set(joints), 4):
        if rest & (new := {order[i : i + 2] for i in range(len(order) - 1)}):
            rest -= new
            chosen.append(order)
    return chosen


def with_guards(prober: Prober, joints: dict[str, str]) -> Form | None:
    """The form that leaves to Jinja2 blank contents, and texts looked for in contents, where they matter."""
    form, some = Form(joints), covering(joints)

    def matters(letter: str, *contents: str) -> bool:
        """Whether such contents make a difference in all messages of a role, or in the last one."""
        for order, content in product(some, contents):
            letters = order[1:-1]
            places = [i for i, other in enumerate(letters) if other == letter]
            for some_places in (places, places[-1:]):
                messages = said(letters, [content if i in some_places else "Hello" for i in range(len(letters))])
                if differs(prober, form, messages, order[-1] == PROMPT):
                    return True
        return False

    for letter in ROLES:
        if matters(letter, *BLANK):
            form = form.replace(filled=form.filled + letter)
    own = constants(prober.source)
    for text in own:
        ways = [text, text + "x", "x" + text, f"x{text}x{text}x", f"x {text} x", *wrapped(text, own)]
        if any(matters(letter, *ways) for letter in ROLES):
            if len(text) < 3:
                return None
            form = form.replace(avoids=(*form.avoids, text))
    return form


def wrapped(text: str, own: list[str]) -> list[str]:
    """A text between `text` and the constant that closes it, if there is one."""
    closing = text.replace("<", "</", 1)
    return [f"{text}\nx\n{closing}"] if closing != text and closing in own else []


def conversations(form: Form, words: list[str], count: int, seed: int = 0) -> Iterator[tuple[Any, ...]]:
    """Random ones of the orders that the form has, as arguments of `render`."""
    rng = random.Random(seed)
    for n in range(count):
        length = MAX_MESSAGES if n % 100 == 99 else rng.randint(1, 7)
        order = START
        while len(order) <= length:
            following = [name[1] for name in form.joints if name[0] == order[-1] and name[1] in ROLES]
            if not following:
                break
            order += rng.choice(following)
        ends = [name[1] for name in form.joints if name[0] == order[-1] and name[1] not in ROLES]
        if not ends:
            continue
        contents = ["".join(rng.choices(words, k=rng.choice((0, 1, 1, 2, 3, 6)))) for _ in order[1:]]
        own = {"bos_token": rng.choice(TOKENS), "eos_token": rng.choice(TOKENS)}
        own |= {f"{name}_token": rng.choice(TOKENS) for name in ("unk", "pad", "sep", "mask") if rng.random() < 0.3}
        yield own, said(order[1:], contents), rng.choice(ends) == PROMPT


def holds(prober: Prober, form: Form, count: int) -> bool:
    """Whether no random conversation shows a difference, with the template's own words among its words."""
    own = constants(prober.source)
    pieces = [text[i:j] for text in own for i, j in ((0, len(text) // 2), (len(text) // 2, len(text)))]
    other = [text.swapcase() for text in own] + [w for text in own for w in wrapped(text, own)]
    for seed, words in enumerate((WORDS, WORDS + 3 * own + pieces, WORDS[:3] + own + other)):
        for tokens, messages, prompt in conversations(form, words, count, seed):
            if differs(prober, form, messages, prompt, tokens):
                return False
    return True


def tried(prober: Prober, names: set[str], count: int = 100) -> Form | None:
    """The form with these joints, if there is one that holds."""
    joints = read_off(prober, names)
    form = joints and with_guards(prober, joints)
    return form if form and holds(prober, form, count) else None


def form_of(source: str, count: int = 800) -> Form | None:
    """The form of a template, with as many joints as agree; None if plain questions are not regular."""
    prober, form = Prober(source), None
    for step in STEPS:
        form = tried(prober, set(step.split()) | set(form.joints if form else ())) or form
    return form if form and holds(prober, form, count) else None


def packed(texts: list[str], indent: str, width: int = 118) -> str:
    """Texts behind each other, on as few lines as they fit in."""
    lines: list[str] = []
    for text in texts:
        if lines and len(indent) + len(lines[-1]) + len(text) + 2 <= width:
            lines[-1] += f" {text},"
        else:
            lines.append(f"{text},")
    return "".join(f"{indent}{line}\n" for line in lines)


def literal(form: Form) -> str:
    """A form as Python source."""
    joints = packed([f"{quoted(name)}: {quoted(joint)}" for name, joint in form.joints.items()], " " * 6)
    avoids = "".join(f"{quoted(text)}, " for text in form.avoids).strip()
    return f"    ({{{joints.strip().removesuffix(',')}}}, ({avoids}), {quoted(form.filled)}),\n"


def main(llama_cpp: Path, models: list[Path]) -> None:
    """Find every form, write the table."""
    digests: dict[str, str] = {}
    for name, source in [*NAMED.items(), *collect(llama_cpp, models)]:
        source = source.strip()
        digest = hashlib.sha256(source.encode()).hexdigest()
        if digest in digests or (digest not in KNOWN and name not in NAMED):
            continue
        form = form_of(source)
        print(f"{name}: {'no form' if form is None else ' '.join(form.joints)}", flush=True)
        digests[digest] = "" if form is None else literal(form)
    rows = list(dict.fromkeys(filter(None, digests.values())))
    of = packed([f'"{digest}": {rows.index(row)}' for digest, row in digests.items() if row], " " * 4)
    TARGET.write_text(HEAD.format(forms="".join(rows), digests=of), encoding="utf-8")
    print(f"{len(rows)} forms for {sum(map(bool, digests.values()))} of {len(digests)} templates")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]])
