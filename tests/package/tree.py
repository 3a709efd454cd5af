"""A small source tree with the real build files and a tiny library, to build in seconds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from edgeq._lib import ABI

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    *("pyproject.toml", "setup.cfg", "LICENSE", "models/registry.toml"),
    *("native/build.py", "native/toolchain.py", "native/commands.py"),
    *("edgeq/__init__.py", "edgeq/_lib.py", "edgeq/_version.py", "edgeq/errors.py", "edgeq/py.typed"),
)

HEADER = """
#ifndef EDGEQ_H
#define EDGEQ_H
#include <stdint.h>
#include "ops.gen.h"
#pragma GCC visibility push(default)
/* cdef begin */
typedef struct { int32_t a; double b; } eq_pair;
typedef struct eq_opaque eq_opaque;
int32_t eq_abi_version(void);
const char *eq_abi_layout(void);
/* cdef end */
int32_t eq_not_for_bindings(void);
#pragma GCC visibility pop
/* cdef begin */
enum { EQ_SECOND = 2 };
/* cdef end */
#endif
"""
SCAN = """
#include <stdint.h>
#include "scan.h"
int64_t eq_scan(const uint8_t *data) { return data[0]; }
"""
SOURCE = """
#include "edgeq.h"
int32_t eq_abi_version(void) { return %(version)d; }
const char *eq_abi_layout(void) { return "%(layout)s"; }
int32_t hidden(void) { return 1; }
"""
LAYOUT = r"eq_pair 16 a:0 b:8\n"


def make(root: Path) -> Path:
    """Writes the tree below `root` and returns it."""
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    files = {
        "README.md": "A stand-in.\n",
        "native/include/edgeq.h": HEADER,
        "native/ops.gen.h": "/* no directives */\nenum eq_kind { EQ_ONE = 1 };\n",
        "native/scan.h": "int64_t eq_scan(const uint8_t *data);\n",
        "native/scan.c": SCAN,
        "native/sub/more.c": '#include "edgeq.h"\nint32_t eq_not_for_bindings(void) { return 3; }\n',
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    write_source(root)
    return root


def write_source(root: Path, version: int = ABI, layout: str = LAYOUT) -> None:
    (root / "native/tiny.c").write_text(SOURCE % {"version": version, "layout": layout})


def build(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python native/build.py` in the tree; nothing of the surroundings but PATH and what is given."""
    import os

    env = {"PATH": os.environ["PATH"], "HOME": str(root), **environment}
    command = [sys.executable, "native/build.py", *arguments]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def ask(root: Path, code: str, **environment: str) -> str:
    """What `code` prints in a Python that finds the tree's own edgeq."""
    env = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
