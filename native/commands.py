"""The setuptools commands that put the native library into wheels and development installs.

Named in pyproject.toml, [tool.setuptools.cmdclass]. The library holds no Python symbol, so one wheel per
platform serves every Python: py3-none-<platform>, or py3-none-any where there was no compiler.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from native.build import PACKAGE, build_or_explain  # noqa: E402

NO_MUSL_WHEEL = ("sentencepiece", "numba")


class BuildPy(build_py):
    """Copies the Python files, then builds the library beside them."""

    native = False

    def run(self) -> None:
        package = Path(self.build_lib, "edgeq")
        if self.editable_mode:
            self.native = build_or_explain(PACKAGE)
            return
        # Else modules deleted since the last build would be packed.
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        self.native = build_or_explain(package.resolve() / "_native")
        shutil.copyfile(ROOT / "models" / "registry.toml", package / "_registry.toml")

    def get_source_files(self) -> list[str]:
        """For the source distribution: what the build needs besides the packages."""
        native = (path for path in (ROOT / "native").rglob("*") if path.suffix in (".c", ".h", ".py"))
        extra = [*native, ROOT / "models" / "registry.toml"]
        return [*super().get_source_files(), *(path.relative_to(ROOT).as_posix() for path in sorted(extra))]


class BdistWheel(bdist_wheel):
    """Builds first, because only then it is known whether the wheel is bound to a platform."""

    def run(self) -> None:
        self.run_command("build_py")
        native = self.get_finalized_command("build_py").native
        self.distribution.has_ext_modules = lambda: native
        self.root_is_pure = not native
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        if self.root_is_pure:
            return ("py3", "none", "any")
        return ("py3", "none", one_arch(super().get_tag()[2]))


def one_arch(tag: str) -> str:
    """A universal Python on macOS still builds for one machine unless ARCHFLAGS asks for both."""
    if tag.endswith("_universal2") and os.environ.get("ARCHFLAGS", "").count("-arch") < 2:
        return tag.removesuffix("universal2") + platform.machine()
    return tag


class EggInfo(egg_info):
    """Leaves out of the metadata what has no wheel on musl: environment markers cannot say that."""

    def run(self) -> None:
        if is_musl():
            needs = self.distribution.install_requires
            kept = [need for need in needs if not need.startswith(NO_MUSL_WHEEL)]
            self.distribution.install_requires = self.distribution.metadata.install_requires = kept
        super().run()


def is_musl() -> bool:
    return "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or sysconfig.get_config_var("SOABI") or "")
