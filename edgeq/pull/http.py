"""One URL to one file, by the standard library alone: resumed, retried, bounded.

The part file lies beside its `.json`, which says what it is a part of; it is continued only if the server
confirms that it still has the same file (If-Range), or if a checksum will tell.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from edgeq._version import __version__
from edgeq.errors import DownloadError, shown
from edgeq.pull.place import CHUNK, check_space
from edgeq.pull.progress import Progress

TIMEOUT = 30.0  # seconds without a byte
RETRIES = 5  # in a row without progress
ATTEMPTS = 100  # in all, however small the progress
AGAIN = {408, 425, 429, 500, 502, 503, 504}
MEANING = {
    401: "a login is needed",
    403: "access is denied",
    404: "there is no such file",
    410: "the file is gone",
}
pause = time.sleep


class Source(NamedTuple):
    """What is fetched and what is known of it beforehand. `check` sees the first bytes and may refuse."""

    url: str
    sha256: str | None = None
    size: int | None = None
    headers: Mapping[str, str] = {}
    check: Callable[[bytes, str], None] | None = None
    label: str = ""


class Interrupted(Exception):
    """The transfer broke off; trying again may help."""

    def __init__(self, why: object, after: float = 0.0) -> None:
        super().__init__(str(why) or type(why).__name__)
        self.after = after


def download(
    url: str,
    part: Path,
    *,
    progress: Progress,
    sha256: str | None = None,
    size: int | None = None,
    headers: Mapping[str, str] | None = None,
    check: Callable[[bytes, str], None] | None = None,
    label: str = "",
) -> None:
    """Fetches `url` into `part`, going on from what is there. The caller compares the checksum.

    Raises DownloadError when the server refuses, when the size is not `size`, or when it broke off too often.
    """
    source = Source(url, sha256, size, headers or {}, check, label or part.stem)
    failures = 0
    for _ in range(ATTEMPTS):
        before = length(part)
        try:
            attempt(source, part, progress)
            return
        except Interrupted as error:
            failures = 0 if length(part) > before else failures + 1
            if failures >= RETRIES:
                raise DownloadError(f"{shown(url)}: {error}; gave up after {failures} tries in a row") from None
            progress.note(f"{shown(source.label)}: {error}; trying again")
            pause(max(error.after, min(8.0, 0.5 * 2**failures)))
    raise DownloadError(f"{shown(url)}: broke off {ATTEMPTS} times; a second try goes on from {length(part)} bytes")


def attempt(source: Source, part: Path, progress: Progress) -> None:
    """One request and its body."""
    have, validator = state_of(source, part)
    headers = {**source.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    try:
        reply = request(source.url, headers)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have and total_of(error.headers, have) == have:
                return
            if error.code == 416 and have:
                part.unlink()
                raise Interrupted("the server's file is shorter than what is here") from None
            refuse(source.url, error)
    with reply:
        at, total = position(reply, have, part)
        if source.size is not None and total is not None and total != source.size:
            raise DownloadError(f"{shown(source.url)}: the server's file has {total} bytes, expected {source.size}")
        total = total if total is not None else source.size
        check_space(part.parent, (total or at) - at)
        if not at:
            part.open("wb").close()  # before the note: it must never speak of another file's bytes
        remember(source, part, reply.headers)
        progress.start(source.label, at, total)
        receive(reply, source, part, at, total, progress)


def receive(reply: Any, source: Source, part: Path, at: int, total: int | None, progress: Progress) -> None:
    """Appends the body to the part file, no byte more than announced."""
    with part.open("r+b") as file:
        file.truncate(at)
        file.seek(at)
        while True:
            try:
                chunk = reply.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise Interrupted(error) from None
            if not chunk:
                break
            if at == 0 and source.check:
                source.check(chunk, source.url)
            at += len(chunk)
            if total is not None and at > total:
                raise DownloadError(f"{shown(source.url)}: more than the {total} bytes that were announced")
            file.write(chunk)
            progress.update(at)
    if total is not None and at < total:
        raise Interrupted(f"broke off at {at} of {total} bytes")


def request(url: str, headers: Mapping[str, str], method: str = "GET", redirects: bool = True) -> Any:
    """The open reply. HTTPError passes, other trouble becomes Interrupted or DownloadError."""
    own = {"User-Agent": f"edgeq/{__version__}", **headers}
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        *((Redirect(),) if redirects else ()),
    ):
        opener.add_handler(handler)
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DownloadError(f"{shown(url)}: not an http or https address")
        return opener.open(urllib.request.Request(url, headers=own, method=method), timeout=TIMEOUT)
    except (urllib.error.HTTPError, DownloadError):
        raise
    except (ValueError, http.client.InvalidURL) as error:
        raise DownloadError(f"{shown(url)}: {shown(error)}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if "CERTIFICATE_VERIFY_FAILED" in str(reason):
            raise DownloadError(f"{shown(url)}: {reason}; SSL_CERT_FILE names your certificates") from None
        raise Interrupted(reason) from None


class Redirect(urllib.request.HTTPRedirectHandler):
    """Follows up to ten redirects, never from https to http, and never carries a token to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
            raise DownloadError(f"{shown(req.full_url)}: redirects to {shown(newurl)}, which is not https")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and old.netloc != new.netloc:
            made.remove_header("Authorization")
        return made


