"""Builds the native library: every C file below native/ into one plain shared library.

    python native/build.py                  rebuild in place (edgeq/_native), only what changed
    python native/build.py --sanitize       address and undefined-behaviour sanitizers, into build/sanitize
    python native/build.py --target aarch64-linux-gnu [--cc 'zig cc'] [--out DIR]

CC, CFLAGS, LDFLAGS and, on macOS, ARCHFLAGS are honoured. EDGEQ_LIBRARY=FILE makes edgeq load a library that
stands elsewhere. Owns neither the flags (toolchain.py) nor what setuptools needs (commands.py).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from native.toolchain import (  # noqa: E402
    LIBRARY,
    BuildError,
    NoCompiler,
    Toolchain,
    compile_flags,
    find_compiler,
    link_flags,
    probe,
)

PACKAGE = ROOT / "edgeq" / "_native"
# What bindings may call, in the order in which the declarations need each other.
HEADERS = ("native/ops.gen.h", "native/include/edgeq.h", "native/scan.h")


def stale(target: Path, source: Path, depfile: Path | None, headers_time: float) -> bool:
    """Whether an object must be compiled again; without a dependency file any newer header counts."""
    if not target.exists():
        return True
    made = target.stat().st_mtime
    if depfile is None or not depfile.exists():
        return max(source.stat().st_mtime, headers_time) >= made
    text = depfile.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    names = [name.replace("\\ ", " ") for name in re.findall(r"(?:\\.|\S)+", text.partition(": ")[2])]
    paths = [ROOT / name for name in names]
    return any(not path.exists() or path.stat().st_mtime >= made for path in paths)


def build_objects(tool: Toolchain, folder: Path, flags: Sequence[str], jobs: int) -> list[Path]:
    """Compiles what changed, several files at a time; returns every object."""
    sources = sorted((ROOT / "native").rglob("*.c"))
    if not sources:
        raise NoCompiler("there are no C sources below native/")
    headers_time = max((p.stat().st_mtime for p in (ROOT / "native").rglob("*.h")), default=0.0)
    many_archs = " ".join(flags).count("-arch ") > 1  # clang then writes no dependency file

    def one(source: Path) -> Path:
        name = str(source.relative_to(ROOT)).replace(os.sep, "__")
        target = folder / (name + (".obj" if tool.cl else ".o"))
        depfile = None if tool.cl or many_archs else target.with_suffix(".d")
        if stale(target, source, depfile, headers_time):
            part = target.with_name(f"{os.getpid()}-{target.name}")
            own = [*flags, "-fvisibility=default"] if exported(source) and not tool.cl else flags
            tool.run(tool.compile(source.relative_to(ROOT).as_posix(), part, own, depfile))
            os.replace(part, target)
            print(f"  cc {source.relative_to(ROOT).as_posix()}")
        return target

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, sources))


def exported(source: Path) -> bool:
    """Whether a whole file is interface: cffi reads its header, which so cannot hold a visibility pragma."""
    return source.with_suffix(".h").relative_to(ROOT).as_posix() in HEADERS


def declarations() -> str:
    """The C declarations for cffi: what stands between the markers, or a whole header less its directives."""
    parts = []
    for name in HEADERS:
        path = ROOT / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        marked = re.findall(r"/\* cdef begin \*/(.*?)/\* cdef end \*/", text, re.DOTALL)
        plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        parts.append("\n".join(marked) if marked else plain)
    return "\n".join(parts)


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_bindings(out: Path) -> None:
    """The Python module that cffi needs in ABI mode: no compiler and no parsing at run time."""
    import cffi

    ffi = cffi.FFI()
    ffi.set_source("edgeq._native._abi", None)
    ffi.cdef(declarations())
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        made = Path(folder, "_abi.py")
        ffi.emit_python_code(str(made))
        write_if_changed(out / "_abi.py", made.read_text(encoding="utf-8"))


def start_folder(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_if_changed(out / "__init__.py", '"""Made by native/build.py: the native library and its declarations."""\n')
    if out == PACKAGE:
        write_if_changed(out / ".gitignore", "*\n")


def write_note(out: Path, **facts: object) -> None:
    write_if_changed(out / "build.json", json.dumps(facts, indent=1) + "\n")


def build(tool: Toolchain, out: Path, *, sanitize: bool = False, jobs: int = 0) -> Path:
    """Builds the library, its Python declarations and a note on the build into `out`; returns the library."""
    flags, ldflags = compile_flags(tool, sanitize), link_flags(tool, sanitize)
    key = hashlib.sha256("\0".join([*tool.cc, tool.system, *flags]).encode()).hexdigest()[:12]
    folder = ROOT / "build" / "native" / key
    folder.mkdir(parents=True, exist_ok=True)
    objects = build_objects(tool, folder, flags, jobs or os.cpu_count() or 1)
    start_folder(out)
    library = out / LIBRARY[tool.system]
    part = folder / f"{os.getpid()}-{library.name}"
    if tool.cl:  # nothing is exported by default
        ldflags += [f"/EXPORT:{name}" for name in re.findall(r"\b(eq_\w+)\s*\(", declarations())]
    tool.run(tool.link([path.relative_to(ROOT).as_posix() for path in objects], part, ldflags))
    shutil.move(part, library)
    write_bindings(out)
    facts = {"cc": " ".join(tool.cc), "compiler": tool.version(), "flags": " ".join(flags)}
    write_note(out, library=library.name, why=None, **facts)
    return library


def build_or_explain(out: Path) -> bool:
    """Builds into `out`; for want of a compiler says so in one line and returns False."""
    try:
        if os.environ.get("EDGEQ_NATIVE") == "0":
            raise NoCompiler("EDGEQ_NATIVE=0 was set when edgeq was installed")
        tool = find_compiler()
        probe(tool)
        build(tool, out)
    except NoCompiler as reason:
        start_folder(out)
        for name in LIBRARY.values():
            (out / name).unlink(missing_ok=True)
        write_note(out, library=None, why=str(reason))
        print(f"edgeq: no native library, the numba backend will serve: {reason}", file=sys.stderr)
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the native library of edgeq.")
    parser.add_argument("--cc", default="", help="compiler command (default: $CC, then the usual names)")
    parser.add_argument("--target", default="", help="triple of another machine, such as aarch64-linux-gnu")
    parser.add_argument("--out", type=Path, help="folder for the result (default: edgeq/_native)")
    parser.add_argument("--sanitize", action="store_true", help="with -fsanitize=address,undefined")
    parser.add_argument("--jobs", type=int, default=0, help="compilers at a time (default: one per core)")
    args = parser.parse_args()
    elsewhere = "sanitize" if args.sanitize else args.target
    out = (args.out or (ROOT / "build" / elsewhere if elsewhere else PACKAGE)).resolve()
    try:
        print(build(find_compiler(args.cc, args.target), out, sanitize=args.sanitize, jobs=args.jobs))
    except (BuildError, NoCompiler) as error:
        print(f"native/build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
