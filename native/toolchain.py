"""The C compiler of this machine and its flags: found by name, tried on a small library, three dialects.

Owns no build step: build.py compiles. GCC and Clang (also for another machine), cl.exe and clang-cl.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDES = ("native", "native/include")
LIBRARY = {"linux": "libedgeq.so", "darwin": "libedgeq.dylib", "windows": "libedgeq.dll"}
PROBE = """
#include <stdatomic.h>
#include <stdint.h>
_Static_assert(sizeof(int64_t) == 8, "C11");
static atomic_int word;
int eq_probe(void) { return atomic_load(&word); }
"""


class BuildError(Exception):
    """The compiler ran and refused."""


class NoCompiler(Exception):
    """There is no C11 compiler here; the message says what was tried."""


@dataclass(frozen=True)
class Toolchain:
    """A compiler with its command, its dialect of flags and the system it builds for."""

    cc: tuple[str, ...]
    system: str  # linux (any ELF system), darwin or windows
    cl: bool = False  # speaks the flags of cl.exe
    env: tuple[tuple[str, str], ...] = ()

    def compile(self, source: str, target: Path, flags: Sequence[str], depfile: Path | None) -> list[str]:
        if self.cl:
            return [*self.cc, "/nologo", *flags, "/c", source, f"/Fo{target}"]
        deps = ["-MMD", "-MF", str(depfile)] if depfile else []
        return [*self.cc, *flags, *deps, "-c", source, "-o", str(target)]

    def link(self, objects: Sequence[str], target: Path, flags: Sequence[str]) -> list[str]:
        if self.cl:
            implib = target.with_suffix(".lib")
            return [
                *self.cc,
                "/nologo",
                "/LD",
                *objects,
                f"/Fe{target}",
                "/link",
                f"/IMPLIB:{implib}",
                *flags,
            ]
        return [*self.cc, *objects, "-o", str(target), *flags]

    def run(self, command: Sequence[str]) -> str:
        """Output of a command run in the project's root, so that no absolute path reaches an object file."""
        try:
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **dict(self.env)}, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False,
            )  # fmt: skip
        except OSError as error:
            raise NoCompiler(f"{command[0]}: {error.strerror or error}") from None
        if done.returncode:
            raise BuildError(f"{shlex.join(command)}\n{done.stdout}")
        return done.stdout

    def version(self) -> str:
        try:
            lines = self.run([*self.cc] if self.cl else [*self.cc, "--version"]).splitlines()
        except (BuildError, NoCompiler) as error:
            lines = str(error).splitlines()[1:]  # cl.exe prints its name and then asks for a file
        return next((line.strip() for line in lines if line.strip()), "unknown")


def system_of(target: str) -> str:
    """linux, darwin or windows, from a target triple or, if that is empty, this machine."""
    name = (target or sys.platform).lower()
    if any(word in name for word in ("darwin", "macos", "apple")):
        return "darwin"
    return "windows" if any(word in name for word in ("win32", "windows", "mingw", "cygwin")) else "linux"


def find_compiler(cc: str = "", target: str = "") -> Toolchain:
    """The compiler asked for, or $CC, or the usual names on PATH."""
    system = system_of(target)
    wanted = cc or os.environ.get("CC", "")
    if wanted:
        tried = [tuple(shlex.split(wanted, posix=os.name != "nt"))]
    elif target:
        tried = [(f"{target}-gcc",), ("zig", "cc"), ("clang",)]
    else:
        names = ("cl", "clang", "gcc") if system == "windows" else ("cc", "gcc", "clang", "zig cc")
        tried = [tuple(name.split()) for name in names]
    for command in tried:
        if command and shutil.which(command[0]):
            name = Path(command[0]).stem.lower()
            if target and (name == "zig" or name.startswith("clang")):
                command = (*command, "-target", target)
            return Toolchain(command, system, cl=name in ("cl", "clang-cl"))
    if system == "windows" and not wanted and not target:
        return visual_studio()
    raise NoCompiler("no C compiler found (tried " + ", ".join(" ".join(c) for c in tried) + ")")


