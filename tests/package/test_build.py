"""native/build.py on a tiny library: what is rebuilt, what is exported, what happens without a compiler."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from edgeq import _lib
from native import build as building
from native.toolchain import NoCompiler, Toolchain, compile_flags, find_compiler, link_flags, probe, system_of
from tests.package import tree

pytest.importorskip("cffi")

try:
    probe(find_compiler())
    WHY = ""
except NoCompiler as reason:
    WHY = str(reason)
with_compiler = pytest.mark.skipif(bool(WHY), reason=WHY or "a compiler is here")
STATE = "from edgeq import _lib; print(_lib.available(), _lib.why_not())"
LIBRARY = building.LIBRARY[system_of("")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tree.make(tmp_path_factory.mktemp("built"))
    done = tree.build(root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


@with_compiler
def test_the_library_loads(built: Path) -> None:
    assert tree.ask(built, STATE) == "True None"
    code = "from edgeq._lib import lib as l; print(l.eq_abi_version(), l.EQ_SECOND, l.EQ_ONE, l.eq_scan(b'*'))"
    assert tree.ask(built, code) == f"{_lib.ABI} 2 1 42"
    note = json.loads((built / "edgeq/_native/build.json").read_text())
    assert note["library"] == LIBRARY
    assert "-ffp-contract=off" in note["flags"] or "/fp:precise" in note["flags"]
    assert str(built) not in (built / "edgeq/_native/build.json").read_text()


@with_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF symbols through dlsym of this system")
def test_only_the_interface_is_exported(built: Path) -> None:
    import ctypes

    library = ctypes.CDLL(str(built / "edgeq/_native" / LIBRARY))
    assert library.eq_not_for_bindings() == 3
    assert not hasattr(library, "hidden")
    code = "from edgeq._lib import lib; print(hasattr(lib, 'eq_not_for_bindings'))"
    assert tree.ask(built, code) == "False"


@with_compiler
def test_only_what_changed_is_compiled_again(copy: Path) -> None:
    assert tree.build(copy).stdout.count("  cc ") in (0, 3)  # a copy may have lost the times
    assert tree.build(copy).stdout.count("  cc ") == 0
    tree.write_source(copy, version=7)
    assert [line for line in tree.build(copy).stdout.splitlines() if "cc" in line] == ["  cc native/tiny.c"]
    assert f"interface version 7, this edgeq needs {_lib.ABI}" in tree.ask(copy, STATE)
    header = copy / "native/ops.gen.h"
    header.write_text(header.read_text() + "enum eq_new { EQ_NEW = 5 };\n")
    out = tree.build(copy).stdout
    assert "native/tiny.c" in out
    assert "native/sub/more.c" in out
    assert "native/scan.c" not in out  # does not include it
    tree.write_source(copy)
    tree.build(copy)
    assert tree.ask(copy, "from edgeq._lib import lib; print(lib.EQ_NEW)") == "5"


@with_compiler
def test_other_flags_make_other_objects(copy: Path) -> None:
    tree.build(copy)
    assert tree.build(copy, CFLAGS="-DOTHER=1").stdout.count("  cc ") == 3
    assert tree.build(copy).stdout.count("  cc ") == 0


@with_compiler
@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (r"eq_pair 12 a:0 b:4\n", "eq_pair has another layout (12 bytes, b:4)"),
        (r"eq_pair 24 a:0 b:8\n", "eq_pair has another layout (24 bytes)"),
        (r"eq_pair 16 a:0 c:8\n", "eq_pair has another layout (16 bytes, c:8)"),
        (r"eq_gone 16\n", "eq_gone is unknown"),
        (r"eq_opaque 16\n", "eq_opaque is unknown"),
        ("eq_pair", "libedgeq"),
    ],
)
def test_a_library_of_another_layout_is_refused(copy: Path, layout: str, said: str) -> None:
    tree.write_source(copy, layout=layout)
    tree.build(copy)
    state = tree.ask(copy, STATE)
    assert state.startswith("False ")
    assert said in state


@with_compiler
def test_asking_for_an_unusable_library_raises_backend_error(copy: Path) -> None:
    tree.write_source(copy, version=_lib.ABI + 1)
    tree.build(copy)
    code = (
        "from edgeq import _lib, errors\n"
        "for name in ('lib', 'ffi'):\n"
        "    try: getattr(_lib, name)\n"
        "    except errors.BackendError as error: print(error)"
    )
    assert tree.ask(copy, code).count("the native library cannot be used: ") == 2


@with_compiler
def test_a_missing_or_broken_library_is_named(copy: Path) -> None:
    library = copy / "edgeq/_native" / LIBRARY
    assert "none.so is missing" in tree.ask(copy, STATE, EDGEQ_LIBRARY="/nowhere/none.so")
    library.write_bytes(b"no library")
    state = tree.ask(copy, STATE)
    assert state.startswith("False ")
    assert state.count("\n") == 0
    library.unlink()
    assert f"{LIBRARY} is missing" in tree.ask(copy, STATE)


@with_compiler
def test_edgeq_library_names_another(copy: Path) -> None:
    done = tree.build(copy, "--out", "elsewhere")
    assert done.returncode == 0, done.stderr
    other = copy / "elsewhere" / LIBRARY
    (copy / "edgeq/_native" / LIBRARY).unlink()
    assert tree.ask(copy, STATE, EDGEQ_LIBRARY=str(other)) == "True None"


@with_compiler
def test_a_compile_error_is_told_and_keeps_the_old_library(copy: Path) -> None:
    (copy / "native/tiny.c").write_text("int broken(\n")
    done = tree.build(copy)
    assert done.returncode == 1
    assert "native/tiny.c" in done.stderr
    assert "Traceback" not in done.stderr
    assert tree.ask(copy, STATE) == "True None"


@with_compiler
def test_a_missing_symbol_is_a_link_error(copy: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("other linkers refuse on their own")
    (copy / "native/tiny.c").write_text("int away(void); int eq_use(void) { return away(); }\n")
    done = tree.build(copy)
    assert done.returncode == 1
    assert "away" in done.stderr


@with_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="sanitizers as GCC and Clang link them on Linux")
def test_sanitize_builds_elsewhere(copy: Path) -> None:
    done = tree.build(copy, "--sanitize")
    if "cannot find -lasan" in done.stderr or "libclang_rt" in done.stderr:
        pytest.skip("the sanitizer runtime is not installed")
    assert done.returncode == 0, done.stderr
    assert b"__asan_init" in (copy / "build/sanitize" / LIBRARY).read_bytes()


@pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc"), reason="no cross compiler for aarch64")
def test_a_cross_build(copy: Path) -> None:
    done = tree.build(copy, "--target", "aarch64-linux-gnu")
    assert done.returncode == 0, done.stderr
    data = (copy / "build/aarch64-linux-gnu/libedgeq.so").read_bytes()
    assert data[18:20] == b"\xb7\x00"  # EM_AARCH64


def test_without_a_compiler_one_line_and_no_library(tmp_path: Path) -> None:
    root = tree.make(tmp_path)
    (root / "edgeq/_native").mkdir()
    (root / "edgeq/_native" / LIBRARY).write_bytes(b"from before")
    code = "from native import build; print(build.build_or_explain(build.PACKAGE))"
    env = {"PATH": str(root), "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}
    assert tree.ask(root, code, **env) == "False"
    assert not (root / "edgeq/_native" / LIBRARY).exists()
    state = tree.ask(root, STATE, **env)
    assert "no C compiler found (tried " in state
    assert tree.ask(root, code, **env, CC="/nowhere/cc") == "False"
    assert "tried /nowhere/cc" in tree.ask(root, STATE)


def test_edgeq_native_0_leaves_the_library_out(tmp_path: Path) -> None:
    root = tree.make(tmp_path)
    code = "from native import build; print(build.build_or_explain(build.PACKAGE))"
    assert tree.ask(root, code, PATH=os.environ["PATH"], EDGEQ_NATIVE="0") == "False"
    assert "EDGEQ_NATIVE=0" in tree.ask(root, STATE)


def test_a_compiler_that_cannot_is_no_compiler(tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("needs a script as a compiler")
    script = tmp_path / "oldcc"
    script.write_text("#!/bin/sh\necho 'error: no C11 here' >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(NoCompiler, match=r"oldcc cannot build a C11 library: error: no C11 here"):
        probe(find_compiler(str(script)))


def test_flags_for_systems_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHFLAGS", "-arch arm64 -arch x86_64")
    monkeypatch.setenv("CFLAGS", "-DMINE='a b'")
    monkeypatch.setenv("LDFLAGS", "-Lmine")
    mac = Toolchain(("cc",), "darwin")
    assert compile_flags(mac)[-1] == "-DMINE=a b"
    assert compile_flags(mac).count("-arch") == link_flags(mac).count("-arch") == 2
    assert "-dynamiclib" in link_flags(mac)
    assert "-Lmine" in link_flags(mac)
    cl = Toolchain(("cl",), "windows", cl=True)
    assert {"/std:c11", "/fp:precise", "/Inative"} <= set(compile_flags(cl))
    assert cl.compile("a.c", Path("a.obj"), ["/O2"], None) == [
        "cl",
        "/nologo",
        "/O2",
        "/c",
        "a.c",
        "/Foa.obj",
    ]
    assert "/IMPLIB:x.lib" in cl.link(["a.obj"], Path("x.dll"), [])
    gcc = Toolchain(("x86_64-w64-mingw32-gcc",), "windows")
    assert "-fPIC" not in compile_flags(gcc)
    assert link_flags(gcc)[:2] == ["-shared", "-static"]


def test_targets_name_their_system() -> None:
    names = {"aarch64-linux-musl": "linux", "x86_64-w64-mingw32": "windows", "arm64-apple-darwin": "darwin"}
    assert {name: system_of(name) for name in names} == names


def test_declarations_are_whole_and_without_directives() -> None:
    text = building.declarations()
    assert "#" not in text
    assert "eq_step" in text
    assert "EQ_OP_LINEAR" in text
    assert "eq_scan_strings" in text


def test_every_declared_function_is_in_the_library() -> None:
    import re

    if not _lib.available():
        pytest.skip(str(_lib.why_not()))
    names = re.findall(r"\b(eq_\w+)\s*\(", building.declarations())
    assert len(names) > 20
    assert [name for name in names if not hasattr(_lib.lib, name)] == []


def test_the_layout_covers_every_struct() -> None:
    if not _lib.available():
        pytest.skip(str(_lib.why_not()))
    said = {line.split()[0] for line in _lib.ffi.string(_lib.lib.eq_abi_layout()).decode().splitlines()}
    known = {name for name in _lib.ffi.list_types()[0] if whole(name) and not name.startswith("eq_op_")}
    assert known
    assert known <= said


def whole(name: str) -> bool:
    """Whether a type is declared with its members."""
    try:
        return bool(_lib.ffi.sizeof(name))
    except (_lib.ffi.error, ValueError):
        return False
