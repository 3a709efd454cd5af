"""`edgeq gguf hash`: hashes of the tensors of a model, and their comparison with hashes of before."""

from __future__ import annotations

from pathlib import Path

import click

from edgeq import gguf
from edgeq.cli.gguf.lines import write_json, write_lines
from edgeq.cli.progress import Progress
from edgeq.cli.terminal import Out, say
from edgeq.errors import FormatError, UsageError, shown
from edgeq.gguf import hashing

LARGEST = 64 << 20  # bytes of a manifest; 131,072 tensors are 17 MB


@click.command(
    epilog="A tensor's hash is that of its bytes in the file, as `extract --raw` writes them. The last one, *, covers "
    "names, formats, shapes and hashes of all tensors, in the order of their names: metadata, order, padding and "
    "splitting make no difference. --files adds what sha256sum says of each file, marked by a * before its name. "
    "`pydoc edgeq.gguf.hashing` says it byte by byte."
)
@click.argument("file")
@click.option("--algorithm", "-a", type=click.Choice(hashing.ALGORITHMS), help="Default: sha256, or that of --check.")
@click.option("--check", metavar="MANIFEST", help="Compare with saved output; exit code 1 if it differs.")
@click.option("--no-tensors", is_flag=True, help="Print the hash of all tensors alone.")
@click.option("--files", is_flag=True, help="Also hash each file as a whole, metadata and all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: str, algorithm: str | None, check: str | None, no_tensors: bool, files: bool, as_json: bool) -> int:
    """Hash each tensor of FILE and all of them together."""
    expected = None if check is None else manifest(check)
    if expected and algorithm not in (None, expected.algorithm):
        raise UsageError(f"--algorithm {algorithm}: {shown(check)} holds hashes of {expected.algorithm}")
    name = expected.algorithm if expected else algorithm or "sha256"
    with Progress("hashed") as progress:
        found = gguf.hash_tensors(file, name, files=bool(expected.files) if expected else files, progress=progress)
    if expected:
        return compare(file, expected, found, as_json)
    if no_tensors:
        found = found._replace(tensors={})
    if as_json:
        write_json({"file": file, **hashing.to_json(found)})
    else:
        Out().write(hashing.to_text(found))
    return 0


def manifest(path: str) -> gguf.Hashes:
    """The hashes in a file. UsageError if it cannot be read, FormatError if it holds none."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        why = shown(getattr(error, "strerror", None) or error)
        raise UsageError(f"--check {shown(path)}: {why}; expected a file with the output of edgeq gguf hash") from None
    if len(data) > LARGEST:
        raise FormatError(f"{shown(path)}: over {LARGEST} bytes; expected the output of edgeq gguf hash")
    try:
        return hashing.from_manifest(data.decode("utf-8"), shown(path))
    except UnicodeDecodeError:
        raise FormatError(f"{shown(path)}: is not UTF-8; expected the output of edgeq gguf hash") from None


def compare(file: str, expected: gguf.Hashes, found: gguf.Hashes, as_json: bool) -> int:
    """Reports what differs; the exit code."""
    if not expected.tensors:  # the hash of all tensors alone was saved
        found = found._replace(tensors={})
    wrong = hashing.mismatches(expected, found)
    if as_json:
        rows = [{"tensor": m.name, "file": m.file, "expected": m.expected, "found": m.found} for m in wrong]
        write_json({"file": file, "same": not wrong, "mismatches": rows})
    else:
        write_lines(line(m) for m in wrong)
        say(f"{shown(file)}: {'differs from' if wrong else 'agrees with'} the manifest")
    return 1 if wrong else 0


def line(m: hashing.Mismatch) -> str:
    name = f"file {shown(m.file)}" if m.file else "all tensors" if m.name is None else shown(m.name)
    if m.expected is None:
        return f"{name}: not in the manifest"
    return f"{name}: missing" if m.found is None else f"{name}: expected {m.expected}, found {m.found}"