def visual_studio() -> Toolchain:
    """cl.exe of an installed Visual Studio that is not on PATH, with the environment it needs."""
    base = os.environ.get("PROGRAMFILES(X86)", r"C:\Program Files (x86)")
    where = Path(base, "Microsoft Visual Studio", "Installer", "vswhere.exe")
    arch = {"AMD64": "x64", "ARM64": "arm64"}.get(platform.machine(), "x86")
    try:
        root = subprocess.check_output([where, "-latest", "-products", "*", "-property", "installationPath"])
        script = Path(root.decode(errors="replace").strip(), "VC", "Auxiliary", "Build", "vcvarsall.bat")
        text = subprocess.check_output(f'cmd /u /s /c ""{script}" {arch} >nul && set"')
    except (OSError, subprocess.CalledProcessError):
        raise NoCompiler("no C compiler found (tried cl, clang, gcc and Visual Studio)") from None
    pairs = (line.partition("=") for line in text.decode("utf-16le", "replace").splitlines())
    env = {key: value for key, sep, value in pairs if sep}
    path = next((value for key, value in env.items() if key.upper() == "PATH"), "")
    cl = shutil.which("cl", path=path)
    if not cl:
        raise NoCompiler("Visual Studio is installed without its C compiler")
    return Toolchain((cl,), "windows", cl=True, env=tuple(env.items()))


def compile_flags(tool: Toolchain, sanitize: bool = False) -> list[str]:
    user = shlex.split(os.environ.get("CFLAGS", ""))
    includes = [("/I" if tool.cl else "-I") + path for path in INCLUDES]
    if tool.cl:
        contract = ["/clang:-ffp-contract=off"] if Path(tool.cc[0]).stem.lower() == "clang-cl" else []
        atomics = [] if contract else ["/experimental:c11atomics"]
        return [
            "/std:c11",
            "/O2",
            "/fp:precise",
            "/utf-8",
            "/DEQ_BUILD",
            *contract,
            *atomics,
            *includes,
            *user,
        ]
    flags = ["-std=gnu11", "-O3", "-pthread", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"]
    if tool.system != "windows":
        flags.append("-fPIC")
    if tool.system == "darwin":
        flags += shlex.split(os.environ.get("ARCHFLAGS", ""))
    if sanitize:
        flags += ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
    return [*flags, "-Wall", "-Wextra", "-DEQ_BUILD", *includes, *user]


def link_flags(tool: Toolchain, sanitize: bool = False) -> list[str]:
    user = shlex.split(os.environ.get("LDFLAGS", ""))
    if tool.cl:
        return user
    if tool.system == "darwin":
        arch = shlex.split(os.environ.get("ARCHFLAGS", ""))
        flags = ["-dynamiclib", "-Wl,-install_name,@rpath/libedgeq.dylib", *arch]
    elif tool.system == "windows":
        flags = ["-shared"] + (["-static"] if "gcc" in Path(tool.cc[0]).name else [])
    else:
        strict = [] if sanitize else ["-Wl,--no-undefined"]
        flags = ["-shared", "-pthread", "-Wl,-soname,libedgeq.so", "-Wl,-z,relro,-z,now", *strict]
        user = [*user, "-lm", "-lpthread"]
    return [*flags, *(["-fsanitize=address,undefined"] if sanitize else []), *user]


def probe(tool: Toolchain) -> None:
    """Raises NoCompiler unless a small C11 library can be compiled and linked."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(PROBE, encoding="ascii")
        target = source.with_suffix(".o")
        try:
            tool.run(tool.compile(str(source), target, compile_flags(tool), None))
            tool.run(tool.link([str(target)], Path(folder, LIBRARY[tool.system]), link_flags(tool)))
        except BuildError as error:
            last = str(error).strip().splitlines()[-1]
            raise NoCompiler(f"{' '.join(tool.cc)} cannot build a C11 library: {last}") from None
