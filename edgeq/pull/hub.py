"""Files of the Hugging Face hub: through huggingface_hub where it is installed, else over plain HTTPS.

HF_ENDPOINT names another hub, HF_TOKEN is sent to the hub itself and to nobody else.
"""

from __future__ import annotations

import importlib.util
import os
import re
import urllib.error
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from edgeq.errors import DownloadError, UsageError, shown
from edgeq.pull.http import Interrupted, again, check_magic, download, pause, read_json, request
from edgeq.pull.place import finish, locked
from edgeq.pull.progress import Progress
from edgeq.registry import models_dir

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
PREFERRED = "Q4_K_M"  # when a repository has many files and none was named


class Address(NamedTuple):
    """What `hf:OWNER/REPO[:FILE]` says."""

    owner: str
    repo: str
    file: str | None

    @property
    def repository(self) -> str:
        return f"{self.owner}/{self.repo}"

    @property
    def folder(self) -> Path:
        return models_dir() / "hf" / self.owner / self.repo


def parse(text: str) -> Address:
    """Reads `hf:OWNER/REPO[:FILE]`; raises UsageError."""
    found = re.fullmatch(rf"(?i:hf):({NAME})/({NAME})(?::(.+))?", text)
    if found is None or ".." in found[1] + found[2]:
        raise UsageError(f"{shown(text)}: expected hf:OWNER/REPO or hf:OWNER/REPO:FILE")
    file = found[3]
    if file is not None and not (is_safe(file) and file.lower().endswith(".gguf")):
        raise UsageError(f"{shown(text)}: the file must be a .gguf inside the repository")
    return Address(found[1], found[2], file)


def is_safe(file: str) -> bool:
    """Whether a name from outside stays inside the folder it is written to."""
    steps = file.split("/")
    clean = all(step not in ("", ".", "..") and not re.search(r'[\\:*?"<>|\x00-\x1f\x7f]', step) for step in steps)
    return clean and len(file) <= 512 and all(len(step) <= 200 for step in steps)


def cached(address: Address) -> Path | None:
    """The file of an earlier pull, ours or huggingface_hub's."""
    if address.file is not None:
        names = parts_of(address.file)
        if all((address.folder / name).is_file() for name in names):
            return address.folder / names[0]
    else:
        found = [path for path in address.folder.rglob("*.gguf") if path.is_file()] if address.folder.is_dir() else []
        firsts = [path for path in found if not (m := SPLIT.fullmatch(path.name)) or int(m[2]) == 1]
        if len(firsts) == 1 and len(found) == len(parts_of(firsts[0].name)):
            return firsts[0]
    return hub_cached(address) if address.file is not None and has_hub() else None


def pull(address: Address, progress: Progress) -> Path:
    """Fetches the file, all parts of it if it is split; returns the (first) one."""
    found = cached(address)
    if found is not None:
        return found
    if has_hub():
        return hub_pull(address, progress)
    file = address.file or choose(plain_list(address), address)
    paths = [plain_pull(address, name, progress) for name in parts_of(file)]
    return paths[0]


def parts_of(file: str) -> list[str]:
    """All names of a split file, in order; the name alone if it is not split."""
    split = SPLIT.fullmatch(file)
    if split is None or not 1 <= int(split[3]) <= 999:
        return [file]
    return [f"{split[1]}-{i:05}-of-{split[3]}.gguf" for i in range(1, int(split[3]) + 1)]


def choose(names: list[str], address: Address) -> str:
    """The one GGUF file meant when none was named: the only one, or the only Q4_K_M."""
    firsts = []
    for name in sorted(names):
        split = SPLIT.fullmatch(name)
        model = name.lower().endswith(".gguf") and "mmproj" not in name.lower() and is_safe(name)
        if model and (split is None or int(split[2]) == 1):
            firsts.append(name)
    if len(firsts) > 1:
        preferred = [name for name in firsts if PREFERRED.lower() in name.lower()]
        firsts = preferred if len(preferred) == 1 else firsts
    if len(firsts) == 1:
        return firsts[0]
    if not firsts:
        raise DownloadError(f"hf:{address.repository}: there is no GGUF file in this repository")
    some = ", ".join(shown(name, 100) for name in firsts[:20]) + (", …" if len(firsts) > 20 else "")
    raise UsageError(f"hf:{address.repository} has several files, name one as hf:{address.repository}:FILE: {some}")


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def login() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def plain_list(address: Address) -> list[str]:
    """Names of the files of a repository."""
    reply = read_json(f"{endpoint()}/api/models/{address.repository}", login())
    files = reply.get("siblings") if isinstance(reply, dict) else None
    if not isinstance(files, list):
        raise DownloadError(f"hf:{address.repository}: the hub's answer lists no files")
    return [item["rfilename"] for item in files if isinstance(item, dict) and isinstance(item.get("rfilename"), str)]


def plain_pull(address: Address, file: str, progress: Progress) -> Path:
    """One file over plain HTTPS, with the checksum and size that the hub announces for large files."""
    target = address.folder / file
    url = f"{endpoint()}/{address.repository}/resolve/main/{quote(file)}"
    with locked(target, progress):
        if target.is_file():
            return target
        part = target.with_name(target.name + ".part")
        sha256, size = announced(url)
        download(url, part, progress=progress, sha256=sha256, size=size, headers=login(), check=check_magic)
        if sha256 is None:
            from edgeq.pull import check_gguf

            check_gguf(url, part)
        return finish(part, target, sha256, progress)


def announced(url: str) -> tuple[str | None, int | None]:
    """SHA-256 and size from the headers of the hub's own answer, before it redirects to a store."""
    try:
        with request(url, login(), method="HEAD", redirects=False) as reply:
            headers = reply.headers
    except urllib.error.HTTPError as error:
        with error:
            headers = error.headers
            if not 300 <= error.code < 400:
                pause(again(url, error).after)
                return None, None
    except Interrupted:
        return None, None  # the transfer will tell, and try again
    digest = headers.get("X-Linked-Etag", "").strip('"')
    size = headers.get("X-Linked-Size", "")
    return (
        digest.lower() if re.fullmatch(r"[0-9a-fA-F]{64}", digest) else None,
        int(size) if re.fullmatch(r"\d{1,18}", size) else None,
    )


def has_hub() -> bool:
    return importlib.util.find_spec("huggingface_hub") is not None


def hub_cached(address: Address) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    assert address.file is not None
    found = [try_to_load_from_cache(address.repository, name) for name in parts_of(address.file)]
    paths = [Path(path) for path in found if isinstance(path, str)]
    return paths[0] if len(paths) == len(found) else None


def hub_pull(address: Address, progress: Progress) -> Path:
    """Through huggingface_hub: its cache, its login, its transfer and its bars."""
    import huggingface_hub

    progress.close()
    try:
        hub: Any = huggingface_hub.HfApi(endpoint=endpoint())
        file = address.file or choose(hub.list_repo_files(address.repository), address)
        paths = [
            huggingface_hub.hf_hub_download(address.repository, name, endpoint=endpoint()) for name in parts_of(file)
        ]
    except (DownloadError, UsageError):
        raise
    except Exception as error:  # the library's own and its HTTP client's
        raise DownloadError(f"hf:{address.repository}: {shown(error, 400)}") from error
    return Path(paths[0])
