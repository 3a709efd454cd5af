"""Write edgeq/tokenizer/unicode.py: the general category of every code point, as llama.cpp's
pre-tokenizers see it.

Source: the Unicode Character Database, version 15.1 (the one behind llama.cpp's tables), through
the package unicodedata2==15.1.0. Licence of the data: Unicode License v3.

    pip install unicodedata2==15.1.0
    python models/make_unicode.py
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import unicodedata2

VERSION = "15.1.0"
TARGET = Path(__file__).parent.parent / "edgeq/tokenizer/unicode.py"
HEAD = f'''"""The classes of Unicode {VERSION} that cut text. Written by models/make_unicode.py; do not edit.

Unicode Character Database, Unicode License v3. A class is the first letter of the general category:
L letter, M mark, N number, P punctuation, S symbol, Z separator, C control, format, private,
surrogate or unassigned.
"""

from __future__ import annotations

'''


def runs() -> list[tuple[str, int]]:
    """Class and length of each run of code points with one class."""
    out: list[tuple[str, int]] = []
    for point in range(0x110000):
        kind = unicodedata2.category(chr(point))[0]
        if out and out[-1][0] == kind:
            out[-1] = (kind, out[-1][1] + 1)
        else:
            out.append((kind, 1))
    return out


def main() -> None:
    """Write the module."""
    assert unicodedata2.unidata_version == VERSION, f"need unicodedata2=={VERSION}"
    text = "".join(kind + (f"{n:x}" if n > 1 else "") for kind, n in runs())
    body = "RUNS = (\n" + "".join(f'    "{line}"\n' for line in textwrap.wrap(text, 90)) + ")\n"
    body += '"""Class and hexadecimal length (1 where absent) of each run, from U+0000 on."""\n\n'
    space = {c for c in range(0x110000) if unicodedata2.category(chr(c))[0] == "Z"}
    points = ", ".join(f"0x{c:X}" for c in sorted(space | {*range(9, 14), 0x85}))
    body += "WHITE_SPACE = frozenset((\n" + textwrap.indent(textwrap.fill(points, 90), "    ")
    body += ',\n))  # fmt: skip\n"""Code points with the property White_Space."""\n'
    TARGET.write_text(HEAD + body, encoding="utf-8")


if __name__ == "__main__":
    main()
