"""Files from elsewhere: a path on this machine or a URL, held to a checksum.

Downloads go to results/downloads/ and stay there. One that is cut is kept too, and the next attempt,
in this job or a later one, goes on where it ended. A checksum that the configuration does not give is
written to results/checksums.yaml at the first use, and the file is held to it from then on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import yaml

from segcert.data import archives
from segcert.errors import StageError
from segcert.files import sha256, write_json, write_text
from segcert.masking import bare, masked
from segcert.stage.progress import progress, say

OFFLINE = "SEGCERT_OFFLINE"  # 1: open no URL
MIRRORS = "SEGCERT_MIRRORS"  # JSON: URL -> the addresses to try, in order
TIMEOUT_S = (20, 60)  # to connect; between two pieces of the answer
BLOCK = 1 << 18
SHARED = 0o666  # of lock files: whoever may write in the folder may lock, whosever file it is
LOG_S = 10  # between two lines of progress in the log
# One budget for everything that may pass: refused connections, 429 and 5xx, cut answers. It starts anew
# whenever bytes came. Waits 0, 2, 4, 8, ... seconds, or what the server's Retry-After says.
RETRIES: dict[str, Any] = {
    "total": 5,
    "other": 1,  # such as a certificate that does not hold, which no waiting mends
    "backoff_factor": 1,
    "backoff_max": 60,
    "retry_after_max": 600,
    "status_forcelist": (408, 429, 500, 502, 503, 504),
    "raise_on_status": False,
}
HEADER = """\
# sha256 of every file that was fetched, as it was the first time. A file that comes with another one is
# refused. Where the new one is right, delete its entry here, or put its sha256 into the configuration.
"""


@dataclass
class File:
    """A file to work with.

    Attributes:
        path: where it is.
        sha256: of its bytes.
        fetched_from: the URL that it came from; None for a file of this machine.
    """

    path: Path
    sha256: str
    fetched_from: str | None = None


class _Cut(Exception):
    """An answer that ended too early, or that does not go on where it should: to be tried again."""


def add_options(options: argparse.ArgumentParser, *more_sources: str) -> None:
    options.add_argument("--source", required=True, choices=["url", "path", *more_sources])
    options.add_argument("--location", help="the URL or the path")
    options.add_argument("--sha256", help="what the file must hash to")
    options.add_argument("--bytes", type=int, help="how long the file must be")
    options.add_argument("--downloads", default="results/downloads", help="folder that keeps what was fetched")
    options.add_argument("--checksums", default="results/checksums.yaml", help="checksums of what was fetched")


@contextlib.contextmanager
def obtained(args: argparse.Namespace) -> Iterator[File]:
    """The file at a path, or the download of a URL, to be used inside a `with`.

    A download proves itself there: only when its use raised nothing, its checksum is recorded; where it
    raised StageError, what was fetched just now is thrown away, so that the next attempt fetches it again.

    Raises:
        StageError: it is not there, it cannot be fetched, or its length or checksum is another.
    """
    if args.source == "path":
        path = Path(args.location)
        if not path.is_file():
            raise StageError(f"{path}: there is no such file; correct `path` in the configuration")
        yield File(path, _checked(path, args.location, args.sha256, args.bytes, "the configuration says"))
        return
    from filelock import FileLock

    target = cached(args.location, Path(args.downloads))
    target.parent.mkdir(parents=True, exist_ok=True)
    checksums = Checksums(Path(args.checksums))
    with FileLock(f"{target}.lock", mode=SHARED):  # another job may want the same file
        there = target.is_file()
        file = _kept(target, args, checksums) if there else _fetched(target, args, checksums)
        try:
            yield file
        except StageError as error:
            if there:
                raise StageError(f"{error} It is the one in {target}; delete it to fetch it again") from error
            target.unlink()
            raise StageError(f"{error} (it came from {file.fetched_from})") from error
        checksums.record(args.location, file)


def cached(url: str, downloads: Path) -> Path:
    """Where the download of a URL is kept: its name behind a hash of its whole URL."""
    url = bare(url)  # a token that changes names the same file
    name = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(urlsplit(url).path).rsplit("/", 1)[-1]) or "file"
    return downloads / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name[-100:]}"


class Checksums:
    """What was fetched, by URL: its sha256, its length, when it was first seen and where it came from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        try:
            found = yaml.safe_load(self.path.read_text(encoding="utf-8")) or {}
            if all(re.fullmatch("[0-9a-f]{64}", entry["sha256"]) for entry in found.values()):
                return found
        except FileNotFoundError:
            return {}
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
            pass
        raise StageError(f"{self.path}: is not a list of checksums by URL; mend it, or delete it to begin anew")

    def record(self, url: str, file: File) -> None:
        from filelock import FileLock

        with FileLock(f"{self.path}.lock", mode=SHARED):
            found = self.read()
            if found.get(url, {}).get("sha256") != file.sha256:
                found[url] = {
                    "sha256": file.sha256,
                    "bytes": file.path.stat().st_size,
                    "first_seen": datetime.now(UTC).isoformat(timespec="seconds"),
                    "fetched_from": file.fetched_from,
                }
                write_text(self.path, HEADER + yaml.safe_dump(found))


