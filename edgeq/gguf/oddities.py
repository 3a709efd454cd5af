"""What is unusual in the layout of a file yet no error: paddings that are not zero, rubbish at the end."""

from __future__ import annotations

from typing import NamedTuple

from edgeq.errors import shown
from edgeq.gguf.part import Part


class Oddity(NamedTuple):
    """`breaks_copy`: a copy cannot be identical byte for byte."""

    where: str
    text: str
    breaks_copy: bool


def oddities(part: Part) -> list[Oddity]:
    """Reads all paddings of `part`: at most one page per tensor."""
    header = part.header
    found = []
    if any(part.read(header.table_end, min(header.data_offset, part.size) - header.table_end)):
        found.append(Oddity("header", "the padding before the first tensor is not zero", True))
    for info in header.tensors:
        end = info.offset + info.nbytes
        pad = min(-end % header.alignment, part.size - end)
        if any(part.read(end, pad)):
            found.append(Oddity(f"tensor {shown(info.name)}", "the padding after it is not zero", True))
    if header.tensors:
        found += _ending(part)
    elif part.size > header.data_offset:
        found.append(Oddity("end of file", f"{part.size - header.data_offset} bytes after the header", True))
    return found


def _ending(part: Part) -> list[Oddity]:
    end = part.header.data_end
    padding = -end % part.header.alignment
    extra = part.size - end
    if extra == padding:
        return []
    if extra > padding:
        return [Oddity("end of file", f"{extra - padding} bytes after the last tensor", True)]
    return [Oddity("end of file", f"{extra} of {padding} bytes of padding after the last tensor", extra > 0)]
