"""The machine and the installation that figures belong to."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any


def describe() -> dict[str, Any]:
    """As JSON types; nothing that names a person or a place."""
    from edgeq import machine
    from edgeq._version import __version__

    return {
        "cpu": cpu_name(), "architecture": platform.machine(), "cpus": os.cpu_count(),
        "threads": machine.threads_to_use(), "memory": machine.memory().total,
        "system": f"{platform.system()} {platform.release()}", "load": load(),
        "python": platform.python_version(), "edgeq": __version__,
    }  # fmt: skip


def cpu_name() -> str:
    """As the system calls it."""
    try:
        if sys.platform == "darwin":
            words = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(words, capture_output=True, text=True, timeout=5).stdout.strip()
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            rows = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file)}
        if found := rows.get("model name") or rows.get("Model") or rows.get("Hardware"):
            return found
    except (OSError, subprocess.SubprocessError):
        pass
    return platform.processor() or platform.machine()


def load() -> float | None:
    """Of the last minute; None where there is no such number."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