def _expected(args: argparse.Namespace, checksums: Checksums) -> tuple[str | None, str]:
    """The sha256 that the file must have, if it is known, and who says so."""
    if args.sha256:
        return args.sha256, "the configuration says"
    if entry := checksums.read().get(args.location):
        return (
            entry["sha256"],
            f"the file changed since {entry.get('first_seen')}: where the new one is right, delete its entry in "
            f"{checksums.path}, or put its sha256 into the configuration; recorded is",
        )
    return None, ""


def _checked(path: Path, name: str, expected: str | None, length: int | None, says: str) -> str:
    """The sha256 of a file that is as long as it must be and hashes to what it must."""
    if length is not None and path.stat().st_size != length:
        raise StageError(f"{name}: has {path.stat().st_size} bytes, the configuration says {length}; it is refused")
    found = sha256(path)
    if expected and found != expected:
        raise StageError(f"{name}: its sha256 is {found}; {says} {expected}; it is refused")
    return found


def _kept(target: Path, args: argparse.Namespace, checksums: Checksums) -> File:
    """What was fetched, or put there, before."""
    expected, says = _expected(args, checksums)
    say(f"{args.location}: taken from {target}")
    try:
        return File(target, _checked(target, f"{target} ({args.location})", expected, args.bytes, says))
    except StageError as error:
        raise StageError(f"{error}. Delete it to fetch it again") from None


def _fetched(target: Path, args: argparse.Namespace, checksums: Checksums) -> File:
    """The file from the first address that has the right one."""
    if os.environ.get(OFFLINE) == "1":
        raise StageError(
            f"{args.location}: `offline: true` in the configuration, so it is not fetched. Fetch it where there is a "
            f"network and put it at {target}, or name the file as `source: path` in the configuration"
        )
    expected, says = _expected(args, checksums)
    addresses = json.loads(os.environ.get(MIRRORS, "{}")).get(args.location, [args.location])
    problems = []
    for url in addresses:
        part = cached(url, target.parent).with_name(f"{cached(url, target.parent).name}.part")
        try:
            fetch(url, part, args.bytes)
            try:
                file = File(target, _checked(part, url, expected, args.bytes, says), masked(url))
            except StageError:
                _discard(part)
                raise
        except StageError as error:
            say(str(error))
            problems.append(str(error))
            continue
        part.replace(target)
        for address in addresses:
            _discard(cached(address, target.parent).with_name(f"{cached(address, target.parent).name}.part"))
        return file
    raise StageError(" ".join(problems))


def fetch(url: str, part: Path, length: int | None = None) -> None:
    """Download to a file, going on with what an earlier attempt left of it.

    What came stays in `part` when this raises, unless it is known to be of no use.

    Raises:
        StageError: it cannot be fetched, or it is not as long as it must be.
    """
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter

    retries = urllib3.Retry(**RETRIES)
    furthest = 0
    with requests.Session() as session:  # takes proxies and certificates from the environment
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(max_retries=urllib3.Retry(**RETRIES)))
        while True:
            try:
                _go_on(session, url, part, length)
                return
            except _Cut as cut:
                reached = _size(part)
                if reached > furthest:
                    furthest, retries = reached, urllib3.Retry(**RETRIES)
                say(f"{url}: {cut}; {reached} bytes are there, trying again")
                try:
                    retries = retries.increment("GET", url, error=urllib3.exceptions.ProtocolError(str(cut)))
                except urllib3.exceptions.MaxRetryError:
                    raise _given_up(url, part, cut) from cut
                retries.sleep()
            except requests.RequestException as error:
                raise _given_up(url, part, _cause(error)) from error


