"""Write edgeq/tokenizer/unicode_bert.py: controls and lower-case letters, for cleaning text as BERT does.

Source: the Unicode Character Database, version 15.1 (the one behind llama.cpp's tables), which Python 3.13
carries. Licence of the data: Unicode License v3. Run with that Python:

    python3.13 models/make_unicode_bert.py
"""

from __future__ import annotations

import textwrap
import unicodedata
from pathlib import Path

VERSION = "15.1.0"
TARGET = Path(__file__).parent.parent / "edgeq/tokenizer/unicode_bert.py"
HEAD = f'''"""Controls and lower-case letters of Unicode {VERSION}.

Written by models/make_unicode_bert.py; do not edit. Unicode Character Database, Unicode License v3.
Numbers are hexadecimal.
"""

from __future__ import annotations

'''
CONTROLS = '"""first-last of each run of control, format, private-use and surrogate code points."""'
LOWER = '"""first-last/step+distance: upper-case letters and how far their simple lower case lies."""'


def controls() -> list[str]:
    """Each run of control code points, as the module spells it."""
    runs: list[list[int]] = []
    for point in range(0x110000):
        if unicodedata.category(chr(point)) in ("Cc", "Cf", "Co", "Cs"):
            if runs and runs[-1][1] == point - 1:
                runs[-1][1] = point
            else:
                runs.append([point, point])
    return [f"{first:x}-{last:x}" for first, last in runs]


def simple_lower(point: int) -> int:
    """The simple (one character) lower case: Python's full one but for U+0130."""
    full = chr(point).lower()
    assert len(full) == 1 or point == 0x130
    return ord(full[0])


def lower() -> list[str]:
    """Each run of upper-case letters that are evenly spaced and equally far from their lower case."""
    runs: list[list[int]] = []  # first, last, step, distance
    for point in range(0x110000):
        distance = simple_lower(point) - point
        if not distance:
            continue
        last = runs[-1] if runs else [0, 0, 0, 0]
        step = point - last[1]
        if distance == last[3] and step <= 2 and last[2] in (0, step):
            last[1:3] = point, step
        else:
            runs.append([point, point, 0, distance])
    return [f"{first:x}-{last:x}/{step or 1:x}{distance:+x}" for first, last, step, distance in runs]


def main() -> None:
    """Write the module."""
    assert unicodedata.unidata_version == VERSION, f"need a Python with Unicode {VERSION}, such as 3.13"
    body = ""
    for name, items, about in (("CONTROLS", controls(), CONTROLS), ("LOWER", lower(), LOWER)):
        lines = textwrap.wrap(" ".join(items), 100, break_on_hyphens=False)
        body += f"{name} = (\n" + "\n".join(f'    "{line} "' for line in lines) + f"\n)\n{about}\n\n"
    TARGET.write_text(HEAD + body.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
