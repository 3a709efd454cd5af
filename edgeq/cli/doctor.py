"""`edgeq doctor`: what this machine and this installation can do, and why. Needs no native library."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from typing import Any

import click

from edgeq import _lib, machine, registry
from edgeq._version import __version__
from edgeq.backends import numba_cache
from edgeq.errors import EdgeqError, shown

# What an optional package is for.
OPTIONAL = {
    "numba": "the numba backend",
    "sentencepiece": "SentencePiece vocabularies",
    "tokenizers": "byte-level BPE vocabularies",
    "huggingface_hub": "pulls from the hub with login and its cache",
    "gguf": "an independent reader, for tests",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show what edgeq found out about this machine and its own installation."""
    report = examine()
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        print("\n".join(lines(report)))


def examine() -> dict[str, Any]:
    """Everything doctor knows, as JSON types. Sizes are bytes."""
    threads, memory = machine.threads(), machine.memory()
    return {
        "edgeq": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "cpu": cpu(),
        "threads": {"use": threads.number, "because": list(threads.reasons)},
        "memory": {
            "available": memory.available,
            "total": memory.total,
            "limit": memory.limit,
            "because": list(memory.reasons),
        },
        "library": library(),
        "optional": {name: {"version": version(name), "for": use} for name, use in OPTIONAL.items()},
        "cache": cache(),
    }


def cpu() -> dict[str, Any]:
    """The library's report: features, which variants passed their self-test, which one is chosen."""
    if not _lib.available():
        return {"machine": platform.machine(), "features": None, "variants": None, "chosen": None}
    report = json.loads(_lib.ffi.string(_lib.lib.eq_cpu_report()))
    return {"machine": platform.machine(), "forced": os.environ.get("EDGEQ_ISA"), **report}


def library() -> dict[str, Any]:
    """Where the native library is, how it was built, or why it cannot be used."""
    facts: dict[str, Any] = {"usable": _lib.available(), "why_not": _lib.why_not(), "path": _lib.path()}
    note = _lib.build_info()
    facts |= {key: note.get(key) for key in ("compiler", "flags")}
    if _lib.available():
        facts["abi"] = int(_lib.lib.eq_abi_version())
        facts["build"] = _lib.ffi.string(_lib.lib.eq_build_info()).decode("ascii", "replace")
    return facts


def version(package: str) -> str | None:
    """The installed version of a package, or None; nothing is imported."""
    if importlib.util.find_spec(package) is None:
        return None
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package.replace("_", "-"))
    except PackageNotFoundError:
        return "unknown"


def cache() -> dict[str, Any]:
    """The folder of fetched models, which of the registry are in it, and where numba's kernels are kept."""
    folder = numba_cache.folder()
    kernels = str(folder) if folder else None
    try:
        here = {entry.name: entry.fetched for entry in registry.entries()}
        return {"path": str(registry.cache_dir()), "models": here, "kernels": kernels}
    except EdgeqError as error:
        return {"path": None, "models": {}, "kernels": kernels, "why": str(error)}


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    library, memory, threads = report["library"], report["memory"], report["threads"]
    text = [
        f"edgeq {report['edgeq']}, {report['python']}, {report['platform']}",
        "",
        *cpu_lines(report["cpu"]),
    ]
    text += [f"threads   {threads['use']}", *(f"          {why}" for why in threads["because"])]
    text.append(f"memory    {size(memory['available'])} available of {size(memory['total'])}")
    text += [f"          {why}" for why in memory["because"][1:]]
    if library["usable"]:
        text.append(f"library   {library['path']}")
        text.append(f"          {library['build']}, interface {library['abi']}")
    else:
        text.append(f"library   none: {shown(library['why_not'], 400)}")
        text.append("          the numba backend serves, where numba is installed")
    if library["flags"]:
        text.append(f"          {library['compiler']}: {library['flags']}")
    text += ["packages  " + "; ".join(optional_line(*item) for item in report["optional"].items())]
    here = [name for name, fetched in report["cache"]["models"].items() if fetched]
    text.append(f"cache     {report['cache']['path'] or report['cache']['why']}")
    text.append(f"          models fetched by name: {', '.join(here) or 'none'}")
    if report["optional"]["numba"]["version"]:
        kept = report["cache"]["kernels"] or "no folder; NUMBA_CACHE_DIR names one, without it each start compiles them"
        text.append(f"          kernels of the numba backend: {kept}")
    return text


def cpu_lines(cpu: dict[str, Any]) -> list[str]:
    if cpu["variants"] is None:
        return [f"cpu       {cpu['machine']}; features are examined by the native library only"]
    proven = [name for name, works in cpu["variants"].items() if works]
    have = [name for name, found in cpu["features"].items() if found]
    forced = f" (EDGEQ_ISA={shown(cpu['forced'], 40)})" if cpu["forced"] else ""
    return [
        f"cpu       {cpu['machine']}, kernels: {cpu['chosen']}{forced}; proven to work: {', '.join(proven)}",
        f"          features: {', '.join(have) or 'none above the baseline'}",
    ]


def optional_line(name: str, facts: dict[str, Any]) -> str:
    return f"{name} {facts['version']}" if facts["version"] else f"no {name} ({facts['for']})"


def size(nbytes: int | None) -> str:
    return "unknown" if nbytes is None else f"{nbytes / 2**30:.1f} GiB"