def refuse(url: str, error: urllib.error.HTTPError) -> None:
    """Raises what an error status means."""
    if error.code in AGAIN:
        wait = error.headers.get("Retry-After", "")
        raise Interrupted(f"the server says {error.code}", min(30.0, float(wait)) if wait.isdigit() else 0.0) from None
    reason = MEANING.get(error.code, shown(error.reason, 80))
    raise DownloadError(f"{shown(url)}: {reason} (HTTP status {error.code})") from None


def position(reply: Any, have: int, part: Path) -> tuple[int, int | None]:
    """Where in the file the body starts, and the size of the whole file if the server tells."""
    if reply.status == 206:
        found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", reply.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            part.unlink(missing_ok=True)
            raise Interrupted("the server sent another range than was asked for")
        return have, None if found[2] == "*" else int(found[2])
    if reply.status != 200:
        raise DownloadError(f"{shown(reply.url)}: unexpected HTTP status {reply.status}")
    announced = reply.headers.get("Content-Length", "")
    return 0, int(announced) if re.fullmatch(r"\d{1,18}", announced) else None


def total_of(headers: Message, default: int) -> int:
    """The size in `Content-Range: bytes */N`; -1 if there is none."""
    found = re.fullmatch(r"bytes \*/(\d{1,18})", headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def length(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0


def state_of(source: Source, part: Path) -> tuple[int, str]:
    """How many bytes of this very source are here, and the validator the server gave for them."""
    have = length(part)
    try:
        note = json.loads(note_of(part).read_text(encoding="utf-8"))
        validator = str(note["validator"])
        same = note["url"] == source.url and note["sha256"] == source.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""
    fits = source.size is None or have <= source.size
    return (have, validator) if same and fits and (validator or source.sha256) else (0, "")


def remember(source: Source, part: Path, headers: Message) -> None:
    """Notes whose part this is, with the strong ETag or the date by which to ask for the rest."""
    etag = headers.get("ETag", "")
    validator = headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag
    note = {"url": source.url, "sha256": source.sha256, "validator": validator}
    note_of(part).write_text(json.dumps(note), encoding="utf-8")


def note_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def check_magic(start: bytes, url: str) -> None:
    """Refuses at the first bytes what can be no GGUF file, most often a web page."""
    if not start.startswith(b"GGUF"[: len(start)]):
        what = "a web page" if start.lstrip()[:1] == b"<" else f"something that starts with {start[:4]!r}"
        raise DownloadError(f"{shown(url)}: not a GGUF file but {what}")


def read_json(url: str, headers: Mapping[str, str], limit: int = 32 << 20) -> Any:
    """A JSON document of at most `limit` bytes. Tries again as `download` does."""
    for failures in range(1, RETRIES + 1):
        try:
            with request(url, headers) as reply:
                data = reply.read(limit + 1)
            if len(data) > limit:
                raise DownloadError(f"{shown(url)}: an answer of more than {limit} bytes")
            return json.loads(data)
        except urllib.error.HTTPError as error:
            with error:
                trouble = again(url, error)
        except DownloadError:
            raise
        except (Interrupted, OSError, http.client.HTTPException) as error:
            trouble = error if isinstance(error, Interrupted) else Interrupted(error)
        except (ValueError, RecursionError):
            raise DownloadError(f"{shown(url)}: the answer is not JSON") from None
        pause(max(trouble.after, min(8.0, 0.5 * 2**failures)))
    raise DownloadError(f"{shown(url)}: {trouble}; gave up after {RETRIES} tries")


def again(url: str, error: urllib.error.HTTPError) -> Interrupted:
    """The status as a reason to try again; raises DownloadError where that is pointless."""
    try:
        refuse(url, error)
    except Interrupted as trouble:
        return trouble
    raise AssertionError("refuse() always raises")