def _given_up(url: str, part: Path, why: object) -> StageError:
    kept = f"{_size(part)} bytes are kept and the next attempt goes on there; " if _size(part) else ""
    return StageError(f"{url}: cannot be fetched: {why}; {kept}check the network, or give the file as `source: path`.")


def _cause(error: BaseException) -> object:
    """What is behind the wrappings of requests and urllib3."""
    inner = error.args[0] if error.args else None
    inner = getattr(inner, "reason", inner)
    return inner if isinstance(inner, BaseException) else error


def _go_on(session: Any, url: str, part: Path, length: int | None) -> None:
    """One request for what is missing of a file.

    Raises:
        _Cut: the answer ended too early or does not fit what is there: worth trying again.
        StageError: the answer is a refusal.
    """
    said = _said(part)
    start = _size(part) if said.get("url") == bare(url) and said.get("validator") else 0
    headers = {"Accept-Encoding": "identity"}  # the file's own bytes, whatever it is named
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": said["validator"]}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if url.startswith("https://") and not answer.url.startswith("https://"):
            raise StageError(f"{url}: is sent on to {answer.url}, which anybody on the way can change; it is refused.")
        if start and answer.status_code == 416 and said["bytes"] == start == _total(answer):
            return  # it was complete, only its last step was missing
        if answer.status_code == 416:
            _discard(part)
            raise _Cut(f"the server has {_total(answer)} bytes, it had promised {said.get('bytes')}")
        if answer.status_code not in (200, 206):
            advice = "try again later" if answer.status_code in RETRIES["status_forcelist"] else "correct the URL"
            raise StageError(f"{url}: the server answers {answer.status_code} {answer.reason}; {advice}.")
        if answer.status_code == 206 and not _continues(answer, start, said):
            _discard(part)
            raise _Cut("the server goes on with another piece or another file")
        start = start if answer.status_code == 206 else 0
        total = _total(answer)
        most = archives.LIMITS.bytes if length is None else length
        if (total or 0) > most or (length is not None and total not in (None, length)):
            _discard(part)
            raise StageError(f"{url}: the server has {total} bytes, expected are {length or f'at most {most}'}.")
        write_json(_notes(part), {"url": bare(url), "validator": _validator(answer), "bytes": total})
        try:
            with part.open("ab" if start else "wb") as out:
                _pour(answer, out, start, total, most, url)
        except OSError as error:
            raise StageError(f"{part}: cannot be written: {error}; make room there and run it again.") from error
    if _size(part) > most:
        _discard(part)
        raise StageError(f"{url}: more than {most} bytes come; it is refused.")
    if total is not None and _size(part) != total:
        raise _Cut(f"{_size(part)} of {total} bytes came")


def _pour(answer: Any, out: IO[bytes], start: int, total: int | None, most: int, url: str) -> None:
    import urllib3

    pieces = answer.raw.stream(BLOCK, decode_content=False)
    done, spoke = start, time.monotonic()
    with progress(total, bare(url).rsplit("/", 1)[-1], initial=start, unit="B", unit_scale=True) as bar:
        while True:
            try:
                piece = next(pieces, None)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _Cut(f"the answer broke off: {error}") from error
            if piece is None:
                return
            out.write(piece)
            done += len(piece)
            if done > most:
                return
            bar.update(len(piece))
            if time.monotonic() - spoke > LOG_S:
                spoke = time.monotonic()
                say(f"{url}: {done / 1e6:.0f} of {f'{total / 1e6:.0f}' if total else 'unknown'} MB")


def _continues(answer: Any, start: int, said: Mapping[str, Any]) -> bool:
    """Whether a 206 is the rest of the file that is there: not every server minds If-Range."""
    begins = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    same = _validator(answer) in (None, said.get("validator"))
    return bool(start) and begins and same and _total(answer) == (said.get("bytes") or _total(answer))


def _total(answer: Any) -> int | None:
    """Length of the whole file, as far as the server says it."""
    if answer.status_code in (206, 416):
        text = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _validator(answer: Any) -> str | None:
    """What names this version of the file: a strong ETag, else its date (RFC 9110, 13.1.5)."""
    tag: str | None = answer.headers.get("ETag")
    date: str | None = answer.headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else date


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _said(part: Path) -> dict[str, Any]:
    """What is known of the file that a part belongs to; nothing where that is missing or broken."""
    try:
        said = json.loads(_notes(part).read_text(encoding="utf-8"))
        return said if {"url", "validator", "bytes"} <= said.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)
